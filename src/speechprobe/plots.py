"""Pictures of scores.

Every function returns a matplotlib Figure that belongs to no window and changes no global style;
save it with `figure.savefig`, or let a notebook show it. Colours are those of Okabe and Ito, which
colour-blind readers tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from speechprobe.layers.scores import LayerScore, LayerScores

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Section = LayerScores | Mapping[str, LayerScores]

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
    n_layers = max(len(_axis(models)) for models, _ in panels)
    width = max(5.0, 0.42 * n_layers + 2.0)
    figure = Picture(figsize=(width * len(panels), 4.2), layout="constrained")
    for axes, (models, name) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        layers = _axis(models)
        for number, (model, each) in enumerate(models.items()):
            _draw(axes, each.by_metric(name), model, COLOURS[number % len(COLOURS)], layers)
        _finish(axes, layers, metric=name, target=_target(models))
    _add_legend(figure)
    return figure


def sections_of(scores: Section | Sequence[Section]) -> list[dict[str, LayerScores]]:
    """Return {model: scores} for each target, however they were given.

    Raises
    ------
    ValueError
        If there are none, or the models of a section were probed for different targets.
    """
    listed = [scores] if isinstance(scores, LayerScores | Mapping) else list(scores)
    sections = [dict(part) if isinstance(part, Mapping) else {"": part} for part in listed]
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


def _target(models: Mapping[str, LayerScores]) -> str:
    return str(next(iter(models.values())).settings.get("target"))


def _axis(models: Mapping[str, LayerScores]) -> list[str]:
    """Return the layers that have a place on the axis: those of models with several, or all."""
    several = [each for each in models.values() if len(each.layers) > 1]
    return list(
        dict.fromkeys(layer for each in several or models.values() for layer in each.layers)
    )


def _draw(
    axes: Axes, records: list[LayerScore], model: str, colour: str, layers: list[str]
) -> None:
    if len(records) == 1 and len(layers) > 1:
        places, records = np.array([-0.4, len(layers) - 0.6]), records * 2
        marker, line = "", "--"
    else:
        places = np.array([layers.index(record.layer) for record in records])
        marker, line = "o", "-"
    values = {name: np.array([getattr(record, name) for record in records])
              for name in ("score", "low", "high", "floor")}  # fmt: skip
    axes.plot(places, values["score"], color=colour, label=model or "score", marker=marker, ls=line)
    axes.fill_between(places, values["low"], values["high"], color=colour, alpha=0.15, linewidth=0)
    axes.plot(places, values["floor"], color=colour, linestyle=":", linewidth=1)


def _finish(axes: Axes, layers: list[str], *, metric: str, target: str) -> None:
    axes.set_xticks(range(len(layers)), layers, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlabel("layer, in depth order")
    axes.set_ylabel(metric)
    axes.set_title(f"target: {target}", fontsize="medium")
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
