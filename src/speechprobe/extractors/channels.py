"""2-D convolutions with the channels last in memory: (B, C, H, W), stored as (B, H, W, C)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from speechprobe import pooling
from speechprobe.extractors.layout import Layout
from speechprobe.extractors.running import HookedNetwork

Hooked = TypeVar("Hooked", bound=HookedNetwork)


def lay_channels_last(module: nn.Module) -> None:
    """Store the weights of 2-D convolutions channels last; what they give out follows."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)


def channels_last_on_cpu(extractor: Hooked) -> Hooked:
    """Return an extractor of a 2-D network, its weights channels last if it is on a CPU.

    `benchmarks.channels` tells what that is worth; on a GPU it was not measured.
    """
    if extractor.device.type == "cpu":
        lay_channels_last(extractor.module)
    return extractor


def is_map_channels_last(output: Tensor, layout: Layout) -> bool:
    """Say whether a layer's output is maps with their channels last in memory."""
    return (
        output.ndim == 4
        and layout.batch_axis == 0
        and layout.time_axis in (2, 3)
        and output.is_contiguous(memory_format=torch.channels_last)
        and not output.is_contiguous()
    )


def mean_of_maps(output: Tensor, layout: Layout, lengths: Tensor) -> Tensor:
    """Return the mean over time of such maps, (B, C * bands), without a copy of them.

    Channels and bands do not lie side by side in memory, so `Layout.frames` would copy.
    """
    stored = output.permute(0, 2, 3, 1)
    if layout.time_axis == 2:
        means = pooling.mean(stored.flatten(2), lengths)
    else:  # each band as a signal of its own
        n_bands = stored.shape[1]
        means = pooling.mean(stored.flatten(0, 1), lengths.repeat_interleave(n_bands))
    return means.reshape(len(output), -1, stored.shape[3]).mT.flatten(1)
