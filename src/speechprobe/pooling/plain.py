"""Poolings that give one vector a signal.

The mean, the maximum and their kin look at the valid frames where these lie: neighbours of equal
length are pooled by one call, and no frame is copied. Where that would be many calls for little
work, as for spans of some frames each, the padding is masked in a copy. Lengths on the CPU ask
nothing of the device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

# (frames (B, T, D), lengths (B,)) -> (B, D'), or a list of B tensors (n_rows, D') if ragged.
Pooling: TypeAlias = Callable[[Tensor, Tensor], Any]

# Values that are worth a call of their own: on a CPU as many as are summed in the time of a call,
# on a device as many as are copied in that time.
_WORTH_A_CALL = {"cpu": 1 << 15}
_WORTH_A_CALL_ON_DEVICES = 1 << 20


def mean(frames: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the valid frames.

    Parameters
    ----------
    frames
        Shape (B, T, D).
    lengths
        Shape (B,), valid frames of each row.

    Returns
    -------
    vectors
        Shape (B, D), float32 (float64 for float64 frames).

    Examples
    --------
    >>> mean(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[2.]])
    """
    stretches = _stretches(frames, lengths)
    if stretches:
        return _joined([each.mean(dim=1, dtype=_wide_type(each)) for each in stretches])
    total = _valid(frames, lengths, 0.0).sum(dim=1)
    return total / _beside(total, lengths).to(total)[:, None]


def mean_std(frames: Tensor, lengths: Tensor) -> Tensor:
    """Mean and standard deviation (divided by n) over the valid frames, side by side.

    Returns
    -------
    vectors
        Shape (B, 2 D): the D means, then the D standard deviations.

    Examples
    --------
    >>> mean_std(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[2., 1.]])
    """
    centre = mean(frames, lengths)
    squares = (frames.to(centre.dtype) - centre[:, None]) ** 2
    return torch.cat([centre, mean(squares, lengths).sqrt()], dim=1)


def maximum(frames: Tensor, lengths: Tensor) -> Tensor:
    """Maximum over the valid frames.

    Returns
    -------
    vectors
        Shape (B, D).

    Examples
    --------
    >>> maximum(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[3.]])
    """
    stretches = _stretches(frames, lengths)
    if stretches:
        return _joined([wide(each.amax(dim=1)) for each in stretches])
    return _valid(frames, lengths, -torch.inf).amax(dim=1)


def first(frames: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG001 the form of a pooling
    """First frame.

    Returns
    -------
    vectors
        Shape (B, D).

    Examples
    --------
    >>> first(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[1.]])
    """
    return wide(frames[:, 0])


def last(frames: Tensor, lengths: Tensor) -> Tensor:
    """Last valid frame: all that a recurrent layer has gathered.

    Returns
    -------
    vectors
        Shape (B, D).

    Examples
    --------
    >>> last(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[3.]])
    """
    rows = torch.arange(len(frames), device=frames.device)
    return wide(frames[rows, _beside(frames, lengths) - 1])


def energy_mean(frames: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the valid frames, each weighted by its energy in this layer.

    The weight is the sum of the frame's squares over that of all valid frames: attention without
    anything learned, which leaves out what a layer leaves silent. The plain mean where all is 0.

    Returns
    -------
    vectors
        Shape (B, D), float32 (float64 for float64 frames).

    Examples
    --------
    >>> energy_mean(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[2.8000]])
    """
    values = _valid(frames, lengths, 0.0)
    # Brought to 1 at most, so that no square overflows.
    scaled = values / values.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
    energy = scaled.square().sum(dim=2, keepdim=True)
    total = energy.sum(dim=1)
    weighted = (values * energy).sum(dim=1) / total.clamp_min(torch.finfo(values.dtype).tiny)
    return torch.where(total > 0, weighted, mean(frames, lengths))


def segments(k: int) -> Pooling:
    """Return a pooling that takes the mean of each of k equal stretches of the valid frames.

    Segment j of a row of n frames covers frames floor(j n / k) up to ceil((j + 1) n / k), so a row
    with fewer than k frames repeats them instead of giving empty segments.

    Parameters
    ----------
    k
        Number of segments, at least 1.

    Returns
    -------
    pooling
        A callable giving (B, k D): the D values of segment 0, then of segment 1, and so on.

    Raises
    ------
    ValueError
        If `k` is less than 1.

    Examples
    --------
    >>> frames = torch.arange(4.0).reshape(1, 4, 1)
    >>> segments(2)(frames, torch.tensor([4]))
    tensor([[0.5000, 2.5000]])
    """
    if int(k) != k or k < 1:
        raise ValueError(f"segments(k) needs a whole number k >= 1, got {k}")

    def pool(frames: Tensor, lengths: Tensor) -> Tensor:
        values = _valid(frames, lengths, 0.0)
        lengths = _beside(frames, lengths)
        step = torch.arange(k, device=frames.device)
        start = step * lengths[:, None] // k
        stop = -((-(step + 1) * lengths[:, None]) // k)
        time = torch.arange(frames.shape[1], device=frames.device)
        inside = (time >= start[..., None]) & (time < stop[..., None])
        weights = inside.to(values) / (stop - start).to(values)[..., None]
        return (weights @ values).flatten(1)

    pool.__name__ = f"segments({k})"
    return pool


def wide(values: Tensor) -> Tensor:
    """Return values in float32, or as they are in float64."""
    return values.to(_wide_type(values))


def _wide_type(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _stretches(frames: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return the valid frames of neighbours of equal length, or nothing where that is many calls.

    Each is a view (rows, length, D), in the order of the rows.
    """
    runs = [(n, len(list(same))) for n, same in itertools.groupby(lengths.tolist())]
    worth = _WORTH_A_CALL.get(frames.device.type, _WORTH_A_CALL_ON_DEVICES)
    if len(runs) > 1 and frames.numel() < len(runs) * worth:
        return []
    rows = torch.split(frames, [n_rows for _, n_rows in runs])
    return [part[:, :n] for part, (n, _) in zip(rows, runs, strict=True)]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _valid(frames: Tensor, lengths: Tensor, fill: float) -> Tensor:
    values = wide(frames)
    # Lengths kept on the CPU answer this without waiting for the device, and save a copy.
    if lengths.device.type == "cpu" and int(lengths.min()) >= frames.shape[1]:
        return values
    time = torch.arange(frames.shape[1], device=frames.device)
    padded = time >= _beside(frames, lengths)[:, None]
    return values.masked_fill(padded[..., None], fill)


def _beside(frames: Tensor, lengths: Tensor) -> Tensor:
    """Return the lengths on the device of the frames, without waiting for its work so far."""
    return lengths.to(frames.device, non_blocking=frames.device.type == "cuda")
