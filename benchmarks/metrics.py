"""Measure the metrics of verification against the usual way.

    python -m benchmarks.metrics

Both sides run on the same trials in turns; medians count. The usual way to both error rates is
scikit-learn's `roc_curve`: the point where the rates are nearest, and the least cost of all; to
scores of ten crops, `torch.cdist` trial by trial, as voxceleb_trainer does; to AS-norm, sorting the
whole cohort; to all pairs, the list of them. Memory is what numpy holds beside the input at most
(tracemalloc).
"""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn.metrics
import torch
from numpy.typing import NDArray

from benchmarks.timing import Row, clock, in_turns, run
from benchmarks.verification import N_FILES, a_list
from speechprobe.metrics.all_pairs import all_pairs_histogram
from speechprobe.metrics.trial_scores import as_norm, cosine_scores, crop_distance_scores
from speechprobe.metrics.verification import det_curve, equal_error_rate, min_dcf

P_TARGET = 0.01
MIB = 2**20
Trials = tuple[NDArray[np.bool_], NDArray[np.float64]]


def trials(n_trials: int) -> Trials:
    generator = np.random.default_rng(0)
    truth = generator.random(n_trials) < 0.5
    return truth, generator.normal(size=n_trials) + 2 * truth


def our_rates(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> tuple[float, float]:
    return equal_error_rate(truth, score), min_dcf(truth, score, p_target=P_TARGET)


def usual_rates(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> tuple[float, float]:
    false_accept, hit, _ = sklearn.metrics.roc_curve(truth, score)
    nearest = np.argmin(np.abs(1 - hit - false_accept))
    costs = P_TARGET * (1 - hit) + (1 - P_TARGET) * false_accept
    return float(max(false_accept[nearest], 1 - hit[nearest])), float(costs.min() / P_TARGET)


def rates(n_trials: int, wanted: str) -> Row:
    truth, score = trials(n_trials)
    assert np.allclose(our_rates(truth, score), usual_rates(truth, score), atol=1e-4)
    times = in_turns(
        lambda: our_rates(truth, score), lambda: usual_rates(truth, score), clock=clock()
    )
    return Row(f"EER and minDCF of {n_trials:,} trials, against roc_curve", *times, wanted)


def curve(n_trials: int) -> Row:
    truth, score = trials(n_trials)
    times = in_turns(
        lambda: det_curve(truth, score),
        lambda: sklearn.metrics.det_curve(truth, score),
        clock=clock(),
    )
    return Row(f"DET curve of {n_trials:,} trials, against scikit-learn's", *times, "")


def ten_crops() -> Row:
    pairs, _, _ = a_list()
    crops = np.random.default_rng(0).standard_normal((N_FILES, 10, 512), np.float32)
    unit = torch.nn.functional.normalize(torch.from_numpy(crops), dim=2)

    def usual() -> NDArray[np.float64]:
        return np.array([-torch.cdist(unit[a], unit[b]).mean().item() for a, b in pairs])

    assert np.abs(crop_distance_scores(crops, pairs) - usual()).max() < 1e-4
    times = in_turns(lambda: crop_distance_scores(crops, pairs), usual, repeats=5, clock=clock())
    name = f"Scores of {len(pairs):,} trials of ten crops of 512, against cdist trial by trial"
    return Row(name, *times, "under 2 s")


def normalised(top_n: int = 300) -> Row:
    generator = np.random.default_rng(0)
    embeddings, cohort = generator.normal(size=(N_FILES, 256)), generator.normal(size=(5_994, 256))
    pairs, _, _ = a_list()
    raw = cosine_scores(embeddings, pairs)

    def ours() -> NDArray[np.float64]:
        return as_norm(raw, pairs, embeddings=embeddings, cohort=cohort, top_n=top_n)

    def usual() -> NDArray[np.float64]:
        units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, cohort)]
        best = np.sort(units[0] @ units[1].T, axis=1)[:, -top_n:]
        return ((raw[:, None] - best.mean(1)[pairs]) / best.std(1)[pairs]).mean(1)

    assert np.abs(ours() - usual()).max() < 1e-9
    times = in_turns(ours, usual, repeats=5, clock=clock())
    name = f"AS-norm of {len(pairs):,} trials with {top_n} of 5,994 speakers, against sorting"
    return Row(name, *times, "")


def held(function: Callable[[], object]) -> float:
    """Return the most MiB that numpy held while a function ran."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def of_a_large_matrix(n_trials: int, n_files: int, n_dims: int = 256) -> list[Row]:
    """Score trials of embeddings that stay on the disk."""
    pairs = np.random.default_rng(1).integers(n_files, size=(n_trials, 2))
    with tempfile.TemporaryDirectory() as folder:
        table = np.lib.format.open_memmap(
            Path(folder, "table.npy"), "w+", np.float32, (n_files, n_dims)
        )
        table[:] = np.random.default_rng(0).standard_normal(table.shape, np.float32)

        def at_once() -> NDArray[np.float64]:
            sides = [table[rows] for rows in pairs.T]
            lengths = [np.linalg.norm(side, axis=1) for side in sides]
            return (sides[0] * sides[1]).sum(axis=1) / lengths[0] / lengths[1]

        times = in_turns(lambda: cosine_scores(table, pairs), at_once, repeats=5, clock=clock())
        memory = held(lambda: cosine_scores(table, pairs)), held(at_once)
    name = f"{n_trials:,} cosines out of {n_files:,} x {n_dims} on the disk, against all at once"
    return [Row(name, *times, ""), Row("The same, memory in MiB", *memory, "at least 10 times")]


def voices(n_files: int, n_dims: int = 256) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    generator = np.random.default_rng(0)
    speakers = generator.integers(n_files // 20, size=n_files)
    own = 0.45 * generator.standard_normal((n_files // 20, n_dims), np.float32)
    return own[speakers] + generator.standard_normal((n_files, n_dims), np.float32), speakers


def crossed(n_files: int) -> float:
    embeddings, speakers = voices(n_files)
    return held(
        lambda: all_pairs_histogram(
            embeddings, speakers, test=embeddings, test_speakers=speakers, progress=False
        )
    )


def all_pairs(n_files: int) -> Row:
    embeddings, speakers = voices(n_files)
    first, second = np.triu_indices(n_files, 1)

    def ours() -> tuple[float, float]:
        found = all_pairs_histogram(embeddings, speakers, progress=False)
        return found.equal_error_rate(), found.min_dcf(p_target=P_TARGET)

    def usual() -> tuple[float, float]:
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        return usual_rates(speakers[first] == speakers[second], (unit @ unit.T)[first, second])

    assert np.allclose(ours(), usual(), atol=1e-3)
    times = in_turns(ours, usual, repeats=5, clock=clock())
    name = f"EER and minDCF of all {len(first):,} pairs of {n_files:,} files, against a list"
    return Row(name, *times, "at least 3 times")


def tiles(n_files: int) -> list[Row]:
    """Score each of many files with each, against the bare products of matrices."""
    embeddings, speakers = voices(n_files)
    now = clock()

    def products() -> None:
        for start in range(0, n_files, 1024):
            for other in range(0, n_files, 1024):
                _ = embeddings[start : start + 1024] @ embeddings[other : other + 1024].T

    def ours() -> None:
        all_pairs_histogram(
            embeddings, speakers, test=embeddings, test_speakers=speakers, progress=False
        )

    times = in_turns(ours, products, repeats=5, clock=now)
    hours = times[0] / n_files**2 * 1e12 / 3600
    small, large = crossed(n_files // 4), crossed(n_files)
    return [
        Row(
            f"All {n_files:,} x {n_files:,} cosines counted in tiles, against the products alone",
            *times,
            "",
            f"at this rate a million by a million takes {hours:.1f} h",
        ),
        Row(
            f"The same, memory in MiB, against {n_files // 4:,} x {n_files // 4:,}",
            large,
            small,
            "at most 1.1 times",
            f"the cosines are {n_files**2 * 4 / MIB:,.0f} MiB",
        ),
    ]


def half_a_million(n_trials: int) -> list[Row]:
    crops = np.random.default_rng(0).standard_normal((20_000, 10, 512), np.float32)
    pairs = np.random.default_rng(0).integers(len(crops), size=(n_trials, 2))
    started = clock()()
    memory = held(lambda: crop_distance_scores(crops, pairs))
    taken = clock()() - started
    both = 2 * n_trials * crops[0].nbytes / MIB
    name = f"{n_trials:,} trials of ten crops, memory in MiB, against both sides at once"
    return [Row(name, memory, both, "at least 100 times", f"{taken:.1f} s")]


def rows(*, quick: bool = False) -> list[Row]:
    """Return all rows; `quick` has a tenth of the trials."""
    share = 10 if quick else 1
    return [
        rates(10_000_000 // share, "under 3 s and at least 3 times"),
        rates(37_720, ""),
        curve(1_000_000 // share),
        ten_crops(),
        normalised(),
        *of_a_large_matrix(1_000_000 // share, 500_000 // share),
        all_pairs(3_000 // (2 if quick else 1)),
        *tiles(20_000 // (5 if quick else 1)),
        *half_a_million(500_000 // share),
    ]


if __name__ == "__main__":
    run("metrics", rows)
