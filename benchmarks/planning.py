"""What very many hours would take, from a short extraction by each model on this machine.

    OMP_NUM_THREADS=1 python -m benchmarks.planning [--hours 100000] [--price 0.05] [folder]

`folder` is a LibriSpeech; without one, files of noise are written. Every layer of the networks of
benchmarks.extraction is pooled to its mean. Utterances are as long on average as those that were
run. With one thread the speed is by the time of the processor, which other programs do not disturb;
`extract(dry_run=True)` tells the same of one machine by the clock. The price is that of an hour of
a core: an assumption, to be replaced by one's own. With `--device cuda` hours are those of one GPU.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import speechprobe as sp
from benchmarks.extraction import NETWORKS, speech
from benchmarks.timing import RESULTS, clock, machine
from speechprobe.features.spreading import MOST_ROWS, chunk_sound

HOUR = 3600.0
N_FILES = 12


def line(name: str, model: Any, corpus: sp.datasets.Corpus, hours: float, price: float) -> str:
    """Return the row of one model."""
    sp.extract(corpus.select([True] + [False] * (len(corpus) - 1)), model)  # what is done once
    tick = clock()
    started = tick()
    features = sp.extract(corpus, model, batch_seconds=0, progress=False)
    sound = features.provenance["sound_seconds"]
    speed = sound / (tick() - started)
    n_bytes = sum(np.asarray(features[layer]).nbytes for layer in features.layers)
    wanted = hours * HOUR
    n_utterances = wanted * len(features) / sound
    room = chunk_sound(speed, n_bytes / sound, wanted)
    n_rows = min(MOST_ROWS, room * len(features) / sound)
    machine_hours = hours / speed
    cells = (
        name,
        f"{len(features.layers)}",
        f"{n_bytes / len(features) / 1e3:.1f}",
        f"{n_utterances / 1e6:.1f} M",
        f"{n_utterances * n_bytes / len(features) / 1e9:,.0f} GB",
        f"{math.ceil(n_utterances / n_rows):,}",
        f"{speed:.1f}",
        f"{machine_hours:,.0f}",
        f"{machine_hours * price:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run them, print the table and keep it."""
    parser = argparse.ArgumentParser(description="A plan for very many hours")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--hours", type=float, default=100_000)
    parser.add_argument("--price", type=float, default=0.05, help="of an hour")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    unit = "GPU" if given.device != "cpu" else "core"
    lines = [
        f"{machine()} `python -m benchmarks.planning`, {given.hours:,.0f} hours, mean of every "
        f"layer, device {given.device}, {given.price:g} a {unit} hour.",
        "",
        f"| model | layers | kB an utterance | utterances | store | shards | seconds of sound a "
        f"second | {unit} hours | cost |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        corpus = speech(given.folder, N_FILES, folder)
        for name, make in NETWORKS.items():
            lines.append(line(name, make(given.device), corpus, given.hours, given.price))
            print(lines[-1], flush=True)
    kind = "" if unit == "core" else "_gpu"
    text = "\n".join(lines) + "\n"
    (RESULTS / f"planning{kind}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
