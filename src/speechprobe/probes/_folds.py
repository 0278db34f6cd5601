"""Folds by group for what is fitted on one part of the items and measured on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.intp]


def group_codes(groups: ArrayLike, n_items: int) -> Rows:
    """Return a whole number for the group of each item, in sorted order, or raise ValueError."""
    values = np.asarray(groups)
    if values.shape != (n_items,):
        raise ValueError(f"groups must be ({n_items},), one an item, got {values.shape}")
    codes = pd.factorize(values, sort=True)[0]
    if (codes < 0).any():
        raise ValueError(f"{int((codes < 0).sum())} items have no group")
    return codes.astype(np.intp)


def folds_by_group(
    groups: ArrayLike | None, n_items: int, n_folds: int, *, seed: int = 0
) -> list[tuple[Rows, Rows]]:
    """Return (rows to fit on, rows held out) of each fold.

    Parameters
    ----------
    groups
        Group of each item; None says that items are independent, and draws folds by `seed`. Folds
        by group depend on no seed.
    n_items
        Number of items.
    n_folds
        Number of folds, at least 2 and at most the number of groups.
    seed
        Of the draw.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, or an item has no group.

    Examples
    --------
    >>> [held.tolist() for _, held in folds_by_group(["a", "b", "a"], 3, 2)]
    [[0, 2], [1]]
    """
    codes = np.arange(n_items) if groups is None else group_codes(groups, n_items)
    n_groups = len(np.unique(codes))
    if not 2 <= n_folds <= n_groups:
        kind = "items" if groups is None else "groups"
        raise ValueError(
            f"n_folds must be from 2 to the number of {kind}, which is {n_groups}; got {n_folds}"
        )
    rows = np.zeros((n_items, 1))
    if groups is None:
        return list(KFold(n_folds, shuffle=True, random_state=seed).split(rows))
    return list(GroupKFold(n_folds).split(rows, groups=codes))
