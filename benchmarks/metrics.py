"""Measure the metrics of verification against the usual way.

    python -m benchmarks.metrics

Both sides run on the same trials in turns; the median of seven runs counts. The usual way to the
equal error rate is scikit-learn's `roc_curve` and the point where both rates are nearest; to crop
scores, scipy's distances trial by trial; to AS-norm, sorting the whole cohort. Memory is the growth
of a process of its own over half a million trials of ten crops.
"""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from benchmarks.__main__ import REPEATS, in_turns
from speechprobe.metrics.trial_scores import as_norm, cosine_scores, crop_distance_scores
from speechprobe.metrics.verification import det_curve, equal_error_rate

VOX1_O = 37_720  # trials, of 4,715 files
FILES = 4_715


def trials(n_trials: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    truth = generator.random(n_trials) < 0.5
    return truth, generator.normal(size=n_trials) + 2 * truth


def usual_eer(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    false_accept, hit, _ = sklearn.metrics.roc_curve(truth, score)
    nearest = np.argmin(np.abs(1 - hit - false_accept))
    return float(max(false_accept[nearest], 1 - hit[nearest]))


def eer_of_a_million() -> tuple[float, float]:
    """Equal error rate of 1,000,000 trials, against roc_curve."""
    truth, score = trials(1_000_000)
    assert abs(equal_error_rate(truth, score) - usual_eer(truth, score)) < 1e-5
    return in_turns(lambda: equal_error_rate(truth, score), lambda: usual_eer(truth, score))


def eer_of_vox1_o() -> tuple[float, float]:
    """Equal error rate of 37,720 trials, against roc_curve."""
    truth, score = trials(VOX1_O)
    return in_turns(lambda: equal_error_rate(truth, score), lambda: usual_eer(truth, score))


def curve_of_a_million() -> tuple[float, float]:
    """DET curve of 1,000,000 trials, against scikit-learn's det_curve."""
    truth, score = trials(1_000_000)
    return in_turns(
        lambda: det_curve(truth, score), lambda: sklearn.metrics.det_curve(truth, score)
    )


def crops_and_pairs(n_files: int, n_trials: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    generator = np.random.default_rng(0)
    crops = generator.standard_normal((n_files, 10, 512), np.float32)
    return crops, generator.integers(n_files, size=(n_trials, 2))


def crop_scores() -> tuple[float, float]:
    """Scores of 5,000 trials of ten crops, against scipy's cdist trial by trial."""
    crops, pairs = crops_and_pairs(FILES, 5_000)
    unit = crops / np.linalg.norm(crops, axis=2, keepdims=True)

    def usual() -> NDArray[np.float64]:
        return np.array([-cdist(unit[a], unit[b]).mean() for a, b in pairs])

    assert np.abs(crop_distance_scores(crops, pairs) - usual()).max() < 1e-6
    return in_turns(lambda: crop_distance_scores(crops, pairs), usual)


def normalised_scores() -> tuple[float, float]:
    """AS-norm of 37,720 trials with 300 of 5,994 speakers, against sorting the cohort."""
    generator = np.random.default_rng(0)
    embeddings, cohort = generator.normal(size=(FILES, 256)), generator.normal(size=(5_994, 256))
    pairs = generator.integers(FILES, size=(VOX1_O, 2))
    raw = cosine_scores(embeddings, pairs)

    def ours() -> NDArray[np.float64]:
        return as_norm(raw, pairs, embeddings=embeddings, cohort=cohort)

    def usual() -> NDArray[np.float64]:
        units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, cohort)]
        best = np.sort(units[0] @ units[1].T, axis=1)[:, -300:]
        return ((raw[:, None] - best.mean(1)[pairs]) / best.std(1)[pairs]).mean(1)

    assert np.abs(ours() - usual()).max() < 1e-9
    return in_turns(ours, usual)


def half_a_million() -> None:
    """Print by how much the peak memory grows over 500,000 trials of ten crops, and the time."""
    crops, pairs = crops_and_pairs(20_000, 500_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    crop_distance_scores(crops, pairs)
    taken = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    print(f"{taken:.1f} s and {grown:.0f} MiB beside the {crops.nbytes / 2**20:.0f} MiB of crops")


def main() -> None:
    """Run all, print the table, and keep it with the machine."""
    rows: list[Callable[[], tuple[float, float]]] = [
        eer_of_a_million,
        eer_of_vox1_o,
        curve_of_a_million,
        crop_scores,
        normalised_scores,
    ]
    code = "from benchmarks.metrics import half_a_million; half_a_million()"
    alone = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, numpy {version('numpy')}, "
        f"scipy {version('scipy')}, scikit-learn {version('scikit-learn')}. "
        f"`python -m benchmarks.metrics`, median of {REPEATS} runs in turns.",
        "",
        "| what | ours, s | other, s | other / ours |",
        "|---|---|---|---|",
    ]
    for row in rows:
        ours, other = row()
        lines.append(f"| {row.__doc__} | {ours:.4f} | {other:.4f} | {other / ours:.1f} |")
    lines += ["", f"500,000 trials of ten crops of 512 values: {alone.stdout.strip()}."]
    print("\n".join(lines))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "metrics.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
