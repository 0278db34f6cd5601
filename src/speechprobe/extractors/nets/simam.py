"""ResNets with SimAM attention and attentive statistics pooling: WeSpeaker's VoxBlink2 networks.

SimAM: Yang, Zhang, Li, Xie, "SimAM: a simple, parameter-free attention module for convolutional
neural networks", ICML 2021. As speaker networks: Qin et al., "Simple attention module based
speaker verification with iterative noisy label detection", ICASSP 2022; Lin et al., "VoxBlink2",
Interspeech 2024. Toolkit: Wang et al., "WeSpeaker", ICASSP 2023, https://arxiv.org/abs/2210.17016.

Modules and parameters carry WeSpeaker's names, so its `avg_model.pt` loads as it is, apart from
`projection.*`, which only training uses. A padded batch gives what single utterances give: frames
beyond a row's length are zero before every convolution and left out of SimAM's means and of the
pooling. SimAM looks at the whole utterance, so a frame depends on every other one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_softmax, through
from speechprobe.extractors.nets.resnet import run_blocks, shortcut, stages, stem, valid_lengths
from speechprobe.extractors.nets.statistics import joined, weighted_statistics

_LAMBDA = 1e-4


class SimAMBlock(nn.Module):
    """Two convolutions 3x3 and SimAM, added to the input.

    Parameters
    ----------
    n_in, n_out
        Channels before and after.
    stride
        Of the first convolution, in bands and frames.

    Examples
    --------
    >>> SimAMBlock(2, 4, stride=2).eval()(torch.zeros(1, 2, 8, 5)).shape
    torch.Size([1, 4, 4, 3])
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = shortcut(n_in, n_out, stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, n_out, F', T') of (B, n_in, F, T)."""
        after = self.after(lengths)
        y = torch.relu(self.bn1(self.conv1(mask(x, lengths))))
        y = self.bn2(self.conv2(mask(y, after)))
        return torch.relu_(simam(y, after).add_(self.downsample(x)))

    def after(self, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths behind the block."""
        return through(lengths, self.conv1)


def simam(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Weight each value by how far it stands out of its channel, shape (B, C, F, T).

    With d = (x - mean)² over bands and frames and v = sum d / (n - 1):
    x * sigmoid(d / (4 (v + 1e-4)) + 1/2).

    Examples
    --------
    >>> simam(torch.ones(1, 1, 2, 3)).unique()
    tensor([0.6225])
    """
    if lengths is None:
        n: Tensor | int = x.shape[-2] * x.shape[-1]
    else:
        n = (x.shape[-2] * lengths.to(x))[:, None, None, None]
    mean = mask(x, lengths).sum((-2, -1), keepdim=True) / n
    distance = (x - mean).square()
    variance = mask(distance, lengths).sum((-2, -1), keepdim=True) / (n - 1)
    # In place, for on a CPU new memory costs as much as the arithmetic.
    return x * (distance / (4 * (variance + _LAMBDA))).add_(0.5).sigmoid_()


class ASP(nn.Module):
    """Attentive statistics pooling with batch norm in the attention; variance floor 1e-5.

    Parameters
    ----------
    n_dims
        Channels times bands of the input.
    n_hidden
        Width of the bottleneck.

    Examples
    --------
    >>> ASP(6, n_hidden=4).eval()(torch.zeros(2, 3, 2, 5)).shape
    torch.Size([2, 12])
    """

    def __init__(self, n_dims: int, *, n_hidden: int = 128) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(n_dims, n_hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(n_hidden),
            nn.Conv1d(n_hidden, n_dims, 1),
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, 2 C F) of (B, C, F, T)."""
        x = joined(x)
        return weighted_statistics(x, masked_softmax(self.attention(x), lengths), floor=1e-5)


class _Front(nn.Module):
    """The stem ``conv1``, ``bn1``, ``relu`` and four stages of blocks."""

    def __init__(self, blocks: tuple[int, int, int, int], width: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = stem(width)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(SimAMBlock, blocks, width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = self.relu(self.bn1(self.conv1(mask(x, lengths))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x, lengths = run_blocks(stage, x, lengths)
        return x, lengths


class _SimAMResNet(nn.Module):
    blocks: tuple[int, int, int, int]

    def __init__(self, *, n_mels: int = 80, n_dims: int = 256, width: int = 64) -> None:
        super().__init__()
        if n_mels < 8 or n_mels % 8:
            raise ValueError(f"the bands are halved three times: n_mels={n_mels} must divide by 8")
        n_joined = 8 * width * (n_mels // 8)
        self.front = _Front(self.blocks, width)
        self.pooling = ASP(n_joined)
        self.bottleneck = nn.Linear(2 * n_joined, n_dims)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding (B, n_dims) of features (B, T, n_mels)."""
        lengths = valid_lengths(features, lengths)
        x, lengths = self.front(features.transpose(1, 2)[:, None], lengths)
        embedding: Tensor = self.bottleneck(self.pooling(x, lengths))
        return embedding


class SimAMResNet34(_SimAMResNet):
    """SimAM-ResNet34: 16 blocks, 25,213,760 parameters; WeSpeaker's ``SimAM_ResNet34_ASP``.

    Layers: ``front.relu`` (the stem), ``front.layer1.0`` to ``front.layer4.2``, each
    (B, C, F, T) with C F = `width` * `n_mels` in every stage, ``pooling`` and ``bottleneck``.

    Parameters
    ----------
    n_mels
        Bands of the features, a multiple of 8.
    n_dims
        Dimensions of the embedding.
    width
        Channels of the first stage; they double in each of the next three.

    Examples
    --------
    >>> network = SimAMResNet34(n_mels=8, n_dims=5, width=2).eval()
    >>> network(torch.zeros(2, 30, 8), lengths=torch.tensor([30, 12])).shape
    torch.Size([2, 5])
    """

    blocks = (3, 4, 6, 3)


class SimAMResNet100(_SimAMResNet):
    """SimAM-ResNet100: 49 blocks, 50,232,896 parameters; WeSpeaker's ``SimAM_ResNet100_ASP``.

    Layers ``front.layer1.0`` to ``front.layer4.2``; see `SimAMResNet34`.

    Parameters
    ----------
    n_mels, n_dims, width
        As in `SimAMResNet34`.

    Examples
    --------
    >>> SimAMResNet100(n_mels=8, n_dims=5, width=1).eval()(torch.zeros(2, 30, 8)).shape
    torch.Size([2, 5])
    """

    blocks = (6, 16, 24, 3)
