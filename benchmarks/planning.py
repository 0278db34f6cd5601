"""What very many hours would take, from a short trial of each model on this machine.

    OMP_NUM_THREADS=1 python -m benchmarks.planning [--hours 100000] [--price 0.05] [folder]

`folder` is a LibriSpeech; without one, files of noise are written. Every layer of the networks of
benchmarks.extraction is pooled to its mean, by `extract(dry_run=True)`. Utterances are as long on
average as those of the trial. The price is that of an hour of a core: an assumption, to be replaced
by one's own. With `--device cuda` hours are those of one GPU, and the price is of that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import speechprobe as sp
from benchmarks.extraction import NETWORKS, speech
from benchmarks.timing import RESULTS, machine
from speechprobe.features.spreading import MOST_ROWS, chunk_sound

HOUR = 3600.0
N_FILES = 60


def line(name: str, model: Any, corpus: sp.datasets.Corpus, hours: float, price: float) -> str:
    """Return the row of one model."""
    with contextlib.redirect_stdout(io.StringIO()):
        plan = sp.extract(corpus, model, dry_run=True)
    sound = hours * HOUR
    n_utterances = round(sound * plan.n_left / plan.sound_seconds)
    n_bytes = n_utterances * plan.n_bytes / plan.n_left
    room = chunk_sound(plan.speed, plan.n_bytes / plan.sound_seconds, sound)
    n_rows = min(MOST_ROWS, room * plan.n_left / plan.sound_seconds)
    machine_hours = hours / plan.speed
    cells = (
        name,
        f"{len(model.layers)}",
        f"{plan.n_bytes / plan.n_left / 1e3:.1f}",
        f"{n_utterances / 1e6:.1f} M",
        f"{n_bytes / 1e9:,.0f} GB",
        f"{math.ceil(n_utterances / n_rows):,}",
        f"{plan.speed:.1f}",
        f"{machine_hours:,.0f}",
        f"{machine_hours * price:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the trials, print the table and keep it."""
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
