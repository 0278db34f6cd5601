"""CAM++: a dense TDNN with context-aware masking behind a small two-dimensional ResNet.

Wang, Zheng, Chen, Cheng, Chen: "CAM++: a fast and efficient network for speaker verification
using context-aware masking", Interspeech 2023, https://arxiv.org/abs/2303.00332. Toolkit: Wang et
al., "WeSpeaker", ICASSP 2023.

The context of a frame is the mean of the utterance plus the mean of its segment of 100 frames
(2 s; the last segment is as long as it is). Modules and parameters carry WeSpeaker's names, so
its `avg_model.pt` loads as it is, apart from `projection.*`. A padded batch gives what single
utterances give: frames beyond a row's length are zero before every convolution wider than a
frame, and left out of both means and of the pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_mean, through
from speechprobe.extractors.nets.resnet import BasicBlock, stem, valid_lengths
from speechprobe.extractors.nets.statistics import StatisticsPooling

_SEGMENT = 100
# Layers and dilation of each dense block.
_BLOCKS = ((12, 1), (24, 2), (16, 2))


class CAMPPlus(nn.Module):
    """CAM++: 7,176,224 parameters with an embedding of 512 dimensions.

    Layers: ``head.layer1.0`` to ``head.layer2.1`` (B, 32, F, T), ``head`` and ``xvector.tdnn``,
    ``xvector.block1``, ``xvector.transit1`` and so on to ``xvector.transit3`` (B, C, T / 2),
    ``xvector.stats`` and ``xvector.dense``.

    Parameters
    ----------
    n_mels
        Bands of the features, a multiple of 8.
    n_dims
        Dimensions of the embedding.
    growth
        Channels that each layer of a dense block adds.
    width
        Channels before the first dense block.

    Examples
    --------
    >>> network = CAMPPlus(n_mels=8, n_dims=5, growth=2, width=4).eval()
    >>> network(torch.zeros(2, 30, 8), lengths=torch.tensor([30, 12])).shape
    torch.Size([2, 5])
    """

    def __init__(
        self, *, n_mels: int = 80, n_dims: int = 512, growth: int = 32, width: int = 128
    ) -> None:
        super().__init__()
        if n_mels < 8 or n_mels % 8:
            raise ValueError(f"the bands are halved three times: n_mels={n_mels} must divide by 8")
        self.head = _Head()
        self.xvector = _XVector(self.head.width * (n_mels // 8), n_dims, growth, width)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding (B, n_dims) of features (B, T, n_mels)."""
        lengths = valid_lengths(features, lengths)
        embedding: Tensor = self.xvector(self.head(features.transpose(1, 2), lengths), lengths)
        return embedding


class _Head(nn.Module):
    """Two-dimensional convolutions that halve the bands three times and keep the frames."""

    width = 32

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = stem(self.width)
        self.layer1, self.layer2 = (
            nn.ModuleList(BasicBlock(self.width, self.width, (step, 1)) for step in (2, 1))
            for _ in range(2)
        )
        self.conv2 = nn.Conv2d(self.width, self.width, 3, (2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(self.width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        x = self.relu(self.bn1(self.conv1(mask(x[:, None], lengths))))
        for block in (*self.layer1, *self.layer2):
            x = block(x, lengths)
        x = torch.relu(self.bn2(self.conv2(mask(x, lengths))))
        return x.flatten(1, 2)


class _XVector(nn.Module):
    """The dense TDNN, at half the frames, its pooling and the embedding."""

    def __init__(self, n_in: int, n_dims: int, growth: int, width: int) -> None:
        super().__init__()
        self.tdnn = _TDNN(n_in, width)
        for number, (n_layers, dilation) in enumerate(_BLOCKS, 1):
            block = _DenseBlock(n_layers, width, growth, dilation)
            width += n_layers * growth
            self.add_module(f"block{number}", block)
            self.add_module(f"transit{number}", _Transit(width))
            width //= 2
        self.out_nonlinear = _norm_relu(width)
        self.stats = StatisticsPooling()
        self.dense = _Dense(2 * width, n_dims)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        x, lengths = self.tdnn(x, lengths), through(lengths, self.tdnn.linear)
        for number in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"block{number}")(x, lengths)
            x = self.get_submodule(f"transit{number}")(x)
        embedding: Tensor = self.dense(self.stats(self.out_nonlinear(x), lengths))
        return embedding


class _TDNN(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(n_in, n_out, 5, 2, padding=2, bias=False)
        self.nonlinear = _norm_relu(n_out)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        result: Tensor = self.nonlinear(self.linear(mask(x, lengths)))
        return result


class _DenseBlock(nn.Module):
    """Layers that each append `growth` channels to all before."""

    def __init__(self, n_layers: int, n_in: int, growth: int, dilation: int) -> None:
        super().__init__()
        for number in range(n_layers):
            layer = _DenseLayer(n_in + number * growth, growth, dilation)
            self.add_module(f"tdnnd{number + 1}", layer)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x, lengths)], dim=1)
        return x


class _DenseLayer(nn.Module):
    def __init__(self, n_in: int, growth: int, dilation: int) -> None:
        super().__init__()
        n_hidden = 4 * growth
        self.nonlinear1 = _norm_relu(n_in)
        self.linear1 = nn.Conv1d(n_in, n_hidden, 1, bias=False)
        self.nonlinear2 = _norm_relu(n_hidden)
        self.cam_layer = _ContextMask(n_hidden, growth, dilation)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        hidden = self.nonlinear2(self.linear1(self.nonlinear1(x)))
        result: Tensor = self.cam_layer(hidden, lengths)
        return result


class _ContextMask(nn.Module):
    """A convolution whose output is weighted by what the utterance and the segment hold."""

    def __init__(self, n_in: int, n_out: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            n_in, n_out, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(n_in, n_in // 2, 1)
        self.linear2 = nn.Conv1d(n_in // 2, n_out, 1)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        context = masked_mean(x, lengths, keepdim=True) + segment_means(x, lengths)
        weights = torch.sigmoid(self.linear2(torch.relu(self.linear1(context))))
        local: Tensor = self.linear_local(mask(x, lengths))
        return local * weights


class _Transit(nn.Module):
    """Half as many channels."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.nonlinear = _norm_relu(n_in)
        self.linear = nn.Conv1d(n_in, n_in // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(self.nonlinear(x))
        return result


class _Dense(nn.Module):
    def __init__(self, n_in: int, n_dims: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(n_in, n_dims, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(n_dims, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.nonlinear(self.linear(x[..., None]).squeeze(-1))
        return result


def segment_means(x: Tensor, lengths: Tensor | None, size: int = _SEGMENT) -> Tensor:
    """Return for each frame the mean over the valid frames of its segment, shape (B, C, T).

    Examples
    --------
    >>> segment_means(torch.tensor([[[1.0, 3.0, 8.0, 99.0]]]), torch.tensor([3]), size=2)
    tensor([[[2., 2., 8., 8.]]])
    """
    n_frames = x.shape[-1]
    missing = -n_frames % size
    filled = nn.functional.pad(mask(x, lengths), (0, missing))
    sums = filled.reshape(*x.shape[:-1], -1, size).sum(-1)
    starts = torch.arange(sums.shape[-1], device=x.device) * size
    ends = n_frames if lengths is None else lengths.to(x.device)[:, None, None]
    counts = (ends - starts).clamp(1, size)
    means: Tensor = (sums / counts).repeat_interleave(size, dim=-1)
    return means[..., :n_frames]


def _norm_relu(n_channels: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(n_channels))
    layers.add_module("relu", nn.ReLU())
    return layers
