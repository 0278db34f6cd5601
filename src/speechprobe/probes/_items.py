"""What a network is fed: rows, frames, spectrograms or layers, of one length or ragged.

A batch is a tensor and the number of valid frames of each of its items, or None where all frames
of all items are valid. What stands behind the valid frames of an item is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows: TypeAlias = "NDArray[np.intp]"
Batch: TypeAlias = tuple[Tensor, Tensor | None]
Kind: TypeAlias = Literal["dims", "frames", "spectrograms", "layers"]

SHAPES: dict[Kind, str] = {
    "dims": "features (n_items, n_dims)",
    "frames": "frames (n_items, n_frames, n_dims), or ragged ones: a RaggedLayer or a list of "
    "arrays (n_frames, n_dims)",
    "spectrograms": "spectrograms (n_items, n_channels, n_bands, n_frames), or a list of arrays "
    "(n_channels, n_bands, n_frames)",
    "layers": "layers (n_items, n_layers, n_dims), as stack_layers makes them",
}
# The axis along which the frames of an item stand.
_TIME_AXIS: dict[Kind, int | None] = {"dims": None, "frames": 0, "spectrograms": 2, "layers": None}
# Values that are read or predicted at once. Larger blocks are slower: a convolution makes 16 times
# as many values of them, which no cache holds.
BLOCK_VALUES = 2**17


@dataclass(frozen=True, eq=False)
class Items:
    """Items of one kind.

    Parameters
    ----------
    values
        An array, a list of arrays, or a ragged layer with `padded` and `n_frames`.
    kind
        What the items are.
    shape
        Shape of one item without its frames: what all items share.
    lengths
        Frames of each item, (n_items,), where they are ragged.
    """

    values: Any
    kind: Kind
    shape: tuple[int, ...]
    lengths: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rows: Rows) -> Batch:
        """Return the items of some rows, float32, and their numbers of frames."""
        frames = torch.from_numpy(np.ascontiguousarray(self._array(rows), np.float32))
        return frames, None if self.lengths is None else torch.from_numpy(self.lengths[rows])

    def blocks(self, rows: Rows) -> Iterator[Rows]:
        """Yield rows in blocks of bounded memory, items of like length together."""
        frames = self.n_frames[rows]
        order = rows[np.argsort(frames, kind="stable")]
        size = max(1, BLOCK_VALUES // (int(frames.max(initial=1)) * int(np.prod(self.shape))))
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def moments(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and standard deviation over items and frames, in a shape that fits an item.

        The deviation is 1 where nothing varies, up to the rounding of the mean.
        """
        count, total = 0, np.zeros(self.shape)
        for values in self._flat(rows):
            count, total = count + len(values), total + values.sum(0)
        centre = total / count
        # Around the mean, in a second pass: squares of large means would drown the variance.
        squares = sum(((values - centre) ** 2).sum(0) for values in self._flat(rows))
        scale = np.sqrt(np.asarray(squares) / count)
        scale[(scale <= 1e-6 * np.abs(centre)) | (scale == 0)] = 1.0
        last = (..., None) if self.kind == "spectrograms" else ...  # where frames stand last
        return centre[last].astype(np.float32), scale[last].astype(np.float32)

    @property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each item, (n_items,); 1 where items have none."""
        if self.lengths is not None:
            return self.lengths
        axis = _TIME_AXIS[self.kind]
        return np.full(len(self), 1 if axis is None else self.values.shape[1 + axis], np.int64)

    def _flat(self, rows: Rows) -> Iterator[NDArray[np.float64]]:
        """Yield frames, or items that have none, one below the other, (n, *shape)."""
        axis = _TIME_AXIS[self.kind]
        for block in self.blocks(rows):
            values = np.asarray(self._array(block), np.float64)
            if axis is not None:
                moved = np.moveaxis(values, 1 + axis, 1)
                values = moved[np.arange(moved.shape[1]) < self.n_frames[block, None]]
            yield values

    def _array(self, rows: Rows) -> NDArray[Any]:
        """Return the items of some rows, padded with zeros where they are ragged."""
        if self.lengths is None:
            return np.asarray(self.values[rows])
        if hasattr(self.values, "padded"):
            return np.asarray(self.values.padded(rows)[0])
        axis = _TIME_AXIS[self.kind] or 0
        shape = [*self.shape[:axis], int(self.lengths[rows].max()), *self.shape[axis:]]
        padded = np.zeros((len(rows), *shape), np.float32)
        for place, row in zip(padded, rows, strict=True):
            np.moveaxis(place, axis, 0)[: self.lengths[row]] = np.moveaxis(
                self.values[row], axis, 0
            )
        return padded


def are_rows(X: Any) -> bool:
    """Say whether something is to be read as features (n_items, n_dims), right or wrong."""
    if hasattr(X, "padded") or _is_list(X):
        return False
    return getattr(X, "ndim", 2) not in (3, 4)


def items_of(X: Any, kinds: Sequence[Kind]) -> Items:
    """Return what was given, other than rows, as items of one of the kinds.

    Raises
    ------
    ValueError
        If the shape is none of these, items differ in theirs, or one has no frame or holds NaN or
        infinity.
    """
    if hasattr(X, "padded"):
        found = Items(X, "frames", (int(X.n_dims),), np.asarray(X.n_frames, np.int64))
    elif _is_list(X) and "layers" not in kinds:
        found = _of_list([np.asarray(each) for each in X])
    else:
        found = _of_array(np.asarray(X), kinds)
    if found.kind not in kinds:
        raise ValueError(f"expected {expected(kinds)}; got {SHAPES[found.kind]}")
    if not len(found):
        raise ValueError(f"there is no item; expected {expected(kinds)}")
    if (empty := np.flatnonzero(found.n_frames < 1)).size or not np.prod(found.shape):
        raise ValueError(f"item {empty[0] if empty.size else 0} has no frame or no dims")
    for block in found.blocks(np.arange(len(found))):
        finite = np.isfinite(found._array(block)).reshape(len(block), -1).all(1)
        if not finite.all():
            raise ValueError(f"item {block[~finite].min()} holds NaN or infinity")
    return found


def expected(kinds: Sequence[Kind]) -> str:
    """Return the shapes of some kinds in words."""
    return "; or ".join(SHAPES[kind] for kind in kinds)


def _is_list(X: Any) -> bool:
    """Say whether it is a list of items that have frames."""
    return isinstance(X, list | tuple) and len(X) > 0 and np.ndim(X[0]) >= 2


def _of_list(arrays: list[NDArray[Any]]) -> Items:
    kind: Kind = "frames" if arrays[0].ndim == 2 else "spectrograms"
    axis = _TIME_AXIS[kind] or 0
    shape = tuple(np.delete(arrays[0].shape, axis).tolist())
    for number, each in enumerate(arrays):
        _check_numbers(each, f"item {number}")
        own = tuple(np.delete(each.shape, axis).tolist()) if each.ndim > axis else None
        if each.ndim not in (2, 3) or own != shape:
            raise ValueError(
                f"item {number}: expected one of {expected([kind])} that fits item 0, "
                f"{arrays[0].shape}; got {each.shape}"
            )
    return Items(arrays, kind, shape, np.array([each.shape[axis] for each in arrays], np.int64))


def _of_array(array: NDArray[Any], kinds: Sequence[Kind]) -> Items:
    _check_numbers(array, "the array")
    fitting = {3: "layers" if "layers" in kinds else "frames", 4: "spectrograms"}
    kind: Any = fitting.get(array.ndim)
    if kind not in kinds:
        raise ValueError(f"expected {expected(kinds)}; got an array {array.shape}")
    axis = _TIME_AXIS[kind]
    shape = array.shape[1:] if axis is None else np.delete(array.shape[1:], axis).tolist()
    return Items(array, kind, tuple(shape))


def _check_numbers(array: NDArray[Any], what: str) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} holds {array.dtype}, expected real numbers")
