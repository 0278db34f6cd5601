"""Measure verification at the size of VoxCeleb1-O: 37,720 trials of 4,715 files.

    python -m benchmarks.verification

Both sides run on the same input in turns; the least of five runs counts, since other programs on
the machine only ever add to one. The usual way to scores of ten crops is that of voxceleb_trainer,
one `torch.cdist` a trial; to an interval by speaker, the rates of trials repeated as often as their
speakers were drawn, sorted anew in each resample.
"""

import os
import platform
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from speechprobe import Features
from speechprobe.layers.verification.resamples import SpeakerResamples
from speechprobe.layers.verification.verify import verify_layers
from speechprobe.metrics.trial_scores import crop_distance_scores
from speechprobe.metrics.verification import equal_error_rate, min_dcf

REPEATS = 5
N_TRIALS, N_FILES, N_SPEAKERS = 37_720, 4_715, 40
N_RESAMPLES = 50


def least(*functions: Callable[[], object]) -> list[float]:
    times = [float("inf")] * len(functions)
    for _ in range(REPEATS):
        for place, function in enumerate(functions):
            started = time.perf_counter()
            function()
            times[place] = min(times[place], time.perf_counter() - started)
    return times


def a_list() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Return rows of both sides, speaker of each file, and whether trials are of one speaker."""
    generator = np.random.default_rng(0)
    speaker = np.sort(np.arange(N_FILES) % N_SPEAKERS)
    first = np.arange(N_TRIALS) % N_FILES
    mates = [np.flatnonzero(speaker == one) for one in range(N_SPEAKERS)]
    second = np.array([
        generator.choice(mates[speaker[row]]) if k % 2 else generator.integers(N_FILES)
        for k, row in enumerate(first)
    ])  # fmt: skip
    return np.stack([first, second], axis=1), speaker, speaker[first] == speaker[second]


def ten_crops() -> tuple[str, float, float]:
    rows, _, _ = a_list()
    crops = np.random.default_rng(0).standard_normal((N_FILES, 10, 512), np.float32)
    unit = torch.nn.functional.normalize(torch.from_numpy(crops), dim=2)

    def usual() -> NDArray[np.float64]:
        return np.array([-torch.cdist(unit[a], unit[b]).mean().item() for a, b in rows])

    assert np.abs(crop_distance_scores(crops, rows) - usual()).max() < 1e-4
    name = "scores of 37,720 trials, ten crops of 512 values, against torch.cdist trial by trial"
    return name, *least(lambda: crop_distance_scores(crops, rows), usual)


def intervals() -> tuple[str, float, float]:
    rows, speaker, same = a_list()
    sides = speaker[rows]
    score = np.random.default_rng(0).normal(size=N_TRIALS) + 2 * same
    drawn = np.random.default_rng(0).integers(N_SPEAKERS, size=(N_RESAMPLES, N_SPEAKERS))

    def ours() -> NDArray[np.float64]:
        draws = SpeakerResamples(sides, n_resamples=N_RESAMPLES, seed=0)
        return np.array(draws.rates(same, score, p_target=0.05)).T

    def usual() -> NDArray[np.float64]:
        found = []
        for each in drawn:
            n = np.bincount(each, minlength=N_SPEAKERS)
            weight = n[sides[:, 0]] * np.where(sides[:, 0] == sides[:, 1], 1, n[sides[:, 1]])
            a, b = np.repeat(same, weight), np.repeat(score, weight)
            found.append((equal_error_rate(a, b), min_dcf(a, b, p_target=0.05)))
        return np.array(found)

    assert np.abs(ours() - usual()).max() < 1e-12
    name = f"EER and minDCF of {N_RESAMPLES} resamples by speaker, against trials repeated"
    return name, *least(ours, usual)


def whole_call() -> str:
    """Say what `verify_layers` takes for 13 layers, with 1,000 resamples each."""
    rows, speaker, same = a_list()
    generator = np.random.default_rng(0)
    items = pd.DataFrame({"speaker": speaker}, index=[f"f{k:04d}" for k in range(N_FILES)])
    layers = {f"layer{k}": generator.standard_normal((N_FILES, 512), np.float32) for k in range(13)}
    features = Features(layers, items)
    trials = pd.DataFrame(
        {"enrol": items.index[rows[:, 0]], "test": items.index[rows[:, 1]], "same": same}
    )
    (taken,) = least(lambda: verify_layers(features, trials, progress=False))
    return f"`verify_layers`, cosine, 13 layers of 512 values, 1,000 resamples each: {taken:.1f} s."


def main() -> None:
    """Run all, print the table, and keep it with the machine."""
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, numpy {version('numpy')}, "
        f"torch {version('torch')}. `python -m benchmarks.verification`, least of {REPEATS} runs "
        "in turns.",
        "",
        "| what | ours, s | other, s | other / ours |",
        "|---|---|---|---|",
    ]
    for row in (ten_crops, intervals):
        name, ours, other = row()
        lines.append(f"| {name} | {ours:.3f} | {other:.3f} | {other / ours:.1f} |")
    lines += ["", whole_call()]
    print("\n".join(lines))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "verification.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
