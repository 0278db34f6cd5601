"""Reads what a file name says, and refuses a name that does not fit; common to all loaders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# The one vocabulary of all corpora; what a corpus itself calls it stays in `emotion_code`.
EMOTIONS = (
    "anger",
    "boredom",
    "calm",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
)


def parse(
    pattern: re.Pattern[str], path: Path, layout: str, **known: Collection[str]
) -> dict[str, str]:
    """Return the named parts of a file's stem.

    Parameters
    ----------
    pattern
        What the whole stem must match.
    path
        The file.
    layout
        What was expected, for the message.
    **known
        For a part, its allowed values.

    Raises
    ------
    ValueError
        If the name does not fit, or a part has an unknown value; the message names the file.
    """
    match = pattern.fullmatch(path.stem)
    if match is None:
        raise ValueError(f"{path}: the name does not fit. Layout: {layout}")
    parts = match.groupdict()
    for part, values in known.items():
        if parts[part] not in values:
            raise ValueError(f"{path}: unknown {part} {parts[part]!r}; known are {sorted(values)}")
    return parts


def refuse_copies(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise where two rows have the same id, naming both files.

    Raises
    ------
    ValueError
        If an utterance is there twice: it would be in train and test at once.
    """
    paths: dict[str, str] = {}
    for row in rows:
        first = paths.setdefault(row["id"], row["path"])
        if first != row["path"]:
            raise ValueError(
                f"{row['id']} is there twice: {first} and {row['path']}; remove one of them, or "
                "give the folder of one copy as root"
            )


def free_name(name: str, taken: Iterable[Any]) -> str:
    """Return a column name that is not taken: the given one, or with underscores behind it."""
    known = set(taken)
    while name in known:
        name += "_"
    return name
