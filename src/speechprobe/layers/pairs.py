"""The similarity of all pairs of layers, each layer prepared once where that is known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from speechprobe._similarity import cka, cka_between, view
from speechprobe.features import Features
from speechprobe.metrics.similarity import distance_ranks, linear_cka, rbf_cka, rsa

if TYPE_CHECKING:
    from numpy.typing import NDArray

Similarity = Callable[..., Any]

PREPARED_BYTES = 2**31  # of the layers, or of the ranks of their distances, held at once


class Views:
    """The layers of a model in float64, all items in one order; kept where they fit."""

    def __init__(self, features: Features, rows: NDArray[np.intp], name: str) -> None:
        self.names = list(features.layers)
        self.n_items = len(rows)
        widths = [np.shape(features.layers[layer])[1] for layer in self.names]
        self.n_bytes = 8 * len(rows) * sum(widths)
        self._features, self._rows, self._name = features, rows, name
        self._kept: dict[str, NDArray[np.float64]] = {}

    def __getitem__(self, layer: str) -> NDArray[np.float64]:
        if layer in self._kept:
            return self._kept[layer]
        found = view(self._features[layer][self._rows], f"layer {layer!r} of {self._name}")
        if self.n_bytes <= PREPARED_BYTES:
            self._kept[layer] = found
        return found

    def all(self) -> list[NDArray[np.float64]]:
        """Return every layer, in depth order."""
        return [self[layer] for layer in self.names]


def matrix_of(
    function: Similarity, first: Views, second: Views, hidden: bool | None
) -> NDArray[np.float64]:
    """Return the similarity of all pairs, each layer prepared once where that is known."""
    base: Similarity = function
    settings: dict[str, Any] = {}
    if isinstance(function, functools.partial) and not function.args:
        base, settings = function.func, function.keywords
    small = first.n_bytes + second.n_bytes <= PREPARED_BYTES
    if small and base in (linear_cka, rbf_cka, cka):
        kernel = settings.get("kernel", "rbf" if base is rbf_cka else "linear")
        layers = first.all()
        return cka_between(
            layers,
            layers if second is first else second.all(),
            kernel=kernel,
            debiased=settings.get("debiased", False),
            bandwidth=settings.get("bandwidth", 1.0),
        )
    if base is rsa:
        return _rsa_between(first, second, settings.get("distance", "correlation"), hidden)
    return _pairs(function, first, second, hidden)


def _pairs(
    function: Similarity, first: Views, second: Views, hidden: bool | None
) -> NDArray[np.float64]:
    matrix = np.empty((len(first.names), len(second.names)))
    bar = tqdm(first.names, "compare", unit="layer", disable=hidden)
    for row, layer in enumerate(bar):
        for column, other in enumerate(second.names):
            try:
                matrix[row, column] = float(function(first[layer], second[other]))
            except ValueError as error:
                raise ValueError(f"layers {layer!r} of a and {other!r} of b: {error}") from error
    return matrix


def _rsa_between(
    first: Views, second: Views, distance: Any, hidden: bool | None
) -> NDArray[np.float64]:
    """Return `rsa` of all pairs; as many layers of the second are ranked at once as fit."""
    kinds: Any = (distance, distance) if isinstance(distance, str) else distance
    n_bytes = 4 * first.n_items * (first.n_items - 1)
    n_held = max(1, PREPARED_BYTES // n_bytes)
    matrix = np.empty((len(first.names), len(second.names)))
    for start in range(0, len(second.names), n_held):
        columns = range(start, min(start + n_held, len(second.names)))
        held = [
            distance_ranks(second[layer], kinds[1], f"layer {layer!r} of b")
            for layer in second.names[columns.start : columns.stop]
        ]
        bar = tqdm(first.names, "compare", unit="layer", disable=hidden)
        for row, layer in enumerate(bar):
            ranks = distance_ranks(first[layer], kinds[0], f"layer {layer!r} of a")
            matrix[row, columns.start : columns.stop] = [ranks @ other for other in held]
    return np.clip(matrix, -1, 1)
