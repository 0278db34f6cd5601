r"""The labels of a store as a table of text, with the types that they had.

A text that is missing is written ``\N``, for an empty text is not a missing one; a list, as of
phones, is JSON.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

_TEXT = ("object", "str", "string")
_JSON = "json"
_MISSING = r"\N"


def write_items(items: pd.DataFrame, target: Path | io.StringIO) -> dict[str, str]:
    """Write the labels; return the type of each column, which `read_items` needs."""
    items = items.infer_objects()
    columns = {str(name): _kind(items[name]) for name in items}
    text = [name for name, kind in columns.items() if kind in _TEXT]
    nested = [name for name, kind in columns.items() if kind == _JSON]
    items.assign(
        **{name: items[name].fillna(_MISSING) for name in text},
        **{name: [json.dumps(each) for each in items[name]] for name in nested},
    ).to_csv(target)
    return columns


def read_items(source: Path | io.StringIO, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the labels with the types they had, so that a speaker "03" stays "03"."""
    is_text = {name: str for name, kind in columns.items() if kind in (*_TEXT, _JSON)}
    items = pd.read_csv(
        source, dtype={"id": str, **is_text}, keep_default_na=False,
        na_values={name: [_MISSING] if name in is_text else [""] for name in columns},
    ).set_index("id")  # fmt: skip
    others = {name: kind for name, kind in columns.items() if name not in is_text}
    nested = [name for name, kind in columns.items() if kind == _JSON]
    return items.astype(others).assign(
        **{name: [json.loads(each) for each in items[name]] for name in nested}
    )


def as_stored(items: pd.DataFrame) -> pd.DataFrame:
    """Return the labels as they come back from a store."""
    text = io.StringIO()
    columns = write_items(items, text)
    text.seek(0)
    return read_items(text, columns)


def _kind(column: pd.Series[Any]) -> str:
    """Return the type of a column as the record names it; lists, as of phones, are JSON."""
    kind = str(column.dtype)
    return _JSON if kind == "object" and column.map(_is_nested).any() else kind


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | tuple | dict)
