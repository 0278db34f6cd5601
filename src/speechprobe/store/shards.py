"""The shards of a store: safetensors files with the layers of some items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from speechprobe._files import replacing
from speechprobe.store.arrays import RaggedLayer, StoredLayer, StoredRaggedLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_FRAMES = ":n_frames"


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


def list_shards(folder: Path) -> list[Path]:
    """Return the shards of a folder in the order in which they were written."""
    return sorted(folder.glob("part-*.safetensors"))


def write_shard(path: Path, rows: Rows) -> None:
    """Write rows as one file that is whole or not there."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, block in rows.layers.items():
        if isinstance(block, list):
            ragged = RaggedLayer.of(block)
            half = ragged.dtype == np.float16
            tensors[name] = ragged.values.astype(np.float16 if half else np.float32, copy=False)
            tensors[name + _N_FRAMES] = ragged.n_frames
        else:
            tensors[name] = np.ascontiguousarray(block, np.float32)
    facts = {"ids": rows.ids, "durations": rows.durations, "layers": list(rows.layers)}
    if rows.spans is not None:
        facts["spans"] = rows.spans
    with replacing(path) as partial:
        # Not save_file: it makes files that only their owner can read.
        partial.write_bytes(
            save(tensors, metadata={key: json.dumps(list(fact)) for key, fact in facts.items()})
        )


def read_facts(shard: Path) -> dict[str, Any]:
    """Return what the metadata of a shard say: ids, durations, layers, and spans if it has any."""
    with safe_open(shard, framework="np") as opened:
        return {key: json.loads(text) for key, text in opened.metadata().items()}


def layers_of(
    shards: Sequence[Path], places: NDArray[np.intp], names: Iterable[str]
) -> dict[str, StoredLayer | StoredRaggedLayer]:
    """Return layers that stay on the disk.

    Parameters
    ----------
    shards
        Paths of the shards.
    places
        Shape (n_items, 2): shard number and row of each item.
    names
        The layers.
    """
    found: dict[str, StoredLayer | StoredRaggedLayer] = {}
    with safe_open(shards[places[0, 0]], framework="np") as shard:
        widths = {name: shard.get_slice(name).get_shape()[1] for name in names}
        ragged = set(shard.keys()) & {name + _N_FRAMES for name in widths}
    for name, width in widths.items():
        if name + _N_FRAMES in ragged:
            found[name] = StoredRaggedLayer(shards, name, _frames_of(shards, places, name))
        else:
            found[name] = StoredLayer(shards, name, places, width)
    return found


def _frames_of(shards: Sequence[Path], places: NDArray[np.intp], layer: str) -> NDArray[np.int64]:
    """Return shard number, first frame, and the one behind the last of each item."""
    result = np.empty((len(places), 3), np.int64)
    for number in np.unique(places[:, 0]):
        here = np.flatnonzero(places[:, 0] == number)
        with safe_open(shards[number], framework="np") as shard:
            counts = shard.get_tensor(layer + _N_FRAMES)
        ends = np.cumsum(counts)[places[here, 1]]
        result[here] = np.stack(
            [np.full(len(here), number), ends - counts[places[here, 1]], ends], axis=1
        )
    return result
