"""The train, validation and test rows of a split, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

NAMES = ("train", "validation", "test")


class Parts(NamedTuple):
    """Row positions of the three parts; `test` may be empty."""

    train: Rows
    validation: Rows
    test: Rows


def parts_of(split: Any, n_items: int, *, test: bool) -> Parts:
    """Return the parts of a split.

    Parameters
    ----------
    split
        An object with `train`, `validation` and `test`, or a tuple of the three, each row positions
        or a mask (n_items,). Where no test part is asked for, it may be left out or empty.
    n_items
        Number of items.
    test
        Whether a test part is needed.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If a needed part is empty, a row is out of range or in two parts.
    """
    needed = NAMES if test else NAMES[:2]
    if all(hasattr(split, name) for name in needed):
        given = [getattr(split, name, ()) for name in NAMES]
    elif isinstance(split, tuple | list) and len(needed) <= len(split) <= len(NAMES):
        given = [*split, ()][: len(NAMES)]
    else:
        raise TypeError(
            f"a split has {', '.join(needed)} as attributes or is a tuple of these "
            f"{len(needed)} arrays of rows, got {type(split).__name__}"
        )
    rows = [_rows(part, n_items, name) for part, name in zip(given, NAMES, strict=True)]
    for part, name in zip(rows, needed, strict=False):
        if not len(part):
            raise ValueError(f"the {name} part of the split is empty")
    shared = np.flatnonzero(np.bincount(np.concatenate(rows), minlength=n_items) > 1)
    if len(shared):
        raise ValueError(
            f"{len(shared)} rows stand in two parts of the split, or twice in one, such as row "
            f"{shared[0]}; every row belongs to one part"
        )
    return Parts(*rows)


def _rows(part: Any, n_items: int, name: str) -> Rows:
    values = np.asarray(part)
    if values.dtype == bool:
        if values.shape != (n_items,):
            raise ValueError(f"the {name} mask must be ({n_items},), got {values.shape}")
        return np.flatnonzero(values)
    if not values.size:
        return np.empty(0, np.intp)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"the {name} part must be row positions (n,), got {values.dtype} {values.shape}"
        )
    if values.min() < 0 or values.max() >= n_items:
        raise ValueError(
            f"the {name} part has rows from {values.min()} to {values.max()}, but the items have "
            f"rows 0 to {n_items - 1}"
        )
    return values.astype(np.intp)
