"""2-D networks with the weights of their convolutions channels last, against channels first.

    OMP_NUM_THREADS=1 python -m benchmarks.channels [--quick]

The same random weights and the same signals in one run, alone and in batches of four, all layers
pooled. On a CPU the loaders lay the weights channels last.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import speechprobe as sp
from benchmarks.extraction import simam
from benchmarks.timing import REPEATS, Row, clock, in_turns, run

SECONDS = 5


def wespeaker(architecture: str) -> Any:
    """An untrained network of WeSpeaker's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text(f"model: {architecture}\n", encoding="utf-8")
        return sp.extractors.load_wespeaker(folder, untrained=True, device="cpu")


NETWORKS: dict[str, Callable[[], Any]] = {
    "BYOL-S, 512 dims": functools.partial(
        sp.extractors.load_byol_a, None, mean=-5.0, std=4.0, untrained=True
    ),
    "VGGVox": functools.partial(
        sp.extractors.load_voxceleb_trainer, None, architecture="VGGVox", untrained=True
    ),
    "YAMNet": functools.partial(sp.extractors.load_yamnet, None, untrained=True),
    "VGGish": functools.partial(sp.extractors.load_vggish, None, untrained=True),
    "SimAM-ResNet34": functools.partial(simam, "cpu"),
    "ResNet34": functools.partial(wespeaker, "ResNet34"),
    "CAM++": functools.partial(wespeaker, "CAMPPlus"),
}


def compared(name: str, n_signals: int, repeats: int) -> Row:
    """Return the seconds of a batch, weights channels last and first."""
    last = NETWORKS[name]()
    first = copy.deepcopy(last)
    first.module.to(memory_format=torch.contiguous_format)
    generator = np.random.default_rng(0)
    signals = [
        generator.normal(scale=0.1, size=SECONDS * last.sample_rate).astype(np.float32)
        for _ in range(n_signals)
    ]
    ways = [
        functools.partial(each.extract_batch, signals, sp.pooling.mean) for each in (last, first)
    ]
    ours, theirs = (way() for way in ways)
    error = max(
        np.linalg.norm(ours[layer] - theirs[layer]) / np.linalg.norm(theirs[layer])
        for layer in theirs
    )
    times = in_turns(*ways, repeats=repeats, clock=clock())
    what = f"{name}, {n_signals} of {SECONDS} s, channels last against first"
    return Row(what, *times, "", f"vectors differ by {error:.0e}")


def rows(*, quick: bool = False) -> list[Row]:
    """Return each network alone and in a batch."""
    repeats = 3 if quick else REPEATS
    names = list(NETWORKS)[:2] if quick else list(NETWORKS)
    return [compared(name, n_signals, repeats) for name in names for n_signals in (1, 4)]


if __name__ == "__main__":
    run("channels", rows, what="Median of 21 runs in turns.")
