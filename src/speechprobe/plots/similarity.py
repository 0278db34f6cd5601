"""How alike the layers of two models are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.layers.compare import LayerSimilarity
from speechprobe.plots import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MOST_WRITTEN = 10  # rows or columns whose values still fit into the cells


def plot_similarity(
    similarity: LayerSimilarity | pd.DataFrame,
    *,
    measure: str | None = None,
    a: str | None = None,
    b: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot a heat map of the similarity of every layer of one model with every one of another.

    Parameters
    ----------
    similarity
        What `compare_layers` gives; or a table, one row a layer of model `a` and one column a
        layer of model `b`, in depth order.
    measure
        Name of the similarity, for the colour bar; known of a result.
    a, b
        Names of the models, for the axes; known of a result.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        The first layers are at the lower left. Colours run from 0 to 1, or as far below and above
        as the values do. Up to 10 layers have their values in the cells.

    Raises
    ------
    TypeError
        If it is neither a result of `compare_layers` nor a table.
    ValueError
        If the table is empty or holds no number at all.

    Examples
    --------
    >>> table = pd.DataFrame([[1.0, 0.4], [0.4, 1.0]], ["conv", "block"], ["conv", "block"])
    >>> figure = plot_similarity(table, measure="linear CKA", a="base", b="large")
    >>> figure.axes[0].get_ylabel(), figure.axes[1].get_ylabel()
    ('layer of base', 'linear CKA (1: the same)')
    """
    table, (known_measure, known_a, known_b) = _table_of(similarity)
    values = table.to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise ValueError(f"expected similarities of layers, got a table {table.shape} of none")
    rows, columns = values.shape
    cell = min(0.36, 6.0 / max(rows, columns))  # inches
    figure, axes = _canvas.one_panel(
        ax, width=max(3.4, 2.4 + cell * columns), height=max(3.0, 1.4 + cell * rows)
    )
    low, high = min(0.0, float(np.nanmin(values))), max(1.0, float(np.nanmax(values)))
    image = axes.imshow(values, cmap=_canvas.COLOUR_MAP, vmin=low, vmax=high, origin="lower")
    if max(values.shape) <= _MOST_WRITTEN:
        _write(axes, values, low + 0.6 * (high - low))
    for axis, names, model in (
        (axes.yaxis, table.index, a or known_a),
        (axes.xaxis, table.columns, b or known_b),
    ):
        shared = _canvas.name_layers(axis, [str(name) for name in names])
        axis.set_label_text(_words(model, shared))
    label = f"{measure or known_measure or 'similarity'} (1: the same)"
    figure.colorbar(image, ax=axes, label=label, fraction=0.046, pad=0.03)
    return figure


def _table_of(similarity: LayerSimilarity | pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the matrix, and the names of measure and models that a result knows."""
    if isinstance(similarity, pd.DataFrame):
        return similarity, ["", "", ""]
    if not isinstance(similarity, LayerSimilarity):
        raise TypeError(
            f"expected what compare_layers gives, or a table of pandas, got {similarity!r}"
        )
    known = similarity.settings
    models = [
        str(dict(dict(known.get(key, {})).get("extractor", {})).get("name", ""))
        for key in ("provenance", "other_provenance")
    ]
    measure = str(known.get("similarity", "")).replace("_", " ").replace("cka", "CKA")
    table = pd.DataFrame(similarity.matrix, list(similarity.layers), list(similarity.other_layers))
    return table, [measure, *models]


def _words(model: str, shared: str) -> str:
    place = ", ".join(part for part in (model, shared) if part)
    return f"layer of {place}" if place else "layer, in depth order"


def _write(axes: Axes, values: NDArray[Any], light: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize="x-small",
                color="black" if value > light else "white",
            )  # fmt: skip
