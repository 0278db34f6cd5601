"""A layer as a map of points, coloured by a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.features import Features
from speechprobe.plots import _canvas
from speechprobe.plots._embedding import FEWEST_ITEMS, Method, embed
from speechprobe.plots._layer import matrix_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_CLASSES_A_COLUMN = 15
_MOST_CLASSES = len(_canvas.COLOURS) * len(_canvas.MARKERS)


def plot_projection(
    features: Features,
    layer: str,
    label: str,
    *,
    method: Method = "tsne",
    most_items: int = 2_000,
    seed: int = 0,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot the items of one layer as points in a plane, coloured by a label.

    t-SNE and UMAP keep neighbours together; distances between clouds, their sizes and the axes
    mean nothing. PCA keeps distances, as far as two dimensions can.

    Parameters
    ----------
    features
        Layers and labels.
    layer
        The layer; its frames must be pooled.
    label
        The label that gives the colours. Numbers get a colour bar; anything else is classes, and
        gets a legend. Items without the label are left out.
    method
        "tsne" (openTSNE where it is installed, scikit-learn's otherwise; perplexity 30), "umap"
        (extra `umap`; 15 neighbours), "pca", or a function (n_items, n_dims) -> (n_items, 2).
        The first two see the 50 first principal components.
    most_items
        Of more items, so many are drawn by lot; the title says so.
    seed
        Of the lot and of the method: the same seed gives the same picture.
    unit
        Unit of the label, for the colour bar.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        The title names layer, method and number of items.

    Raises
    ------
    KeyError
        If there is no such layer or label.
    ValueError
        If the layer holds frames or NaN, fewer than 4 items have the label, or there are more
        than 49 classes.
    ImportError
        If UMAP is not installed, with the pip command.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008. McInnes, Healy and
    Melville, "UMAP", arXiv:1802.03426, 2018.

    Examples
    --------
    >>> items = pd.DataFrame({"speaker": list("abab"), "rate": [1.0, 2.0, 3.0, 4.0]})
    >>> features = Features({"layer": np.eye(4)}, items)
    >>> figure = plot_projection(features, "layer", "rate", method="pca", unit="characters/s")
    >>> figure.axes[1].get_ylabel()
    'rate (characters/s)'
    """
    values = _label(features.items, label)
    rows = _drawn(values, label, most_items, seed)
    points, name, words = embed(matrix_of(features, layer, rows), method, seed)
    shown = values.iloc[rows]
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    n_columns = 1 if is_number else -(-shown.nunique() // _CLASSES_A_COLUMN)
    figure, axes = _canvas.one_panel(ax, width=3.9 + 1.2 * n_columns, height=3.9)
    if is_number:
        _draw_numbers(axes, points, shown, _canvas.with_unit(label, unit))
    else:
        _draw_classes(axes, points, shown.astype(str), label)
    axes.set(xlabel=words[0], ylabel=words[1], xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    n_known = int(values.notna().sum())
    part = f" of {n_known:,}" if len(rows) < n_known else ""
    drawn = f"{len(rows):,}{part} items, seed {seed}"
    _canvas.title(axes, f"{layer}, {name}\n{drawn}")
    _canvas.tidy(axes, grid=None)
    return figure


def _label(items: pd.DataFrame, label: str) -> pd.Series[Any]:
    if label not in items.columns:
        raise KeyError(f"no label {label!r} among {list(items.columns)}")
    return items[label]


def _drawn(values: pd.Series[Any], label: str, most_items: int, seed: int) -> NDArray[np.intp]:
    """Return the positions of the items to draw, in order."""
    known = np.flatnonzero(values.notna().to_numpy())
    if min(len(known), most_items) < FEWEST_ITEMS:
        raise ValueError(
            f"a projection needs at least {FEWEST_ITEMS} items, got {len(known)} with the label "
            f"{label!r} and most_items={most_items}"
        )
    if len(known) > most_items:
        known = np.sort(np.random.default_rng(seed).choice(known, most_items, replace=False))
    return known


def _draw_numbers(axes: Axes, points: NDArray[Any], values: pd.Series[Any], words: str) -> None:
    drawn = axes.scatter(
        points[:, 0], points[:, 1], c=values.to_numpy(dtype=float), cmap=_canvas.COLOUR_MAP,
        s=_size(len(points)), linewidths=0, rasterized=len(points) > _canvas.MOST_VECTOR_POINTS,
    )  # fmt: skip
    _canvas.figure_of(axes).colorbar(drawn, ax=axes, label=words)


def _draw_classes(axes: Axes, points: NDArray[Any], values: pd.Series[Any], label: str) -> None:
    classes = sorted(values.unique())
    if len(classes) > _MOST_CLASSES:
        raise ValueError(
            f"label {label!r} has {len(classes)} classes here, and {_MOST_CLASSES} can be told "
            "apart; select fewer of them, or a coarser label"
        )
    for number, each in enumerate(classes):
        colour, marker = _canvas.look(number)
        kept = points[(values == each).to_numpy()]
        axes.scatter(
            kept[:, 0], kept[:, 1], color=colour, marker=marker, s=_size(len(points)), alpha=0.8,
            linewidths=0, label=f"{each} ({len(kept):,})",
            rasterized=len(points) > _canvas.MOST_VECTOR_POINTS,
        )  # fmt: skip
    axes.legend(
        title=label, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
        fontsize="small", ncols=-(-len(classes) // _CLASSES_A_COLUMN), markerscale=1.5,
    )  # fmt: skip


def _size(n_points: int) -> float:
    """Return the area of a point in square points: smaller where there are many."""
    return float(np.clip(12_000 / n_points, 4, 30))
