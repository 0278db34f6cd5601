"""What was read or measured of a file, kept between sessions as long as the file is the same.

One SQLite file in a folder of our own: `$SPEECHPROBE_CACHE`, or else the user's cache folder of
the system (`~/.cache/speechprobe` on Linux). Deleting that file loses nothing but time; beside it
`sounds` holds what `load_hf_dataset` wrote, and `shards` copies of files of remote stores. A file
is known by its path, its size and the time of its last change; nothing is written beside it. A
cache that cannot be opened or written is done without, with one warning a session.
"""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

import platformdirs

# Absolute path, bytes, time of the last change in nanoseconds.
Stamp = tuple[str, int, int]

_TABLE = """
CREATE TABLE IF NOT EXISTS measured (
    kind TEXT, path TEXT, size INTEGER, changed INTEGER, value TEXT, PRIMARY KEY (kind, path)
) WITHOUT ROWID
"""
_AT_ONCE = 500  # below the number of variables that any SQLite takes in a statement
_SECONDS = 5.0  # between two writes of what was collected
_WAIT = 10.0  # seconds for another process to finish writing
_given_up: set[str] = set()


def folder() -> Path:
    """Return the folder of the cache."""
    chosen = os.environ.get("SPEECHPROBE_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("speechprobe")


def stamp(path: str | Path) -> Stamp:
    """Return what tells whether a file is still the same.

    Raises
    ------
    OSError
        If there is no such file.
    """
    facts = os.stat(path)
    # A name need not be UTF-8, what SQLite takes has to be.
    name = os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")
    return name, facts.st_size, facts.st_mtime_ns


def recall(kind: str, stamps: Sequence[Stamp]) -> list[str | None]:
    """Return what is known of each file, None where nothing is or the file has changed."""
    known: dict[Stamp, str] = {}
    if _is_given_up():
        return [None] * len(stamps)
    try:
        with closing(_open()) as database:
            for start in range(0, len(stamps), _AT_ONCE):
                paths = [path for path, _, _ in stamps[start : start + _AT_ONCE]]
                found = database.execute(
                    "SELECT path, size, changed, value FROM measured "  # noqa: S608 only "?" goes in
                    f"WHERE kind = ? AND path IN ({','.join('?' * len(paths))})",
                    (kind, *paths),
                )
                known.update(((path, size, changed), value) for path, size, changed, value in found)
    except (OSError, sqlite3.Error) as error:
        _warn(error)
    return [known.get(each) for each in stamps]


class Keeping:
    """Collects values, and keeps them every few seconds and at the end, however it ends.

    Parameters
    ----------
    kind
        Under which `recall` finds them.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._rows: list[tuple[str | int, ...]] = []
        self._written = time.monotonic()

    def add(self, stamp: Stamp, value: str) -> None:
        """Keep a file's value, in place of what was known before."""
        self._rows.append((self._kind, *stamp, value))
        if time.monotonic() - self._written > _SECONDS:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._write()

    def _write(self) -> None:
        rows, self._rows, self._written = self._rows, [], time.monotonic()
        if rows and not _is_given_up():
            try:
                with closing(_open()) as database, database:
                    database.executemany(
                        "INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?)", rows
                    )
            except (OSError, sqlite3.Error) as error:
                _warn(error)


def _open() -> sqlite3.Connection:
    folder().mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder() / "files.sqlite", timeout=_WAIT)
    try:
        database.execute(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _is_given_up() -> bool:
    return str(folder() / "files.sqlite") in _given_up


def _warn(error: Exception) -> None:
    file = str(folder() / "files.sqlite")
    _given_up.add(file)
    warnings.warn(
        f"{file}: the cache cannot be used in this session ({error}), so files are read again each "
        "time; set SPEECHPROBE_CACHE to a folder that can be written, or delete the file",
        stacklevel=3,
    )
