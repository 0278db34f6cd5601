"""The picture of SERAB: a group of bars a task, a bar a model, both choices of the classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from speechprobe.protocols._serab.published import published
from speechprobe.protocols._serab.result import RUN, SerabResult, read_results
from speechprobe.protocols._serab.tasks import NINE, TASKS

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THICKNESS = 0.8  # of a task's bars together; tasks are 1 apart


def plot_serab(
    results: SerabResult | pd.DataFrame | str | PathLike[str] | Sequence[Any],
    *,
    published_models: str | Sequence[str] = (),
    ax: Axes | None = None,
) -> Figure:
    """Plot the accuracy of each task as bars, one a model.

    Parameters
    ----------
    results
        What `serab` gave, its table "best", or a CSV file of `SerabResult.to_csv`; one or several.
    published_models
        Name of a published model to draw beside them, such as "BYOL-S 512", or several.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        Bars are the classifier chosen on validation, whiskers its 95 % interval; a circle is the
        classifier chosen on test; dotted strokes are the largest class. Published figures were
        chosen on test, so they are circles without a bar.

    Raises
    ------
    KeyError
        If a published model is unknown.
    ValueError
        If there is nothing to plot.

    Examples
    --------
    >>> figure = plot_serab([], published_models=["BYOL-S 512"])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()][:3]
    ['aesdd', 'cafe', 'crema_d']
    """
    # Here, because matplotlib is heavy.
    from speechprobe.plots import _canvas

    named = [published_models] if isinstance(published_models, str) else published_models
    rows = pd.concat([_measured(results), *map(_published, named)], ignore_index=True)
    if rows.empty:
        raise ValueError("there are no results to plot")
    models = list(dict.fromkeys(rows["label"]))
    tasks = [name for name in TASKS if name in set(rows["task"])]
    width = 0.16 * len(tasks) * (len(models) + 2) + 1.5  # inches
    figure, axes = _canvas.one_panel(ax, width=min(max(4.5, width), 14.0))
    thickness = _THICKNESS / len(models)
    entries: dict[str, Artist] = {}
    for row in rows.to_dict("records"):
        number = models.index(row["label"])
        offset = (number - (len(models) - 1) / 2) * thickness
        place = _Place(tasks.index(row["task"]) + offset, 0.9 * thickness, _canvas.look(number)[0])
        _draw(axes, row, place, entries)
    axes.set_xticks(range(len(tasks)), tasks, fontsize="small")
    axes.set_xlim(-0.6, len(tasks) - 0.4)
    axes.set_ylim(0, 100)
    axes.set_xlabel("task of SERAB")
    axes.set_ylabel("test accuracy (%)")
    _canvas.tidy(axes)
    _canvas.add_legend(figure, entries, ax)
    return figure


class _Place(NamedTuple):
    middle: float
    width: float
    colour: str


def _measured(results: Any) -> pd.DataFrame:
    several = isinstance(results, list | tuple)
    tables = [_table_of(each) for each in (results if several else [results])]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if rows.empty:
        return rows
    # A label tells what differs, and the model always.
    told = ["model", *(name for name in RUN[1:] if len(set(rows[name])) > 1)]
    return rows.assign(label=rows[told].agg(", ".join, axis=1))


def _table_of(given: Any) -> pd.DataFrame:
    if isinstance(given, pd.DataFrame):
        return given
    return given.tables["best"] if isinstance(given, SerabResult) else read_results(given)


def _published(model: str) -> pd.DataFrame:
    figures = published()
    if model not in figures.index:
        raise KeyError(f"no published model {model!r}; there are {list(figures.index)}")
    known = figures.loc[model, list(NINE)].dropna()
    return pd.DataFrame(
        {"label": f"{model}, published", "task": known.index, "accuracy_by_test": known.to_numpy()}
    )


def _draw(axes: Axes, row: dict[Any, Any], place: _Place, entries: dict[str, Artist]) -> None:
    x, half = place.middle, place.width / 2
    low, high = (row.get(f"accuracy_{end}_by_validation", math.nan) for end in ("low", "high"))
    height = row.get("accuracy_by_validation", math.nan)
    if math.isfinite(height):
        bars = axes.bar(x, height, place.width, color=place.colour, alpha=0.85)
        entries.setdefault(row["label"], bars[0])
        (whisker,) = axes.plot([x, x], [low, high], color="black", linewidth=1.0)
        entries.setdefault("95 % interval", whisker)
        ends = [x - half, x + half]
        (floor,) = axes.plot(ends, [row["floor"]] * 2, color="black", linestyle=":", linewidth=1.5)
        entries.setdefault("largest class", floor)
    (circle,) = axes.plot(
        x, row["accuracy_by_test"], "o", markersize=5, markerfacecolor="white",
        markeredgecolor=place.colour, clip_on=False, zorder=4,
    )  # fmt: skip
    entries.setdefault("chosen on test" if math.isfinite(height) else row["label"], circle)
