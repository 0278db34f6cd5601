"""VGGVox of voxceleb_trainer: VGG-M on 40 mels with self-attentive pooling.

Nagrani, Chung, Zisserman: "VoxCeleb: a large-scale speaker identification dataset", Interspeech
2017, https://arxiv.org/abs/1706.08612; with this pooling in Chung et al.: "In defence of metric
learning for speaker recognition", Interspeech 2020, https://arxiv.org/abs/2003.11982.

Features, lengths and names are as in `speechprobe.extractors.nets.voxceleb`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, through
from speechprobe.extractors.nets.voxceleb import WeightedMean, as_image, self_attention, vector

SHORTEST = 63  # frames that its poolings need to give one


class VGGVox(nn.Module):
    """Six convolutions with batch norm and three poolings, then self-attentive pooling.

    Parameters
    ----------
    n_out
        Size of the embedding.

    Raises
    ------
    ValueError
        When called, if a row has fewer than 63 frames: its poolings leave none of them.

    Examples
    --------
    >>> network = VGGVox()
    >>> sum(parameter.numel() for parameter in network.parameters())
    4032448
    >>> import torch
    >>> network.eval()(torch.zeros(2, 80, 40)).shape
    torch.Size([2, 512])
    """

    n_mels = 40

    def __init__(self, n_out: int = 512) -> None:
        super().__init__()
        # Its parts run one by one, with masks between them: a list, not a Sequential.
        self.netcnn = nn.ModuleList(
            [
                *_convolution(1, 96, (5, 7), stride=(1, 2), padding=2),
                nn.MaxPool2d((1, 3), stride=(1, 2)),
                *_convolution(96, 256, (5, 5), stride=(2, 2), padding=1),
                nn.MaxPool2d(3, stride=2),
                *_convolution(256, 384, (3, 3), padding=1),
                *_convolution(384, 256, (3, 3), padding=1),
                *_convolution(256, 256, (3, 3), padding=1),
                nn.MaxPool2d(3, stride=2),
                *_convolution(256, 512, (4, 1)),
            ]
        )
        self.sap_linear = nn.Linear(512, 512)
        self.attention = vector(512)
        self.pool = WeightedMean()
        self.fc = nn.Linear(512, n_out)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_out) of features (B, T, 40)."""
        x, lengths = as_image(features, lengths, self.n_mels)
        shortest = x.shape[-1] if lengths is None else int(lengths.min())
        if shortest < SHORTEST:
            raise ValueError(f"VGGVox needs at least {SHORTEST} frames a row, got {shortest}")
        for layer in self.netcnn:
            if isinstance(layer, nn.Conv2d):
                x, lengths = layer(mask(x, lengths)), through(lengths, layer)
            else:
                x = layer(x)
                # No pooling is padded, so no valid frame looks beyond the end.
                lengths = through(lengths, layer) if isinstance(layer, nn.MaxPool2d) else lengths
        x = x.squeeze(2)
        weights = self_attention(x, lengths, self.sap_linear, self.attention)
        embedding: Tensor = self.fc(self.pool(x, weights))
        return embedding


def _convolution(
    n_in: int, n_out: int, kernel: int | tuple[int, int], **settings: Any
) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n_in, n_out, kernel, **settings), nn.BatchNorm2d(n_out), nn.ReLU()
