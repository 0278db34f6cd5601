"""Corpora of spans: one row for each phone, syllable or word of the utterances of another corpus.

A table with the columns `utterance`, `span_start` and `span_end` (seconds from the beginning of the
sound file) is one of spans, wherever it comes from. Its rows are still views of whole recordings:
`path`, `duration`, `Utterance.signal` and every label that was there before belong to the
recording. `speechprobe.extract` runs each recording once, with its whole context, and pools every
layer over the span of each row.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    pass

UTTERANCE, START, END = "utterance", "span_start", "span_end"


def holds_spans(table: pd.DataFrame) -> bool:
    """Say whether the rows of a table are spans of recordings."""
    return {UTTERANCE, START, END} <= set(table.columns)


def spans_of(
    table: pd.DataFrame,
    column: str,
    *,
    part: Literal["whole", "middle"],
    label: str | None,
    name: str,
) -> pd.DataFrame:
    """Return a table with one row a span, as `Corpus.spans` documents.

    Parameters
    ----------
    table
        Utterances, with lists of (start, end, label) in a column.
    column, part, label
        As in `Corpus.spans`.
    name
        What the table is, for messages.
    """
    label = label or (column[:-1] if column.endswith("s") else f"{column}_label")
    _require_free(table, column, label, name)
    if part not in ("whole", "middle"):
        raise ValueError(f"part must be 'whole' or 'middle', got {part!r}")
    lists = [_as_list(value) for value in table[column]]
    counts = np.array([len(each) for each in lists])
    _tell_missing(table.index[counts == 0], len(table), column, name)
    flat = [
        _checked(span, key, column)
        for key, spans in zip(table.index, lists, strict=True)
        for span in spans
    ]
    rows = np.repeat(np.arange(len(table)), counts)
    nested = [other for other in table if _holds_lists(table[other])]
    result = table.drop(columns=nested).iloc[rows]
    start, end = np.array([span[:2] for span in flat]).T
    third = (end - start) / 3 if part == "middle" else 0.0
    numbers = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    values: dict[str, Any] = {
        UTTERANCE: result.index.to_numpy(),
        START: start + third,
        END: end - third,
        label: [span[2] for span in flat],
    }
    ids = [f"{key}#{number}" for key, number in zip(result.index, numbers, strict=True)]
    return result.assign(**values).set_axis(pd.Index(ids, name="id"), axis=0)


def _require_free(table: pd.DataFrame, column: str, label: str, name: str) -> None:
    if column not in table:
        nested = [str(other) for other in table if _holds_lists(table[other])]
        raise KeyError(f"{name} has no column {column!r}; columns that hold lists: {nested}")
    if holds_spans(table):
        raise ValueError(f"{name} is a corpus of spans already; take spans of its utterances")
    taken = [each for each in (UTTERANCE, START, END, label) if each in table]
    if taken:
        raise ValueError(
            f"{name} has a label {taken[0]!r} already, which its spans would replace; leave it out"
            + (", or give the spans' label another name by label=" if taken[0] == label else "")
        )


def _tell_missing(missing: pd.Index[Any], n_utterances: int, column: str, name: str) -> None:
    if len(missing) == n_utterances:
        raise ValueError(f"no utterance of {name} has any {column}")
    if len(missing):
        warnings.warn(
            f"{name}: {len(missing)} of {n_utterances} utterances have no {column} and are left "
            f"out, first {missing[0]!r}",
            stacklevel=4,
        )


def _as_list(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []


def _checked(span: Any, utterance: str, column: str) -> tuple[float, float, Any]:
    try:
        start, end, label = span
        return float(start), float(end), label
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"utterance {utterance!r}: {column} must be a list of (start, end, label) with times "
            f"in seconds, got {span!r}"
        ) from error


def _holds_lists(column: pd.Series[Any]) -> bool:
    if column.dtype != object:
        return False
    return next((bool(len(_as_list(each))) for each in column if each is not None), False)
