"""Features: every layer of a model over a corpus, pooled, beside the labels of the items.

Row i of every layer is row i of `items`. Features made elsewhere are as good as those that
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

from speechprobe import store as storage
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.selection import rows_of
from speechprobe.extractors.base import select_layers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


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
        until they are indexed.
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
        for name, rows in self.layers.items():
            shape = np.shape(rows) if not hasattr(rows, "shape") else tuple(rows.shape)
            if len(shape) != 2 or shape[0] != len(self.items):
                raise ValueError(
                    f"layer {name!r} must have shape (n_items, n_dims) with the {len(self.items)} "
                    f"items of the table, got {shape}"
                )
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, layer: str) -> NDArray[Any]:
        if layer not in self.layers:
            select_layers(self.layers, layer)  # raises with near names
            raise KeyError(f"{layer!r} is a pattern; index one layer, of {list(self.layers)}")
        return np.asarray(self.layers[layer])

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
            name: layer.subset(rows) if isinstance(layer, storage.StoredLayer)
            else np.asarray(layer)[rows]
            for name, layer in self.layers.items()
        }  # fmt: skip
        return replace(self, layers=layers, items=self.items.iloc[rows])

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


def load_features(path: str | Path) -> Features:
    """Load features that `extract` stored; layers stay on the disk until they are used.

    Parameters
    ----------
    path
        The store folder.

    Raises
    ------
    FileNotFoundError
        If the folder is no store.
    ValueError
        If the extraction has not finished.
    """
    folder = Path(path)
    record = storage.read_record(folder)
    items = storage.read_items(folder, record["columns"])
    failures = tuple(Failure(**failure) for failure in record["failures"])
    layers = storage.read_layers(folder, list(items.index))
    return Features(layers, items, record["provenance"], failures)
