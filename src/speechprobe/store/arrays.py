"""Layers as array-likes: those of a store stay where they are, ragged ones have rows of frames."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from speechprobe.store.headers import read_frame_counts
from speechprobe.store.places import Place

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, DTypeLike, NDArray


class Shards:
    """The shards that the layers of a store share: what was fetched or looked up serves all.

    Parameters
    ----------
    place
        The folder.
    names
        Names of the shards.
    """

    def __init__(self, place: Place, names: Sequence[str]) -> None:
        self._place, self._names = place, names
        self._paths: dict[int, Path] = {}
        self._offsets: dict[int, dict[str, NDArray[np.int64]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies in the cache folder of this machine are none of another's.
        return Shards, (self._place, self._names)

    def paths(self, numbers: Sequence[int]) -> list[Path]:
        """Return the file on this machine of each shard."""
        new = [n for n in numbers if n not in self._paths or not self._paths[n].is_file()]
        found = self._place.each(self._place.local, [self._names[number] for number in new])
        self._paths.update(zip(new, found, strict=True))
        return [self._paths[number] for number in numbers]

    def offsets(self, layer: str, numbers: Sequence[int]) -> dict[int, NDArray[np.int64]]:
        """Return where the frames of each row of a shard begin, and where the last ones end."""
        new = [number for number in numbers if number not in self._offsets]
        names = [self._names[number] for number in new]
        found = self._place.each(lambda name: read_frame_counts(self._place, name), names)
        for number, counts in zip(new, found, strict=True):
            self._offsets[number] = {name: _offsets(each) for name, each in counts.items()}
        return {number: self._offsets[number][layer] for number in numbers}


class StoredLayer:
    """One layer of a store: an array-like (n_items, n_dims) that is read when it is indexed.

    Rows stay in the store; indexing rows reads those rows alone, `numpy.asarray` reads all. Of a
    remote store the shards with those rows are copied to the cache folder once.

    Parameters
    ----------
    shards
        Of the store.
    layer
        Name of the layer.
    rows
        Shape (n_items, 2): shard number and row of each item.
    width
        Number of dimensions.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, shards: Shards, layer: str, rows: NDArray[np.intp], width: int) -> None:
        self._shards, self._layer, self._rows = shards, layer, rows
        self.shape = (len(rows), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        chosen, column = rows if isinstance(rows, tuple) else (rows, slice(None))
        wanted = self._rows[chosen]
        found = self._read(np.atleast_2d(wanted))[:, column]
        one: NDArray[np.float32] = found[0] if np.ndim(wanted) == 1 else found
        return one

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a stored layer cannot be seen as an array without a copy")
        return self._read(self._rows).astype(dtype or np.float32, copy=False)

    def subset(self, rows: NDArray[np.intp]) -> StoredLayer:
        """Return the layer for some items, still in the store."""
        return StoredLayer(self._shards, self._layer, self._rows[rows], self.shape[1])

    def _read(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        result = np.empty((len(rows), self.shape[1]), np.float32)
        for path, (_, here) in _by_shard(self._shards, rows):
            first, last = rows[here, 1].min(), rows[here, 1].max()
            with _opened(path) as shard:
                frames = shard.get_slice(self._layer)[int(first) : int(last) + 1]
            result[here] = frames[rows[here, 1] - first]
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
        ends = np.asarray(offsets, dtype=np.int64)
        whole = values.ndim == 2 and ends.ndim == 1 and len(ends)
        if not whole or ends[0] != 0 or ends[-1] != len(values) or (np.diff(ends) < 0).any():
            raise ValueError(
                "ragged frames need values (total_frames, n_dims) and ascending offsets "
                f"(n_items + 1,) from 0 to total_frames, got shapes {values.shape} and "
                f"{ends.shape}"
            )
        self._values = values
        self._rows = np.stack([ends[:-1], ends[1:]], axis=1)  # where each item is to be found
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
        counts: NDArray[np.int64] = self._rows[:, 1] - self._rows[:, 0]
        return counts

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each item begins in `values`, and where the last one ends, shape (n_items + 1,)."""
        return _offsets(self.n_frames)

    @property
    def values(self) -> NDArray[Any]:
        """Frames of all items, one item behind the other, shape (total_frames, n_dims)."""
        first, last = self._rows[:1, 0].sum(), self._rows[-1:, 1].sum()
        if (self._rows[1:, 0] == self._rows[:-1, 1]).all():
            return self._values[first:last]  # they stand so already
        return np.concatenate(self._take(self._rows))

    def padded(self, rows: Any = slice(None)) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return frames (n, most frames, n_dims), zeros behind each item's own, and lengths (n,).

        Parameters
        ----------
        rows
            Which items: a slice, a mask or positions; all by default.
        """
        taken = self._take(np.atleast_2d(self._rows[rows]))
        lengths = np.array([len(own) for own in taken], dtype=np.int64)
        frames = np.zeros((len(taken), lengths.max(initial=0), self.n_dims), self.dtype)
        for row, own in zip(frames, taken, strict=True):
            row[: len(own)] = own
        return frames, lengths

    def subset(self, rows: Any) -> Self:
        """Return the layer for some items, without reading or copying any."""
        chosen = copy.copy(self)
        chosen._rows = np.atleast_2d(self._rows[rows])
        return chosen

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer):
            return self._take(self._rows[rows][None])[0]
        return self.subset(rows)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        raise ValueError(
            f"{self!r} has another number of frames for each item, so it is no matrix; pool it "
            'first: features.pooled("mean"). One item is layer[i], several are layer.padded(rows)'
        )

    def _take(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        return [self._values[start:stop] for start, stop in rows]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)} items, {self.n_frames.sum()} frames, "
            f"{self.n_dims} dims)"
        )


class StoredRaggedLayer(RaggedLayer):
    """A ragged layer of a store: of what stays there, the frames asked for are read.

    Parameters
    ----------
    shards
        Of the store.
    layer
        Name of the layer.
    rows
        Shape (n_items, 2): shard number and row of each item.
    width
        Number of dimensions.
    dtype
        Type of the frames.
    """

    def __init__(
        self,
        shards: Shards,
        layer: str,
        rows: NDArray[np.intp],
        width: int,
        dtype: np.dtype[Any],
    ) -> None:
        self._shards, self._layer, self._rows = shards, layer, rows
        self.dtype, self.n_dims = dtype, width

    @property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each item, shape (n_items,)."""
        result = np.empty(len(self), np.int64)
        groups = _grouped(self._rows)
        offsets = self._shards.offsets(self._layer, [number for number, _ in groups])
        for number, here in groups:
            result[here] = np.diff(offsets[number])[self._rows[here, 1]]
        return result

    @property
    def values(self) -> NDArray[Any]:
        """Frames of all items, read from the store, shape (total_frames, n_dims)."""
        return np.concatenate([*self._take(self._rows), np.empty((0, self.n_dims), self.dtype)])

    def _take(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        taken: dict[int, NDArray[Any]] = {}
        offsets = self._shards.offsets(self._layer, np.unique(rows[:, 0]).tolist())
        for path, (number, here) in _by_shard(self._shards, rows):
            first = offsets[number][rows[here, 1]].tolist()
            stop = offsets[number][rows[here, 1] + 1].tolist()
            with _opened(path) as shard:
                frames = shard.get_slice(self._layer)
                for item, start, end in zip(here.tolist(), first, stop, strict=True):
                    taken[item] = frames[start:end]
        return [taken[item] for item in range(len(rows))]


def _grouped(rows: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """Return each shard number of rows (n_items, 2), and the positions that are in it."""
    order = np.argsort(rows[:, 0], kind="stable")
    numbers, starts = np.unique(rows[order, 0], return_index=True)
    return list(zip(numbers.tolist(), np.split(order, starts)[1:], strict=True))


def _by_shard(
    shards: Shards, rows: NDArray[np.intp]
) -> Iterator[tuple[Path, tuple[int, NDArray[np.intp]]]]:
    """Give the file on this machine of each shard, its number, and the positions that are in it."""
    groups = _grouped(rows)
    return zip(shards.paths([number for number, _ in groups]), groups, strict=True)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="np") as shard:
            yield shard
    except SafetensorError as error:
        raise ValueError(
            f"{path} is a broken shard ({error}); delete it, and extract() with this store makes "
            "again what it held"
        ) from error


def _offsets(counts: ArrayLike) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
