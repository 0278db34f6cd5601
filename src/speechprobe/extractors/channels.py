"""2-D convolutions with the channels last in memory: (B, C, H, W), stored as (B, H, W, C)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

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
