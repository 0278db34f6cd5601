"""Scores by the size of the training set, and by the width of the probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from speechprobe.layers.curve import LearningCurve
from speechprobe.plots import _canvas

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_learning_curve(
    curve: LearningCurve,
    *,
    layers: Sequence[str] | None = None,
    metric: str | Callable[..., float] | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot the scores of layers by the number of training groups; one panel a width of the probe.

    Parameters
    ----------
    curve
        What `learning_curve` gives.
    layers
        Which; all by default.
    metric
        A name or a function; the first by default.
    unit
        Unit of the target, which the axes of MAE, RMSE and MSE carry.
    ax
        Axes to draw into; there must be one panel then.

    Returns
    -------
    figure
        Bands are the intervals of the points.

    Raises
    ------
    TypeError
        If it is no learning curve.
    KeyError
        If there is no such layer or metric.
    ValueError
        If there are several widths for one `ax`.

    Examples
    --------
    >>> from speechprobe.layers.curve import CurvePoint
    >>> facts = {"metric": "r2", "width": None, "seed_std": 0.0, "n_items": 9, "n_groups": 3}
    >>> points = [CurvePoint(layer="conv1", n_train_groups=n, n_train_items=3.0 * n, score=n / 8,
    ...                      low=0.0, high=0.5, **facts) for n in (1, 2)]
    >>> figure = plot_learning_curve(LearningCurve(tuple(points)))
    >>> figure.axes[0].get_ylabel(), figure.axes[0].lines[0].get_ydata().tolist()
    ('R²', [0.125, 0.25])
    """
    if not isinstance(curve, LearningCurve):
        raise TypeError(f"expected a LearningCurve, as learning_curve gives, got {curve!r}")
    table = pd.DataFrame([vars(point) for point in curve.points])
    name = getattr(metric, "__name__", metric) or table["metric"].iloc[0]
    table = table[table["metric"] == _known(name, table["metric"], "metric")]
    wanted = [_known(layer, table["layer"], "layer") for layer in layers or table["layer"].unique()]
    widths = table["width"].unique().tolist()
    figure, places = _canvas.many_panels(len(widths), ax, width=4.2, height=3.2)
    entries: dict[str, Artist] = {}
    for axes, width in zip(places, widths, strict=True):
        panel = table[table["width"].isna() if pd.isna(width) else table["width"] == width]
        for number, layer in enumerate(wanted):
            entries[layer] = _draw(axes, panel[panel["layer"] == layer], number)
        axes.set_xlabel(f"training groups ({curve.settings.get('groups') or 'items'})")
        axes.set_ylabel(_canvas.metric_label(str(name), unit))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(widths) > 1:
            _canvas.title(axes, f"probe of {int(width)} hidden units")
        _canvas.tidy(axes)
    low, high = zip(*(axes.get_ylim() for axes in places), strict=True)
    for axes in places if ax is None else ():
        axes.set_ylim(min(low), max(high))  # one scale for all widths
    _canvas.add_legend(figure, entries, ax)
    return figure


def _known(name: Any, among: pd.Series[Any], kind: str) -> Any:
    if name not in set(among):
        raise KeyError(f"no {kind} {name!r} among {among.unique().tolist()}")
    return name


def _draw(axes: Axes, points: pd.DataFrame, number: int) -> Artist:
    """Draw the points of one layer, and return its line."""
    colour, marker = _canvas.look(number)
    sizes = points["n_train_groups"]
    axes.fill_between(sizes, points["low"], points["high"], color=colour, alpha=0.15, linewidth=0)
    (line,) = axes.plot(sizes, points["score"], color=colour, marker=marker, markersize=4)
    return line
