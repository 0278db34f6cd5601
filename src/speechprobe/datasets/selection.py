"""Which rows of a table a mask or a list of ids means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def rows_of(table: pd.DataFrame, keep: ArrayLike, name: str) -> NDArray[np.intp]:
    """Return the row positions that a boolean mask or a list of ids selects.

    Parameters
    ----------
    table
        Indexed by id.
    keep
        A boolean mask (n_rows,), a boolean Series, which is matched by id and counts a missing
        value as False, or a list of ids.
    name
        What the table is, for messages.

    Raises
    ------
    ValueError
        If nothing is selected, or the mask has another length.
    KeyError
        If an id is unknown.
    """
    if isinstance(keep, pd.Series) and pd.api.types.is_bool_dtype(keep):
        known = keep[keep.fillna(value=False).astype(bool)].index
        lost = table.index.difference(keep.index)
        if len(lost):
            raise ValueError(
                f"the mask says nothing of {len(lost)} rows of {name}, first {lost[0]!r}"
            )
        keep = table.index.isin(known)
    wanted = np.asarray(keep)
    if wanted.ndim != 1:
        raise ValueError(
            f"select wants a function, a mask or a list of ids, got {keep!r}; "
            "one utterance is corpus[id]"
        )
    if wanted.dtype == object and all(isinstance(each, bool | np.bool_) for each in wanted):
        wanted = wanted.astype(bool)
    if wanted.dtype == bool:
        if wanted.shape != (len(table),):
            raise ValueError(f"expected a mask of shape ({len(table)},), got {wanted.shape}")
        rows = np.flatnonzero(wanted)
    else:
        rows = table.index.get_indexer(pd.Index(wanted.tolist()))
        unknown = [key for key, row in zip(wanted.tolist(), rows, strict=True) if row < 0]
        if unknown:
            raise KeyError(
                f"{name} has no utterance {unknown[0]!r} ({len(unknown)} of {len(wanted)} ids are "
                "unknown)"
            )
    if not len(rows):
        raise ValueError(f"nothing is left of {name}: no row was selected")
    return rows
