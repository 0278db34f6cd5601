"""VGGish: a VGG of log-mel patches, trained to label the sound of YouTube videos.

Hershey et al.: "CNN architectures for large-scale audio classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430; published with Gemmeke et al.: "Audio Set: an ontology and
human-labeled dataset for audio events", ICASSP 2017.

Conventions
-----------
Patches are (..., 96, 64): 0.96 s of log-mel frames. Parameters have the names of the checkpoints of
torchvggish and torch_audioset. The embedding is ``embeddings.4``; the ReLU behind it,
``embeddings.5``, is in the torch ports and was in the first release of 2017. Google took it out in
2020, because the features of AudioSet were made without it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

N_FRAMES, N_MELS = 96, 64  # of a patch
N_DIMS = 128
_POOL = 0  # in the list of widths
_WIDTHS = (64, _POOL, 128, _POOL, 256, 256, _POOL, 512, 512, _POOL)


class VGGish(nn.Module):
    """Six convolutions, four poolings, three linear layers.

    Parameters
    ----------
    postprocess
        Whether `Postprocess` follows.

    Raises
    ------
    ValueError
        When called, if the patches have another shape.

    Examples
    --------
    >>> network = VGGish()
    >>> sum(parameter.numel() for parameter in network.parameters())
    72141184
    >>> network.eval()(torch.zeros(2, 3, 96, 64)).shape
    torch.Size([2, 3, 128])
    """

    def __init__(self, *, postprocess: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(*_convolutions())
        self.embeddings = Embeddings(
            nn.Linear(512 * (N_FRAMES // 16) * (N_MELS // 16), 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, N_DIMS),
            nn.ReLU(),
        )
        start(self)
        self.postprocess = Postprocess() if postprocess else None

    def forward(self, patches: Tensor) -> Tensor:
        """Return embeddings (..., 128) behind the last ReLU, or post-processed, of patches."""
        maps = self.features(as_maps(patches))
        # A patch's vector counts time outside and the channels inside.
        after, before = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        result: Tensor = after if self.postprocess is None else self.postprocess(before)
        return result.reshape(*patches.shape[:-2], N_DIMS)


class Embeddings(nn.Sequential):
    """Linear layers with a ReLU behind each."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is behind the last ReLU, and what is before it."""
        *parts, last = self
        for part in parts:
            x = part(x)
        return last(x), x


class Postprocess(nn.Module):
    """Whitens the embedding, cuts it off at 2 standard deviations, and scales it to 0 to 255.

    Rounded, the numbers are the 8 bits of AudioSet's published features. They are not rounded here:
    the last digit of a sum, which depends on the batch, would decide over whole steps.

    Examples
    --------
    >>> Postprocess()(torch.tensor([[0.0, 1.0, -3.0] + [0.0] * 125]))[0, :3]
    tensor([127.5000, 191.2500,   0.0000])
    """

    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", torch.eye(N_DIMS))
        self.register_buffer("pca_means", torch.zeros(N_DIMS))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return (n, 128) of embeddings (n, 128), before the ReLU."""
        whitened = (embeddings - self.pca_means) @ self.pca_eigen_vectors.T
        return (whitened.clamp(-2, 2) + 2) * (255 / 4)


def as_maps(patches: Tensor) -> Tensor:
    """Return patches (..., 96, 64) as maps of one channel, (n, 1, 96, 64)."""
    if patches.ndim < 3 or patches.shape[-2:] != (N_FRAMES, N_MELS):
        raise ValueError(
            f"expected patches (..., {N_FRAMES}, {N_MELS}), got {tuple(patches.shape)}"
        )
    return patches.reshape(-1, 1, N_FRAMES, N_MELS)


def start(network: nn.Module) -> None:
    """Draw new weights that keep the size of what passes through ReLUs; biases are zero.

    He et al.: "Delving deep into rectifiers", ICCV 2015, https://arxiv.org/abs/1502.01852. With
    torch's own the signal dies away over so many layers, and of an untrained network only constant
    biases would be left.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = part.weight[0].numel()
            nn.init.normal_(part.weight, std=math.sqrt(2 / fan_in))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _convolutions() -> list[nn.Module]:
    parts: list[nn.Module] = []
    n_in = 1
    for width in _WIDTHS:
        if width == _POOL:
            parts.append(nn.MaxPool2d(2))
        else:
            parts += [nn.Conv2d(n_in, width, 3, padding=1), nn.ReLU()]
            n_in = width
    return parts
