"""Splits: which items train, validate and test; no group ever straddles them.

Conventions
-----------
A `Split` holds three arrays of row positions. Probes are fitted on `train` to be chosen on
`validation`, and fitted again on both to be scored on `test`. `groups` is the name of a label
(speaker by default), or None where items are independent and you say so. Every function raises
if a group would stand on two sides. The same table and seed give the same split.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]


class Split(NamedTuple):
    """Row positions of the three parts.

    Parameters
    ----------
    train, validation, test
        Integer arrays; `validation` may be empty.
    """

    train: Rows
    validation: Rows
    test: Rows


def by_group(
    table: pd.DataFrame,
    *,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    groups: str | None = "speaker",
    seed: int = 0,
) -> Split:
    """Split groups at random into train, validation and test.

    Parameters
    ----------
    table
        The items, one a row (`corpus.table` or `features.items`).
    fractions
        Shares of the groups for train, validation, test; they sum to 1.
    groups
        Label that must not straddle.
    seed
        Seed of the shuffle of groups.

    Raises
    ------
    ValueError
        If the fractions do not sum to 1, or there are too few groups for the wanted parts.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("aabbccddee")})
    >>> split = by_group(table)
    >>> len(split.train), len(split.validation), len(split.test)
    (6, 2, 2)
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"fractions must be three shares that sum to 1, got {tuple(fractions)}")
    codes = group_codes(table, groups)
    order = np.random.default_rng(seed).permutation(codes.max() + 1)
    counts = _share_out(shares, len(order), groups)
    parts = np.split(order, np.cumsum(counts)[:2])
    split = Split(*(np.flatnonzero(np.isin(codes, part)) for part in parts))
    return check(split, table, groups=groups)


def _share_out(shares: NDArray[np.float64], n_groups: int, groups: str | None) -> Rows:
    """Return how many groups each part gets: by largest remainder, none that is wanted empty."""
    wanted = shares > 0
    if wanted.sum() > n_groups:
        raise ValueError(f"{n_groups} groups of {groups!r} are too few for {wanted.sum()} parts")
    exact = shares * n_groups
    counts = np.floor(exact + 1e-9).astype(np.intp)
    rest = np.argsort(counts - exact, kind="stable")[: n_groups - counts.sum()]
    counts[rest] += 1
    for part in np.flatnonzero(wanted & (counts == 0)):
        counts[np.argmax(counts)] -= 1
        counts[part] = 1
    return counts


def k_fold(
    table: pd.DataFrame,
    *,
    n_folds: int = 5,
    groups: str | None = "speaker",
    stratify: str | None = None,
) -> list[Split]:
    """Split groups into folds of about equal size; each fold is the test part once.

    The fold after the test fold is the validation part, the rest trains. The assignment is
    deterministic (scikit-learn's GroupKFold, or StratifiedGroupKFold with `stratify`).

    Parameters
    ----------
    table
        The items, one a row.
    n_folds
        Number of folds, at least 2.
    groups
        Label that must not straddle.
    stratify
        Label whose classes each fold should hold in like shares.

    Raises
    ------
    ValueError
        If there are fewer groups than folds.

    Examples
    --------
    >>> folds = k_fold(pd.DataFrame({"speaker": list("aabbcc")}), n_folds=3)
    >>> [fold.test.tolist() for fold in folds]
    [[4, 5], [2, 3], [0, 1]]
    """
    codes = group_codes(table, groups)
    n_groups = int(codes.max()) + 1
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {n_folds}")
    if n_groups < n_folds:
        raise ValueError(
            f"{n_folds} folds need at least {n_folds} groups of {groups!r}, but there are "
            f"{n_groups}; lower n_folds or choose other groups"
        )
    classes = None if stratify is None else pd.factorize(_column(table, stratify))[0]
    tests = _test_folds(codes, classes, n_folds)
    return [_fold(tests, k, table, groups) for k in range(n_folds)]


def _test_folds(codes: Rows, classes: Rows | None, n_folds: int) -> list[Rows]:
    """Return the test rows of each fold; stratified only where that leaves no fold empty."""
    if classes is not None and np.bincount(classes).max() >= n_folds:
        with warnings.catch_warnings():
            # A class with fewer items than folds; probing warns of what that does to a fold.
            warnings.simplefilter("ignore")
            parts = StratifiedGroupKFold(n_folds).split(codes, classes, groups=codes)
            tests = [test for _, test in parts]
        if all(map(len, tests)):
            return tests
    return [test for _, test in GroupKFold(n_folds).split(codes, groups=codes)]


def _fold(tests: list[Rows], k: int, table: pd.DataFrame, groups: str | None) -> Split:
    # With two folds there is no third part to validate on.
    after = (k + 1) % len(tests)
    validation = tests[after] if len(tests) > 2 else np.empty(0, dtype=np.intp)
    used = np.concatenate([tests[k], validation])
    train = np.setdiff1d(np.arange(len(table)), used)
    return check(Split(train, validation, tests[k]), table, groups=groups)


def leave_one_group_out(table: pd.DataFrame, *, groups: str = "speaker") -> list[Split]:
    """Split so that each group is the test part once.

    Examples
    --------
    >>> len(leave_one_group_out(pd.DataFrame({"speaker": list("aabbcc")})))
    3
    """
    return k_fold(table, n_folds=int(group_codes(table, groups).max()) + 1, groups=groups)


def predefined(
    table: pd.DataFrame,
    *,
    column: str,
    groups: str | None = "speaker",
    train: str | Sequence[str] = "train",
    validation: str | Sequence[str] = ("validation", "dev"),
    test: str | Sequence[str] = "test",
) -> Split:
    """Split by a label that says where an item belongs, as official subsets do.

    Parameters
    ----------
    table
        The items, one a row.
    column
        The label; its values are compared with the three lists.
    groups
        Label that must not straddle.
    train, validation, test
        Values that mean each part. Items with another value are left out.

    Raises
    ------
    ValueError
        If no item trains or none tests, or a group straddles.
    KeyError
        If there is no such label.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("abc"), "part": ["train", "train", "test"]})
    >>> predefined(table, column="part").test.tolist()
    [2]
    """
    values = _column(table, column)
    wanted = [[part] if isinstance(part, str) else list(part) for part in (train, validation, test)]
    parts = [np.flatnonzero(np.isin(values, names)) for names in wanted]
    for name, part in zip(Split._fields, parts, strict=True):
        if name != "validation" and not len(part):
            raise ValueError(
                f"no item has {column!r} for the {name} part; found {sorted(set(map(str, values)))}"
            )
    return check(Split(*parts), table, groups=groups)


def with_validation(
    split: Split,
    table: pd.DataFrame,
    *,
    groups: str | None = "speaker",
    fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Return a split whose validation part is drawn by group from its train part, if it has none.

    With fewer than two groups in train the split is returned as it is.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("abcde"), "part": ["train"] * 4 + ["test"]})
    >>> split = with_validation(predefined(table, column="part"), table)
    >>> len(split.train), len(split.validation)
    (3, 1)
    """
    codes = group_codes(table, groups)[split.train]
    present = np.unique(codes)
    if len(split.validation) or len(present) < 2:
        return split
    drawn = np.random.default_rng(seed).permutation(present)
    n_drawn = min(max(1, round(fraction * len(present))), len(present) - 1)
    held_out = np.isin(codes, drawn[:n_drawn])
    return Split(split.train[~held_out], split.train[held_out], split.test)


def without_validation(split: Split, table: pd.DataFrame, *, groups: str | None) -> Split:
    """Return a split whose validation part trains.

    Examples
    --------
    >>> split = Split(np.array([0]), np.array([1]), np.array([2]))
    >>> without_validation(split, pd.DataFrame({"speaker": list("abc")}), groups="speaker").train
    array([0, 1])
    """
    train = np.concatenate([split.train, split.validation])
    return check(Split(train, split.validation[:0], split.test), table, groups=groups)


def check(split: Split, table: pd.DataFrame, *, groups: str | None) -> Split:
    """Return the split if it is sound.

    Raises
    ------
    ValueError
        If an item or a group stands on two sides, or train or test is empty.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("aab")})
    >>> check(Split(np.array([0]), np.array([], int), np.array([1, 2])), table, groups="speaker")
    Traceback (most recent call last):
        ...
    ValueError: 1 groups of 'speaker' straddle the split: 'a' (train and test)
    """
    for name in ("train", "test"):
        if not len(getattr(split, name)):
            raise ValueError(f"the {name} part of the split is empty")
    codes = group_codes(table, groups)
    sides: dict[int, list[str]] = {}
    for name, rows in zip(Split._fields, split, strict=True):
        for code in np.unique(codes[rows]):
            sides.setdefault(int(code), []).append(name)
    straddling = {code: names for code, names in sides.items() if len(names) > 1}
    if straddling:
        values = (table.index if groups is None else table[groups]).to_numpy()
        listed = ", ".join(
            f"{values[codes == code][:1].tolist()[0]!r} ({' and '.join(names)})"
            for code, names in list(straddling.items())[:5]
        )
        kind = "items" if groups is None else f"groups of {groups!r}"
        raise ValueError(f"{len(straddling)} {kind} straddle the split: {listed}")
    return split


def group_codes(table: pd.DataFrame, groups: str | None) -> Rows:
    """Return a whole number for the group of each row, shape (n_items,), from 0.

    Raises
    ------
    KeyError
        If there is no such label.
    ValueError
        If a row has no group.

    Examples
    --------
    >>> group_codes(pd.DataFrame({"speaker": ["b", "a", "b"]}), "speaker")
    array([0, 1, 0])
    """
    if groups is None:
        return np.arange(len(table))
    codes = pd.factorize(_column(table, groups))[0]
    if (codes < 0).any():
        lost = table.index[codes < 0]
        raise ValueError(
            f"{len(lost)} of {len(table)} items have no {groups!r}, first {lost[0]!r}; "
            "select those that have one"
        )
    return codes.astype(np.intp)


def _column(table: pd.DataFrame, name: str) -> NDArray[Any]:
    if name not in table:
        raise KeyError(f"no label {name!r} among {list(table.columns)}")
    return table[name].to_numpy()
