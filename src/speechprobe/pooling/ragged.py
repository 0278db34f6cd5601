"""Poolings that keep every frame, and how ragged results are told and joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from speechprobe.pooling.plain import Pooling

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# What a batch gives for a layer: (n_signals, D'), or n_signals arrays (n_rows, D') if ragged.
Pooled: TypeAlias = "NDArray[Any] | list[NDArray[Any]]"
_DTYPES = {"float32": torch.float32, "float16": torch.float16}


def frames(frames: Tensor, lengths: Tensor) -> list[Tensor]:
    """Every valid frame: ragged, as signals differ in their number of frames.

    Parameters
    ----------
    frames
        Shape (B, T, D).
    lengths
        Shape (B,), valid frames of each row.

    Returns
    -------
    rows
        B tensors (length, D), float32.

    Examples
    --------
    >>> frames(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    [tensor([[1.],
            [3.]])]
    """
    # One row after another: half precision is widened without a copy of the padding.
    return [
        row[:length].to(torch.float32) for row, length in zip(frames, lengths.tolist(), strict=True)
    ]


def frames_as(dtype: Literal["float32", "float16"]) -> Pooling:
    """Return a pooling that keeps every valid frame in the given precision.

    Parameters
    ----------
    dtype
        "float16" halves the memory and the store, with 11 bits of precision and values up to
        65504; "float32" is what `frames` gives.

    Returns
    -------
    pooling
        A ragged pooling, which raises ValueError where a value is beyond the range of `dtype`.

    Raises
    ------
    ValueError
        If `dtype` is another.

    Examples
    --------
    >>> frames_as("float16")(torch.tensor([[[1.0], [3.0]]]), torch.tensor([2]))[0].dtype
    torch.float16
    """
    if dtype not in _DTYPES:
        raise ValueError(f"frames are kept as {' or '.join(map(repr, _DTYPES))}, got {dtype!r}")

    def pool(every: Tensor, lengths: Tensor) -> list[Tensor]:
        wide = frames(every, lengths)
        rows = [row.to(_DTYPES[dtype]) for row in wide]
        # One question to the device for the whole batch.
        if not bool(torch.stack([row.isfinite().all() for row in rows]).all()):
            _refuse_beyond(wide, dtype)
        return rows

    pool.ragged = True  # type: ignore[attr-defined]
    pool.__name__ = f"frames_as({dtype!r})"
    return pool


frames.ragged = True  # type: ignore[attr-defined]


def _refuse_beyond(wide: Sequence[Tensor], dtype: str) -> None:
    largest = max(float(row.abs().nan_to_num(0.0, 0.0).max()) for row in wide)
    limit = torch.finfo(_DTYPES[dtype]).max
    if largest > limit:
        raise ValueError(
            f"frames reach {largest:.6g} and {dtype} holds values up to {limit:g}; keep them with "
            'pool="frames", in float32'
        )


def is_ragged(pool: Pooling) -> bool:
    """Say whether a pooling gives a list of tensors (n_rows, D'), several rows a signal.

    Examples
    --------
    >>> is_ragged(frames)
    True
    """
    return bool(getattr(pool, "ragged", False))


def join(parts: Sequence[Tensor | list[Tensor]], order: ArrayLike) -> Pooled:
    """Return what several groups of a batch gave, one after another and then put in order.

    Parameters
    ----------
    parts
        For each group a tensor (n_signals, D'), or a list of n_signals tensors (n_rows, D').
    order
        Shape (n_signals,): result k is row order[k] of the groups laid end to end, so the argsort
        of the concatenated positions.

    Returns
    -------
    pooled
        Array (n_signals, D'), or list of n_signals arrays (n_rows, D').

    Examples
    --------
    >>> join([torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])], [2, 0, 1]).tolist()
    [[3.0], [1.0], [2.0]]
    """
    order = np.asarray(order)
    if isinstance(parts[0], list):
        rows = [row for part in parts for row in part]
        ordered = [rows[k].detach() for k in order]
        # One transfer from the device, and memory of its own instead of views of a padded batch.
        together = torch.cat(ordered).cpu().numpy()
        return np.split(together, np.cumsum([len(row) for row in ordered])[:-1])
    tensors = [part for part in parts if isinstance(part, Tensor)]
    joined: NDArray[Any] = torch.cat(tensors).detach().cpu().numpy()[order]
    return joined


def join_layers(
    parts: Sequence[Mapping[str, Tensor | list[Tensor]]], order: ArrayLike
) -> dict[str, Pooled]:
    """Return what several groups of a batch gave of every layer, as `join` does for one.

    The vectors of all layers leave the device in one transfer: each transfer waits for the device.

    Parameters
    ----------
    parts
        For each group {layer: a tensor (n_signals, D'), or a list of n_signals tensors}, the same
        layers in each, tensors of one type.
    order
        As in `join`.

    Returns
    -------
    layers
        {layer: array (n_signals, D'), or list of n_signals arrays (n_rows, D')}.

    Examples
    --------
    >>> group = {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([[3.0, 4.0], [5.0, 6.0]])}
    >>> {layer: rows.tolist() for layer, rows in join_layers([group], [1, 0]).items()}
    {'a': [[2.0], [1.0]], 'b': [[5.0, 6.0], [3.0, 4.0]]}
    """
    pooled = {layer: [part[layer] for part in parts] for layer in parts[0]}
    vectors = {
        layer: torch.cat([each for each in groups if isinstance(each, Tensor)]).detach()
        for layer, groups in pooled.items()
        if isinstance(groups[0], Tensor)
    }
    if len(vectors) < len(pooled):
        return {layer: join(groups, order) for layer, groups in pooled.items()}
    together = torch.cat([each.flatten() for each in vectors.values()]).cpu().numpy()
    ends = np.cumsum([each.numel() for each in vectors.values()])[:-1]
    order = np.asarray(order)
    return {
        # Put in order, a layer has memory of its own.
        layer: values.reshape(tensor.shape)[order]
        for (layer, tensor), values in zip(vectors.items(), np.split(together, ends), strict=True)
    }
