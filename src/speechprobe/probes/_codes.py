"""Code lengths of a target under the predictions of a probe, in bits.

Classes: the probability that the probe gives to the true class. Numbers: the target is told to a
`precision`, as one of n_symbols steps between its smallest and largest value; the probability of a
step is that of a normal distribution around the prediction, cut to these steps.

Both are mixed with the uniform code, which has the weight 1 / (n_fit + 1): the probability of the
truth is (n_fit p + 1 / n_symbols) / (n_fit + 1). So a class that the probe has never seen, or a
probability of 0, costs at most log2(n_symbols (n_fit + 1)) bits, and a sure and right answer
log2(1 + 1 / n_fit) at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sklearn.base import clone, is_classifier, is_regressor

from speechprobe.probes._folds import group_codes
from speechprobe.probes.jobs import group_arguments, seeded

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.intp]
    Bits = NDArray[np.float64]


class ClassCode:
    """Code of classes.

    Parameters
    ----------
    target
        Class of each item, (n_items,).
    groups
        Group of each item, (n_items,), for a probe that holds some out itself; None for none.
    """

    def __init__(self, target: NDArray[Any], groups: Rows | None) -> None:
        self.target, self.groups = target, groups
        self.classes, self.codes = np.unique(target, return_inverse=True)
        self.n_symbols = len(self.classes)
        if self.n_symbols < 2:
            raise ValueError(f"the target has one class only, {target.tolist()[0]!r}")
        if np.issubdtype(target.dtype, np.floating) and (target != np.rint(target)).any():
            raise ValueError(
                "the target holds fractional numbers and the probe is a classifier; take a "
                "regressor, or bin the target"
            )

    def can_fit(self, rows: Rows) -> bool:
        """Say whether a classifier can be fitted on these items: two classes are needed."""
        return len(np.unique(self.codes[rows])) > 1

    def bits(self, probe: Any, X: NDArray[Any], fit: Rows, ask: Rows) -> Bits:
        """Return the bits of the items asked, under a probe fitted on the others."""
        fitted = _fitted(probe, X, self.target, self.groups, fit)
        known = np.searchsorted(self.classes, fitted.classes_)
        probability = np.zeros((len(ask), self.n_symbols))
        probability[:, known] = fitted.predict_proba(X[ask])
        return _mixed(probability[np.arange(len(ask)), self.codes[ask]], len(fit), self.n_symbols)

    def bits_without_features(self, fit: Rows, ask: Rows) -> Bits:
        """Return the bits under the class shares of the items fitted on."""
        share = np.bincount(self.codes[fit], minlength=self.n_symbols) / len(fit)
        return _mixed(share[self.codes[ask]], len(fit), self.n_symbols)


class NumberCode:
    """Code of numbers.

    Parameters
    ----------
    target
        Number of each item, (n_items,).
    precision
        The step to which numbers are told; a hundredth of their standard deviation by default.
    groups
        As for classes.
    """

    def __init__(self, target: NDArray[Any], precision: float | None, groups: Rows | None) -> None:
        self.target, self.groups = target.astype(np.float64), groups
        if not np.isfinite(self.target).all() or self.target.min() == self.target.max():
            raise ValueError("the target must hold finite numbers, and more than one value")
        self.spread = float(self.target.std())
        self.precision = self.spread / 100 if precision is None else float(precision)
        if not 0 < self.precision < np.inf:
            raise ValueError(f"precision must be positive, in the target's unit, got {precision!r}")
        self.lowest = float(self.target.min())
        self.n_symbols = int((self.target.max() - self.lowest) / self.precision) + 1
        if self.n_symbols < 2:
            raise ValueError(
                f"precision={precision!r} is wider than the range of the target, "
                f"{self.target.max() - self.lowest:.3g}: every item would be told alike"
            )

    def can_fit(self, rows: Rows) -> bool:
        """Say whether a regressor can be fitted on these items: two are needed."""
        return len(rows) > 1

    def predict(self, probe: Any, X: NDArray[Any], fit: Rows, ask: Rows) -> Bits:
        """Return what a probe fitted on some items predicts for others."""
        fitted = _fitted(probe, X, self.target, self.groups, fit)
        return np.asarray(fitted.predict(X[ask]), dtype=np.float64).ravel()

    def bits(self, centre: Bits, scale: float, n_fit: int, ask: Rows) -> Bits:
        """Return the bits of items under normal distributions around predictions."""
        scale = max(scale, self.precision / 10)  # a step is the finest that is told
        low = self.lowest + self.precision * self._steps(ask)
        edges = (low, low + self.precision)
        whole = (self.lowest, self.lowest + self.precision * self.n_symbols)
        inside = _mass(centre, scale, *whole)
        share = _mass(centre, scale, *edges) / np.maximum(inside, np.finfo(np.float64).tiny)
        return _mixed(np.minimum(share, 1.0), n_fit, self.n_symbols)

    def _steps(self, rows: Rows) -> Bits:
        steps = np.floor((self.target[rows] - self.lowest) / self.precision)
        return np.asarray(np.minimum(steps, self.n_symbols - 1))


def prepared(
    X: ArrayLike,
    y: ArrayLike,
    probe: Any,
    *,
    groups: ArrayLike | None,
    seed: int,
    precision: float | None,
) -> tuple[NDArray[Any], ClassCode | NumberCode, Any]:
    """Return features, the code of the target, and a seeded copy of the probe, all checked.

    Raises
    ------
    TypeError
        If the probe is neither a regressor nor a classifier with probabilities.
    ValueError
        If features or target have NaN, do not fit each other, or the target is constant.
    """
    features, target = np.asarray(X), np.asarray(y)
    if features.ndim < 2 or target.shape != features.shape[:1] or not len(target):
        raise ValueError(
            "X must be (n_items, n_dims) and y (n_items,), of the same items, got "
            f"{features.shape} and {target.shape}"
        )
    for name, side in (("X", features.reshape(len(features), -1)), ("y", target[:, None])):
        broken = pd.isna(side).any(axis=1)
        if broken.any():
            raise ValueError(f"{name} has missing values, first in row {int(broken.argmax())}")
    probe = _own_copy(probe, seed)
    known = None if groups is None else group_codes(groups, len(features))
    if is_classifier(probe):
        return features, ClassCode(target, known), probe
    if target.dtype.kind not in "iuf":
        raise ValueError(f"a regressor wants a target of numbers, got {target.tolist()[0]!r}")
    return features, NumberCode(target, precision, known), probe


def _fitted(
    probe: Any, X: NDArray[Any], target: NDArray[Any], groups: Rows | None, rows: Rows
) -> Any:
    own = None if groups is None or np.ptp(groups[rows]) == 0 else groups[rows]
    return probe.fit(X[rows], target[rows], **group_arguments(probe, own))


def _own_copy(probe: Any, seed: int) -> Any:
    if isinstance(probe, type) or not hasattr(probe, "__sklearn_tags__"):
        raise TypeError(
            "the probe must be a scikit-learn estimator such as probes.LogisticProbe(), got "
            f"{probe!r}"
        )
    if is_classifier(probe) and not hasattr(probe, "predict_proba"):
        raise TypeError(
            f"{type(probe).__name__} gives no probabilities (predict_proba), so it makes no code; "
            "take probes.LogisticProbe or wrap it in sklearn's CalibratedClassifierCV"
        )
    if not is_classifier(probe) and not is_regressor(probe):
        raise TypeError(
            f"the probe must be a classifier or a regressor, got {type(probe).__name__}"
        )
    return seeded(clone(probe), seed)


def _mass(centre: Bits, scale: float, low: Any, high: Any) -> Bits:
    """Return the mass of normal distributions between two values, exact in both tails."""
    a, b = (low - centre) / scale, (high - centre) / scale
    upper = a > 0  # there the masses below are nearly 1, and their difference would be rounding
    return np.asarray(np.where(upper, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a)))


def _mixed(probability: Bits, n_fit: int, n_symbols: int) -> Bits:
    return np.asarray(-np.log2((n_fit * probability + 1 / n_symbols) / (n_fit + 1)))
