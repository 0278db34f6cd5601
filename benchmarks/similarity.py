"""Measure canonical correlations, alignments and comparisons of layers against the usual way.

    python -m benchmarks.similarity

Each row is the median of runs taken in turns, so that a busy moment of the machine falls on both
sides, with one thread and with as many as there are cores. The ratio is that of the same runs.
On a busy machine the rows of several threads measure how long these wait for each other; trust
those of one thread. Results with the machine go to benchmarks/results/similarity.md.
"""

import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.cross_decomposition import CCA

from benchmarks.__main__ import in_turns
from speechprobe.features import Features
from speechprobe.layers.compare import compare_layers
from speechprobe.metrics.similarity import linear_cka, rsa
from speechprobe.probes.cca import cca

N_ITEMS, N_DIMS = 2_703, 1_024  # dev-clean of LibriSpeech, a large network
Row = tuple[float, float, float]  # seconds of ours, seconds of the other, difference


def layer_and_label(decay: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a layer with a spectrum that falls by `decay` powers of ten, and a label."""
    generator = np.random.default_rng(0)
    scale = np.logspace(0, -decay, N_DIMS)
    layer = generator.normal(size=(N_ITEMS, N_DIMS)) * scale
    if decay:
        layer = layer @ np.linalg.qr(generator.normal(size=(N_DIMS, N_DIMS)))[0]
    rate = layer[:, :4].sum(axis=1)
    return layer, rate / rate.std() + 1.5 * generator.normal(size=N_ITEMS)


def scikit_learns(X: NDArray[np.float64], Y: NDArray[np.float64]) -> float:
    scores = CCA(n_components=1).fit(X, Y).transform(X, Y)
    return float(np.corrcoef(scores[0][:, 0], scores[1].reshape(N_ITEMS, -1)[:, 0])[0, 1])


def first_correlation(X: NDArray[np.float64], Y: NDArray[np.float64]) -> Row:
    ours, theirs = float(cca(X, Y, n_components=1)), scikit_learns(X, Y)
    times = in_turns(lambda: cca(X, Y, n_components=1), lambda: scikit_learns(X, Y))
    return *times, abs(ours - theirs)


def a_layer_and_a_label() -> Row:
    """`cca` of a layer and a label, against scikit-learn's CCA(1)"""
    return first_correlation(*layer_and_label(0))


def a_correlated_layer_and_a_label() -> Row:
    """The same, singular values over two powers of ten"""
    return first_correlation(*layer_and_label(2))


def a_dependent_layer_and_a_label() -> Row:
    """The same, singular values over six powers of ten"""
    return first_correlation(*layer_and_label(6))


def a_layer_and_forty_classes() -> Row:
    """`cca` of a layer and 40 columns, against scikit-learn's CCA(1)"""
    X, rate = layer_and_label(0)
    generator = np.random.default_rng(1)
    Y = generator.normal(size=(N_ITEMS, 40))
    Y[:, 0] += rate
    return first_correlation(X, Y)


def all_pairs_by_alignment() -> Row:
    """`compare_layers` by linear CKA, 8 x 8 layers of 1,024 dimensions, against single calls"""
    return against_single_calls(linear_cka, 8, N_ITEMS, N_DIMS)


def all_pairs_by_distances() -> Row:
    """`compare_layers` by RSA, 4 x 4 layers of 256 dimensions and 600 items, against scipy"""

    def with_scipy(X: NDArray[np.float64], Y: NDArray[np.float64]) -> float:
        return float(spearmanr(pdist(X, "correlation"), pdist(Y, "correlation")).statistic)

    return against_single_calls(rsa, 4, 600, 256, with_scipy)


def against_single_calls(
    similarity: Callable[..., float],
    n_layers: int,
    n_items: int,
    n_dims: int,
    other: Callable[..., float] | None = None,
) -> Row:
    generator = np.random.default_rng(2)
    single = other or similarity
    items = pd.DataFrame(index=range(n_items))
    layers = {str(k): generator.normal(size=(n_items, n_dims)) for k in range(n_layers)}
    model = Features(layers, items)

    def pairs() -> NDArray[np.float64]:
        return np.array([[single(X, Y) for Y in layers.values()] for X in layers.values()])

    def ours() -> NDArray[np.float64]:
        return compare_layers(model, similarity=similarity).matrix

    difference = float(np.abs(ours() - pairs()).max())
    return *in_turns(ours, pairs), difference


ROWS = (
    a_layer_and_a_label,
    a_correlated_layer_and_a_label,
    a_dependent_layer_and_a_label,
    a_layer_and_forty_classes,
    all_pairs_by_alignment,
    all_pairs_by_distances,
)


def measure() -> None:
    """Print one line a row, with as many threads as the environment gives."""
    warnings.simplefilter("ignore", UserWarning)  # fewer than ten items a dimension
    for row in ROWS:
        ours, other, difference = row()
        print(f"{ours:.3f} | {other:.3f} | {other / ours:.1f} | {difference:.0e}", flush=True)


def main() -> None:
    """Measure in processes of one and of all threads, print the table and keep it."""
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), numpy "
        f"{version('numpy')}, scipy {version('scipy')}, scikit-learn {version('scikit-learn')}. "
        f"{N_ITEMS:,} items, {N_DIMS:,} dimensions where nothing else is said. "
        "`python -m benchmarks.similarity`, median of seven runs in turns.",
        "",
        "| what | threads | ours, s | other, s | other / ours | difference |",
        "|---|---|---|---|---|---|",
    ]
    names = [str(row.__doc__) for row in ROWS]
    for n_threads in sorted({1, os.cpu_count() or 1}):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
        done = subprocess.run(
            [sys.executable, "-c", "from benchmarks.similarity import measure; measure()"],
            env=os.environ | limits,
            capture_output=True,
            text=True,
            check=True,
        )
        for name, found in zip(names, done.stdout.splitlines(), strict=True):
            lines.append(f"| {name} | {n_threads} | {found} |")
            print(lines[-1], flush=True)
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / "similarity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
