"""Layers as array-likes: those of a store stay on the disk, ragged ones have rows of frames."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors import safe_open

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


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


class RaggedLayer:
    """The frames of a layer: an array-like of n_items arrays (n_frames, n_dims).

    ``layer[i]`` is the array of one item; a slice, a mask or a list of positions gives the layer
    of those items. The rows of an item may be frames, or the spans that were pooled.

    Parameters
    ----------
    values
        Shape (total_frames, n_dims): the frames of all items, one item behind the other.
    offsets
        Shape (n_items + 1,): item i has the frames from offsets[i] up to offsets[i + 1].

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> layer = RaggedLayer.of([np.zeros((2, 4)), np.ones((3, 4))])
    >>> len(layer), layer.n_frames.tolist(), layer.n_dims, layer[1].shape
    (2, [2, 3], 4, (3, 4))
    >>> frames, lengths = layer.padded()
    >>> frames.shape, lengths.tolist()
    ((2, 3, 4), [2, 3])
    """

    def __init__(self, values: NDArray[Any], offsets: ArrayLike) -> None:
        places = np.asarray(offsets, dtype=np.int64)
        whole = values.ndim == 2 and places.ndim == 1 and len(places)
        if not whole or places[0] != 0 or places[-1] != len(values) or (np.diff(places) < 0).any():
            raise ValueError(
                "ragged frames need values (total_frames, n_dims) and ascending offsets "
                f"(n_items + 1,) from 0 to total_frames, got shapes {values.shape} and "
                f"{places.shape}"
            )
        self._values = values
        self._places = np.stack([places[:-1], places[1:]], axis=1)
        self.dtype: np.dtype[Any] = values.dtype
        self.n_dims = int(values.shape[1])

    @classmethod
    def of(cls, rows: Sequence[ArrayLike]) -> RaggedLayer:
        """Return the layer of some arrays (n_frames, n_dims), one an item.

        Raises
        ------
        ValueError
            If one is not 2-D, or has another number of dimensions than the first.
        """
        arrays = [np.asarray(each) for each in rows]
        if not arrays:
            raise ValueError("ragged frames need at least one item")
        for number, each in enumerate(arrays):
            if each.ndim != 2 or each.shape[1:] != arrays[0].shape[1:]:
                raise ValueError(
                    f"item {number}: expected frames (n_frames, n_dims) with the n_dims of item 0, "
                    f"{arrays[0].shape}, got {each.shape}"
                )
        return RaggedLayer(np.concatenate(arrays), _offsets([len(each) for each in arrays]))

    @property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each item, shape (n_items,)."""
        counts: NDArray[np.int64] = self._places[:, -1] - self._places[:, -2]
        return counts

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each item begins in `values`, and where the last one ends, shape (n_items + 1,)."""
        return _offsets(self.n_frames)

    @property
    def values(self) -> NDArray[Any]:
        """Frames of all items, one item behind the other, shape (total_frames, n_dims)."""
        first, last = self._places[:1, 0].sum(), self._places[-1:, 1].sum()
        if (self._places[1:, 0] == self._places[:-1, 1]).all():
            return self._values[first:last]  # they stand so already
        return np.concatenate(self._take(self._places))

    def padded(self, rows: Any = slice(None)) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return frames (n, most frames, n_dims), zeros behind each item's own, and lengths (n,).

        Parameters
        ----------
        rows
            Which items: a slice, a mask or positions; all by default.
        """
        places = np.atleast_2d(self._places[rows])
        lengths = places[:, -1] - places[:, -2]
        frames = np.zeros((len(places), lengths.max(initial=0), self.n_dims), self.dtype)
        for row, own in zip(frames, self._take(places), strict=True):
            row[: len(own)] = own
        return frames, lengths

    def subset(self, rows: Any) -> Self:
        """Return the layer for some items, without reading or copying any."""
        chosen = copy.copy(self)
        chosen._places = np.atleast_2d(self._places[rows])
        return chosen

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer):
            return self._take(self._places[rows][None])[0]
        return self.subset(rows)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        raise ValueError(
            f"{self!r} has another number of frames for each item, so it is no matrix; pool it "
            'first: features.pooled("mean"). One item is layer[i], several are layer.padded(rows)'
        )

    def _take(self, places: NDArray[np.int64]) -> list[NDArray[Any]]:
        return [self._values[start:stop] for start, stop in places]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)} items, {self.n_frames.sum()} frames, "
            f"{self.n_dims} dims)"
        )


class StoredRaggedLayer(RaggedLayer):
    """A ragged layer of a store: of what stays on the disk, the frames asked for are read.

    Parameters
    ----------
    shards
        Paths of the shards.
    layer
        Name of the layer.
    places
        Shape (n_items, 3): shard number, first frame, and the one behind the last.
    """

    def __init__(self, shards: Sequence[Path], layer: str, places: NDArray[np.int64]) -> None:
        self._shards, self._layer, self._places = tuple(shards), layer, places
        with safe_open(self._shards[places[0, 0]], framework="np") as shard:
            empty = shard.get_slice(layer)[0:0]
        self.dtype, self.n_dims = empty.dtype, int(empty.shape[1])

    @property
    def values(self) -> NDArray[Any]:
        """Frames of all items, read from the disk, shape (total_frames, n_dims)."""
        return np.concatenate([*self._take(self._places), np.empty((0, self.n_dims), self.dtype)])

    def _take(self, places: NDArray[np.int64]) -> list[NDArray[Any]]:
        taken: dict[int, NDArray[Any]] = {}
        order = np.argsort(places[:, 0], kind="stable").tolist()
        for number, rows in itertools.groupby(order, key=lambda row: int(places[row, 0])):
            with safe_open(self._shards[number], framework="np") as shard:
                frames = shard.get_slice(self._layer)
                taken |= {row: frames[places[row, 1] : places[row, 2]] for row in rows}
        return [taken[row] for row in range(len(places))]


def _offsets(counts: ArrayLike) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
