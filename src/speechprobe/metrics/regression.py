"""Metrics of regression.

Conventions: `truth` and `prediction` are finite numbers (n_items,).

- Errors: `mse` in the squared unit of the target, `rmse` and `mae` in its unit; from 0 upwards,
  lower is better.
- `r2` is at most 1, higher is better; 0 is what predicting the mean of the scored items gives, and
  it can be far below 0.
- `pearson`, `spearman` and `concordance` lie in [-1, 1], higher is better, and change nothing when
  truth and prediction change places. The first two ask whether the two move together, whatever
  their units; `concordance` asks whether they are equal, so that a shift or another scale costs.

Degenerate input raises ValueError; no metric returns NaN. `probe_layers` and `bootstrap_interval`
count it as a score that does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from speechprobe.metrics._check import numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Differences below this share of the values are rounding errors of float64.
_ROUNDING = 1e-13


def mse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean squared error, mean((truth - prediction)^2), in the squared unit of the target.

    Examples
    --------
    >>> mse([1, 2, 3], [1, 2, 5])
    1.3333333333333333
    """
    return float(mean_squared_error(*numbers(truth, prediction)))


def rmse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Root of the mean squared error, sqrt(mean((truth - prediction)^2)), in the target's unit.

    It is at least `mae`, and equal to it where all errors are of one size.

    Examples
    --------
    >>> rmse([1, 2, 3], [3, 4, 5])
    2.0
    """
    return float(root_mean_squared_error(*numbers(truth, prediction)))


def mae(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean absolute error, mean(abs(truth - prediction)), in the unit of the target.

    Examples
    --------
    >>> mae([1, 2, 3], [1, 2, 5])
    0.6666666666666666
    """
    return float(mean_absolute_error(*numbers(truth, prediction)))


def r2(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Coefficient of determination, 1 - sum((truth - prediction)^2) / sum((truth - mean)^2).

    Raises
    ------
    ValueError
        If there are fewer than two items, or all truths are equal: the score does not exist.

    Examples
    --------
    >>> r2([1, 2, 3], [1, 2, 3])
    1.0
    """
    a, b = numbers(truth, prediction, at_least=2)
    if a.min() == a.max():
        raise ValueError(f"r2 does not exist where all {len(a)} truths are equal ({a[0]:g})")
    return float(r2_score(a, b))


def pearson(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Correlation by Pearson: covariance / (standard deviation * standard deviation).

    In [-1, 1]; 1 where prediction is a rising line of truth. Its square is what `r2` would be
    after the best shift and scale of the prediction, so it is the milder of the two.

    Raises
    ------
    ValueError
        If there are fewer than two items, or all truths or all predictions are equal (to within
        rounding): the score does not exist.

    References
    ----------
    Pearson: "Note on regression and inheritance in the case of two parents", Proceedings of the
    Royal Society of London 58, 1895.

    Examples
    --------
    >>> round(pearson([1, 2, 3], [10, 20, 40]), 4)
    0.982
    """
    a, b = numbers(truth, prediction, at_least=2)
    _require_spread("pearson", a, b, rounding=_ROUNDING)
    return _correlation(a, b)


def spearman(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Correlation of ranks by Spearman: `pearson` of the ranks, equal values sharing theirs.

    In [-1, 1]; 1 where prediction rises whenever truth does. Equal values get the mean of the
    ranks they fill.

    Raises
    ------
    ValueError
        If there are fewer than two items, or all truths or all predictions are equal: the score
        does not exist.

    References
    ----------
    Spearman: "The proof and measurement of association between two things", American Journal of
    Psychology 15, 1904.

    Examples
    --------
    >>> spearman([1, 2, 3], [10, 20, 4000])
    1.0
    """
    a, b = numbers(truth, prediction, at_least=2)
    _require_spread("spearman", a, b)
    return _correlation(_ranks(a), _ranks(b))


def concordance(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Concordance correlation by Lin: 2 * covariance / (variance + variance + (mean - mean)^2).

    In [-1, 1]; 1 only where prediction equals truth. It is `pearson` times a factor in (0, 1] for
    shift and scale, so never further from 0. 0 where only one side is constant. Variances and
    covariance are divided by n, as in the paper and the emotion challenges; scripts that divide
    by n - 1 give a little more, by less than 1 / n.

    Raises
    ------
    ValueError
        If there are fewer than two items, or truth and prediction are one and the same constant:
        the score does not exist.

    References
    ----------
    Lin: "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.

    Examples
    --------
    >>> round(concordance([1, 2, 3], [2, 3, 4]), 4)
    0.5714
    """
    a, b = numbers(truth, prediction, at_least=2)
    # Exact zeros, where the mean of equal numbers would leave rounding errors.
    flat_a, flat_b = a.min() == a.max(), b.min() == b.max()
    if flat_a and flat_b and a[0] == b[0]:
        raise ValueError(
            f"concordance does not exist where all {len(a)} truths and predictions are {a[0]:g}"
        )
    if flat_a or flat_b:
        return 0.0
    scale = max(np.abs(a).max(), np.abs(b).max())  # against overflow of the squares
    a, b = a / scale, b / scale
    shift = a.mean() - b.mean()
    covariance = np.mean((a - a.mean()) * (b - b.mean()))
    return float(np.clip(2 * covariance / (a.var() + b.var() + shift**2), -1, 1))


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    x, y = _deviations(a), _deviations(b)
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of theirs (4 times as fast as scipy's)."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return shared[which]


def _deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances from the mean, scaled so that their squares neither overflow nor vanish."""
    deviations: NDArray[np.float64] = values - values.mean()
    deviations /= np.abs(deviations).max()
    return deviations


def _require_spread(
    metric: str, a: NDArray[np.float64], b: NDArray[np.float64], *, rounding: float = 0.0
) -> None:
    """Raise ValueError if a side is constant, or differs by no more than that share of its size."""
    for side, values in (("truths", a), ("predictions", b)):
        if np.ptp(values) <= rounding * np.abs(values).max():
            raise ValueError(
                f"{metric} does not exist where all {len(values)} {side} are equal ({values[0]:g})"
            )
