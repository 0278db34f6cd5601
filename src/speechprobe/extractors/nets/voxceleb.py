"""The residual networks of voxceleb_trainer: ResNetSE34L and ResNetSE34V2.

Chung et al.: "In defence of metric learning for speaker recognition", Interspeech 2020,
https://arxiv.org/abs/2003.11982 (the first); Kwon et al.: "The ins and outs of speaker
recognition: lessons from VoxSRC 2020", ICASSP 2021, https://arxiv.org/abs/2010.15809 (the second).

Conventions
-----------
Features are (B, T, n_mels), the logarithm of a mel power spectrogram, each mel brought to mean 0
and variance 1 over time. `lengths` (B,) are the valid frames of each row; then a padded batch
gives what single utterances give. Parameters have the names of voxceleb_trainer's checkpoints.
Modules without parameters (`relu`, `pool`) are named here, so that their output can be captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_mean, masked_softmax, through
from speechprobe.extractors.nets.resnet import run_blocks, shortcut, valid_lengths
from speechprobe.extractors.nets.statistics import weighted_statistics

_Image = tuple[Tensor, Tensor | None]
_BLOCKS = (3, 4, 6, 3)


class ResNetSE34L(nn.Module):
    """A thin ResNet-34 with squeeze and excitation, and self-attentive pooling.

    Parameters
    ----------
    n_out
        Size of the embedding.
    n_mels
        Mel bands; the number of parameters does not depend on it.

    Examples
    --------
    >>> network = ResNetSE34L()
    >>> sum(parameter.numel() for parameter in network.parameters())
    1437078
    >>> network.eval()(torch.zeros(2, 50, 40)).shape
    torch.Size([2, 512])
    """

    def __init__(self, n_out: int = 512, n_mels: int = 40) -> None:
        super().__init__()
        widths = (16, 32, 64, 128)
        self.n_mels = n_mels
        self.conv1 = nn.Conv2d(1, 16, 7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(16, widths, (1, 2, 2, 1))
        self.sap_linear = nn.Linear(128, 128)
        self.attention = vector(128)
        self.pool = WeightedMean()
        self.fc = nn.Linear(128, n_out)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_out) of features (B, T, n_mels)."""
        x, lengths = as_image(features, lengths, self.n_mels)
        x = self.relu(self.bn1(self.conv1(x)))
        x, lengths = run_blocks(
            chain(self.layer1, self.layer2, self.layer3, self.layer4), x, lengths
        )
        x = x.mean(2)
        weights = self_attention(x, lengths, self.sap_linear, self.attention)
        embedding: Tensor = self.fc(self.pool(x, weights))
        return embedding


class ResNetSE34V2(nn.Module):
    """A half-width ResNet-34 with squeeze and excitation, and attentive statistics pooling.

    The stem's batch norm follows its ReLU.

    Parameters
    ----------
    n_out
        Size of the embedding.
    n_mels
        Mel bands, a multiple of 8.

    Examples
    --------
    >>> network = ResNetSE34V2()
    >>> sum(parameter.numel() for parameter in network.parameters())
    8028492
    >>> network.eval()(torch.zeros(2, 50, 64)).shape
    torch.Size([2, 512])
    """

    def __init__(self, n_out: int = 512, n_mels: int = 64) -> None:
        super().__init__()
        if n_mels % 8:
            raise ValueError(f"n_mels must be a multiple of 8, got {n_mels}")
        widths = (32, 64, 128, 256)
        self.n_mels = n_mels
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.relu = nn.ReLU()
        self.bn1 = nn.BatchNorm2d(32)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(32, widths, (1, 2, 2, 2))
        n_rows = widths[-1] * n_mels // 8
        self.attention = nn.Sequential(
            nn.Conv1d(n_rows, 128, 1), nn.ReLU(), nn.BatchNorm1d(128), nn.Conv1d(128, n_rows, 1)
        )
        self.pool = WeightedStatistics()
        self.fc = nn.Linear(2 * n_rows, n_out)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_out) of features (B, T, n_mels)."""
        x, lengths = as_image(features, lengths, self.n_mels)
        x = self.bn1(self.relu(self.conv1(x)))
        x, lengths = run_blocks(
            chain(self.layer1, self.layer2, self.layer3, self.layer4), x, lengths
        )
        x = x.flatten(1, 2)
        weights = masked_softmax(self.attention(x), lengths)
        embedding: Tensor = self.fc(self.pool(x, weights))
        return embedding


class SEBlock(nn.Module):
    """Two convolutions, squeeze and excitation, and the input added; ReLU before `bn1`.

    Parameters
    ----------
    n_in, width
        Channels before and after.
    stride
        Of the first convolution, in frequency and time.
    """

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcitation(width)
        self.downsample = shortcut(n_in, width, stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, width, F', T') of (B, n_in, F, T) with `lengths` valid frames."""
        after = self.after(lengths)
        y = self.bn1(torch.relu(self.conv1(mask(x, lengths))))
        y = self.se(self.bn2(self.conv2(mask(y, after))), after)
        return torch.relu(y + self.downsample(x))

    def after(self, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths behind the block."""
        return through(lengths, self.conv1)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate, a function of all channels' means.

    Hu, Shen, Sun: "Squeeze-and-excitation networks", CVPR 2018, https://arxiv.org/abs/1709.01507.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, width // 8), nn.ReLU(), nn.Linear(width // 8, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return x (B, width, F, T), scaled."""
        gates: Tensor = self.fc(masked_mean(x.mean(2), lengths))
        return x * gates[..., None, None]


class WeightedMean(nn.Module):
    """Sum over time of x (B, D, T), weighted by (B, 1, T)."""

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return (B, D)."""
        return (x * weights).sum(-1)


class WeightedStatistics(nn.Module):
    """Weighted mean and standard deviation over time; the variance is at least 1e-5."""

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return (B, 2 D) of x and weights (B, D, T)."""
        return weighted_statistics(x, weights, floor=1e-5)


def _stages(n_in: int, widths: Sequence[int], strides: Sequence[int]) -> list[nn.ModuleList]:
    stages = []
    for width, n_blocks, stride in zip(widths, _BLOCKS, strides, strict=True):
        others = [SEBlock(width, width, 1) for _ in range(n_blocks - 1)]
        stages.append(nn.ModuleList([SEBlock(n_in, width, stride), *others]))
        n_in = width
    return stages


def vector(n_dims: int) -> nn.Parameter:
    """Return what the frames of self-attentive pooling are compared with, (n_dims, 1)."""
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(n_dims, 1)))


def self_attention(x: Tensor, lengths: Tensor | None, linear: nn.Module, vector: Tensor) -> Tensor:
    """Return the weight of each frame, (B, 1, T), of x (B, D, T)."""
    scores = torch.tanh(linear(x.transpose(1, 2))) @ vector
    return masked_softmax(scores.transpose(1, 2), lengths)


def as_image(features: Tensor, lengths: Tensor | None, n_mels: int) -> _Image:
    """Return (B, 1, n_mels, T), zero beyond each row, and the lengths if a row is shorter."""
    if features.ndim != 3 or features.shape[-1] != n_mels:
        raise ValueError(f"expected features (B, T, {n_mels}), got {tuple(features.shape)}")
    lengths = valid_lengths(features, lengths)
    return mask(features.transpose(1, 2)[:, None], lengths), lengths
