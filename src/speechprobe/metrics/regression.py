"""Metrics of regression.

Conventions: `truth` and `prediction` are numbers (n_items,). `mse` and `mae` are in the squared
unit and the unit of the target, from 0 upwards, lower is better. `r2` is at most 1, higher is
better; 0 is what predicting the mean of the scored items gives, and it can be far below 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from speechprobe.metrics._check import numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def mse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean squared error, mean((truth - prediction)^2), in the squared unit of the target.

    Examples
    --------
    >>> mse([1, 2, 3], [1, 2, 5])
    1.3333333333333333
    """
    return float(mean_squared_error(*numbers(truth, prediction)))


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
