"""Bars of metrics: models or layers beside each other, with intervals and floors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from speechprobe.layers.scores import LayerScore, LayerScores
from speechprobe.plots import _canvas
from speechprobe.plots._floors import Line, entries_of, lines_of, references_of
from speechprobe.plots._sections import Metric, Section, panels_of, title_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layers = Literal["best", "all"] | Sequence[str]

_THICKNESS = 0.8  # of a row's bars together; rows are 1 apart


class _Bar(NamedTuple):
    row: int
    place: float
    thickness: float
    model: int
    record: LayerScore


def plot_metrics(
    scores: Section | Sequence[Section],
    *,
    metric: Metric | None = None,
    layers: Layers = "best",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot scores as bars, with interval and floor; one panel a target and metric.

    Parameters
    ----------
    scores
        Scores of one model, {model: scores} of several for the same target, or a list of either,
        one entry a target.
    metric
        One metric; all that the first model has by default.
    layers
        "best": one bar a model, the score of choosing its layer on validation items
        (`LayerScores.best`); a model with one layer shows that. "all", or names: one row a layer,
        with a bar for each model that has it.
    unit
        Unit of the target, which the axes of MAE, RMSE and MSE carry.
    ax
        Axes to draw into; there must be one panel then.

    Returns
    -------
    figure
        Bars start at 0 and carry their score; whiskers are intervals; strokes are the floors,
        dotted those of shuffled labels, others as the legend says.

    Raises
    ------
    KeyError
        If a model has no scores of the metric, or none has a layer.
    ValueError
        If there are no scores, a best layer is wanted where none was chosen, or there are several
        panels for one `ax`.

    Examples
    --------
    >>> from speechprobe.layers import LayerScore, LayerScores
    >>> records = [LayerScore(f"{k}", "r2", k / 5, 0, 0, 0, 0, 9, 4, True) for k in range(4)]
    >>> figure = plot_metrics(LayerScores(tuple(records), None, {"target": "rate"}), layers="all")
    >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
    [0.0, 0.2, 0.4, 0.6]
    """
    panels = panels_of(scores, metric)
    drawn = [_rows(models, name, layers) for models, name in panels]
    n_bars = max(len(bars) for _, bars in drawn)
    height = min(max(2.2, 0.24 * n_bars + 1.3), 12.0)
    figure, places = _canvas.many_panels(len(panels), ax, width=4.8, height=height)
    lines = lines_of(bar.record for _, bars in drawn for bar in bars)
    for axes, (models, name), (rows, bars) in zip(places, panels, drawn, strict=True):
        for bar in bars:
            _draw(axes, bar, lines)
        axes.set_yticks(range(len(rows)), rows, fontsize="small")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.16)  # room for the numbers
        axes.set_xlabel(_canvas.metric_label(name, unit))
        axes.set_ylabel("model and its layer" if layers == "best" else "layer")
        _canvas.title(axes, title_of(models))
        _canvas.tidy(axes, grid="x")
    entries = _entries(places[0], panels[0][0], one_bar_a_row=layers == "best")
    _canvas.add_legend(figure, entries | entries_of(places[0], lines), ax)
    return figure


def _rows(
    models: Mapping[str, LayerScores], metric: str, layers: Layers
) -> tuple[list[str], list[_Bar]]:
    """Return the names of the rows and the bars in them."""
    if layers == "best":
        bars = [
            _Bar(number, number, _THICKNESS * 0.8, number, _best(each, metric))
            for number, each in enumerate(models.values())
        ]
        return [_named(model, bar.record) for model, bar in zip(models, bars, strict=True)], bars
    known = list(dict.fromkeys(layer for each in models.values() for layer in each.layers))
    wanted = known if isinstance(layers, str) and layers == "all" else list(layers)
    lost = [layer for layer in wanted if layer not in known]
    if lost:
        raise KeyError(f"no layer {lost[0]!r} among {known}; layers is 'best', 'all' or names")
    bars = []
    for row, layer in enumerate(wanted):
        found = [
            (number, record)
            for number, each in enumerate(models.values())
            for record in each.by_metric(metric)
            if record.layer == layer
        ]
        thickness = _THICKNESS / len(found)
        for place, (number, record) in enumerate(found):
            middle = row + (place - (len(found) - 1) / 2) * thickness
            bars.append(_Bar(row, middle, thickness * 0.92, number, record))
    return wanted, bars


def _best(scores: LayerScores, metric: str) -> LayerScore:
    records = scores.by_metric(metric)
    return records[0] if len(records) == 1 else scores.best(metric)


def _named(model: str, record: LayerScore) -> str:
    return f"{model}\n{record.layer}" if model else record.layer


def _draw(axes: Axes, bar: _Bar, lines: dict[str, Line]) -> None:
    record, colour = bar.record, _canvas.look(bar.model)[0]
    axes.barh(bar.place, record.score, bar.thickness, color=colour, alpha=0.85)
    half = bar.thickness / 2
    if math.isfinite(record.low) and math.isfinite(record.high):
        axes.plot([record.low, record.high], [bar.place] * 2, color="black", linewidth=1.2)
    references = references_of(record)
    for name, value in references.items():
        ends = [bar.place - half, bar.place + half]
        axes.plot([value] * 2, ends, color="black", linestyle=lines[name], linewidth=1.5)
    right = max(v for v in (record.score, record.high, 0.0) if math.isfinite(v))
    axes.annotate(
        _number(record.score), (right, bar.place), (4, 0), textcoords="offset points",
        va="center", fontsize="small" if bar.thickness > 0.3 else "xx-small",
    )  # fmt: skip


def _number(score: float) -> str:
    return f"{score:.2f}" if abs(score) < 100 else f"{score:,.0f}"


def _entries(
    axes: Axes, models: Mapping[str, LayerScores], *, one_bar_a_row: bool
) -> dict[str, Artist]:
    """Return what the legend says."""
    entries: dict[str, Artist] = {}
    if not one_bar_a_row and len(models) > 1:
        for number, model in enumerate(models):
            colour = _canvas.look(number)[0]
            (entries[model],) = axes.plot([], [], color=colour, linewidth=6, alpha=0.85)
    (entries["interval"],) = axes.plot([], [], color="black", linewidth=1.2)
    return entries
