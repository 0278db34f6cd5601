"""Standardisation that a unit which hardly ever fires cannot blow up.

Of n items none lies more than sqrt(n - 1) standard deviations from their mean. A held-out item can:
where a unit was silent for all items fitted on but for a trace, one that fires lies millions of
deviations away, and a linear probe then predicts millions. What is standardised is therefore kept
within the farthest that an item fitted on could have been, and never within less than ten
deviations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST_BOUND = 10.0
VALUES_AT_ONCE = 1 << 21  # else scikit-learn holds the features three times over


def bound_of(n_items: int) -> float:
    """Return how many standard deviations a standardised value may lie from the mean."""
    return max(LEAST_BOUND, math.sqrt(n_items))


class BoundedScaler(StandardScaler):
    """scikit-learn's `StandardScaler`, its output kept within what the items fitted on could reach.

    Examples
    --------
    >>> x = np.zeros((50, 1))
    >>> x[0] = 1e-6
    >>> scaler = BoundedScaler().fit(x)
    >>> bool(np.array_equal(scaler.transform(x), StandardScaler().fit_transform(x)))
    True
    >>> StandardScaler().fit(x).transform([[1.0]]).round().item(), scaler.transform([[1.0]]).item()
    (7142857.0, 10.0)
    """

    def fit(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> BoundedScaler:
        """Take mean and deviation of features (n_items, n_dims), in float64, by parts."""
        if sample_weight is not None or not isinstance(X, np.ndarray):
            super().fit(X, y, sample_weight)
            return self
        self._reset()
        n_rows = max(1, VALUES_AT_ONCE // max(1, X[:1].size))
        for start in range(0, max(1, len(X)), n_rows):
            self.partial_fit(X[start : start + n_rows].astype(np.float64, copy=False))
        return self

    def transform(self, X: ArrayLike, copy: bool | None = None) -> NDArray[Any]:
        """Return features (n_items, n_dims) in standard deviations, within the bound."""
        scaled: NDArray[Any] = super().transform(X, copy=copy)
        return self._bounded(scaled)

    def transform_part(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the same of rows that have been checked, in float64 whatever they are in."""
        scaled: NDArray[np.float64] = X.astype(np.float64)
        scaled -= self.mean_
        scaled /= self.scale_
        return self._bounded(scaled)

    def _bounded(self, scaled: NDArray[Any]) -> NDArray[Any]:
        bound = bound_of(int(np.max(self.n_samples_seen_)))
        return np.clip(scaled, -bound, bound, out=scaled)
