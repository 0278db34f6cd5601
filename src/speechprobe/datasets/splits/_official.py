"""Splits that are prescribed: by a label that says where an item belongs, and SERAB's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from speechprobe.datasets.splits._split import Split, check, label_values

_VALIDATION = ("validation", "dev")


def predefined(
    table: pd.DataFrame,
    *,
    column: str,
    groups: str | None = "speaker",
    train: str | Sequence[str] = "train",
    validation: str | Sequence[str] = _VALIDATION,
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
        If no item has one of the values, none trains or tests, or a group straddles. By default
        there need not be a validation part.
    KeyError
        If there is no such label.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": list("abc"), "part": ["train", "train", "test"]})
    >>> predefined(table, column="part").test.tolist()
    [2]
    """
    values = label_values(table, column)
    wanted = [[part] if isinstance(part, str) else list(part) for part in (train, validation, test)]
    asked = [*wanted[0], *(wanted[1] if validation is not _VALIDATION else ()), *wanted[2]]
    unknown = [name for name in asked if not (values == name).any()]
    parts = [np.flatnonzero(np.isin(values, names)) for names in wanted]
    for name, part in zip(Split._fields, parts, strict=True):
        if name != "validation" and not len(part):
            raise ValueError(
                f"no item has {column!r} for the {name} part; found {sorted(set(map(str, values)))}"
            )
    if unknown:
        raise ValueError(
            f"no item has {column!r} equal to {unknown}; found {sorted(set(map(str, values)))}"
        )
    return check(Split(*parts), table, groups=groups)
