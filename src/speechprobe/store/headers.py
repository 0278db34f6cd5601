"""Safetensors files as shards are: written the same each time, their head read without the rest.

Such a file is 8 bytes with the length of its header, the header (JSON: the place, type and shape of
each tensor, and the metadata, which are texts), and the tensors. The library of that name writes
the metadata in any order, and copies all tensors twice.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from speechprobe.store.places import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_FRAMES = ":n_frames"  # behind the name of a ragged layer: the tensor of its frame counts
# Bytes: the header of about a thousand rows, so that one request is enough for most shards; and
# the longest that safetensors itself takes.
_FIRST, _LONGEST = 64 << 10, 100_000_000
KINDS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
}


class Header(NamedTuple):
    """What the first bytes of a shard say.

    `layers` are the names in depth order; `tensors` what safetensors tells of each tensor, such as
    its ``dtype`` and ``shape``; `length` the bytes before the first of them.
    """

    ids: list[str]
    durations: list[float]
    spans: list[tuple[float, float]] | None
    layers: list[str]
    tensors: dict[str, Any]
    length: int


def as_file(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return tensors of the `KINDS` as a safetensors file; equal ones give equal bytes."""
    names = {kind: name for name, kind in KINDS.items()}
    # The order of the format: wide types first, so that every tensor is aligned.
    ordered = sorted(tensors.items(), key=lambda pair: (-pair[1].dtype.itemsize, pair[0]))
    told: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        kind = names[tensor.dtype.newbyteorder("<")]
        told[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    data = [tensor.astype(tensor.dtype.newbyteorder("<"), copy=False) for _, tensor in ordered]
    blocks = [np.ascontiguousarray(block).reshape(-1).view(np.uint8).data for block in data]
    return b"".join([struct.pack("<Q", len(text)), text, *blocks])


def read_header(place: Place, name: str) -> Header:
    """Return what the header of a shard says; nothing else of the file is read.

    Raises
    ------
    ValueError
        If it is no shard.
    """
    try:
        text = _header_text(place, name)
        tensors = json.loads(text)
        facts = {key: json.loads(text) for key, text in tensors.pop("__metadata__").items()}
        spans = [(start, end) for start, end in facts["spans"]] if "spans" in facts else None
        return Header(
            facts["ids"], facts["durations"], spans, facts["layers"], tensors, 8 + len(text)
        )
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(
            f"{place}: {name} is no shard of features ({error}); delete it, and extract() with "
            "this store makes again what it held"
        ) from error


def _header_text(place: Place, name: str) -> bytes:
    """Return the JSON of a safetensors file, which its length in 8 bytes stands before."""
    start = place.read_start(name, _FIRST)
    (length,) = struct.unpack("<Q", start[:8])
    if length > _LONGEST:
        raise ValueError("it is no safetensors file")
    if 8 + length > len(start) == _FIRST:
        start = place.read_start(name, 8 + length)
    return start[8 : 8 + length]


def read_frame_counts(place: Place, name: str) -> dict[str, NDArray[np.int64]]:
    """Return how many frames each row of a shard has, by ragged layer."""
    header = read_header(place, name)
    counts = {
        tensor.removesuffix(N_FRAMES): np.array(told["data_offsets"]) + header.length
        for tensor, told in header.tensors.items()
        if tensor.endswith(N_FRAMES)
    }
    # They stand side by side, for safetensors writes the types with the most bytes first.
    begin = min(int(start) for start, _ in counts.values())
    data = place.read_part(name, begin, max(int(stop) for _, stop in counts.values()))
    return {
        layer: np.frombuffer(data[start - begin : stop - begin], dtype="<i8").astype(np.int64)
        for layer, (start, stop) in counts.items()
    }
