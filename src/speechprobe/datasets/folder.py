"""Corpora of your own: a folder of sound files, or a table that names them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from speechprobe import audio
from speechprobe.datasets import _study
from speechprobe.datasets._names import refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, with_headers
from speechprobe.datasets.corpus import Corpus


def load_folder(
    root: str | Path,
    pattern: str = "**/*",
    labels: Callable[[Path], Mapping[str, Any]] | None = None,
    *,
    name: str | None = None,
) -> Corpus:
    """Load every sound file of a folder.

    Parameters
    ----------
    root
        The folder.
    pattern
        Which files, relative to `root`, as in `pathlib.Path.glob`; of what matches, only sound
        files count.
    labels
        Function of a file's path (relative to `root`) giving its labels. Without it, or where it
        gives no `speaker`, the speaker is the name of the folder that holds the file.
    name
        Name of the corpus; the folder's by default.

    Returns
    -------
    corpus
        Ids are the paths relative to `root` without extension.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no matching sound file; what it does hold is named.
    ValueError
        If `labels` fails on a file; the message names it.

    Examples
    --------
    >>> import tempfile, soundfile, numpy as np
    >>> root = tempfile.mkdtemp()
    >>> Path(root, "anna").mkdir()
    >>> soundfile.write(f"{root}/anna/happy-1.wav", np.ones(8000), 16_000)
    >>> corpus = load_folder(root, "*/*.wav", lambda path: {"emotion": path.stem.split("-")[0]})
    >>> corpus["anna/happy-1"]["speaker"], corpus["anna/happy-1"]["emotion"]
    ('anna', 'happy')
    """
    folder = require_folder(root, f"sound files matching {pattern!r}")
    matched = sorted(path for path in folder.glob(pattern) if path.is_file())
    files = [path for path in matched if path.suffix.lower() in audio.EXTENSIONS]
    if not files:
        kinds = sorted({path.suffix or path.name for path in matched})[:6]
        raise FileNotFoundError(
            f"{folder}: no sound file matches {pattern!r}"
            + (f"; {len(matched)} other files do, of kinds {kinds}" if matched else "")
            + ". Expected WAV, FLAC, OGG, MP3 or another kind that libsndfile reads"
        )
    rows = [_row(path, folder, labels) for path in files]
    refuse_copies(rows)
    return corpus_of_rows(name or folder.resolve().name, rows)


def _row(
    path: Path, folder: Path, labels: Callable[[Path], Mapping[str, Any]] | None
) -> dict[str, Any]:
    relative = path.relative_to(folder)
    try:
        found = dict(labels(relative)) if labels else {}
    except Exception as error:
        raise ValueError(f"the label function failed on {relative}: {error!r}") from error
    identity = {"id": relative.with_suffix("").as_posix(), "path": str(path)}
    return identity | {"speaker": path.resolve().parent.name} | found


def load_table(
    frame: pd.DataFrame | str | Path, *, root: str | Path | None = None, name: str = "table"
) -> Corpus:
    """Load a corpus from a DataFrame or a CSV file with columns `path` and `speaker`.

    Parameters
    ----------
    frame
        The table. A column `id`, or else the index of a DataFrame, names the utterances; a CSV
        without `id` takes the paths. In a CSV, ids and speakers are read as text, and so is every
        column with a value such as "03". The names of the speaking-rate study (audio_path,
        speaker_id, chapter_id, audio_id) do as well, so what `Corpus.to_csv` wrote is read back.
    root
        Folder that relative paths start from; by default the CSV's own, or the current one.
    name
        Name of the corpus.

    Raises
    ------
    FileNotFoundError
        If the CSV does not exist.
    ValueError
        If a needed column is missing, a path or an id is empty, or an id occurs twice.

    Examples
    --------
    >>> frame = pd.DataFrame({"id": ["a"], "path": ["a.wav"], "speaker": ["s1"], "duration": [1.0]})
    >>> load_table(frame)
    Corpus('table', 1 utterances, 1 speakers)
    """
    if not isinstance(frame, pd.DataFrame | str | Path):
        raise TypeError(f"expected a DataFrame or the path of a CSV, got {type(frame).__name__}")
    if not isinstance(frame, pd.DataFrame):
        source = Path(frame)
        if not source.is_file():
            raise FileNotFoundError(f"{source}: no such CSV file")
        root = source.parent if root is None else root
        frame = _study.from_study(_read(source))
        if "id" not in frame and "path" in frame:
            frame = frame.assign(id=frame["path"])
    else:
        frame = _study.from_study(frame)
    table = frame.set_index("id") if "id" in frame else frame
    missing = [column for column in ("path", "speaker") if column not in table]
    if missing:
        raise ValueError(f"the table lacks the column(s) {missing}; it has {list(table.columns)}")
    empty = table["path"].isna() | (table["path"].astype(str).str.strip() == "")
    if empty.any():
        raise ValueError(f"row {table.index[empty][0]!r} of the table has no path")
    base = Path(root) if root is not None else Path()
    table = table.assign(path=[str(base / path) for path in table["path"]])
    return Corpus(name, table if "duration" in table else with_headers(table, name, depth=2))


def _read(source: Path) -> pd.DataFrame:
    """Read a CSV file, codes such as "03" as text and lists as lists."""
    # Only an empty cell is missing: "NA" and "null" are words, and may be names.
    words = pd.read_csv(source, dtype=str, keep_default_na=False, na_values=[""])
    known = {*_study.STUDY, *_study.STUDY.values()} - {"cps"}
    codes = {str(name) for name in words if words[name].str.match("[+-]?0[0-9]").any()}
    text = dict.fromkeys(known | codes, str)
    frame = pd.read_csv(source, dtype=text, keep_default_na=False, na_values=[""])
    for name in words:
        values = _as_lists(words[name])
        if values is not None:
            frame[name] = pd.Series(values, index=frame.index, dtype=object)
    return frame


def _as_lists(cells: pd.Series[Any]) -> list[Any] | None:
    """Return the lists of lists (as of phones) that a column holds as JSON, None if it does not."""
    told = cells.dropna()
    if told.empty or not told.str.match(r"\[\[.*\]\]$").all():
        return None
    try:
        return [json.loads(cell) if isinstance(cell, str) else None for cell in cells]
    except ValueError:  # words in brackets
        return None
