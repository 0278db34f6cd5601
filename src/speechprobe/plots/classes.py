"""Predicted classes: which are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics.confusion_matrix import confusion
from speechprobe.plots import _canvas
from speechprobe.plots._pairs import pairs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from speechprobe.layers.scores import LayerScores

_MOST_COUNTED = 16  # classes whose counts still fit into their cells


def plot_confusion(
    truth: ArrayLike | LayerScores,
    prediction: ArrayLike | str | None = None,
    *,
    labels: Sequence[Any] | None = None,
    target: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    r"""Plot which true classes (rows) were predicted as which (columns).

    Parameters
    ----------
    truth, prediction
        Two arrays (n_items,); or scores and the name of one of their layers, by default the best
        on validation items. Of several seeds all predictions are counted.
    labels
        The classes in the order to show; sorted by default.
    target
        What is predicted, for the axes; known where scores are given.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        Colours are shares of a row, 0 to 1, so rare classes show as well as frequent ones. The
        cells of up to 16 classes hold the share in % and the count.

    Raises
    ------
    KeyError
        If the scores have no such layer.
    ValueError
        If the lengths differ, the scores hold no predictions, or an item has a class that
        `labels` leaves out.
    TypeError
        If scores come with an array, or an array with the name of a layer.

    Examples
    --------
    >>> figure = plot_confusion(["F", "F", "M"], ["F", "M", "M"], target="gender")
    >>> figure.axes[0].get_ylabel(), [text.get_text() for text in figure.axes[0].texts][:2]
    ('true gender', ['50 %\n1', '50 %\n1'])
    """
    pairs = pairs_of(truth, prediction)
    found = confusion(pairs.truth, pairs.prediction, labels=labels)
    names, shares = [str(label) for label in found.labels], found.shares()
    side = min(2.2 + 0.55 * len(names), 9.0)
    figure, axes = _canvas.one_panel(ax, width=max(side + 0.9, 4.0), height=max(side, 3.4))
    image = axes.imshow(shares, cmap=_canvas.SHARE_MAP, vmin=0, vmax=1)
    if len(names) <= _MOST_COUNTED:
        _write_counts(axes, shares, found.counts)
    _canvas.name_layers(axes.xaxis, names)
    _canvas.name_layers(axes.yaxis, names)
    name = target or pairs.target or "class"
    axes.set_xlabel(f"predicted {name}")
    axes.set_ylabel(f"true {name}")
    uar = float(np.nanmean(np.diag(shares)))
    _canvas.title(axes, "\n".join(filter(None, (pairs.title, f"UAR {uar:.2f}, {pairs.n_items}"))))
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.03)
    return figure


def _write_counts(axes: Axes, shares: NDArray[Any], counts: NDArray[np.intp]) -> None:
    size = "small" if len(counts) <= 8 else "xx-small"
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        if np.isnan(share):
            continue  # a class without items
        colour = "black" if share < 0.45 else "white"
        axes.text(
            column, row, f"{share:.0%}".replace("%", " %") + f"\n{count:,}",
            ha="center", va="center", color=colour, fontsize=size,
        )  # fmt: skip
