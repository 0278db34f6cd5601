"""Score by layer: what each layer knows, of one model or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

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
        one entry a target. A model with one layer (log-mel) is drawn as a level across the panel
        of others, and as a point with a whisker where no model has more. Scores of `verify_layers`
        are drawn as well, with a panel for each of their two rates.
    metric
        One metric; all that the first model has by default.
    depth
        "layer" gives every layer name a place, models side by side where their layers differ.
        "relative" puts the first layer of each model at 0 and its last at 1, so that models of
        different depth lie over each other; an only layer is the first.
    unit
        Unit of the target, which the axes of MAE, RMSE and MSE carry.
    ax
        Axes to draw into; there must be one panel then.

    Returns
    -------
    figure
        Points are scores, bands their intervals, thin lines the floors: dotted those of shuffled
        labels, others as the legend says. The control task is such a line too. Panels end where a
        score is worse than twice the error of always naming the mean (R2 of -1): triangles on that
        border are layers beyond it, and the title says how far.

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


class _Panel(NamedTuple):
    """Where scores are drawn: the axes, its layers, its ends, and the kinds of lines of floors."""

    axes: Axes
    layers: list[str]
    depth: Depth
    low: float
    high: float
    lines: dict[str, Line]

    def within(self, values: Sequence[float]) -> NDArray[Any]:
        """Return values, those beyond the panel at its border."""
        found: NDArray[Any] = np.clip(np.array(values, dtype=float), self.low, self.high)
        return found


def _draw_panel(
    axes: Axes,
    models: Mapping[str, LayerScores],
    metric: str,
    depth: Depth,
    lines: dict[str, Line],
) -> list[str]:
    """Draw all models, and return what is to be said of scores that lie beyond the panel."""
    drawn = {model: each.by_metric(metric) for model, each in models.items()}
    curves = {model: records for model, records in drawn.items() if len(records) > 1}
    low, high = _limits([record for records in (curves or drawn).values() for record in records])
    panel = _Panel(axes, layers_of(models), depth, low, high, lines)
    places = {} if curves else _side_by_side(drawn, panel)
    beyond: list[str] = []
    for number, (model, records) in enumerate(drawn.items()):
        colour, marker = _canvas.look(number)
        if model in curves:
            beyond += _draw_curve(panel, records, model, colour, marker)
        elif model in places:
            beyond += _draw_point(panel, places[model], records[0], model, colour, marker)
        else:
            beyond += _draw_level(panel, records[0], model, colour)
    axes.set_ylim(low, high)
    _name_depth(panel, is_curve=bool(curves))
    return beyond


def _draw_curve(
    panel: _Panel, records: Sequence[LayerScore], model: str, colour: str, marker: str
) -> list[str]:
    places = _places(records, panel.layers, panel.depth)
    _draw(panel, places, records, model, colour, marker=marker)
    _draw_references(panel, places, records, colour)
    return _mark_beyond(panel, places, records, model, colour)


def _draw_point(
    panel: _Panel, place: float, record: LayerScore, model: str, colour: str, marker: str
) -> list[str]:
    """Draw the only layer of a model, with a whisker, and its floors across the panel."""
    panel.axes.plot(
        place, panel.within([record.score]), color=colour, marker=marker, markersize=6,
        linestyle="", label=model or "score",
    )  # fmt: skip
    ends = panel.within([record.low, record.high])
    panel.axes.plot([place] * 2, ends, color=colour, linewidth=1.5)
    _draw_references(panel, np.array(_ends(panel, is_curve=False)), [record] * 2, colour)
    return _mark_beyond(panel, np.array([place]), [record], model, colour)


def _draw_level(panel: _Panel, record: LayerScore, model: str, colour: str) -> list[str]:
    """Draw the only layer of a model across the curves of others."""
    if panel.low <= record.score <= panel.high:
        ends = np.array(_ends(panel, is_curve=True))
        _draw(panel, ends, [record] * 2, model, colour, linestyle="--")
        _draw_references(panel, ends, [record] * 2, colour)
        return []
    # A level far off would press all curves flat: it is named instead.
    panel.axes.plot([], [], color=colour, linestyle="--", label=model)
    return [f"{model}: {_number(record.score)}, {_side(panel, record)} this panel"]


def _mark_beyond(
    panel: _Panel, places: NDArray[Any], records: Sequence[LayerScore], model: str, colour: str
) -> list[str]:
    """Mark the scores beyond the panel at its border, and say how far they go."""
    far = [
        (place, record)
        for place, record in zip(places, records, strict=True)
        if record.score < panel.low or record.score > panel.high
    ]
    for place, record in far:
        panel.axes.plot(
            place, panel.within([record.score]), linestyle="", markersize=8, clip_on=False,
            marker="v" if _side(panel, record) == "below" else "^", markeredgecolor=colour,
            markerfacecolor="white", zorder=4,
        )  # fmt: skip
    if not far:
        return []
    worst = max((record for _, record in far), key=lambda record: abs(record.score))
    n_layers = f"{len(far)} of {len(records)} layers" if len(records) > 1 else worst.layer
    told = f"{n_layers} {_side(panel, worst)} this panel, at {_number(worst.score)}"
    return [f"{model}: {told}" if model else told]


def _side(panel: _Panel, record: LayerScore) -> str:
    return "below" if record.score < panel.low else "above"


def _number(score: float) -> str:
    return f"{score:.2f}" if abs(score) < 1000 else f"{score:.1e}"


def _side_by_side(drawn: Mapping[str, Sequence[LayerScore]], panel: _Panel) -> dict[str, float]:
    """Return a place for each model with one layer, beside others of the same place."""
    places = {
        model: 0 if panel.depth == "relative" else panel.layers.index(records[0].layer)
        for model, records in drawn.items()
    }
    found = {}
    for model, place in places.items():
        beside = [other for other, at in places.items() if at == place]
        found[model] = place + (beside.index(model) + 0.5) * 0.8 / len(beside) - 0.4
    return found


def _places(records: Sequence[LayerScore], layers: list[str], depth: Depth) -> NDArray[Any]:
    if depth == "relative":
        return np.linspace(0, 1, len(records))
    return np.array([layers.index(record.layer) for record in records])


def _ends(panel: _Panel, *, is_curve: bool) -> tuple[float, float]:
    """Return the ends of the horizontal axis."""
    if panel.depth == "relative":
        return (-0.03, 1.03) if is_curve else (-0.6, 0.6)
    return (-0.4, len(panel.layers) - 0.6) if is_curve else (-0.6, len(panel.layers) - 0.4)


def _name_depth(panel: _Panel, *, is_curve: bool) -> None:
    axes = panel.axes
    if not is_curve:
        axes.set_xlim(_ends(panel, is_curve=False))
    if panel.depth == "relative":
        axes.set_xlabel("relative depth (0 first layer, 1 last)")
        if not is_curve:
            axes.set_xticks([0])
        return
    shared = _canvas.name_layers(axes.xaxis, panel.layers)
    axes.set_xlabel(f"layer of {shared}, in depth order" if shared else "layer, in depth order")


def _limits(records: Sequence[LayerScore]) -> tuple[float, float]:
    """Return the ends of the vertical axis: what the curves need, and a little more."""
    least, most = _sensible(records)
    values = [
        min(max(value, least), most)
        for record in records
        for value in (record.score, record.low, record.high, *references_of(record).values())
        if math.isfinite(value)
    ]
    bottom, top = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (top - bottom) or 0.05
    return bottom - margin, top + margin


def _sensible(records: Sequence[LayerScore]) -> tuple[float, float]:
    """Return the ends of what is worth room: up to twice the error of always naming the mean.

    A linear probe of a layer far from what it was fitted on can be wrong by orders of magnitude,
    and would press all other scores flat.
    """
    first = records[0]
    if first.metric == "r2":
        return -1.0, math.inf
    means = [value for each in records for name, value in each.floors if name == "mean"]
    known = [value for value in means if math.isfinite(value)]
    if first.higher_is_better or not known:
        return -math.inf, math.inf
    return -math.inf, 2 * max(known)


def _draw(
    panel: _Panel,
    places: NDArray[Any],
    records: Sequence[LayerScore],
    model: str,
    colour: str,
    *,
    marker: str = "",
    linestyle: str = "-",
) -> None:
    score, low, high = (
        panel.within([getattr(record, name) for record in records])
        for name in ("score", "low", "high")
    )
    panel.axes.plot(
        places, score, color=colour, marker=marker, markersize=4.5, linestyle=linestyle,
        label=model or "score",
    )  # fmt: skip
    panel.axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def _draw_references(
    panel: _Panel, places: NDArray[Any], records: Sequence[LayerScore], colour: str
) -> None:
    """Draw floors and control task, each with its kind of line."""
    for name, line in panel.lines.items():
        values = panel.within([references_of(record).get(name, math.nan) for record in records])
        if np.isfinite(values).any():
            panel.axes.plot(
                places, values, color=colour_of(name, colour), linestyle=line, linewidth=1
            )


def _entries(places: Sequence[Axes], lines: dict[str, Line]) -> dict[str, Artist]:
    """Return what the legend says: the models, then the floors."""
    entries: dict[str, Artist] = {}
    for axes in places:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries | entries_of(places[0], lines)
