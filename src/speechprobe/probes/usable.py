"""Usable information: how many bits of a label a family of probes gets from features.

I_V(X -> Y) = H_V(Y) - H_V(Y | X). H_V(Y | X) is the mean number of bits that the best probe of the
family V needs for the label given features, H_V(Y) what it needs without them. Both are measured on
groups that the probe was not fitted on. Unlike mutual information it depends on the family, and it
may grow by computation: a deeper layer may hold more of it.

Classes: H_V(Y) is the code by the class shares of the items fitted on. Numbers: normal
distributions, around the prediction or around the mean of the items fitted on, with the standard
deviation of the errors of the other folds; of a linear relation with correlation r it is about
-0.5 log2(1 - r^2). Entropies of numbers are those of the number told to a precision, which cancels
in their difference.

References
----------
Xu, Zhao, Song, Stewart, Ermon: "A theory of usable information under computational constraints",
ICLR 2020. Ethayarajh, Choi, Swayamdipta: "Understanding dataset difficulty with V-usable
information", ICML 2022 (information of single items).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.probes._codes import ClassCode, NumberCode, prepared
from speechprobe.probes._folds import folds_by_group

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.intp]
    Bits = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UsableInformation:
    """Usable information of a label in features, all in bits an item.

    Parameters
    ----------
    label_bits
        H_V(Y), without the features.
    remaining_bits
        H_V(Y | X), with them.
    pointwise
        Shape (n_items,): bits saved for each item; negative where the features mislead.

    Examples
    --------
    >>> found = UsableInformation(1.0, 0.25, np.array([1.0, 0.5]))
    >>> found.bits, found.share
    (0.75, 0.75)
    """

    label_bits: float
    remaining_bits: float
    pointwise: Bits

    @property
    def bits(self) -> float:
        """I_V(X -> Y); about 0 or below where the label is absent."""
        return self.label_bits - self.remaining_bits

    @property
    def share(self) -> float:
        """Part of the label's bits that the features save; of classes, at most 1."""
        return self.bits / self.label_bits

    def __repr__(self) -> str:
        return (
            f"UsableInformation({self.bits:.3f} of {self.label_bits:.3f} bits an item, "
            f"{len(self.pointwise)} items)"
        )


def usable_information(
    X: ArrayLike,
    y: ArrayLike,
    *,
    probe: Any,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    precision: float | None = None,
    seed: int = 0,
) -> UsableInformation:
    """Return the usable information of a target in features, held out by group.

    Parameters
    ----------
    X, y
        Features (n_items, n_dims) and target (n_items,): classes for a classifier, numbers for a
        regressor.
    probe
        A classifier with `predict_proba`, or a regressor: the family. It is cloned, never fitted
        itself.
    groups
        Group of each item, (n_items,); None says that items are independent.
    n_folds
        Number of folds.
    precision
        Step to which numbers are told, in their unit; a hundredth of their standard deviation by
        default.
    seed
        Of the probe, and of the folds where there are no groups.

    Raises
    ------
    TypeError
        If the probe is neither a regressor nor a classifier with probabilities.
    ValueError
        If there are NaN, one class or one value only (also to fit on in a fold), shapes do not fit,
        or there are fewer groups than folds.

    Notes
    -----
    A probe that is fitted too closely is sure and wrong on other groups, and gets less than 0: bits
    count calibration, where accuracy does not.

    Examples
    --------
    >>> from speechprobe.probes import LogisticProbe
    >>> x = np.random.default_rng(0).normal(size=(400, 3))
    >>> speaker = np.arange(400) % 20
    >>> found = usable_information(x, x[:, 0] > 0, probe=LogisticProbe(C=1.0), groups=speaker)
    >>> 0.7 < found.bits < found.label_bits
    True
    """
    features, code, probe = prepared(X, y, probe, groups=groups, seed=seed, precision=precision)
    folds = folds_by_group(groups, len(features), n_folds, seed=seed)
    for number, (fit, _) in enumerate(folds):
        if not code.can_fit(fit):
            raise ValueError(f"fold {number} has one class only to fit on; use other folds")
    if isinstance(code, ClassCode):
        with_them, without = _of_classes(features, code, probe, folds)
    else:
        with_them, without = _of_numbers(features, code, probe, folds)
    return UsableInformation(float(without.mean()), float(with_them.mean()), without - with_them)


def _of_classes(
    features: NDArray[Any], code: ClassCode, probe: Any, folds: list[tuple[Rows, Rows]]
) -> tuple[Bits, Bits]:
    """Return the bits of each item with and without the features."""
    with_them, without = np.empty((2, len(features)))
    for fit, ask in folds:
        with_them[ask] = code.bits(probe, features, fit, ask)
        without[ask] = code.bits_without_features(fit, ask)
    return with_them, without


def _of_numbers(
    features: NDArray[Any], code: NumberCode, probe: Any, folds: list[tuple[Rows, Rows]]
) -> tuple[Bits, Bits]:
    """Return the bits of each item with and without the features."""
    predicted, mean = np.empty((2, len(features)))
    for fit, ask in folds:
        predicted[ask] = code.predict(probe, features, fit, ask)
        mean[ask] = code.target[fit].mean()
    with_them, without = np.empty((2, len(features)))
    for fit, ask in folds:  # `fit` is the items held out in the other folds
        for bits, centre in ((with_them, predicted), (without, mean)):
            scale = float(np.sqrt(np.mean((code.target[fit] - centre[fit]) ** 2)))
            bits[ask] = code.bits(centre[ask], scale, len(fit), ask)
    return with_them, without
