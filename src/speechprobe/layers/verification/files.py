"""Scores of verification as one JSON file, with the trials in a CSV file beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechprobe._files import replacing
from speechprobe.layers import record_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SCORE = "score:"
_FORM, _WRITER = "speechprobe verification scores 1", "VerificationScores.to_json"
_TRIALS = ("enrol", "test", "same")


def write_json(
    path: Path, content: Mapping[str, Any], trials: pd.DataFrame | None, beside: str | None
) -> None:
    """Write everything; trials into a CSV file beside if one is named.

    Parameters
    ----------
    path
        The JSON file.
    content
        Records, settings, cautions and absent files.
    trials
        What `wide` gives.
    beside
        Name of the file for them; None leaves them out.
    """
    rows = [record_files.as_row(record) for record in content["records"]]
    told = {"form": _FORM, **content, "records": rows}
    if trials is not None and beside is not None:
        with replacing(path.parent / beside) as partial:
            trials.to_csv(partial, index=False)
        told["trials"] = beside
    record_files.write_json(path, told)


def read_json(path: Path, kind: type[Any]) -> dict[str, Any]:
    """Return the fields of scores from a file that `write_json` wrote."""
    told = record_files.read_json(path, _FORM, _WRITER)
    frame = pd.DataFrame()
    if "trials" in told:
        frame = _read_trials(path.parent / told["trials"])
    return {
        "records": tuple(record_files.of_row(kind, row) for row in told["records"]),
        "settings": told["settings"],
        "cautions": tuple(told["cautions"]),
        "absent": tuple(told["absent"]),
        "trial_list": frame[list(_TRIALS)] if len(frame) else frame,
        "scores": {
            column.removeprefix(_SCORE): frame[column].to_numpy()
            for column in map(str, frame)
            if column.startswith(_SCORE)
        },
    }


def wide(trial_list: pd.DataFrame, scores: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """Return the trials with a column a layer, called score: and its name."""
    columns = {_SCORE + layer: score for layer, score in scores.items()}
    return pd.concat([trial_list, pd.DataFrame(columns, index=trial_list.index)], axis=1)


def _read_trials(path: Path) -> pd.DataFrame:
    frame = record_files.read_beside(path)
    # Python's own numbers come back to the last bit.
    kinds: Any = {column: float for column in frame if column not in _TRIALS}
    return frame.assign(same=frame["same"] == "True").astype(kinds)
