"""Lengths inside a network, so that a padded batch gives what single utterances give.

Conventions
-----------
Time is the last axis, (B, ..., T); `lengths` is an integer tensor (B,) with the valid frames of
each row, or None where every frame is valid. A convolution alone sees zeros behind the signal's
end; so frames beyond a row's length are set to zero before every layer that looks over its border
(convolutions wider than one frame), and left out of every mean, maximum and softmax over time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Return which frames count, shape (B, 1, ..., T), boolean.

    Examples
    --------
    >>> valid(torch.zeros(2, 3, 4), torch.tensor([4, 1]))[1]
    tensor([[ True, False, False, False]])
    """
    steps = torch.arange(x.shape[-1], device=x.device)
    inside = steps < lengths.to(x.device)[:, None]
    return inside.reshape(len(x), *[1] * (x.ndim - 2), x.shape[-1])


def mask(x: Tensor, lengths: Tensor | None, value: float = 0.0) -> Tensor:
    """Return x with `value` in the frames beyond each row's length.

    Examples
    --------
    >>> mask(torch.ones(1, 1, 3), torch.tensor([2]))
    tensor([[[1., 1., 0.]]])
    """
    return x if lengths is None else x.masked_fill(~valid(x, lengths), value)


def through(lengths: Tensor | None, layer: nn.Module) -> Tensor | None:
    """Return the lengths behind a convolution or pooling, by what it does along time.

    Examples
    --------
    >>> through(torch.tensor([10, 9]), nn.Conv1d(1, 1, 3, stride=2, padding=1))
    tensor([5, 5])
    """
    if lengths is None:
        return None
    kernel, stride, padding, dilation = (
        _in_time(getattr(layer, name, default))
        for name, default in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1))
    )
    return (lengths + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _in_time(setting: int | tuple[int, ...]) -> int:
    return setting if isinstance(setting, int) else setting[-1]


def masked_mean(x: Tensor, lengths: Tensor | None, *, keepdim: bool = False) -> Tensor:
    """Return the mean over the valid frames, shape (B, ...).

    Examples
    --------
    >>> masked_mean(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([2]))
    tensor([[2.]])
    """
    if lengths is None:
        return x.mean(-1, keepdim=keepdim)
    # Wide: in bfloat16 a sum of 500 frames, and 501 itself, are rounded.
    wide = x if x.dtype == torch.float64 else x.float()
    n = lengths.to(wide).reshape(len(x), *[1] * (x.ndim - 1 if keepdim else x.ndim - 2))
    return (mask(wide, lengths).sum(-1, keepdim=keepdim) / n).to(x.dtype)


def masked_softmax(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the softmax over the valid frames, zero in the others.

    Examples
    --------
    >>> masked_softmax(torch.zeros(1, 1, 3), torch.tensor([2]))
    tensor([[[0.5000, 0.5000, 0.0000]]])
    """
    return torch.softmax(mask(x, lengths, -torch.inf), dim=-1)
