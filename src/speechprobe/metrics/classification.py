"""Metrics of classification.

Conventions: `truth` and `prediction` are class labels (n_items,), strings or whole numbers.
Scores are in [0, 1], higher is better. Chance is 1 / n_classes for `uar` whatever the class sizes,
and the share of the largest class for `accuracy`; for `macro_f1` it depends on the sizes.

Items of a class that the probe never trained on are wrong by necessity: `accuracy` counts them as
errors, and to `uar` and `macro_f1` the class gives 0. A class that the scored items lack is no
class of theirs, which makes `uar` and `macro_f1` means over fewer classes, also in a resample of an
interval. `class_cautions` names such classes; `confusion` shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import accuracy_score

from speechprobe.metrics._check import classes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def accuracy(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Share of items whose class is right.

    Where one class is most of the items, naming it always is nearly right: prefer `uar`.

    Examples
    --------
    >>> accuracy(["F", "M", "M", "M"], ["M", "M", "M", "M"])
    0.75
    """
    return float(accuracy_score(*classes(truth, prediction)))


def uar(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Unweighted average recall: the mean over classes of the share of its items found.

    The classes are those of `truth`; a class that is only ever predicted lowers the recall of the
    others and counts no further. Also called balanced accuracy.

    References
    ----------
    Schuller, Steidl, Batliner: "The INTERSPEECH 2009 emotion challenge", Interspeech 2009.

    Examples
    --------
    >>> uar(["F", "M", "M", "M"], ["M", "M", "M", "M"])
    0.5
    """
    a, b = classes(truth, prediction)
    which = np.unique(a, return_inverse=True)[1]
    return float(np.mean(np.bincount(which, weights=a == b) / np.bincount(which)))


def macro_f1(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean over classes of F1 = 2 * right / (items of the class + predictions of the class).

    The classes are those of `truth`, as for `uar`; one that is never predicted has 0. A class
    that is only ever predicted lowers the F1 of the others and counts no further, where
    scikit-learn's `f1_score(average="macro")` counts it as one more class with 0: ours is higher
    there by the factor (classes of either side) / (classes of truth).

    References
    ----------
    Sokolova, Lapalme: "A systematic analysis of performance measures for classification tasks",
    Information Processing and Management 45, 2009.

    Examples
    --------
    >>> round(macro_f1(["F", "M", "M", "M"], ["M", "M", "M", "M"]), 4)
    0.4286
    """
    a, b = classes(truth, prediction)
    names, which = np.unique(a, return_inverse=True)
    right = np.bincount(which, weights=a == b)
    n_predicted = np.array([np.count_nonzero(b == name) for name in names])
    return float(np.mean(2 * right / (np.bincount(which) + n_predicted)))
