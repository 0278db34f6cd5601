"""The shards of a store: safetensors files with the layers of some items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from speechprobe.store.arrays import RaggedLayer, Shards, StoredLayer, StoredRaggedLayer
from speechprobe.store.headers import KINDS, N_FRAMES, as_file, read_header
from speechprobe.store.places import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BEGINS, _ENDS = "part-", ".safetensors"


class Rows(NamedTuple):
    """Finished items: their ids, and what belongs to each.

    `durations` are the seconds of the recordings, `layers` arrays (n_rows, n_dims) or, where the
    pooling is ragged, lists of n_rows arrays (n_frames, n_dims); `spans` the (start, end) of each
    item in its recording, where items are spans.
    """

    ids: Sequence[str]
    durations: Sequence[float]
    layers: Mapping[str, Any]
    spans: Sequence[tuple[float, float]] | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the layers."""
        return sum(
            sum(each.nbytes for each in block) if isinstance(block, list) else block.nbytes
            for block in self.layers.values()
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """Return several of them as one."""

    def end_to_end(layer: str) -> Any:
        blocks = [part.layers[layer] for part in parts]
        if isinstance(blocks[0], list):
            return [row for block in blocks for row in block]
        return np.concatenate(blocks)

    spans = [span for part in parts for span in part.spans or ()]
    return Rows(
        [key for part in parts for key in part.ids],
        [seconds for part in parts for seconds in part.durations],
        {layer: end_to_end(layer) for layer in parts[0].layers},
        spans or None,
    )


def shard_name(number: int, writer: str = "") -> str:
    """Return the name of a shard; of several writers each puts its own mark behind the number."""
    return f"{_BEGINS}{number:05d}{'-' if writer else ''}{writer}{_ENDS}"


def number_of(name: str) -> int:
    """Return the number in the name of a shard."""
    return int(name.removeprefix(_BEGINS).removesuffix(_ENDS).split("-")[0])


def list_shards(place: Place) -> list[str]:
    """Return the names of the shards of a folder, by number."""
    found = [name for name in place.names() if name.startswith(_BEGINS) and name.endswith(_ENDS)]
    return sorted(found, key=lambda name: (number_of(name), name))


def write_shard(place: Place, name: str, rows: Rows) -> None:
    """Write rows as one file that is whole or not there."""
    tensors: dict[str, NDArray[Any]] = {}
    for layer, block in rows.layers.items():
        if isinstance(block, list):
            ragged = RaggedLayer.of(block)
            half = ragged.dtype == np.float16
            tensors[layer] = ragged.values.astype(np.float16 if half else np.float32, copy=False)
            tensors[layer + N_FRAMES] = ragged.n_frames
        else:
            tensors[layer] = np.ascontiguousarray(block, np.float32)
    facts = {"ids": rows.ids, "durations": rows.durations, "layers": list(rows.layers)}
    if rows.spans is not None:
        facts["spans"] = rows.spans
    texts = {key: json.dumps(list(fact)) for key, fact in facts.items()}
    place.write(name, as_file(tensors, texts))


def layers_of(
    place: Place, names: Sequence[str], held: Sequence[Sequence[str]], ids: Sequence[str]
) -> dict[str, StoredLayer | StoredRaggedLayer]:
    """Return every layer for some ids, left where it is.

    Parameters
    ----------
    place
        The folder.
    names
        The shards.
    held
        The ids of the rows of each shard.
    ids
        The items, at least one.

    Raises
    ------
    ValueError
        If an id is in no shard.
    """
    rows = _find(held, ids)
    lost = np.flatnonzero(rows[:, 0] < 0)
    if len(lost):
        raise ValueError(
            f"{place}: {len(lost)} of {len(ids)} items are in no shard, first {ids[lost[0]]!r}; "
            "call extract() again with this store"
        )
    header = read_header(place, names[rows[0, 0]])
    shards = Shards(place, names)
    found: dict[str, StoredLayer | StoredRaggedLayer] = {}
    for layer in header.layers:
        told = header.tensors[layer]
        width = int(told["shape"][1])
        if layer + N_FRAMES in header.tensors:
            kind = KINDS[told["dtype"]]
            found[layer] = StoredRaggedLayer(shards, layer, rows, width, kind)
        else:
            found[layer] = StoredLayer(shards, layer, rows, width)
    return found


def _find(held: Sequence[Sequence[str]], ids: Sequence[str]) -> NDArray[np.intp]:
    """Return shard number and row of each id, shape (n_items, 2), -1 where no shard has it."""
    sizes = [len(each) for each in held]
    known = pd.Index([key for each in held for key in each], dtype=object)
    places = np.stack(
        [
            np.repeat(np.arange(len(held)), sizes),
            np.arange(len(known)) - np.repeat(np.cumsum([0, *sizes])[:-1], sizes),
        ],
        axis=1,
    )
    latest = ~known.duplicated(keep="last")
    found = known[latest].get_indexer(pd.Index(ids, dtype=object))
    rows = np.full((len(ids), 2), -1, dtype=np.intp)
    rows[found >= 0] = places[latest][found[found >= 0]]
    return rows
