"""Pictures of scores.

Every function returns a matplotlib Figure that belongs to no window and changes no global style;
save it with `figure.savefig`, or let a notebook show it. Colours are those of Okabe and Ito, which
colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from speechprobe.layers.scores import LayerScore, LayerScores

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Section = LayerScores | Mapping[str, LayerScores]

MOST_COLUMNS = 3
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class Picture(Figure):
    """A figure that a notebook shows although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def plot_layers(scores: Section | Sequence[Section], *, metric: str | None = None) -> Figure:
    """Plot score by layer, with interval and floor; one panel a target and metric.

    Parameters
    ----------
    scores
        Scores of one model, {model: scores} of several for the same target, or a list of either,
        one entry a target. A model with one layer (log-mel) is drawn as a level across the panel.
    metric
        Name of one metric; all that the first model has by default.

    Returns
    -------
    figure
        Points are scores, bands their intervals, dotted lines the floors.

    Raises
    ------
    ValueError
        If there are no scores, or models of one panel were probed for different targets.

    Examples
    --------
    >>> from speechprobe.layers import LayerScore, LayerScores
    >>> records = [LayerScore(f"{k}", "r2", k / 5, 0, 0, 0, 0, 9, 4, True) for k in range(4)]
    >>> figure = plot_layers(LayerScores(tuple(records), None, {"target": "rate"}))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['r2']
    """
    panels = [
        (models, name)
        for models in sections_of(scores)
        for name in ([metric] if metric else next(iter(models.values())).metrics)
    ]
    n_columns = min(MOST_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    width = max(4.5, 0.42 * max(len(_axis(models)) for models, _ in panels) + 2.0)
    figure = Picture(figsize=(width * n_columns, 3.8 * n_rows + 0.4), layout="constrained")
    places = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, (models, name) in zip(places, panels, strict=False):
        _draw_panel(axes, models, name)
    for axes in places[len(panels) :]:
        axes.remove()
    _add_legend(figure)
    return figure


def sections_of(scores: Section | Sequence[Section]) -> list[dict[str, LayerScores]]:
    """Return {model: scores} for each target, however they were given.

    Raises
    ------
    ValueError
        If there are none, or the models of a section were probed for different targets.
    """
    listed: list[Any] = list(scores) if isinstance(scores, list | tuple) else [scores]
    sections: list[dict[str, LayerScores]] = [
        dict(part) if isinstance(part, Mapping) else {_model_of(part): part} for part in listed
    ]
    for each in (each for models in sections for each in models.values()):
        if not isinstance(each, LayerScores):
            raise TypeError(f"expected LayerScores, as probe_layers gives, got {each!r}")
    if not sections or not all(sections):
        raise ValueError("no scores were given")
    for models in sections:
        targets = {str(each.settings.get("target")) for each in models.values()}
        if len(targets) > 1:
            raise ValueError(
                f"expected scores for one target a section, got {sorted(targets)}; "
                "give a list with one {model: scores} for each target"
            )
    return sections


def _model_of(scores: object) -> str:
    """Return the name of the extractor behind scores, where it is known."""
    made_by = getattr(scores, "settings", {}).get("features", {}).get("extractor", {})
    return str(made_by.get("name", ""))


def title_of(models: Mapping[str, LayerScores]) -> str:
    """Return what a section is about: the corpus, where it is known, and the target."""
    settings = next(iter(models.values())).settings
    corpus = dict(settings.get("features", {})).get("corpus")
    return f"{corpus}: {settings.get('target')}" if corpus else str(settings.get("target"))


def _axis(models: Mapping[str, LayerScores]) -> list[str]:
    """Return the layers that have a place on the axis: those of models with several, or all."""
    several = [each for each in models.values() if len(each.layers) > 1]
    return list(
        dict.fromkeys(layer for each in several or models.values() for layer in each.layers)
    )


def _draw_panel(axes: Axes, models: Mapping[str, LayerScores], metric: str) -> None:
    layers = _axis(models)
    drawn = {model: each.by_metric(metric) for model, each in models.items()}
    curves = {model: r for model, r in drawn.items() if len(r) > 1 or len(layers) == 1}
    low, high = _limits([record for records in curves.values() for record in records])
    for number, (model, records) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        if model in curves:
            places = np.array([layers.index(record.layer) for record in records])
            _draw(axes, places, records, model, colour, marker="o")
        elif low <= records[0].score <= high:
            places = np.array([-0.4, len(layers) - 0.6])
            _draw(axes, places, records * 2, model, colour, linestyle="--")
        else:
            # A level far off would press all curves flat: it is named instead.
            side = "below" if records[0].score < low else "above"
            note = f"{model}: {records[0].score:.2f}, {side} this panel"
            axes.plot([], [], color=colour, linestyle="--", label=model)
            axes.text(0.02, 0.02, note, transform=axes.transAxes, color=colour, fontsize="small")
    axes.set_ylim(low, high)
    _finish(axes, layers, metric=metric, title=title_of(models))


def _limits(records: Sequence[LayerScore]) -> tuple[float, float]:
    """Return the ends of the vertical axis: what the curves need, and a little more."""
    values = [v for r in records for v in (r.score, r.low, r.high, r.floor) if math.isfinite(v)]
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
    values = {
        name: np.array([getattr(record, name) for record in records])
        for name in ("score", "low", "high", "floor")
    }
    axes.plot(
        places,
        values["score"],
        color=colour,
        marker=marker,
        linestyle=linestyle,
        label=model or "score",
    )
    axes.fill_between(places, values["low"], values["high"], color=colour, alpha=0.15, linewidth=0)
    axes.plot(places, values["floor"], color=colour, linestyle=":", linewidth=1)


def _finish(axes: Axes, layers: list[str], *, metric: str, title: str) -> None:
    axes.set_xticks(range(len(layers)), layers, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlabel("layer, in depth order")
    axes.set_ylabel(metric)
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(figure: Figure) -> None:
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        axes.plot([], [], color="0.3", linestyle=":", linewidth=1, label="floor (shuffled labels)")
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    floor = entries.pop("floor (shuffled labels)")
    figure.legend(
        handles=[*entries.values(), floor],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize="small",
    )
