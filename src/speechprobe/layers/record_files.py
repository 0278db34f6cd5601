"""Records of scores as rows of files: CSV, JSON, LaTeX. A record is frozen and has `floors`.

NaN is an empty cell in CSV and null in JSON; numbers are written in full precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from speechprobe._files import replacing
from speechprobe.layers.records import known

Record = TypeVar("Record")

_FLOOR = "floor:"
_IN_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def write_csv(path: Path, records: Sequence[Any]) -> None:
    """Write one row a record; each floor has a column of its own."""
    rows = []
    for record in records:
        row = asdict(record)
        floors = row.pop("floors")
        rows.append(row | {_FLOOR + name: value for name, value in floors})
    with replacing(path) as partial:
        pd.DataFrame.from_records(rows).to_csv(partial, index=False)


def read_csv(path: Path, kind: type[Record], writer: str) -> tuple[Record, ...]:
    """Return the records of a file that `write_csv` wrote.

    Raises
    ------
    ValueError
        If a field has no column; `writer` says whose file was expected.
    """
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    lost = [name for name in _names(kind) if name not in frame]
    if lost:
        raise ValueError(f"{path}: expected a file of {writer}, but it has no {lost}")
    floors = [column for column in map(str, frame) if column.startswith(_FLOOR)]
    return tuple(
        _record(kind, row, {column.removeprefix(_FLOOR): row[column] for column in floors})
        for row in frame.to_dict("records")
    )


def as_row(record: Any) -> dict[str, Any]:
    """Return a record as JSON has it."""
    row = {name: known(value) for name, value in asdict(record).items()}
    return row | {"floors": {name: known(value) for name, value in record.floors}}


def of_row(kind: type[Record], row: Mapping[str, Any]) -> Record:
    """Return the record that `as_row` took apart."""
    return _record(kind, row, row["floors"])


def write_json(path: Path, told: Mapping[str, Any]) -> None:
    """Write an object, whole or not at all."""
    text = json.dumps(told, indent=2, default=as_json, ensure_ascii=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, form: str, writer: str) -> dict[str, Any]:
    """Return an object whose "form" is as expected.

    Raises
    ------
    ValueError
        If it is another, or no JSON; `writer` says whose file was expected.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: expected a file of {writer}, but it is no JSON: {error}"
        ) from error
    if not isinstance(told, dict) or told.get("form") != form:
        raise ValueError(f"{path}: expected a file of {writer}, got another form")
    return told


def read_beside(path: Path) -> pd.DataFrame:
    """Return the cells, as text, of a CSV file that was written beside a JSON file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it was written beside the JSON file")
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def as_json(value: Any) -> Any:
    """Return what stands in JSON for a value that it does not know."""
    return value.item() if isinstance(value, np.generic) else str(value)


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


def _names(kind: type[Any]) -> list[str]:
    return [each.name for each in fields(kind) if each.name != "floors"]


def _record(kind: type[Record], row: Mapping[Any, Any], floors: Mapping[str, Any]) -> Record:
    """Return a record of fields that are text, or numbers with None or "" for NaN."""
    kinds = {each.name: str(each.type) for each in fields(kind)}  # type: ignore[arg-type]
    read: dict[str, Callable[[Any], Any]] = {
        "float": _number, "int": int, "bool": lambda value: str(value) == "True", "str": str,
    }  # fmt: skip
    own = {name: read[kinds[name]](row[name]) for name in _names(kind)}
    make: Any = kind
    found: Record = make(
        **own, floors=tuple((name, _number(value)) for name, value in floors.items())
    )
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None or value == "" else float(value)
