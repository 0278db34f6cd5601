"""Turns rows found in a folder into a corpus: header scan and errors common to all loaders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechprobe import audio
from speechprobe._headers import read_headers
from speechprobe.datasets.corpus import Corpus


def require_folder(root: str | Path, layout: str, *, source: str = "") -> Path:
    """Return the folder, or raise with the layout that was expected there and where to get it."""
    folder = Path(root)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise FileNotFoundError(
            f"{folder}: expected a folder, found {found}. Layout: {layout}{_get(source)}"
        )
    return folder


def sound_files(
    folder: Path, layout: str, *, suffixes: Sequence[str] = (".wav",), source: str = ""
) -> list[Path]:
    """Return the sound files at any depth below a folder, in the order of their paths.

    Copies made on a Mac hold a `._name.wav` beside every file; those are passed over.

    Raises
    ------
    FileNotFoundError
        If there is none, with the layout and what is there instead.
    """
    found, others = [], set()
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("._") or suffix not in suffixes:
                others.add(suffix or name)
            else:
                found.append(os.path.join(place, name))
    if not found:
        kinds = " or ".join(suffix[1:].upper() for suffix in suffixes)
        there = f"; there are files of kinds {sorted(others)[:6]}" if others else ""
        raise FileNotFoundError(
            f"{folder}: holds no {kinds} file{there}. Layout: {layout}{_get(source)}"
        )
    return [Path(path) for path in sorted(found)]


def _get(source: str) -> str:
    return f". {source}" if source else ""


def corpus_of_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> Corpus:
    """Build a corpus from rows with `id` and `path`, adding what the sound headers say.

    Files whose header cannot be read stay in the corpus with a NaN duration, and one warning
    names them; `speechprobe.extract` raises on them or records them.
    """
    table = pd.DataFrame.from_records(list(rows)).set_index("id")
    numbers = set(table.select_dtypes("number"))
    for column in (c for c in table if table[c].isna().any() and c not in numbers):
        # None, as documented, where pandas would infer text with NaN.
        table[column] = table[column].astype(object).where(table[column].notna(), None)
    return Corpus(name, with_headers(table, name, depth=3))


def with_headers(table: pd.DataFrame, name: str, *, depth: int) -> pd.DataFrame:
    """Return the table with `duration` (seconds), `sample_rate` (Hz) and `channels` of the headers.

    A warning points `depth` calls above this one.
    """
    headers = read_headers(table["path"].tolist())
    failed = [header for header in headers if not isinstance(header, audio.Header)]
    if failed:
        warnings.warn(
            f"corpus {name!r}: {len(failed)} of {len(headers)} sound files cannot be read, "
            f"first: {failed[0]}",
            stacklevel=depth + 1,
        )
    readable = [header if isinstance(header, audio.Header) else None for header in headers]
    whole = {
        name: pd.array([getattr(header, name, None) for header in readable], "Int64")
        for name in ("sample_rate", "channels")
    }
    seconds = [header.duration if header else np.nan for header in readable]
    return table.assign(duration=seconds, **whole)
