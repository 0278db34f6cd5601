"""ECAPA-TDNN: one-dimensional convolutions with squeeze-excitation and attentive statistics.

Desplanques, Thienpondt, Demuynck: "ECAPA-TDNN: emphasized channel attention, propagation and
aggregation in TDNN based speaker verification", Interspeech 2020,
https://arxiv.org/abs/2005.07143. Toolkit: Wang et al., "WeSpeaker", ICASSP 2023.

As in WeSpeaker, and unlike the paper, a block takes what the block before it gives, not the sum
of all before it, and the attention sees the context vectors only where `context` is set. Modules
and parameters carry WeSpeaker's names, so its `avg_model.pt` loads as it is, apart from
`projection.*`. A padded batch gives what single utterances give: frames beyond a row's length are
zero before every convolution wider than a frame, and left out of the means and of the pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_mean
from speechprobe.extractors.nets.resnet import valid_lengths
from speechprobe.extractors.nets.statistics import AttentivePooling

_SCALE = 8  # groups of channels in a Res2Net convolution


class ECAPATDNN(nn.Module):
    """ECAPA-TDNN: 5,797,504 parameters with 512 channels, 14,263,872 with 1024.

    Layers: ``layer1`` (the stem), ``layer2`` to ``layer4``, each (B, n_channels, T), ``conv``
    (B, 1536, T, before its ReLU), ``pool``, ``linear`` and, with its norm, ``bn2``.

    Parameters
    ----------
    n_mels
        Bands of the features.
    n_dims
        Dimensions of the embedding.
    n_channels
        512 or 1024 in the published networks; a multiple of 8.
    context
        Let the attention see each utterance's mean and deviation: WeSpeaker's ``GLOB`` variants.
    norm
        Put a batch norm behind the embedding.

    Examples
    --------
    >>> network = ECAPATDNN(n_mels=8, n_dims=5, n_channels=16).eval()
    >>> network(torch.zeros(2, 30, 8), lengths=torch.tensor([30, 12])).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        *,
        n_mels: int = 80,
        n_dims: int = 192,
        n_channels: int = 512,
        context: bool = False,
        norm: bool = False,
    ) -> None:
        super().__init__()
        if n_channels % _SCALE:
            raise ValueError(f"n_channels must be a multiple of {_SCALE}, got {n_channels}")
        self.layer1 = _ConvReluNorm(n_mels, n_channels, 5)
        self.layer2, self.layer3, self.layer4 = (
            _Block(n_channels, dilation) for dilation in (2, 3, 4)
        )
        # As many whatever the channels before.
        n_joined = 3 * 512
        self.conv = nn.Conv1d(3 * n_channels, n_joined, 1)
        self.pool = AttentivePooling(n_joined, context=context)
        self.bn = nn.BatchNorm1d(2 * n_joined)
        self.linear = nn.Linear(2 * n_joined, n_dims)
        self.bn2 = nn.BatchNorm1d(n_dims) if norm else None

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding (B, n_dims) of features (B, T, n_mels)."""
        lengths = valid_lengths(features, lengths)
        x = self.layer1(features.transpose(1, 2), lengths)
        outputs = []
        for block in (self.layer2, self.layer3, self.layer4):
            x = block(x, lengths)
            outputs.append(x)
        x = torch.relu(self.conv(torch.cat(outputs, dim=1)))
        embedding: Tensor = self.linear(self.bn(self.pool(x, lengths)))
        return embedding if self.bn2 is None else self.bn2(embedding)


class _ConvReluNorm(nn.Module):
    def __init__(self, n_in: int, n_out: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        wide = self.conv.kernel_size != (1,)
        result: Tensor = self.bn(torch.relu(self.conv(mask(x, lengths) if wide else x)))
        return result


class _Res2Conv(nn.Module):
    """Channels in eight groups: each is added to the convolved one before it; the last passes."""

    def __init__(self, n_channels: int, dilation: int) -> None:
        super().__init__()
        width = n_channels // _SCALE
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
            for _ in range(_SCALE - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(_SCALE - 1))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        groups = x.chunk(_SCALE, dim=1)
        done: list[Tensor] = []
        for group, conv, norm in zip(groups, self.convs, self.bns, strict=False):
            y = group + done[-1] if done else group
            done.append(norm(torch.relu(conv(mask(y, lengths)))))
        return torch.cat([*done, groups[-1]], dim=1)


class _SqueezeExcitation(nn.Module):
    def __init__(self, n_channels: int, n_hidden: int = 128) -> None:
        super().__init__()
        self.linear1 = nn.Linear(n_channels, n_hidden)
        self.linear2 = nn.Linear(n_hidden, n_channels)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        hidden = torch.relu(self.linear1(masked_mean(x, lengths)))
        return x * torch.sigmoid(self.linear2(hidden))[..., None]


class _Block(nn.Module):
    """Convolution, Res2Net convolution, convolution and squeeze-excitation, added to the input."""

    def __init__(self, n_channels: int, dilation: int) -> None:
        super().__init__()
        self.se_res2block = nn.ModuleList(
            [
                _ConvReluNorm(n_channels, n_channels),
                _Res2Conv(n_channels, dilation),
                _ConvReluNorm(n_channels, n_channels),
                _SqueezeExcitation(n_channels),
            ]
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y = x
        for part in self.se_res2block:
            y = part(y, lengths)
        return x + y
