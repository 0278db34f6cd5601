"""Measure canonical correlations, alignments and comparisons of layers against the usual way.

    python -m benchmarks.similarity

Both sides run in turns, and medians count. The limit beside the canonical correlations is what any
closed form must do at least: the product X'X and its Cholesky factor, in float32. On a busy machine
take one thread (``OMP_NUM_THREADS=1``), whose time is the processor's. Memory is what numpy holds
beside the input at most, in a process of its own (tracemalloc).
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.cross_decomposition import CCA

from benchmarks.timing import Row, alone, clock, in_turns, run
from speechprobe.features import Features
from speechprobe.layers.compare import compare_layers
from speechprobe.metrics.similarity import linear_cka, rsa
from speechprobe.probes.cca import cca

N_ITEMS, N_DIMS = 2_703, 1_024  # dev-clean of LibriSpeech, a large network
Matrix = NDArray[np.float64]


def layer_and_label(decay: float) -> tuple[Matrix, Matrix]:
    """Return a layer with a spectrum that falls by `decay` powers of ten, and a label."""
    generator = np.random.default_rng(0)
    scale = np.logspace(0, -decay, N_DIMS)
    layer = generator.normal(size=(N_ITEMS, N_DIMS)) * scale
    if decay:
        layer = layer @ np.linalg.qr(generator.normal(size=(N_DIMS, N_DIMS)))[0]
    rate = layer[:, :4].sum(axis=1)
    return layer, rate / rate.std() + 1.5 * generator.normal(size=N_ITEMS)


def scikit_learns(X: Matrix, Y: Matrix) -> float:
    scores = CCA(n_components=1).fit(X, Y).transform(X, Y)
    return float(np.corrcoef(scores[0][:, 0], scores[1].reshape(N_ITEMS, -1)[:, 0])[0, 1])


def limit(X: NDArray[np.float32]) -> None:
    """Do what a closed form needs at least: the product of a layer with itself, and its factor."""
    spotrf((X.T @ X).T, lower=True, clean=False, overwrite_a=True)


def first_correlation(what: str, X: Matrix, Y: Matrix, why: str = "") -> Row:
    """Return `cca` against scikit-learn's(n_components=1)."""
    ours, theirs = float(cca(X, Y, n_components=1)), scikit_learns(X, Y)
    centred = (X - X.mean(axis=0)).astype(np.float32)
    taken, other, bare = in_turns(
        lambda: cca(X, Y, n_components=1),
        lambda: scikit_learns(X, Y),
        lambda: limit(centred),
        clock=clock(),
    )
    note = (
        f"{why}X'X and its Cholesky factor in float32 take {bare:.3f} s, so {other / bare:.1f} "
        f"times is the bound; correlations differ by {abs(ours - theirs):.0e}"
    )
    return Row(f"`cca` of {N_ITEMS:,} x {N_DIMS:,} {what}, against CCA(1)", taken, other,
               "at least 20 times", note)  # fmt: skip


def correlations() -> list[Row]:
    """Return rows of layers that are ever harder to whiten, and of many columns."""
    X, rate = layer_and_label(0)
    classes = np.random.default_rng(1).normal(size=(N_ITEMS, 40))
    classes[:, 0] += rate
    precise = "X'X would lose half the digits, so singular values are taken of X itself; "
    return [
        first_correlation("and a label", X, rate),
        first_correlation("of singular values over two powers of ten", *layer_and_label(2)),
        first_correlation("of singular values over six", *layer_and_label(6), precise),
        first_correlation("and 40 columns", X, classes),
    ]


def held(n_items: int, n_dims: int) -> float:
    """Return the most MiB that `linear_cka` holds beside its input."""
    X, Y = np.random.default_rng(0).normal(size=(2, n_items, n_dims))
    tracemalloc.start()
    linear_cka(X, Y)
    return tracemalloc.get_traced_memory()[1] / 2**20


def alignment_in_feature_space(n_items: int, n_dims: int) -> Row:
    memory = alone(f"benchmarks.similarity:held({n_items}, {n_dims})")
    kernel = n_items**2 * 8 / 2**20
    name = f"`linear_cka` of {n_items:,} x {n_dims}, memory in MiB, against a kernel of all items"
    both = 2 * n_items * n_dims * 8 / 2**20
    return Row(name, memory, kernel, "at least 10 times", f"both layers centred are {both:.0f} MiB")


def against_single_calls(
    what: str,
    similarity: Callable[..., float],
    shape: tuple[int, int, int],
    other: Callable[..., float] | None = None,
) -> Row:
    """Return all pairs of layers in one call, against a call a pair."""
    n_layers, n_items, n_dims = shape
    generator = np.random.default_rng(2)
    single = other or similarity
    items = pd.DataFrame(index=range(n_items))
    layers = {str(k): generator.normal(size=(n_items, n_dims)) for k in range(n_layers)}
    model = Features(layers, items)

    def pairs() -> Matrix:
        return np.array([[single(X, Y) for Y in layers.values()] for X in layers.values()])

    def ours() -> Matrix:
        return compare_layers(model, similarity=similarity).matrix

    difference = float(np.abs(ours() - pairs()).max())
    times = in_turns(ours, pairs, repeats=5, clock=clock())
    name = f"`compare_layers` by {what}, {n_layers} x {n_layers} layers of {n_items:,} x {n_dims:,}"
    return Row(name, *times, "", f"values differ by {difference:.0e}")


def with_scipy(X: Matrix, Y: Matrix) -> float:
    return float(spearmanr(pdist(X, "correlation"), pdist(Y, "correlation")).statistic)


def rows(*, quick: bool = False) -> list[Row]:
    """Return all rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer than ten items a dimension
        n_layers = 2 if quick else 8
        return [
            *correlations(),
            alignment_in_feature_space(20_000, 256),
            against_single_calls(
                "linear CKA, against a call a pair", linear_cka, (n_layers, N_ITEMS, N_DIMS)
            ),
            against_single_calls(
                "RSA, against scipy a pair", rsa, (n_layers // 2, 600, 256), with_scipy
            ),
        ]


if __name__ == "__main__":
    run("similarity", rows)
