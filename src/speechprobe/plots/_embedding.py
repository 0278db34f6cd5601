"""Layers as points in a plane: PCA, t-SNE and UMAP, the same for the same seed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speechprobe._optional import require

Method = Literal["pca", "tsne", "umap"] | Callable[[NDArray[Any]], NDArray[Any]]

FEWEST_ITEMS = 4
_MOST_DIMS = 50  # the widest that neighbours are sought in: noise dimensions hide them


def embed(matrix: NDArray[Any], method: Method, seed: int) -> tuple[NDArray[Any], str, list[str]]:
    """Return points (n_items, 2), the name of what found them, and the words for its two axes.

    Threads of OpenMP add up in any order, and t-SNE and UMAP grow the difference; one thread for
    as long as this lasts makes the points those of the seed.

    Raises
    ------
    ImportError
        If UMAP is wanted and not installed.
    ValueError
        If the method is unknown or does not give (n_items, 2), or the layer does not vary.
    """
    if callable(method):
        points = np.asarray(method(matrix))
        if points.shape != (len(matrix), 2):
            raise ValueError(
                f"method must give points (n_items, 2) = {(len(matrix), 2)}, got {points.shape}"
            )
        name = getattr(method, "__name__", type(method).__name__)
        return points, name, [f"{name}, dimension {k} (no unit)" for k in (1, 2)]
    if method not in _METHODS:
        raise ValueError(f"method must be one of {[*_METHODS]} or a function, got {method!r}")
    if (matrix == matrix[:1]).all():  # t-SNE would end the process
        raise ValueError(
            f"the layer is the same for all {len(matrix)} items, so there is no map of it; leave "
            "it out"
        )
    with threadpool_limits(limits=1):
        return _METHODS[method](matrix.astype(np.float64), seed)


def _pca(matrix: NDArray[Any], seed: int) -> tuple[NDArray[Any], str, list[str]]:
    found = PCA(n_components=2, svd_solver="full", random_state=seed)
    points = found.fit_transform(matrix)
    shares = found.explained_variance_ratio_
    words = [f"component {k} ({share:.0%} of variance)" for k, share in enumerate(shares, start=1)]
    return points, "PCA", words


def _tsne(matrix: NDArray[Any], seed: int) -> tuple[NDArray[Any], str, list[str]]:
    narrow, perplexity = _narrow(matrix, seed), min(30.0, (len(matrix) - 1) / 3)
    if importlib.util.find_spec("openTSNE"):
        module, package = require("openTSNE", extra="tsne"), "openTSNE"
        found: Any = module.TSNE(perplexity=perplexity, random_state=seed, n_jobs=1).fit(narrow)
    else:
        package = "scikit-learn"
        maker = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        found = maker.fit_transform(narrow)
    words = [f"t-SNE dimension {k} (no unit)" for k in (1, 2)]
    return np.asarray(found), f"t-SNE of {package}", words


def _umap(matrix: NDArray[Any], seed: int) -> tuple[NDArray[Any], str, list[str]]:
    umap, n_neighbors = require("umap", extra="umap"), min(15, len(matrix) - 1)
    maker = umap.UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1)
    points = maker.fit_transform(_narrow(matrix, seed))
    return np.asarray(points), "UMAP", [f"UMAP dimension {k} (no unit)" for k in (1, 2)]


def _narrow(matrix: NDArray[Any], seed: int) -> NDArray[Any]:
    """Return the first 50 principal components, or as many as there are."""
    n_dims = min(_MOST_DIMS, *matrix.shape)
    points = PCA(n_components=n_dims, svd_solver="full", random_state=seed).fit_transform(matrix)
    return np.asarray(points)


_METHODS = {"pca": _pca, "tsne": _tsne, "umap": _umap}
