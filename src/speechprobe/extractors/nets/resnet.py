"""ResNets with statistics pooling for speakers: WeSpeaker's ResNet34, 152, 221 and 293.

He, Zhang, Ren, Sun: "Deep residual learning for image recognition", CVPR 2016; as r-vectors:
Zeinali et al., "BUT system description to VoxSRC 2019". Toolkit: Wang et al., "WeSpeaker", ICASSP
2023, https://arxiv.org/abs/2210.17016.

Modules and parameters carry WeSpeaker's names, so its `avg_model.pt` loads as it is, apart from
`projection.*`, which only training uses. A padded batch gives what single utterances give: frames
beyond a row's length are zero before every convolution wider than a frame and left out of the
pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, through
from speechprobe.extractors.nets.statistics import AttentivePooling, StatisticsPooling

Stride = int | tuple[int, int]
Pooling = Literal["statistics", "attentive"]


class BasicBlock(nn.Module):
    """Two convolutions 3x3, added to the input.

    Parameters
    ----------
    n_in, width
        Channels before and after.
    stride
        Of the first convolution, in bands and frames.

    Examples
    --------
    >>> BasicBlock(2, 4, stride=(2, 1)).eval()(torch.zeros(1, 2, 8, 5)).shape
    torch.Size([1, 4, 4, 5])
    """

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: Stride = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(n_in, width, stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, width, F', T') of (B, n_in, F, T)."""
        y = torch.relu(self.bn1(self.conv1(mask(x, lengths))))
        y = self.bn2(self.conv2(mask(y, self.after(lengths))))
        return torch.relu_(y + self.shortcut(x))

    def after(self, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths behind the block."""
        return through(lengths, self.conv1)


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 (with the stride) and 1x1 to four times the width, added to the input.

    Parameters
    ----------
    n_in, width
        Channels before, and of the 3x3 convolution; 4 `width` come out.
    stride
        Of the 3x3 convolution.

    Examples
    --------
    >>> Bottleneck(2, 3, stride=2).eval()(torch.zeros(1, 2, 8, 5)).shape
    torch.Size([1, 12, 4, 3])
    """

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: Stride = 1) -> None:
        super().__init__()
        n_out = self.expansion * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.shortcut = shortcut(n_in, n_out, stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, 4 width, F', T') of (B, n_in, F, T)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(mask(y, lengths))))
        return torch.relu_(self.bn3(self.conv3(y)) + self.shortcut(x))

    def after(self, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths behind the block."""
        return through(lengths, self.conv2)


class _ResNet(nn.Module):
    block: type[BasicBlock | Bottleneck]
    blocks: tuple[int, int, int, int]

    def __init__(
        self,
        *,
        n_mels: int = 80,
        n_dims: int = 256,
        width: int = 32,
        pooling: Pooling = "statistics",
        two_layers: bool = False,
    ) -> None:
        super().__init__()
        if n_mels < 8 or n_mels % 8:
            raise ValueError(f"the bands are halved three times: n_mels={n_mels} must divide by 8")
        self.conv1, self.bn1, self.relu = stem(width)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(self.block, self.blocks, width)
        n_joined = 8 * width * self.block.expansion * (n_mels // 8)
        self.pool = _pooling(pooling, n_joined)
        self.seg_1 = nn.Linear(2 * n_joined, n_dims)
        self.seg_bn_1 = nn.BatchNorm1d(n_dims, affine=False) if two_layers else None
        self.seg_2 = nn.Linear(n_dims, n_dims) if two_layers else None

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding (B, n_dims) of features (B, T, n_mels)."""
        lengths = valid_lengths(features, lengths)
        x = mask(features.transpose(1, 2)[:, None], lengths)
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x, lengths = run_blocks(stage, x, lengths)
        embedding: Tensor = self.seg_1(self.pool(x, lengths))
        if self.seg_bn_1 is not None and self.seg_2 is not None:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        return embedding


class ResNet34(_ResNet):
    """ResNet34: 16 basic blocks, 6,634,336 parameters.

    Layers: ``relu`` (the stem), ``layer1.0`` to ``layer4.2``, each (B, C, F, T) with the same C F
    in every stage, ``pool``, ``seg_1`` (the embedding) and, with two layers, ``seg_2``.

    Parameters
    ----------
    n_mels
        Bands of the features, a multiple of 8.
    n_dims
        Dimensions of the embedding.
    width
        Channels of the stem; those of the stages are 1, 2, 4 and 8 times as many (basic blocks),
        or 4, 8, 16 and 32 times (bottlenecks).
    pooling
        "statistics", or "attentive" (ECAPA-TDNN's, without context).
    two_layers
        Put ReLU, batch norm and a second layer behind the first; the embedding is the last.

    Examples
    --------
    >>> network = ResNet34(n_mels=8, n_dims=5, width=2).eval()
    >>> network(torch.zeros(2, 30, 8), lengths=torch.tensor([30, 12])).shape
    torch.Size([2, 5])
    """

    block, blocks = BasicBlock, (3, 4, 6, 3)


class ResNet152(_ResNet):
    """ResNet152: 50 bottlenecks, 19,814,880 parameters; parameters and layers as in `ResNet34`.

    Examples
    --------
    >>> ResNet152(n_mels=8, n_dims=5, width=1).eval()(torch.zeros(2, 30, 8)).shape
    torch.Size([2, 5])
    """

    block, blocks = Bottleneck, (3, 8, 36, 3)


class ResNet221(_ResNet):
    """ResNet221: 73 bottlenecks, 23,792,224 parameters; parameters and layers as in `ResNet34`.

    Examples
    --------
    >>> ResNet221(n_mels=8, n_dims=5, width=1).eval()(torch.zeros(2, 30, 8)).shape
    torch.Size([2, 5])
    """

    block, blocks = Bottleneck, (6, 16, 48, 3)


class ResNet293(_ResNet):
    """ResNet293: 97 bottlenecks, 28,626,016 parameters; parameters and layers as in `ResNet34`.

    Examples
    --------
    >>> ResNet293(n_mels=8, n_dims=5, width=1).eval()(torch.zeros(2, 30, 8)).shape
    torch.Size([2, 5])
    """

    block, blocks = Bottleneck, (10, 20, 64, 3)


def valid_lengths(features: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Return the lengths (B,), or None where every frame of (B, T, n_mels) is valid.

    Raises
    ------
    ValueError
        If they are not one for each row, or not all from 1 to T.

    Examples
    --------
    >>> valid_lengths(torch.zeros(2, 5, 8), torch.tensor([5, 5])) is None
    True
    """
    if lengths is None:
        return None
    n_frames = features.shape[1]
    if lengths.shape != features.shape[:1]:
        raise ValueError(
            f"expected one length for each of {len(features)} rows, got {tuple(lengths.shape)}"
        )
    least, most = lengths.aminmax()
    if least < 1 or most > n_frames:
        raise ValueError(
            f"lengths must be from 1 to {n_frames} frames, got {int(least)}-{int(most)}"
        )
    return None if least == n_frames else lengths


def stem(width: int) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]:
    """Return the layers in front of the stages: convolution 3x3, batch norm, ReLU."""
    return nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()


def stages(
    block: Callable[[int, int, int], Any], blocks: tuple[int, int, int, int], width: int
) -> list[nn.ModuleList]:
    """Return four stages of blocks; each of the last three halves bands and frames."""
    made, n_in = [], width
    for depth, n_blocks in enumerate(blocks):
        stage = nn.ModuleList()
        for number in range(n_blocks):
            stride = 2 if depth and not number else 1
            stage.append(block(n_in, width << depth, stride))
            n_in = (width << depth) * getattr(block, "expansion", 1)
        made.append(stage)
    return made


def run_blocks(
    blocks: Iterable[Any], x: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return what a row of blocks gives out, and the lengths behind it."""
    for block in blocks:
        x, lengths = block(x, lengths), block.after(lengths)
    return x, lengths


def shortcut(n_in: int, n_out: int, stride: Stride) -> nn.Sequential:
    """Return the way around a block: nothing, or a convolution 1x1 where the shape changes."""
    if n_in == n_out and stride in (1, (1, 1)):
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


def _pooling(kind: Pooling, n_joined: int) -> nn.Module:
    if kind not in ("statistics", "attentive"):
        raise ValueError(f"pooling must be 'statistics' or 'attentive', got {kind!r}")
    return StatisticsPooling() if kind == "statistics" else AttentivePooling(n_joined)
