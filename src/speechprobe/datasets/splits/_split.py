"""What a split is, whether it is sound, and how it is saved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from speechprobe._files import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

_FORM = "speechprobe split 1"
_LISTED = 20  # groups in a message


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

    def save(self, path: str | Path, table: pd.DataFrame, *, groups: str | None) -> None:
        """Write the split as a JSON file of utterance ids, with a hash of them.

        Parameters
        ----------
        path
            The file to write.
        table
            The items that the split was made of, indexed by id.
        groups
            Label that does not straddle; `load` checks it again.

        Raises
        ------
        ValueError
            If the split is not sound, or the ids of the table are not unique.

        Examples
        --------
        >>> import tempfile
        >>> table = pd.DataFrame({"speaker": list("ab")}, index=["u1", "u2"])
        >>> split = Split(np.array([0]), np.array([], int), np.array([1]))
        >>> split.save(f"{tempfile.mkdtemp()}/split.json", table, groups="speaker")
        """
        check(self, table, groups=groups)
        if not table.index.is_unique:
            raise ValueError("the ids of the table are not unique, so they cannot tell its rows")
        ids = {name: table.index[rows].tolist() for name, rows in self._asdict().items()}
        facts = {"form": _FORM, "groups": groups, "sha256": _digest(ids, groups), **ids}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as partial:
            partial.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")


def load(path: str | Path, table: pd.DataFrame) -> Split:
    """Return a saved split as rows of a table, which may hold its items in another order.

    Items of the table that the split does not name are in no part.

    Parameters
    ----------
    path
        A file written by `Split.save`.
    table
        The items, indexed by id.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no saved split or was changed since, the table lacks an item of it, or a
        group straddles in this table.

    Examples
    --------
    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/split.json"
    >>> table = pd.DataFrame({"speaker": list("abc")}, index=["u1", "u2", "u3"])
    >>> split = Split(np.array([0]), np.array([1]), np.array([2]))
    >>> split.save(path, table, groups="speaker")
    >>> load(path, table.iloc[::-1]).test
    array([0])
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; Split.save writes one")
    try:
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        ids = {name: [str(each) for each in facts[name]] for name in Split._fields}
        groups, form, digest = facts["groups"], facts["form"], facts["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a split written by Split.save, got {error!r}"
        ) from error
    if form != _FORM or digest != _digest(ids, groups):
        raise ValueError(f"{path}: the ids do not fit the hash beside them; the file was changed")
    known = table.index.astype(str)
    if not known.is_unique:
        raise ValueError("the ids of the table are not unique, so they cannot tell its rows")
    rows = {
        name: known.get_indexer(pd.Index(each, dtype=known.dtype)) for name, each in ids.items()
    }
    lost = [key for name in ids for key, row in zip(ids[name], rows[name], strict=True) if row < 0]
    if lost:
        raise ValueError(
            f"{path}: the table lacks {len(lost)} items of the split, first {lost[0]!r}; "
            "load the corpus that the split was made of"
        )
    return check(Split(**rows), table, groups=groups)


def _digest(ids: dict[str, list[Any]], groups: str | None) -> str:
    told = json.dumps([groups, *(list(map(str, ids[name])) for name in Split._fields)])
    return hashlib.sha256(told.encode()).hexdigest()


def check(split: Split, table: pd.DataFrame, *, groups: str | None) -> Split:
    """Return the split if it is sound.

    Raises
    ------
    ValueError
        If an item or a group stands on two sides, train or test is empty, or a part holds
        anything but different row numbers of the table.
    KeyError
        If there is no such label.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("aab")})
    >>> check(Split(np.array([0]), np.array([], int), np.array([1, 2])), table, groups="speaker")
    Traceback (most recent call last):
        ...
    ValueError: 1 groups of 'speaker' straddle the split: 'a' (train and test)
    """
    parts = [_as_rows(part, name, len(table)) for name, part in split._asdict().items()]
    if any(part is not given for part, given in zip(parts, split, strict=True)):
        split = Split(*parts)
    for name in ("train", "test"):
        if not len(getattr(split, name)):
            raise ValueError(f"the {name} part of the split is empty")
    codes = group_codes(table, groups)
    present = np.zeros((len(Split._fields), codes.max() + 1), dtype=bool)
    for side, rows in zip(present, split, strict=True):
        side[codes[rows]] = True
    straddling = np.flatnonzero(present.sum(0) > 1)
    if len(straddling):
        values = (table.index if groups is None else table[groups]).to_numpy()
        listed = ", ".join(
            f"{values[codes == code][:1].tolist()[0]!r} "
            f"({' and '.join(np.array(Split._fields)[present[:, code]])})"
            for code in straddling[:_LISTED]
        )
        kind = "items" if groups is None else f"groups of {groups!r}"
        more = ", ..." if len(straddling) > _LISTED else ""
        raise ValueError(f"{len(straddling)} {kind} straddle the split: {listed}{more}")
    return split


def _as_rows(part: Any, name: str, n_rows: int) -> Rows:
    """Return the row numbers of a part; the part itself where it is such an array."""
    rows = np.asarray(part)
    if not rows.size and rows.dtype != np.intp:
        return np.empty(0, dtype=np.intp)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"the {name} part of a split holds row numbers, got {rows.dtype} of shape "
            f"{rows.shape}; of a mask give np.flatnonzero(mask)"
        )
    if rows.size and (rows.min() < 0 or rows.max() >= n_rows):
        raise ValueError(
            f"the {name} part of the split has rows {rows.min()} to {rows.max()}, the table has "
            f"rows 0 to {n_rows - 1}"
        )
    if rows.size and np.bincount(rows).max() > 1:
        raise ValueError(f"the {name} part of the split has a row twice")
    return rows.astype(np.intp, copy=False)


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
    codes = pd.factorize(label_values(table, groups))[0]
    if (codes < 0).any():
        lost = table.index[codes < 0]
        raise ValueError(
            f"{len(lost)} of {len(table)} items have no {groups!r}, first {lost[0]!r}; "
            "select those that have one"
        )
    return codes.astype(np.intp)


def label_values(table: pd.DataFrame, name: str) -> NDArray[Any]:
    if name not in table:
        raise KeyError(f"no label {name!r} among {list(table.columns)}")
    return table[name].to_numpy()
