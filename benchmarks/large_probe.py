"""`probe_layers` at the size of a large network on LibriSpeech train-clean-100.

    python -m benchmarks.large_probe

25 layers of 768 dimensions for 28,539 utterances of 251 speakers: a ridge probe with five folds by
speaker, the fits that choose a layer, five shuffles, and 1,000 resamples for the intervals of two
metrics. Layers are noise with a planted label that grows with depth. They lie in a store, written
block by block, and are read from it layer by layer. Writing and probing have processes of their
own, so that the peak memory is that of probing alone, imports included.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import Row, alone, clock, peak_mib, run

N_LAYERS, N_ITEMS, N_DIMS, N_SPEAKERS = 25, 28_539, 768, 251
BLOCK = 1024  # rows of a shard, as `extract` writes them
LIMIT = 600.0


def write(folder: str, n_layers: int, n_items: int) -> float:
    """Write the store and return the size of it in MiB."""
    from speechprobe.store import Store
    from speechprobe.store.shards import Rows

    generator = np.random.default_rng(0)
    rate = generator.normal(size=n_items)
    direction = generator.normal(size=(n_layers, N_DIMS)).astype(np.float32)
    ids = [f"u{number:06d}" for number in range(n_items)]
    store = Store(folder, {"extractor": "noise"})
    for start in range(0, n_items, BLOCK):
        here = slice(start, min(n_items, start + BLOCK))
        known = rate[here, None].astype(np.float32)
        layers = {
            f"layer{number:02d}": generator.standard_normal((len(known), N_DIMS), np.float32)
            + 0.1 * number / n_layers * known * direction[number]
            for number in range(n_layers)
        }
        store.write(Rows(ids[here], [5.0] * len(known), layers))
    speakers = [f"s{number % N_SPEAKERS}" for number in range(n_items)]
    items = pd.DataFrame({"speaker": speakers, "rate": rate}, index=pd.Index(ids, name="id"))
    store.finish(items, {}, [])
    return sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20


def probe(folder: str, n_layers: int) -> dict[str, float]:
    """Probe the first layers of the store; return seconds, peak memory and what came of it."""
    import speechprobe as sp

    stored = sp.load_features(folder)
    names = list(stored.layers)[:n_layers]
    features = sp.Features({name: stored.layers[name] for name in names}, stored.items)
    now = clock()
    started, on_the_clock, used = now(), time.perf_counter(), time.process_time()
    scores = sp.probe_layers(
        features,
        target="rate",
        groups="speaker",
        probe=sp.probes.RidgeProbe(),
        metrics=[sp.metrics.r2, sp.metrics.mae],
        progress=False,
    )
    records = scores.by_metric("r2")
    first, last = records[0], records[-1]
    return {
        "seconds": now() - started,
        "clock": time.perf_counter() - on_the_clock,
        "processor": time.process_time() - used,
        "peak": peak_mib(),
        "first": first.score,
        "last": last.score,
        "floor": last.floor,
    }


def rows(*, quick: bool = False) -> list[Row]:
    """Return time against the limit, and peak memory against that of a fifth of the layers."""
    n_layers, n_items = (5, 2_854) if quick else (N_LAYERS, N_ITEMS)
    with tempfile.TemporaryDirectory() as folder:
        size = alone(f"benchmarks.large_probe:write({folder + '/store'!r}, {n_layers}, {n_items})")
        call = f"benchmarks.large_probe:probe({folder + '/store'!r}, "
        few, many = alone(f"{call}{n_layers // 5})"), alone(f"{call}{n_layers})")
    assert abs(many["first"]) < 0.1 < many["last"] and many["floor"] < 0.01  # noqa: PT018
    name = f"`probe_layers`, ridge, {n_layers} layers x {n_items:,} x {N_DIMS}"
    shared = (
        f"five folds, five shuffles, 1,000 resamples of two metrics; {many['clock']:,.0f} s on the "
        f"clock, {many['processor']:,.0f} s of processor time; {size:,.0f} MiB on the disk"
    )
    return [
        Row(f"{name}, against ten minutes", many["seconds"], LIMIT, "under 600 s", shared),
        Row(
            f"The same, peak memory in MiB, against that of {n_layers // 5} layers",
            many["peak"],
            few["peak"],
            "at most 1.05 times",
            "imports included",
        ),
        Row(f"Seconds a layer, {n_layers} layers, against {n_layers // 5}",
            many["seconds"] / n_layers, few["seconds"] / (n_layers // 5), "", ""),
    ]  # fmt: skip


if __name__ == "__main__":
    run("large_probe", rows)
