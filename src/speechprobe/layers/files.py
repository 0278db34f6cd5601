"""Scores as files: one row a record (CSV), or everything (JSON with the predictions beside)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechprobe._files import replacing
from speechprobe.layers.records import LayerScore, known

_FLOOR = "floor:"
_FORM = "speechprobe layer scores 1"
_IN_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def write_csv(path: Path, records: Sequence[LayerScore]) -> None:
    """Write one row a record, in full precision; each floor has a column of its own."""
    rows = []
    for record in records:
        row = asdict(record)
        floors = row.pop("floors")
        rows.append(row | {_FLOOR + name: value for name, value in floors})
    with replacing(path) as partial:
        pd.DataFrame.from_records(rows).to_csv(partial, index=False)


def read_csv(path: Path) -> tuple[LayerScore, ...]:
    """Return the records of a file that `write_csv` wrote."""
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    names = [field.name for field in fields(LayerScore) if field.name != "floors"]
    lost = [name for name in names if name not in frame]
    if lost:
        raise ValueError(f"{path}: expected a file of LayerScores.to_csv, but it has no {lost}")
    floors = [column for column in map(str, frame) if column.startswith(_FLOOR)]
    return tuple(
        _record(
            {name: row[name] for name in names},
            [(column.removeprefix(_FLOOR), row[column]) for column in floors],
        )
        for row in frame.to_dict("records")
    )


def _record(row: Mapping[str, Any], floors: Sequence[tuple[str, Any]]) -> LayerScore:
    """Return a record of fields that are text, or numbers with None or "" for NaN."""
    kinds = {field.name: str(field.type) for field in fields(LayerScore)}
    read: dict[str, Callable[[Any], Any]] = {
        "float": _number, "int": int, "bool": lambda value: str(value) == "True", "str": str,
    }  # fmt: skip
    own = {name: read[kinds[name]](value) for name, value in row.items()}
    return LayerScore(**own, floors=tuple((name, _number(value)) for name, value in floors))


def _number(value: Any) -> float:
    return float("nan") if value is None or value == "" else float(value)


def write_json(
    path: Path, content: Mapping[str, Any], predictions: pd.DataFrame, beside: Path | None
) -> None:
    """Write everything; predictions into a CSV file beside if one is named.

    Parameters
    ----------
    path
        The JSON file.
    content
        Records and chosen (tuples of records), settings and cautions.
    predictions
        One row for each layer, seed and scored item.
    beside
        Where to write them; None leaves them out.
    """
    told = {"form": _FORM, **content}
    for part in ("records", "chosen"):
        told[part] = [_told(record) for record in content[part]]
    if beside is not None:
        with replacing(beside) as partial:
            predictions.to_csv(partial, index=False, na_rep="nan")
        kinds = {column: str(kind) for column, kind in predictions.dtypes.items()}
        told["predictions"] = {"file": beside.name, "kinds": kinds}
    text = json.dumps(told, indent=2, default=as_json, ensure_ascii=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _told(record: LayerScore) -> dict[str, Any]:
    row = {name: known(value) for name, value in asdict(record).items()}
    return row | {"floors": {name: known(value) for name, value in record.floors}}


def latex(
    frame: pd.DataFrame, path: str | Path | None, *, n_words: int = 2, form: str = ".3f"
) -> str:
    """Return a table in LaTeX (package booktabs), columns of words first; write it if asked."""

    def cell(value: Any) -> str:
        text = f"{value:{form}}" if isinstance(value, float) else str(value)
        return text.translate(_IN_LATEX)

    lines = [
        r"\begin{tabular}{" + "l" * n_words + "r" * (frame.shape[1] - n_words) + "}",
        r"\toprule",
        " & ".join(cell(str(name).replace("_", " ")) for name in frame.columns) + r" \\",
        r"\midrule",
        *(" & ".join(map(cell, row)) + r" \\" for row in frame.to_numpy(dtype=object)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    text = "\n".join(lines) + "\n"
    if path is not None:
        with replacing(Path(path)) as partial:
            partial.write_text(text, encoding="utf-8")
    return text


def as_json(value: Any) -> Any:
    """Return what stands in JSON for a value that it does not know."""
    return value.item() if isinstance(value, np.generic) else str(value)


def read_json(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return content and predictions of a file that `write_json` wrote."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: expected a file of LayerScores.to_json, but it is no JSON: {error}"
        ) from error
    if not isinstance(told, dict) or told.get("form") != _FORM:
        raise ValueError(f"{path}: expected a file of LayerScores.to_json, got another form")
    content = {"settings": told["settings"], "cautions": tuple(told["cautions"])}
    for part in ("records", "chosen"):
        content[part] = tuple(
            _record({k: v for k, v in row.items() if k != "floors"}, list(row["floors"].items()))
            for row in told[part]
        )
    beside = told.get("predictions")
    if beside is None:
        return content, pd.DataFrame()
    return content, _read_predictions(path.parent / beside["file"], beside["kinds"])


def _read_predictions(path: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it was written beside the JSON file")
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    as_read: dict[str, Any] = {column: frame[column] for column in kinds}
    return pd.DataFrame(
        {
            column: as_read[column] == "True" if kind == "bool" else as_read[column].astype(kind)
            for column, kind in kinds.items()
        }
    )
