"""Metrics of classification.

Conventions: `truth` and `prediction` are class labels (n_items,), strings or whole numbers.
Scores are in [0, 1], higher is better. Chance is 1 / n_classes for `uar` whatever the class sizes,
and the share of the largest class for `accuracy`.
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
