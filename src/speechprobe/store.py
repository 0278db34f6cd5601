r"""The store of features: a folder of shards that survives being killed anywhere.

Layout
------
``features.json``
    What made the features (extractor, weights hash, layers, pooling), what it cost, the type of
    each label column, what failed.
``items.csv``
    The labels, one row an item; a text that is missing is written ``\N``, a list as JSON.
``part-00000.safetensors``, ...
    One tensor (n_rows, n_dims) a layer, float32; the metadata entry ``ids`` is the JSON list of
    the utterance ids of the rows, ``durations`` their lengths in seconds.

Every file is written under a temporary name, flushed to the disk and then renamed, so a file with
its final name is whole. Rows are found by utterance id: a run that was killed goes on with the
ids that no shard holds. A store belongs to one extractor with one pooling; another is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save

from speechprobe._files import PARTIAL, replacing

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

FORMAT = 1
_TEXT = ("object", "str", "string")
_JSON = "json"  # lists, as of phones
_MISSING = r"\N"  # an empty text is not a missing one
_RECORD, _ITEMS = "features.json", "items.csv"


class StoredLayer:
    """One layer of a store: an array-like (n_items, n_dims) that is read when it is indexed.

    Rows stay on the disk; indexing rows reads those rows alone, `numpy.asarray` reads all.

    Parameters
    ----------
    shards
        Paths of the shards.
    layer
        Name of the layer.
    places
        Shape (n_items, 2): shard number and row of each item.
    width
        Number of dimensions.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self, shards: Sequence[Path], layer: str, places: NDArray[np.intp], width: int
    ) -> None:
        self._shards, self._layer, self._places = tuple(shards), layer, places
        self.shape = (len(places), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        chosen, column = rows if isinstance(rows, tuple) else (rows, slice(None))
        places = np.atleast_2d(self._places[chosen])
        found = self._read(places)[:, column]
        one: NDArray[np.float32] = found[0] if np.ndim(self._places[chosen]) == 1 else found
        return one

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a stored layer cannot be seen as an array without a copy")
        return self._read(self._places).astype(dtype or np.float32, copy=False)

    def subset(self, rows: NDArray[np.intp]) -> StoredLayer:
        """Return the layer for some items, still on the disk."""
        return StoredLayer(self._shards, self._layer, self._places[rows], self.shape[1])

    def _read(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        result = np.empty((len(places), self.shape[1]), np.float32)
        for number in np.unique(places[:, 0]):
            here = np.flatnonzero(places[:, 0] == number)
            with safe_open(self._shards[number], framework="np") as shard:
                result[here] = shard.get_tensor(self._layer)[places[here, 1]]
        return result

    def __repr__(self) -> str:
        return f"StoredLayer({self._layer!r}, shape={self.shape})"


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
        self._shards = _shards(self.folder)
        self.done = _durations(self._shards)

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

    def write(
        self,
        ids: Sequence[str],
        durations: Sequence[float],
        layers: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Write one shard: rows of all layers for these ids, which no other shard holds."""
        # After the highest number: a lost shard leaves a gap, and none is ever written over.
        number = int(self._shards[-1].stem.split("-")[1]) + 1 if self._shards else 0
        path = self.folder / f"part-{number:05d}.safetensors"
        tensors = {name: np.ascontiguousarray(rows, np.float32) for name, rows in layers.items()}
        facts = {"ids": json.dumps(list(ids)), "durations": json.dumps(list(durations))}
        with replacing(path) as partial:
            # Not save_file: it makes files that only their owner can read.
            partial.write_bytes(
                save(tensors, metadata=facts | {"layers": json.dumps(list(layers))})
            )
        self._shards.append(path)
        self.done.update(zip(ids, durations, strict=True))

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


def read_layers(folder: Path, ids: Sequence[str]) -> dict[str, StoredLayer]:
    """Return every layer for these ids, in this order, left on the disk.

    Raises
    ------
    ValueError
        If an id is in no shard.
    """
    shards = _shards(folder)
    place: dict[str, tuple[int, int]] = {}
    for number, shard in enumerate(shards):
        place |= {key: (number, row) for row, key in enumerate(_metadata(shard)["ids"])}
    lost = [key for key in ids if key not in place]
    if lost:
        raise ValueError(
            f"{folder}: {len(lost)} of {len(ids)} items are in no shard, first {lost[0]!r}; "
            "call extract() again with this store"
        )
    places = np.array([place[key] for key in ids], dtype=np.intp).reshape(-1, 2)
    with safe_open(shards[0], framework="np") as shard:
        widths = {
            name: shard.get_slice(name).get_shape()[1] for name in _metadata(shards[0])["layers"]
        }
    return {name: StoredLayer(shards, name, places, width) for name, width in widths.items()}


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.safetensors"))


def _metadata(shard: Path) -> dict[str, Any]:
    with safe_open(shard, framework="np") as opened:
        return {key: json.loads(text) for key, text in opened.metadata().items()}


def _durations(shards: Sequence[Path]) -> dict[str, float]:
    found: dict[str, float] = {}
    for shard in shards:
        facts = _metadata(shard)
        found |= dict(zip(facts["ids"], facts["durations"], strict=True))
    return found


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
