"""CvT: the convolutional transformer of BYOL-S.

Wu, Xiao, Codella, Liu, Dai, Yuan, Zhang: "CvT: introducing convolutions to vision transformers",
ICCV 2021, https://arxiv.org/abs/2103.15808. On spectrograms: Scheidwasser-Clow, Kegler, Beckmann,
Cernak: "SERAB: a multi-lingual benchmark for speech emotion recognition", ICASSP 2022,
https://arxiv.org/abs/2110.03414; Elbanna et al.: "BYOL-S: learning self-supervised speech
representations by bootstrapping", 2022, https://arxiv.org/abs/2206.12038.

Conventions
-----------
Features are (B, T, n_mels), a standardised log-mel spectrogram. `lengths` (B,) are the valid
frames of each row; then a padded batch gives what single utterances give. Each stage leaves
ceil(frames / stride) frames and ceil(bands / stride) bands. Attention runs over all bands and
frames of a map, so its cost grows with the square of the duration (its memory does not, where
torch has a fused kernel). Modules and parameters have the names of the published checkpoints.

Departures from Wu et al., all of them SERAB's: no class token; one channel goes in; keys and
values share one convolution; a norm divides by the standard deviation plus 1e-5, where a layer
norm of torch adds 1e-5 to the variance; the map is pooled, see `CvT`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechprobe.extractors.nets.byol import MaxPlusMean
from speechprobe.extractors.nets.cvt_sizes import CVT_LARGE, HEAD, CvTStage
from speechprobe.extractors.nets.masking import mask, masked_mean, through, valid
from speechprobe.extractors.nets.resnet import valid_lengths


class CvT(nn.Module):
    """Three stages of a strided convolution and a transformer with convolutional projections.

    SERAB published three: `CVT_LARGE` pooled to 2048 dims and, trained apart from it, to 512;
    `CVT_SMALL` to 256. The weights do not tell the pooling, so both are computed: `embedding`,
    which is what a call returns, is the maximum plus the mean over time of channels times bands
    (2048 dims); `average` is the mean over time and bands (512 or 256). Layers:
    ``layers.0.1`` to ``layers.2.1`` (embedded patches, normed), ``layers.0.2.layers.0`` to
    ``layers.2.2.layers.0`` (the blocks), each (B, C, F, T), ``average`` and ``embedding``.

    Parameters
    ----------
    stages
        Sizes of each stage: `CVT_LARGE`, `CVT_SMALL` or others.
    n_mels
        Mel bands; published with 64.

    Raises
    ------
    ValueError
        If there is no stage or no band; when called, if the features have other bands.

    Examples
    --------
    >>> network = CvT(CVT_LARGE).eval()
    >>> sum(parameter.numel() for parameter in network.parameters())
    5012992
    >>> network(torch.zeros(2, 50, 64), lengths=torch.tensor([50, 9])).shape
    torch.Size([2, 2048])
    """

    def __init__(self, stages: Sequence[CvTStage] = CVT_LARGE, *, n_mels: int = 64) -> None:
        super().__init__()
        if not stages or n_mels < 1:
            raise ValueError(f"a stage and a band are needed, got {len(stages)} and {n_mels}")
        self.n_mels = n_mels
        widths = (1, *(stage.n_dims for stage in stages))
        self.layers = nn.ModuleList(
            _Stage(n_in, stage) for n_in, stage in zip(widths[:-1], stages, strict=True)
        )
        self.average = _MeanOverMap()
        self.embedding = MaxPlusMean()

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_dims n_bands) of features (B, T, n_mels)."""
        if features.ndim != 3 or features.shape[-1] != self.n_mels:
            raise ValueError(
                f"expected features (B, T, {self.n_mels}), got {tuple(features.shape)}"
            )
        lengths = valid_lengths(features, lengths)
        x = features.transpose(1, 2)[:, None]
        for stage in self.layers:
            x = stage(x, lengths)
            lengths = through(lengths, stage.get_submodule("0"))
        self.average(x, lengths)  # for whoever captures it
        # A frame's vector counts the bands outside, the channels inside.
        embedding: Tensor = self.embedding(x.permute(0, 3, 2, 1).flatten(2), lengths)
        return embedding


class _MeanOverMap(nn.Module):
    """Mean over bands and valid frames, (B, C) of (B, C, F, T)."""

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return masked_mean(x.mean(2), lengths)


class _Parts(nn.Module):
    """Modules named by their place, as in a Sequential, but called with lengths."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        for place, part in enumerate(parts):
            self.add_module(str(place), part)


class _Stage(_Parts):
    """Convolution, norm and transformer."""

    def __init__(self, n_in: int, stage: CvTStage) -> None:
        convolution = nn.Conv2d(n_in, stage.n_dims, stage.kernel, stage.stride, stage.kernel // 2)
        super().__init__(convolution, _Norm(stage.n_dims), _Transformer(stage))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        convolution, norm, transformer = self.children()
        x = norm(convolution(mask(x, lengths)))
        y: Tensor = transformer(x, through(lengths, convolution))
        return y


class _Transformer(nn.Module):
    def __init__(self, stage: CvTStage) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block(stage) for _ in range(stage.depth))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        for block in self.layers:
            x = block(x, lengths)
        return x


class _Block(_Parts):
    """Attention and two layers a position, each normed before and added to its input."""

    def __init__(self, stage: CvTStage) -> None:
        n_dims, wide = stage.n_dims, stage.n_dims * stage.expansion
        # Nothing is dropped, but the place counts in the names.
        places = (nn.Conv2d(n_dims, wide, 1), nn.GELU(), nn.Identity(), nn.Conv2d(wide, n_dims, 1))
        super().__init__(
            _PreNorm(n_dims, _Attention(stage)), _PreNorm(n_dims, _FeedForward(*places))
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        for part in self.children():
            x = x + part(x, lengths)
        return x


class _PreNorm(nn.Module):
    def __init__(self, n_dims: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = _Norm(n_dims)
        self.fn = fn

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y: Tensor = self.fn(self.norm(x), lengths)
        return y


class _FeedForward(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*parts)

    def forward(self, x: Tensor, _lengths: Tensor | None) -> Tensor:
        y: Tensor = self.net(x)
        return y


class _Norm(nn.Module):
    """Brings the channels of each position to mean 0 and standard deviation 1."""

    def __init__(self, n_dims: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.g = nn.Parameter(torch.ones(1, n_dims, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, n_dims, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) / (deviation + self.eps) * self.g + self.b


class _Attention(nn.Module):
    """Every position looks at the positions of the thinned map that lie in valid frames."""

    def __init__(self, stage: CvTStage) -> None:
        super().__init__()
        inner = HEAD * stage.n_heads
        self.n_heads = stage.n_heads
        self.to_q = _Projection(stage, inner, stride=1)
        self.to_kv = _Projection(stage, 2 * inner, stride=stage.key_stride)
        self.to_out = nn.Sequential(nn.Conv2d(inner, stage.n_dims, 1))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        x = mask(x, lengths)  # the projections look over the end
        queries, (keys, values) = self.to_q(x), self.to_kv(x).chunk(2, dim=1)
        found = functional.scaled_dot_product_attention(
            self._by_head(queries),
            self._by_head(keys),
            self._by_head(values),
            attn_mask=self._looked_at(keys, lengths),
        )
        y: Tensor = self.to_out(found.transpose(2, 3).reshape(queries.shape))
        return y

    def _looked_at(self, keys: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Return which positions of the thinned map (B, ..., F, T) count, (B, 1, 1, F T)."""
        after = through(lengths, self.to_kv.net[0])
        if after is None:
            return None
        return valid(keys, after).expand(-1, 1, keys.shape[2], -1).flatten(2)[:, None]

    def _by_head(self, x: Tensor) -> Tensor:
        """Return (B, n_heads, F T, 64) of (B, n_heads 64, F, T)."""
        # Contiguous, or torch falls back to a kernel that keeps all pairs of positions.
        return x.reshape(len(x), self.n_heads, HEAD, -1).transpose(2, 3).contiguous()


class _Projection(nn.Module):
    """A convolution of each channel by itself, and one over the channels."""

    def __init__(self, stage: CvTStage, n_out: int, *, stride: int) -> None:
        super().__init__()
        n_dims, kernel = stage.n_dims, stage.projection_kernel
        self.net = nn.Sequential(
            nn.Conv2d(n_dims, n_dims, kernel, stride, kernel // 2, groups=n_dims, bias=False),
            nn.BatchNorm2d(n_dims),
            nn.Conv2d(n_dims, n_out, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y
