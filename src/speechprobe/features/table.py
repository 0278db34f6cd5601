"""Features: every layer of a model over a corpus, pooled, beside the labels of the items.

Row i of every layer is row i of `items`; of frames that were not pooled, `layer[i]` are the frames
of item i. Features made elsewhere are as good as those that
`extract` gives: `Features(layers, items, provenance)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from speechprobe import pooling
from speechprobe import store as storage
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.selection import rows_of
from speechprobe.extractors.base import select_layers
from speechprobe.store import RaggedLayer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from speechprobe.pooling import Pooling

__all__ = ["Failure", "Features", "RaggedLayer", "load_features"]
_ITEMS_AT_ONCE = 32  # that are padded together to be pooled


class Failure(NamedTuple):
    """A sound file that gave no features, and why."""

    path: str
    error: str


@dataclass(frozen=True, eq=False)
class Features:
    """Layers and labels of the same items.

    Parameters
    ----------
    layers
        {layer: array-like (n_items, n_dims)}, in depth order; stored layers stay on the disk
        until they are indexed. Frames are a `RaggedLayer`, or a list of n_items arrays
        (n_frames, n_dims), which becomes one.
    items
        The labels, one row an item, indexed by id.
    provenance
        What made the features.
    failures
        (path, error) of each file left out by ``errors="record"``.

    Raises
    ------
    ValueError
        If a layer has another number of rows than `items`, or is not (n_items, n_dims).

    Examples
    --------
    >>> items = pd.DataFrame({"speaker": ["a", "b"]}, index=["u1", "u2"])
    >>> features = Features({"layer": np.eye(2)}, items)
    >>> features["layer"].shape, list(features.select([True, False]).items.index)
    ((2, 2), ['u1'])
    """

    layers: Mapping[str, Any]
    items: pd.DataFrame
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("features need at least one layer")
        layers = {name: _as_layer(rows) for name, rows in self.layers.items()}
        for name, rows in layers.items():
            shape = _shape(rows)
            if len(shape) != 2 or shape[0] != len(self.items):
                raise ValueError(
                    f"layer {name!r} must have shape (n_items, n_dims) with the {len(self.items)} "
                    f"items of the table, got {shape}"
                )
        object.__setattr__(self, "layers", MappingProxyType(layers))

    def __len__(self) -> int:
        return len(self.items)

    # Over items or over layers? `items` and `layers` say.
    __iter__ = None

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def __getitem__(self, layer: str) -> Any:
        if layer not in self.layers:
            select_layers(self.layers, layer)  # raises with near names
            raise KeyError(f"{layer!r} is a pattern; index one layer, of {list(self.layers)}")
        rows = self.layers[layer]
        return rows if isinstance(rows, RaggedLayer) else np.asarray(rows)

    def select(self, keep: ArrayLike) -> Features:
        """Return the items of a boolean mask (n_items,), of ids, or of row positions.

        A boolean Series is matched by id; whole numbers are row positions.

        Raises
        ------
        ValueError
            If the mask has another length or leaves nothing.
        KeyError
            If an id is unknown.
        """
        wanted = np.asarray(keep)
        by_position = np.issubdtype(wanted.dtype, np.integer)
        rows = wanted if by_position else rows_of(self.items, keep, "the features")
        layers = {
            name: layer.subset(rows) if isinstance(layer, storage.StoredLayer | RaggedLayer)
            else np.asarray(layer)[rows]
            for name, layer in self.layers.items()
        }  # fmt: skip
        return replace(self, layers=layers, items=self.items.iloc[rows])

    def pooled(self, pool: str | Pooling) -> Features:
        """Return the features with the frames of each item pooled to one vector.

        Parameters
        ----------
        pool
            "mean", "mean_std", "max", or a pooling function that gives one vector.

        Raises
        ------
        ValueError
            If no layer holds frames, or the pooling is ragged itself.

        Examples
        --------
        >>> items = pd.DataFrame({"speaker": ["a", "b"]}, index=["u1", "u2"])
        >>> features = Features({"layer": [np.zeros((2, 4)), np.ones((3, 4))]}, items)
        >>> features.pooled("mean")["layer"].shape
        (2, 4)
        """
        wanted = pooling.resolve(pool)
        name = pooling.name_of(wanted)
        if pooling.is_ragged(wanted):
            raise ValueError(f"{name} does not give one vector; take 'mean', 'mean_std' or 'max'")
        if not any(isinstance(rows, RaggedLayer) for rows in self.layers.values()):
            raise ValueError(f"no layer of {self!r} holds frames; they are pooled already")
        layers = {
            layer: _pooled(rows, wanted) if isinstance(rows, RaggedLayer) else rows
            for layer, rows in self.layers.items()
        }
        return replace(self, layers=layers, provenance={**self.provenance, "pooled": name})

    def with_labels(self, corpus: Corpus | pd.DataFrame) -> Features:
        """Return the features with all labels of a corpus, matched by utterance id.

        Raises
        ------
        ValueError
            If an item is not in the corpus.
        """
        table = corpus.table if isinstance(corpus, Corpus) else corpus
        lost = self.items.index.difference(table.index)
        if len(lost):
            raise ValueError(
                f"{len(lost)} of {len(self)} items are not in the corpus, first {lost[0]!r}"
            )
        items = self.items.copy()
        items[list(table.columns)] = table.loc[items.index]
        return replace(self, items=items)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failures" if self.failures else ""
        return f"Features({len(self)} items, layers {list(self.layers)}{failed})"


def _as_layer(rows: Any) -> Any:
    """Return a list of arrays (n_frames, n_dims) as a ragged layer, all else as it is."""
    is_ragged = isinstance(rows, list | tuple) and rows and all(np.ndim(each) == 2 for each in rows)
    return RaggedLayer.of(rows) if is_ragged else rows


def _shape(rows: Any) -> tuple[int, ...]:
    if isinstance(rows, RaggedLayer):
        return len(rows), rows.n_dims
    return tuple(rows.shape) if hasattr(rows, "shape") else np.shape(rows)


def _pooled(rows: RaggedLayer, pool: Pooling) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(rows), _ITEMS_AT_ONCE):
        frames, lengths = rows.padded(slice(start, start + _ITEMS_AT_ONCE))
        parts.append(pool(torch.from_numpy(frames), torch.from_numpy(lengths)).numpy())
    return np.concatenate(parts)


def load_features(path: str | Path) -> Features:
    """Load features that `extract` stored; layers stay in the store until they are used.

    Parameters
    ----------
    path
        The store folder, or its address (``s3://``, ``gs://``, ``hf://``, ...): of a remote one
        the labels and the heads of the shards are fetched, and each shard when it is first needed.

    Raises
    ------
    FileNotFoundError
        If the folder is no store.
    ValueError
        If the extraction has not finished, or a shard cannot be read.
    ImportError
        If the package that reads such an address is missing.
    """
    place = storage.place_of(path)
    record = storage.read_record(place)
    items = storage.read_items(place, record["columns"])
    failures = tuple(Failure(each["path"], each["error"]) for each in record["failures"])
    layers = storage.read_layers(place, list(items.index))
    return Features(layers, items, record["provenance"], failures)
