"""The columns of a corpus in a CSV file, named as in the speaking-rate study."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.datasets._names import free_name
from speechprobe.datasets._text import n_alphanumeric

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In the order of the study's files; `cps` is computed where it is no label.
STUDY = {
    "audio_path": "path",
    "text": "text",
    "cps": "cps",
    "speaker_id": "speaker",
    "chapter_id": "chapter",
    "audio_id": "id",
}


def to_study(table: pd.DataFrame) -> pd.DataFrame:
    """Return the study's columns, as far as the table has them, and then the others."""
    facts = table.rename_axis("id").reset_index()
    if "cps" not in facts and {"text", "duration"} <= set(facts):
        facts["cps"] = _rates(facts["text"], facts["duration"].to_numpy(dtype=float))
    facts["path"] = [os.path.abspath(path) for path in facts["path"]]
    study = {name: facts.pop(label) for name, label in STUDY.items() if label in facts}
    # A label of the corpus's own that is called like a column of the study stays, renamed.
    own = {
        name: free_name(f"label_{name}", facts) for name in STUDY if name in study and name in facts
    }
    frame = pd.DataFrame(study).join(facts.rename(columns=own))
    nested = [str(name) for name in frame if frame[name].map(_is_nested).any()]
    return frame.assign(**{name: frame[name].map(_as_text) for name in nested})


def chosen(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of the study's frame, asked for by its names or by the corpus's.

    Raises
    ------
    KeyError
        If there is no such column.
    """
    names = {label: name for name, label in STUDY.items()}
    places = {each: each if each in frame else names.get(each, each) for each in columns}
    unknown = [each for each, place in places.items() if place not in frame]
    if unknown:
        raise KeyError(f"no column {unknown[0]!r} to write; there are {list(frame)}")
    return pd.DataFrame({each: frame[place] for each, place in places.items()})


def from_study(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the study's names replaced by the corpus's, where those are not taken."""
    names = {name: label for name, label in STUDY.items() if label not in frame}
    return frame.rename(columns=names)


def _rates(texts: pd.Series[Any], seconds: NDArray[np.float64]) -> list[float]:
    # `labels.speaking_rate`, but NaN without text.
    said = [text if isinstance(text, str) else "" for text in texts]
    counts = [n_alphanumeric(text) if text.strip() else float("nan") for text in said]
    return [n / duration for n, duration in zip(counts, seconds, strict=True)]


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | tuple | Mapping)


def _as_text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if _is_nested(value) else value
