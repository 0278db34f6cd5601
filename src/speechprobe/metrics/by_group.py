"""Metrics that are made of sums over items, scored for many resamples of groups at once.

A resample takes some groups several times and others not at all, so that a sum over its items is a
weighted sum over the groups: with the sums of each group at hand, a resample costs as much as there
are groups, however many items these have. The scores are those of the metric on the items drawn, up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics.classification import accuracy, uar
from speechprobe.metrics.regression import mae, mse, r2, rmse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WEIGHTS_AT_ONCE = 1 << 21
_MOST_SUMS = 1 << 22


@dataclass(frozen=True)
class ByGroup:
    """What a metric needs of each group.

    Parameters
    ----------
    sums
        Shape (n_groups, n_sums).
    score
        Function of weighted sums (n_resamples, n_sums), giving scores (n_resamples,), NaN where
        the metric does not exist.
    ends
        Least and greatest truth of each group, (n_groups, 2), of a metric that does not exist
        where all truths are equal.
    """

    sums: NDArray[np.float64]
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ends: NDArray[np.float64] | None = None

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each resample.

        Parameters
        ----------
        weights
            How often each group was drawn, (n_resamples, n_groups).
        """
        with np.errstate(all="ignore"):
            found = self.score(weights @ self.sums)
        if self.ends is not None:
            least, most = self.ends.T
            drawn = weights > 0
            flat = np.where(drawn, least, np.inf).min(1) == np.where(drawn, most, -np.inf).max(1)
            found = np.where(flat, np.nan, found)
        return found


def by_group(
    metric: Callable[[Any, Any], float],
    truth: NDArray[Any],
    prediction: NDArray[Any],
    groups: NDArray[np.intp],
) -> ByGroup | None:
    """Return what a metric needs of each group; None for a metric that is not known to be sums.

    Parameters
    ----------
    metric
        Function (truth, prediction) -> float.
    truth, prediction
        Shape (n_items,), such as the metric takes.
    groups
        Code of each item's group, (n_items,), all from 0 on.

    Examples
    --------
    >>> truth, prediction = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 3.0])
    >>> sums = by_group(mse, truth, prediction, np.array([0, 0, 1]))
    >>> sums.scores(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    array([0.33333333, 0.5       , 0.        ])
    """
    make = _KNOWN.get(metric)
    return None if make is None else make(truth, prediction, groups)


def side_by_side(first: ByGroup, second: ByGroup) -> ByGroup:
    """Return the groups of one prediction with those of another behind them."""
    ends = None
    if first.ends is not None and second.ends is not None:
        ends = np.concatenate([first.ends, second.ends])
    return ByGroup(np.concatenate([first.sums, second.sums]), first.score, ends)


def rows_at_once(n_groups: int) -> int:
    """Return for how many resamples the weights of the groups are held at once."""
    return max(1, _WEIGHTS_AT_ONCE // n_groups)


def weights_of_draws(
    n_groups: int, n_resamples: int, generator: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each group is drawn, (some resamples, n_groups) at a time.

    They are the draws of `group_resamples` with the same generator.
    """
    at_once = rows_at_once(n_groups)
    for start in range(0, n_resamples, at_once):
        weights = np.empty((min(at_once, n_resamples - start), n_groups))
        for row in weights:
            drawn = generator.integers(n_groups, size=n_groups)
            row[:] = np.bincount(drawn, minlength=n_groups)
        yield weights


def _error(
    of_error: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    of_mean: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.asarray,
) -> Callable[..., ByGroup]:
    def make(truth: NDArray[Any], prediction: NDArray[Any], groups: NDArray[np.intp]) -> ByGroup:
        errors = of_error(truth.astype(np.float64) - prediction.astype(np.float64))
        sums = _sums(groups, np.ones(len(truth)), errors)
        return ByGroup(sums, lambda total: of_mean(total[:, 1] / total[:, 0]))

    return make


def _r2(truth: NDArray[Any], prediction: NDArray[Any], groups: NDArray[np.intp]) -> ByGroup:
    values = truth.astype(np.float64)
    errors = values - prediction.astype(np.float64)
    deviations = values - values.mean()  # else their squares would drown the variance
    sums = _sums(groups, np.ones(len(truth)), deviations, deviations**2, errors**2)
    n_groups = len(sums)
    ends = np.empty((n_groups, 2))
    ends[:, 0], ends[:, 1] = np.inf, -np.inf
    np.minimum.at(ends[:, 0], groups, values)
    np.maximum.at(ends[:, 1], groups, values)

    def score(total: NDArray[np.float64]) -> NDArray[np.float64]:
        n_items, shift, squares, squared_errors = total.T
        found: NDArray[np.float64] = 1 - squared_errors / (squares - shift**2 / n_items)
        return found

    return ByGroup(sums, score, ends)


def _accuracy(truth: NDArray[Any], prediction: NDArray[Any], groups: NDArray[np.intp]) -> ByGroup:
    sums = _sums(groups, np.ones(len(truth)), (truth == prediction).astype(np.float64))
    return ByGroup(sums, lambda total: total[:, 1] / total[:, 0])


def _uar(truth: NDArray[Any], prediction: NDArray[Any], groups: NDArray[np.intp]) -> ByGroup | None:
    names, which = np.unique(truth, return_inverse=True)
    n_groups, n_classes = int(groups.max()) + 1, len(names)
    if 2 * n_groups * n_classes > _MOST_SUMS:
        return None
    cells = groups * n_classes + which
    found = [
        np.bincount(cells, weights=weights, minlength=n_groups * n_classes)
        for weights in (None, (truth == prediction).astype(np.float64))
    ]
    sums = np.concatenate([each.reshape(n_groups, n_classes) for each in found], axis=1)

    def score(total: NDArray[np.float64]) -> NDArray[np.float64]:
        n_items, n_right = total[:, :n_classes], total[:, n_classes:]
        # A class that was not drawn is none of the resample's.
        mean: NDArray[np.float64] = np.nanmean(n_right / n_items, axis=1)
        return mean

    return ByGroup(sums.astype(np.float64), score)


def _sums(groups: NDArray[np.intp], *terms: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.bincount(groups, weights=each) for each in terms], axis=1)


_KNOWN: dict[Callable[[Any, Any], float], Callable[..., ByGroup | None]] = {
    mse: _error(np.square),
    rmse: _error(np.square, np.sqrt),
    mae: _error(np.abs),
    r2: _r2,
    accuracy: _accuracy,
    uar: _uar,
}
