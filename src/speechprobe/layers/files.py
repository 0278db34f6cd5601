"""Scores of layers as files: one row a record (CSV), or everything (JSON, predictions beside)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from speechprobe._files import replacing
from speechprobe.layers import record_files
from speechprobe.layers.records import LayerScore

_FORM, _WRITER = "speechprobe layer scores 1", "LayerScores.to_json"
_RECORDS = ("records", "chosen")


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
    told |= {part: [record_files.as_row(record) for record in content[part]] for part in _RECORDS}
    if beside is not None:
        with replacing(beside) as partial:
            predictions.to_csv(partial, index=False, na_rep="nan")
        kinds = {column: str(kind) for column, kind in predictions.dtypes.items()}
        told["predictions"] = {"file": beside.name, "kinds": kinds}
    record_files.write_json(path, told)


def read_json(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return content and predictions of a file that `write_json` wrote."""
    told = record_files.read_json(path, _FORM, _WRITER)
    content = {"settings": told["settings"], "cautions": tuple(told["cautions"])}
    for part in _RECORDS:
        content[part] = tuple(record_files.of_row(LayerScore, row) for row in told[part])
    beside = told.get("predictions")
    if beside is None:
        return content, pd.DataFrame()
    return content, _read_predictions(path.parent / beside["file"], beside["kinds"])


def _read_predictions(path: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    frame = record_files.read_beside(path)
    as_read: dict[str, Any] = {column: frame[column] for column in kinds}
    return pd.DataFrame(
        {
            column: as_read[column] == "True" if kind == "bool" else as_read[column].astype(kind)
            for column, kind in kinds.items()
        }
    )
