"""Predicted numbers: true against predicted, and how large the errors are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics.regression import mae, r2
from speechprobe.plots import _canvas
from speechprobe.plots._pairs import Pairs, pairs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from speechprobe.layers.scores import LayerScores

_MOST_BINS = 60


def plot_predictions(
    truth: ArrayLike | LayerScores,
    prediction: ArrayLike | str | None = None,
    *,
    target: str | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot predicted against true numbers, with the line on which both are equal.

    Parameters
    ----------
    truth, prediction
        Two arrays (n_items,); or scores and the name of one of their layers, by default the best
        on validation items. Of several seeds all predictions are drawn.
    target
        What is predicted, for the axes; known where scores are given.
    unit
        Its unit.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        In the corner R² and MAE, mean over seeds as in the scores, and the number of items.

    Raises
    ------
    KeyError
        If the scores have no such layer.
    ValueError
        If the lengths differ, the scores hold no predictions, or the values are no finite numbers.
    TypeError
        If scores come with an array, or an array with the name of a layer.

    Examples
    --------
    >>> figure = plot_predictions([1, 2, 3], [1, 2, 2.5], target="pitch", unit="Hz")
    >>> figure.axes[0].get_xlabel()
    'true pitch (Hz)'
    """
    pairs = _numbers(truth, prediction)
    figure, axes = _canvas.one_panel(ax, width=4.0, height=4.0)
    name = target or pairs.target or "value"
    values = np.concatenate([pairs.truth, pairs.prediction])
    margin = 0.04 * np.ptp(values) or 0.5
    ends = (float(values.min() - margin), float(values.max() + margin))
    n_points = len(pairs.truth)
    axes.plot(ends, ends, color=_canvas.GREY, linestyle="--", linewidth=1)
    axes.plot(
        pairs.truth,
        pairs.prediction,
        "o",
        color=_canvas.COLOURS[0],
        alpha=float(np.clip(250 / n_points, 0.12, 0.7)),
        markersize=3.5,
        markeredgewidth=0,
        rasterized=n_points > _canvas.MOST_VECTOR_POINTS,
    )
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel(_canvas.with_unit(f"true {name}", unit))
    axes.set_ylabel(_canvas.with_unit(f"predicted {name}", unit))
    error = _amount(pairs.mean_of(mae), unit)
    _canvas.note(axes, f"R² {pairs.mean_of(r2):.2f}\nMAE {error}\n{pairs.n_items}")
    _canvas.title(axes, pairs.title)
    _canvas.tidy(axes, grid="both")
    return figure


def plot_errors(
    truth: ArrayLike | LayerScores,
    prediction: ArrayLike | str | None = None,
    *,
    target: str | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot a histogram of the errors, prediction minus truth.

    Parameters
    ----------
    truth, prediction
        Two arrays (n_items,); or scores and the name of one of their layers, by default the best
        on validation items. Of several seeds all errors are counted.
    target
        What is predicted, for the axis; known where scores are given.
    unit
        Its unit.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        The dashed line is no error, the solid one the mean error: a bias where they differ. The
        title gives mean and standard deviation. Bins are of one width, by the rule of Freedman and
        Diaconis, 60 at most.

    Raises
    ------
    KeyError
        If the scores have no such layer.
    ValueError
        If the lengths differ, the scores hold no predictions, or the values are no finite numbers.
    TypeError
        If scores come with an array, or an array with the name of a layer.

    Examples
    --------
    >>> figure = plot_errors([1, 2, 3], [1, 2, 2.5], target="pitch", unit="Hz")
    >>> figure.axes[0].get_xlabel()
    'predicted minus true pitch (Hz)'
    """
    pairs = _numbers(truth, prediction)
    figure, axes = _canvas.one_panel(ax)
    errors = pairs.prediction - pairs.truth
    axes.hist(
        errors, bins=_n_bins(errors), color=_canvas.COLOURS[5], edgecolor="white", linewidth=0.4
    )
    axes.axvline(0, color=_canvas.GREY, linestyle="--", linewidth=1)
    axes.axvline(float(errors.mean()), color=_canvas.COLOURS[0], linewidth=1.5)
    name = target or pairs.target or "value"
    axes.set_xlabel(_canvas.with_unit(f"predicted minus true {name}", unit))
    axes.set_ylabel(f"items ({pairs.n_items})")
    spread = f"mean {errors.mean():.3g}, std {_amount(float(errors.std()), unit)}"
    lines = (pairs.title, spread)
    _canvas.title(axes, "\n".join(line for line in lines if line))
    _canvas.tidy(axes)
    return figure


def _numbers(truth: ArrayLike | LayerScores, prediction: ArrayLike | str | None) -> Pairs:
    pairs = pairs_of(truth, prediction)
    for what, values in (("truth", pairs.truth), ("prediction", pairs.prediction)):
        if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
            raise ValueError(
                f"{what} must be finite numbers, got {values[:3].tolist()}...; "
                "plot_confusion draws classes"
            )
    return pairs


def _n_bins(errors: NDArray[Any]) -> int:
    """Return a number of bins by Freedman and Diaconis: 2 IQR / n^(1/3) wide, 1 to 60 of them."""
    width = 2 * float(np.subtract(*np.percentile(errors, [75, 25]))) / len(errors) ** (1 / 3)
    span = float(np.ptp(errors))
    return int(np.clip(np.ceil(span / width), 1, _MOST_BINS)) if width > 0 else _MOST_BINS


def _amount(value: float, unit: str | None) -> str:
    return f"{value:.3g} {unit}" if unit else f"{value:.3g}"
