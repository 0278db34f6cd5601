"""Score by layer: what each layer knows, of one model or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from speechprobe.layers.scores import LayerScore, LayerScores
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.plots import _canvas
from speechprobe.plots._floors import Line, colour_of, entries_of, lines_of, references_of
from speechprobe.plots._sections import Metric, Section, layers_of, panels_of, title_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Depth = Literal["layer", "relative"]
Verified = VerificationScores | Mapping[str, VerificationScores]


def plot_layers(
    scores: Section | Verified | Sequence[Section | Verified],
    *,
    metric: Metric | None = None,
    depth: Depth = "layer",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot score by layer, with interval and floor; one panel a target and metric.

    Parameters
    ----------
    scores
        Scores of one model, {model: scores} of several for the same target, or a list of either,
        one entry a target. A model with one layer (log-mel) is drawn as a level across the panel.
        Scores of `verify_layers` are drawn as well, with a panel for each of their two rates.
    metric
        One metric; all that the first model has by default.
    depth
        "layer" gives every layer name a place, models side by side where their layers differ.
        "relative" puts the first layer of each model at 0 and its last at 1, so that models of
        different depth lie over each other.
    unit
        Unit of the target, which the axes of MAE, RMSE and MSE carry.
    ax
        Axes to draw into; there must be one panel then.

    Returns
    -------
    figure
        Points are scores, bands their intervals, thin lines the floors: dotted those of shuffled
        labels, others as the legend says. The control task is such a line too.

    Raises
    ------
    ValueError
        If there are no scores, models of one panel were probed for different targets, or there
        are several panels for one `ax`.
    KeyError
        If a model has no scores of the metric.

    Examples
    --------
    >>> from speechprobe.layers import LayerScore, LayerScores
    >>> records = [LayerScore(f"{k}", "r2", k / 5, 0, 0, 0, 0, 9, 4, True) for k in range(4)]
    >>> figure = plot_layers(LayerScores(tuple(records), None, {"target": "rate"}))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['R²']
    """
    if depth not in ("layer", "relative"):
        raise ValueError(f"depth must be 'layer' or 'relative', got {depth!r}")
    panels = panels_of(_as_scores(scores), metric)
    n_layers = max(len(layers_of(models)) for models, _ in panels)
    width = 4.5 if depth == "relative" else min(max(4.5, 0.25 * n_layers + 2.0), 9.0)
    figure, places = _canvas.many_panels(len(panels), ax, width=width, height=3.8)
    lines = lines_of(
        r for models, name in panels for each in models.values() for r in each.by_metric(name)
    )
    for axes, (models, name) in zip(places, panels, strict=True):
        beyond = _draw_panel(axes, models, name, depth, lines)
        axes.set_ylabel(_canvas.metric_label(name, unit))
        _canvas.title(axes, "\n".join([title_of(models), *beyond]))
        _canvas.tidy(axes)
    _canvas.add_legend(figure, _entries(places, lines), ax)
    return figure


def _as_scores(given: Any) -> Any:
    """Return what was given with both rates of verification as scores of layers."""
    if isinstance(given, VerificationScores):
        return given.layer_scores()
    if isinstance(given, Mapping):
        return {model: _as_scores(each) for model, each in given.items()}
    return [*map(_as_scores, given)] if isinstance(given, list | tuple) else given


def _draw_panel(
    axes: Axes,
    models: Mapping[str, LayerScores],
    metric: str,
    depth: Depth,
    lines: dict[str, Line],
) -> list[str]:
    """Draw all models, and return what is to be said of levels that lie beyond the panel."""
    layers = layers_of(models)
    drawn = {model: each.by_metric(metric) for model, each in models.items()}
    curves = {model: r for model, r in drawn.items() if len(r) > 1 or len(layers) == 1}
    low, high = _limits([record for records in curves.values() for record in records])
    ends = (-0.03, 1.03) if depth == "relative" else (-0.4, len(layers) - 0.6)
    beyond: list[str] = []
    for number, (model, records) in enumerate(drawn.items()):
        colour, marker = _canvas.look(number)
        if model in curves:
            places = _places(records, layers, depth)
            _draw(axes, places, records, model, colour, marker=marker)
            _draw_references(axes, places, records, colour, lines)
        elif low <= records[0].score <= high:
            _draw(axes, np.array(ends), records * 2, model, colour, linestyle="--")
            _draw_references(axes, np.array(ends), records * 2, colour, lines)
        else:
            # A level far off would press all curves flat: it is named instead.
            side = "below" if records[0].score < low else "above"
            beyond.append(f"{model}: {records[0].score:.2f}, {side} this panel")
            axes.plot([], [], color=colour, linestyle="--", label=model)
    axes.set_ylim(low, high)
    _name_depth(axes, layers, depth)
    return beyond


def _places(records: Sequence[LayerScore], layers: list[str], depth: Depth) -> NDArray[Any]:
    if depth == "relative":
        return np.linspace(0, 1, len(records)) if len(records) > 1 else np.array([0.5])
    return np.array([layers.index(record.layer) for record in records])


def _name_depth(axes: Axes, layers: list[str], depth: Depth) -> None:
    if depth == "relative":
        axes.set_xlabel("relative depth (0 first layer, 1 last)")
        return
    shared = _canvas.name_layers(axes.xaxis, layers)
    axes.set_xlabel(f"layer of {shared}, in depth order" if shared else "layer, in depth order")


def _limits(records: Sequence[LayerScore]) -> tuple[float, float]:
    """Return the ends of the vertical axis: what the curves need, and a little more."""
    values = [
        value
        for record in records
        for value in (record.score, record.low, record.high, *references_of(record).values())
        if math.isfinite(value)
    ]
    bottom, top = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (top - bottom) or 0.05
    return bottom - margin, top + margin


def _draw(
    axes: Axes,
    places: NDArray[Any],
    records: Sequence[LayerScore],
    model: str,
    colour: str,
    *,
    marker: str = "",
    linestyle: str = "-",
) -> None:
    score, low, high = (
        np.array([getattr(record, name) for record in records]) for name in ("score", "low", "high")
    )
    axes.plot(
        places, score, color=colour, marker=marker, markersize=4.5, linestyle=linestyle,
        label=model or "score",
    )  # fmt: skip
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def _draw_references(
    axes: Axes,
    places: NDArray[Any],
    records: Sequence[LayerScore],
    colour: str,
    lines: dict[str, Line],
) -> None:
    """Draw floors and control task, each with its kind of line."""
    for name, line in lines.items():
        values = [references_of(record).get(name, math.nan) for record in records]
        if np.isfinite(values).any():
            axes.plot(places, values, color=colour_of(name, colour), linestyle=line, linewidth=1)


def _entries(places: Sequence[Axes], lines: dict[str, Line]) -> dict[str, Artist]:
    """Return what the legend says: the models, then the floors."""
    entries: dict[str, Artist] = {}
    for axes in places:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries | entries_of(places[0], lines)
