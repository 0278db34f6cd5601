"""Scores of verification as files: one row a layer (CSV), everything (JSON), a table (LaTeX)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechprobe._files import replacing
from speechprobe.layers.files import as_json
from speechprobe.layers.records import known

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLOOR, _SCORE = "floor:", "score:"
_FORM = "speechprobe verification scores 1"
_TRIALS = ("enrol", "test", "same")


def write_csv(path: Path, records: Sequence[Any]) -> None:
    """Write one row a record, in full precision; each floor has a column of its own."""
    rows = [
        {name: value for name, value in asdict(record).items() if name != "floors"}
        | {_FLOOR + name: value for name, value in record.floors}
        for record in records
    ]
    with replacing(path) as partial:
        pd.DataFrame.from_records(rows).to_csv(partial, index=False)


def read_csv(path: Path, kind: type[Any]) -> tuple[Any, ...]:
    """Return the records of a file that `write_csv` wrote."""
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    lost = [name for name in _names(kind) if name not in frame]
    if lost:
        raise ValueError(
            f"{path}: expected a file of VerificationScores.to_csv, but it has no {lost}"
        )
    floors = [column for column in map(str, frame) if column.startswith(_FLOOR)]
    return tuple(
        _record(
            kind,
            {str(k): v for k, v in row.items()},
            [(column.removeprefix(_FLOOR), row[column]) for column in floors],
        )
        for row in frame.to_dict("records")
    )


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
    records = [
        {name: known(value) for name, value in asdict(record).items()}
        | {"floors": {name: known(value) for name, value in record.floors}}
        for record in content["records"]
    ]
    told = {"form": _FORM, **content, "records": records}
    if trials is not None and beside is not None:
        with replacing(path.parent / beside) as partial:
            trials.to_csv(partial, index=False)
        told["trials"] = beside
    text = json.dumps(told, indent=2, default=as_json, ensure_ascii=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, kind: type[Any]) -> dict[str, Any]:
    """Return the fields of scores from a file that `write_json` wrote."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or told.get("form") != _FORM:
        raise ValueError(f"{path}: expected a file of VerificationScores.to_json, got another form")
    records = tuple(_record(kind, row, list(row["floors"].items())) for row in told["records"])
    frame = pd.DataFrame()
    if "trials" in told:
        frame = _read_trials(path.parent / told["trials"])
    return {
        "records": records,
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


def _names(kind: type[Any]) -> list[str]:
    return [each.name for each in fields(kind) if each.name != "floors"]


def _record(kind: type[Any], row: Mapping[str, Any], floors: Sequence[tuple[str, Any]]) -> Any:
    """Return a record of fields that are text, or numbers with None or "" for NaN."""
    kinds = {each.name: str(each.type) for each in fields(kind)}
    read: dict[str, Any] = {"float": _number, "int": int, "str": str}
    own = {name: read[kinds[name]](row[name]) for name in _names(kind)}
    return kind(**own, floors=tuple((name, _number(value)) for name, value in floors))


def _number(value: Any) -> float:
    return float("nan") if value is None or value == "" else float(value)


def _read_trials(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it was written beside the JSON file")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    # Python's own numbers come back to the last bit.
    kinds: Any = {column: float for column in frame if column not in _TRIALS}
    return frame.assign(same=frame["same"] == "True").astype(kinds)
