"""How time, store and memory grow with the number of utterances, from a thousand to a million.

    python -m benchmarks.growth
    python -m benchmarks.growth 1000 10000 100000

A stub network with two layers of 32 dims runs over a corpus whose rows point at 16 short sound
files, each row read anew: what is measured is the library itself, from the headers to the shards,
then loading them, then a ridge probe with five folds, one shuffle and intervals. Extraction, and
loading with probing, have processes of their own for each size.

What a process pays once, such as loading torch, is paid before, on 200 rows. The slope is that of
log time over log size between the two largest sizes; 1 is linear. Extra memory is the peak of the
process at the largest size less that at the smallest. What must grow stands beside: the labels, and
for probing a layer in float64.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import NAN, Row, alone, clock, peak_mib, run

SIZES = (1_000, 10_000, 100_000, 1_000_000)
N_FILES, SECONDS, SAMPLE_RATE = 16, 0.1, 16_000
N_SPEAKERS, N_DIMS = 100, 32
WARM = 200  # rows that are run first, untimed
LIMIT_MIB = 200


class Stub:
    """A network that costs next to nothing: two layers of ten frames."""

    name, sample_rate = "stub", SAMPLE_RATE
    _weights = np.random.default_rng(0).normal(size=(SAMPLE_RATE // 100, N_DIMS))

    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        frames = signal.reshape(10, -1) @ self._weights.astype(np.float32)
        return {"first": frames, "second": np.abs(frames)}


def write_sounds(folder: str) -> None:
    """Write a few short sound files."""
    from speechprobe import audio

    generator = np.random.default_rng(0)
    for number in range(N_FILES):
        signal = generator.normal(scale=0.1, size=round(SECONDS * SAMPLE_RATE))
        audio.write(Path(folder, f"{number}.wav"), signal, SAMPLE_RATE)


def corpus_of(folder: str, n_rows: int) -> Any:
    """Return a corpus of so many rows over the few files."""
    import pandas as pd

    from speechprobe.datasets.corpus import Corpus

    numbers = np.arange(n_rows)
    paths = [str(Path(folder, f"{number}.wav")) for number in range(N_FILES)]
    table = pd.DataFrame(
        {
            "path": [paths[number % N_FILES] for number in numbers],
            "speaker": [f"s{number % N_SPEAKERS:03d}" for number in numbers],
            "duration": SECONDS,
            "rate": np.random.default_rng(1).normal(size=n_rows) + numbers % N_FILES,
        },
        index=pd.Index([f"u{number:07d}" for number in numbers], name="id"),
    )
    return Corpus("growth", table)


def extraction(folder: str, n_rows: int) -> dict[str, float]:
    """Extract into a store; return seconds, peak memory before and after, and the store's size."""
    import speechprobe as sp

    sp.extract(corpus_of(folder, WARM), Stub(), progress=False)  # what a process pays once
    store = Path(folder, f"store{n_rows}")
    corpus = corpus_of(folder, n_rows)
    now, before = clock(), peak_mib()
    started = now()
    sp.extract(corpus, Stub(), store=store, progress=False)
    return {
        "seconds": now() - started,
        "before": before,
        "peak": peak_mib(),
        "store": sum(path.stat().st_size for path in store.iterdir()) / 2**20,
    }


def probing(folder: str, n_rows: int) -> dict[str, float]:
    """Load the store and probe it; return seconds of both and the peak memory after each."""
    import speechprobe as sp

    def probe(features: Any) -> None:
        sp.probe_layers(
            features,
            target="rate",
            groups="speaker",
            probe=sp.probes.RidgeProbe(),
            metrics=sp.metrics.r2,
            n_shuffles=1,
            progress=False,
        )

    small = sp.load_features(Path(folder, f"store{WARM}"))
    probe(small)  # what a process pays once
    now, before = clock(), peak_mib()
    started = now()
    features = sp.load_features(Path(folder, f"store{n_rows}"))
    loaded, peak_loaded = now() - started, peak_mib()
    started = now()
    probe(features)
    return (
        {"before": before}
        | {"load": loaded, "peak_loaded": peak_loaded, "probe": now() - started}
        | {"peak": peak_mib()}
    )


def measure(sizes: list[int]) -> dict[int, dict[str, float]]:
    """Return what each size takes, each step in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPEECHPROBE_CACHE"] = f"{folder}/cache"
        write_sounds(folder)
        alone(f"benchmarks.growth:extraction({folder!r}, {WARM})")
        for n_rows in sizes:
            started = time.perf_counter()
            extracted = alone(f"benchmarks.growth:extraction({folder!r}, {n_rows})")
            probed = alone(f"benchmarks.growth:probing({folder!r}, {n_rows})")
            found[n_rows] = {
                "extract": extracted["seconds"],
                "store": extracted["store"],
                "peak of extraction": extracted["peak"],
                "corpus alone": extracted["before"],
                "load": probed["load"],
                "peak of loading": probed["peak_loaded"],
                "probe": probed["probe"],
                "peak of probing": probed["peak"],
                "all": time.perf_counter() - started,
            }
            print(n_rows, {name: round(each, 3) for name, each in found[n_rows].items()},
                  file=sys.stderr, flush=True)  # fmt: skip
    return found


def rows(*, quick: bool = False) -> list[Row]:
    """Return the slopes, the extra memory, and what each size took."""
    asked = [int(each) for each in sys.argv[1:] if each.isdigit()]
    sizes = asked or ([200, 2_000] if quick else list(SIZES))
    found = measure(sizes)
    first, before, last = found[sizes[0]], found[sizes[-2]], found[sizes[-1]]
    step = math.log(sizes[-1] / sizes[-2])
    names = {"extract": "Extraction", "load": "Loading", "probe": "Probing", "store": "Store size"}
    slopes = [
        Row(
            f"{told}, slope of its logarithm from {sizes[-2]:,} to {sizes[-1]:,} utterances",
            math.log(last[name] / before[name]) / step,
            1.0,
            "1.00 +- 0.05",
            ", ".join(
                f"{n_rows:,}: {each[name]:.3g} {'MiB' if name == 'store' else 's'}"
                for n_rows, each in found.items()
            ),
        )
        for name, told in names.items()
    ]
    layer = sizes[-1] * N_DIMS * 8 / 2**20
    why = {
        "peak of extraction": f"the table of the corpus, "
        f"{last['corpus alone'] - first['corpus alone']:.0f} MiB, included",
        "peak of loading": "the table of labels included",
        "peak of probing": f"a layer in float64 is {layer:.0f} MiB",
    }
    extra = [
        Row(
            f"Extra memory in MiB, {name}, {sizes[0]:,} to {sizes[-1]:,} utterances",
            last[name] - first[name],
            NAN,
            f"under {LIMIT_MIB} MiB",
            told + "; " + ", ".join(f"{n:,}: {each[name]:.0f}" for n, each in found.items()),
        )
        for name, told in why.items()
    ]
    return [*slopes, *extra]


if __name__ == "__main__":
    run("growth", rows)
