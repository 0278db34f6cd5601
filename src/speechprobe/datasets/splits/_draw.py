"""Draws splits at random, or in turns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from speechprobe.datasets.splits._split import Split, check, group_codes, label_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

_N_DRAWS = 1000
_MOST_CLASSES = 10  # of a numeric label; more values are a quantity


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
    shares = _as_shares(fractions)
    order = np.random.default_rng(seed).permutation(group_codes(table, groups).max() + 1)
    return _of_order(order, _share_out(shares, len(order), groups), table, groups)


def _as_shares(fractions: Sequence[float]) -> NDArray[np.float64]:
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"fractions must be three shares that sum to 1, got {tuple(fractions)}")
    return shares


def _of_order(order: Rows, counts: Rows, table: pd.DataFrame, groups: str | None) -> Split:
    codes = group_codes(table, groups)
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


def stratified_by_group(
    table: pd.DataFrame,
    *,
    label: str,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    groups: str | None = "speaker",
    seed: int = 0,
) -> Split:
    """Split groups into train, validation and test so that each part has like shares of a label.

    Of 1,000 draws of `by_group`'s kind, the one whose parts are nearest to their fraction of each
    class. Whole groups move, so with few groups the shares can only come near.

    Parameters
    ----------
    table
        The items, one a row.
    label
        The label; numbers with more than ten values are cut into five classes of equal size.
    fractions
        Shares of the groups, and of the items of each class, for train, validation, test.
    groups
        Label that must not straddle.
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If the fractions do not sum to 1, there are too few groups, or an item has no such label.
    KeyError
        If there is no such label.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("aabbccddee"), "gender": list("FFMMFFMMFF")})
    >>> split = stratified_by_group(table, label="gender", fractions=(0.6, 0.0, 0.4))
    >>> sorted(table["gender"].iloc[split.test])
    ['F', 'F', 'M', 'M']
    """
    shares = _as_shares(fractions)
    codes = group_codes(table, groups)
    counts = _share_out(shares, int(codes.max()) + 1, groups)
    held = pd.crosstab(codes, _classes(table, label)).to_numpy()  # (n_groups, n_classes)
    generator = np.random.default_rng(seed)
    draws = [generator.permutation(len(held)) for _ in range(_N_DRAWS)]
    wanted = shares[:, None] * held.sum(0)

    def distance(order: Rows) -> float:
        parts = np.split(held[order], np.cumsum(counts)[:2])
        got = np.stack([part.sum(0) for part in parts])
        return float((np.abs(got - wanted) / held.sum(0)).sum())

    return _of_order(min(draws, key=distance), counts, table, groups)


def _classes(table: pd.DataFrame, label: str) -> NDArray[np.intp]:
    values = pd.Series(label_values(table, label))
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > _MOST_CLASSES:
        codes = pd.qcut(values, 5, labels=False, duplicates="drop").to_numpy()
        missing = values.isna().to_numpy()
    else:
        codes = pd.factorize(values)[0]
        missing = codes < 0
    if missing.any():
        raise ValueError(
            f"{missing.sum()} of {len(table)} items have no {label!r}, "
            f"first {table.index[missing][0]!r}; select those that have one"
        )
    return codes.astype(np.intp)


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
        Label whose classes each fold should hold in like shares, as in `stratified_by_group`;
        without effect where it would leave a fold empty, or every class is smaller than the folds
        are many.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, or an item has no such label.

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
    classes = None if stratify is None else _classes(table, stratify)
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
    is_left = np.ones(len(table), dtype=bool)
    is_left[tests[k]] = is_left[validation] = False
    return check(Split(np.flatnonzero(is_left), validation, tests[k]), table, groups=groups)


def leave_one_group_out(table: pd.DataFrame, *, groups: str = "speaker") -> list[Split]:
    """Split so that each group is the test part once.

    Examples
    --------
    >>> len(leave_one_group_out(pd.DataFrame({"speaker": list("aabbcc")})))
    3
    """
    n_groups = int(group_codes(table, groups).max()) + 1
    if n_groups < 2:
        raise ValueError(f"there is one group of {groups!r} only; leaving it out leaves nothing")
    return k_fold(table, n_folds=n_groups, groups=groups)


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
    >>> from speechprobe.datasets.splits import predefined
    >>> table = pd.DataFrame({"speaker": list("abcde"), "part": ["train"] * 4 + ["test"]})
    >>> split = with_validation(predefined(table, column="part"), table)
    >>> len(split.train), len(split.validation)
    (3, 1)
    """
    codes = group_codes(table, groups)[split.train]
    present = np.unique(codes)
    if len(split.validation) or len(present) < 2:
        return check(split, table, groups=groups)
    drawn = np.random.default_rng(seed).permutation(present)
    n_drawn = min(max(1, round(fraction * len(present))), len(present) - 1)
    held_out = np.isin(codes, drawn[:n_drawn])
    drawn_split = Split(split.train[~held_out], split.train[held_out], split.test)
    return check(drawn_split, table, groups=groups)


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
