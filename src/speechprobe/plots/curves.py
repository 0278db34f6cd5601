"""Learning curves: loss and metrics by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from speechprobe.plots import _canvas

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = pd.DataFrame | Any

_LINES = {"train": (0, (4, 1.5)), "validation": "-"}
_LEAST = "smallest validation loss"


def plot_curves(
    curves: Curves | Mapping[str, Curves],
    *,
    metric: str | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot loss and metrics by epoch, training dashed and validation solid; one panel a metric.

    Parameters
    ----------
    curves
        A table with the columns `epoch`, `split` ("train" or "validation") and one column a
        metric; a fitted probe that holds one as `curves_`, bare, at the end of a pipeline or found
        by a search; or {name: either} of several.
    metric
        One metric; all by default.
    unit
        Unit of the target, which the axes of MAE, RMSE and MSE carry.
    ax
        Axes to draw into; there must be one panel then.

    Returns
    -------
    figure
        A ring marks the epoch with the smallest validation loss.

    Raises
    ------
    TypeError
        If something holds no curves.
    ValueError
        If a column is missing, or there are several panels for one `ax`.
    KeyError
        If there is no such metric.

    Examples
    --------
    >>> table = pd.DataFrame({"epoch": [1, 2], "split": "train", "loss": [0.9, 0.4]})
    >>> figure = plot_curves(table)
    >>> figure.axes[0].get_ylabel(), figure.axes[0].lines[0].get_ydata().tolist()
    ('loss', [0.9, 0.4])
    """
    given = curves if isinstance(curves, Mapping) else {"": curves}
    tables = {str(name): _table_of(each) for name, each in given.items()}
    known = list(dict.fromkeys(c for table in tables.values() for c in _metrics_of(table)))
    if metric is not None and metric not in known:
        raise KeyError(f"no metric {metric!r} among {known}")
    wanted = known if metric is None else [metric]
    figure, places = _canvas.many_panels(len(wanted), ax, width=4.2, height=3.2)
    entries: dict[str, Artist] = {}
    for axes, name in zip(places, wanted, strict=True):
        for number, (run, table) in enumerate(tables.items()):
            entries |= _draw(axes, table, name, run, number if len(tables) > 1 else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel(_canvas.metric_label(name, unit))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _canvas.tidy(axes)
    if _LEAST in entries:
        entries[_LEAST] = entries.pop(_LEAST)  # comes last
    _canvas.add_legend(figure, entries, ax)
    return figure


def _table_of(curves: Curves) -> pd.DataFrame:
    """Return the table of a run, looking into searches and pipelines."""
    table: Any = curves
    if not isinstance(curves, pd.DataFrame):
        fitted: Any = getattr(curves, "best_estimator_", curves)
        fitted = fitted[-1] if hasattr(fitted, "steps") else fitted
        table = getattr(fitted, "curves_", None)
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"expected a table of curves or a fitted probe that has curves_, got {curves!r}"
        )
    lost = [column for column in ("epoch", "split") if column not in table.columns]
    if lost or not _metrics_of(table):
        raise ValueError(
            "curves need the columns epoch, split and at least one metric, got "
            f"{list(table.columns)}"
        )
    return table


def _metrics_of(table: pd.DataFrame) -> list[str]:
    numbers = table.select_dtypes("number").columns
    return [str(column) for column in numbers if column not in ("epoch", "split")]


def _draw(
    axes: Axes, table: pd.DataFrame, metric: str, run: str, number: int | None
) -> dict[str, Artist]:
    """Draw the curves of one run, and return what the legend says of them.

    Without a number there is one run alone, and its splits differ in colour too.
    """
    entries: dict[str, Artist] = {}
    if metric not in table.columns:
        return entries
    for place, (split, rows) in enumerate(table.groupby("split", sort=False)):
        colour, _ = _canvas.look(place if number is None else number)
        shown = rows[["epoch", metric]].dropna().sort_values("epoch")
        if shown.empty:
            continue
        (line,) = axes.plot(
            shown["epoch"],
            shown[metric],
            color=colour,
            linestyle=_LINES.get(str(split), ":"),
            marker="o" if len(shown) == 1 else "",
        )
        entries[f"{run}, {split}" if run else str(split)] = line
        if metric == "loss" and split == "validation":
            least = shown.nsmallest(1, metric)
            (entries[_LEAST],) = axes.plot(
                least["epoch"], least[metric], "o", color=colour, markerfacecolor="none",
                markersize=8, linestyle="",
            )  # fmt: skip
    return entries
