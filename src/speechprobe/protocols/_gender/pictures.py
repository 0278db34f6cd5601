"""The pictures of the gender study, drawn when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from speechprobe.layers import LayerScores
from speechprobe.protocols._gender.probes import Curves, Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[tuple[Found, LayerScores]]


def gender_pictures(rows: Rows, curves: Curves) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw, by name.

    Parameters
    ----------
    rows
        Classifiers and their scores, the study's network first.
    curves
        Of the study's network.
    """
    models = {f"{found.model} ({found.feature})": scores for found, scores in rows}
    return {
        "curves": partial(_curves, curves),
        "confusion": partial(_confusion, rows[0][1]),
        "accuracy_bars": partial(_bars, models),
    }


def _curves(curves: Curves) -> Figure:
    from speechprobe.plots import plot_curves

    figure = plot_curves(curves.table)
    figure.suptitle(curves.verdict(), fontsize="medium")
    return figure


def _confusion(scores: LayerScores) -> Figure:
    from speechprobe.plots import plot_confusion

    return plot_confusion(*pairs_of(scores), target="gender")


def _bars(models: Mapping[str, LayerScores]) -> Figure:
    from speechprobe.plots import _canvas, plot_metrics

    figure = plot_metrics(models)
    features = list(dict.fromkeys(scores.layers[0] for scores in models.values()))
    for axes in figure.axes:
        # The feature is the one layer of a row, and stands in its name already.
        axes.set_yticks(range(len(models)), list(models), fontsize="small")
        axes.set_ylabel("classifier (feature)")
        # One colour a feature, none of them the black of intervals and floors.
        for bar, scores in zip(axes.patches, models.values(), strict=True):
            bar.set_facecolor(_canvas.look(features.index(scores.layers[0]))[0])
    return figure


def pairs_of(scores: LayerScores) -> tuple[Any, Any]:
    """Return truths and predictions of the test items, (n_items,) each."""
    return scores.predictions["truth"].to_numpy(), scores.predictions["prediction"].to_numpy()
