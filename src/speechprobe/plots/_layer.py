"""One layer of features as a checked matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.features import Features
from speechprobe.store import RaggedLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray


def matrix_of(
    features: Features, layer: str, rows: NDArray[np.intp] | slice = slice(None)
) -> NDArray[Any]:
    """Return the vectors (n_items, n_dims) of some items.

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError
        If the layer holds frames, or NaN.
    """
    if layer not in features.layers:
        raise KeyError(f"no layer {layer!r} among {list(features.layers)}")
    stored = features.layers[layer]
    if isinstance(stored, RaggedLayer):
        raise ValueError(f"layer {layer!r} holds frames; pool them first: features.pooled('mean')")
    matrix = np.asarray(stored)[rows]
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise ValueError(
            f"layer {layer!r} holds NaN or infinity for {len(bad)} items, first "
            f"{features.items.index[rows].tolist()[bad[0]]!r}"
        )
    return matrix
