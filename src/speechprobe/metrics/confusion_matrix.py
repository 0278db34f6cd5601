"""The confusion matrix: which class is taken for which.

Convention: rows are the truth, columns the prediction, as in scikit-learn. The labels stand beside
the counts, so that the two cannot slip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.metrics._check import classes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of items by true and predicted class.

    Parameters
    ----------
    labels
        The classes, in the order of rows and columns.
    counts
        Items of row's class that were predicted as column's, (n_classes, n_classes), read-only.

    Examples
    --------
    >>> Confusion(("F", "M"), np.array([[3, 1], [0, 4]])).by_class().round(2)
           n_items  n_predicted  recall  precision    f1
    class
    F            4            3    0.75        1.0  0.86
    M            4            5    1.00        0.8  0.89
    """

    labels: tuple[Any, ...]
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.int64)
        if counts.shape != (len(self.labels), len(self.labels)):
            raise ValueError(
                f"{len(self.labels)} labels want counts ({len(self.labels)}, {len(self.labels)}), "
                f"got {counts.shape}"
            )
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)

    @property
    def absent(self) -> tuple[Any, ...]:
        """Classes that no item has; nothing is known of their recall."""
        totals = self.counts.sum(axis=1)
        return tuple(label for label, n in zip(self.labels, totals, strict=True) if not n)

    def shares(self) -> NDArray[np.float64]:
        """Return the counts as shares of each true class; rows of absent classes are NaN."""
        return _ratio(self.counts, self.counts.sum(axis=1, keepdims=True))

    def table(self) -> pd.DataFrame:
        """Return the counts with the labels as index (truth) and columns (prediction)."""
        index = pd.Index(self.labels, name="truth")
        return pd.DataFrame(self.counts, index, pd.Index(self.labels, name="prediction"))

    def by_class(self) -> pd.DataFrame:
        """Return items, predictions, recall, precision and F1 of each class.

        Recall is NaN for a class without items, precision for one without predictions, F1 for
        one without either.
        """
        right = np.diag(self.counts)
        n_items, n_predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        columns = {
            "n_items": n_items,
            "n_predicted": n_predicted,
            "recall": _ratio(right, n_items),
            "precision": _ratio(right, n_predicted),
            "f1": _ratio(2 * right, n_items + n_predicted),
        }
        return pd.DataFrame(columns, index=pd.Index(self.labels, name="class"))


def confusion(
    truth: ArrayLike, prediction: ArrayLike, *, labels: Sequence[Any] | None = None
) -> Confusion:
    """Return how many items of each class were predicted as which.

    Parameters
    ----------
    truth, prediction
        Class labels, (n_items,).
    labels
        The classes in the order wanted, which may name absent ones; None: those of either side,
        sorted.

    Returns
    -------
    confusion
        Counts with their labels; see `Confusion`.

    Raises
    ------
    ValueError
        If `labels` names a class twice or lacks one that occurs.

    Examples
    --------
    >>> confusion(["F", "F", "M"], ["F", "M", "M"]).table()
    prediction  F  M
    truth
    F           1  1
    M           0  1
    """
    a, b = classes(truth, prediction)
    found = np.unique(np.concatenate([a, b])).tolist()
    names = found if labels is None else np.asarray(labels).tolist()
    if len(set(names)) < len(names):
        raise ValueError(f"labels names a class twice: {names}")
    unknown = [name for name in found if name not in set(names)]
    if unknown:
        raise ValueError(f"labels {names} lack classes that occur: {unknown}")
    rows, columns = (pd.Index(names).get_indexer(pd.Index(side.tolist())) for side in (a, b))
    flat = np.bincount(rows * len(names) + columns, minlength=len(names) ** 2)
    return Confusion(tuple(names), flat.reshape(len(names), len(names)))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return part / whole, NaN where whole is 0."""
    share = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
