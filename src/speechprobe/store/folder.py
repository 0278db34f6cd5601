"""The folder of a store: who it belongs to, what is done, and the record of a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe._files import PARTIAL, replacing
from speechprobe.store.shards import Rows, layers_of, list_shards, read_facts, write_shard

if TYPE_CHECKING:
    from speechprobe.store.arrays import StoredLayer, StoredRaggedLayer

FORMAT = 1
_TEXT = ("object", "str", "string")
_JSON = "json"  # lists, as of phones
_MISSING = r"\N"  # an empty text is not a missing one
_RECORD, _ITEMS = "features.json", "items.csv"


class Store:
    """Writes shards and knows what is already there.

    Parameters
    ----------
    folder
        The folder; made if it does not exist.
    identity
        What makes the features; JSON values only. A folder made by something else is refused.

    Raises
    ------
    ValueError
        If the folder belongs to other features, or holds files that are no store.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._identity = _as_json(identity)
        self._claim()
        self._shards = list_shards(self.folder)
        self.done: dict[str, float] = {}
        self.spans: dict[str, tuple[float, float]] = {}
        for shard in self._shards:
            facts = read_facts(shard)
            self.done |= dict(zip(facts["ids"], facts["durations"], strict=True))
            self.spans |= dict(zip(facts["ids"], map(tuple, facts.get("spans", ())), strict=False))

    def _claim(self) -> None:
        record = self.folder / _RECORD
        if record.is_file():
            _require_same(
                self.folder, json.loads(record.read_text("utf-8"))["identity"], self._identity
            )
        elif self.folder.exists() and any(
            not path.name.endswith(PARTIAL) for path in self.folder.iterdir()
        ):
            raise ValueError(
                f"{self.folder} is not empty and holds no {_RECORD}; give a new or an empty folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial in self.folder.glob(f"*{PARTIAL}"):
            partial.unlink()
        if not record.is_file():
            _write_json(record, {"format": FORMAT, "identity": self._identity})

    def write(self, rows: Rows) -> None:
        """Write one shard: rows of all layers for ids that no other shard holds."""
        # After the highest number: a lost shard leaves a gap, and none is ever written over.
        number = int(self._shards[-1].stem.split("-")[1]) + 1 if self._shards else 0
        path = self.folder / f"part-{number:05d}.safetensors"
        write_shard(path, rows)
        self._shards.append(path)
        self.done.update(zip(rows.ids, rows.durations, strict=True))
        self.spans.update(zip(rows.ids, rows.spans or (), strict=rows.spans is not None))

    def finish(
        self,
        items: pd.DataFrame,
        provenance: Mapping[str, Any],
        failures: Sequence[Mapping[str, str]],
    ) -> None:
        """Write the labels and the record of the finished run."""
        items = items.infer_objects()
        columns = {str(name): _kind(items[name]) for name in items}
        text = [name for name, kind in columns.items() if kind in _TEXT]
        nested = [name for name, kind in columns.items() if kind == _JSON]
        items = items.assign(
            **{name: items[name].fillna(_MISSING) for name in text},
            **{name: [json.dumps(each) for each in items[name]] for name in nested},
        )
        with replacing(self.folder / _ITEMS) as partial:
            items.to_csv(partial)
        record = {
            "format": FORMAT,
            "identity": self._identity,
            "provenance": _as_json(provenance),
            "columns": columns,
            "failures": list(failures),
        }
        _write_json(self.folder / _RECORD, record)


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a finished store.

    Raises
    ------
    FileNotFoundError
        If the folder is no store.
    ValueError
        If its extraction has not finished.
    """
    path = folder / _RECORD
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no features here; expected {_RECORD}, as extract() writes"
        )
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if "provenance" not in record:
        raise ValueError(
            f"{folder}: the extraction has not finished; call extract() again with this store"
        )
    return record


def read_items(folder: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the labels with the types they had, so that a speaker "03" stays "03"."""
    is_text = {name: str for name, kind in columns.items() if kind in (*_TEXT, _JSON)}
    items = pd.read_csv(
        folder / _ITEMS, dtype={"id": str, **is_text}, keep_default_na=False,
        na_values={name: [_MISSING] if name in is_text else [""] for name in columns},
    ).set_index("id")  # fmt: skip
    others = {name: kind for name, kind in columns.items() if name not in is_text}
    nested = [name for name, kind in columns.items() if kind == _JSON]
    return items.astype(others).assign(
        **{name: [json.loads(each) for each in items[name]] for name in nested}
    )


def _kind(column: pd.Series[Any]) -> str:
    """Return the type of a column as the record names it; lists, as of phones, are JSON."""
    kind = str(column.dtype)
    return _JSON if kind == "object" and column.map(_is_nested).any() else kind


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | tuple | dict)


def read_layers(folder: Path, ids: Sequence[str]) -> dict[str, StoredLayer | StoredRaggedLayer]:
    """Return every layer for these ids, in this order, left on the disk.

    Raises
    ------
    ValueError
        If an id is in no shard.
    """
    shards = list_shards(folder)
    place: dict[str, tuple[int, int]] = {}
    names: list[str] = []
    for number, shard in enumerate(shards):
        facts = read_facts(shard)
        names = names or facts["layers"]
        place |= {key: (number, row) for row, key in enumerate(facts["ids"])}
    lost = [key for key in ids if key not in place]
    if lost:
        raise ValueError(
            f"{folder}: {len(lost)} of {len(ids)} items are in no shard, first {lost[0]!r}; "
            "call extract() again with this store"
        )
    places = np.array([place[key] for key in ids], dtype=np.intp).reshape(-1, 2)
    return layers_of(shards, places, names)


def _require_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    differing = _differences(theirs, ours)
    if differing:
        listed = "; ".join(differing[:4]) + ("; ..." if len(differing) > 4 else "")
        raise ValueError(
            f"{folder} holds features made otherwise: {listed}. Give another store folder, or "
            "delete this one"
        )


def _differences(theirs: Any, ours: Any, place: str = "") -> list[str]:
    """Say what differs, key by key."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = list(dict.fromkeys([*theirs, *ours]))
        parts = [(key, theirs.get(key), ours.get(key)) for key in keys]
        return [d for k, a, b in parts for d in _differences(a, b, f"{place}.{k}".strip("."))]
    return [] if theirs == ours else [f"{place} is {theirs!r} there and {ours!r} now"]


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
