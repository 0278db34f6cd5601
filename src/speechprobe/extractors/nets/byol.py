"""AudioNTT2020: the convolutional encoder of BYOL-A and BYOL-S.

Niizumi, Takeuchi, Ohishi, Harada, Kashino: "BYOL for audio: self-supervised learning for
general-purpose audio representation", IJCNN 2021, https://arxiv.org/abs/2103.06695; Elbanna,
Scheidwasser-Clow, Kegler, Beckmann, El Hajal, Cernak: "BYOL-S: learning self-supervised speech
representations by bootstrapping", 2022, https://arxiv.org/abs/2206.12038 (trained on speech alone).

Conventions
-----------
Features are (B, T, n_mels), a standardised log-mel spectrogram. `lengths` (B,) are the valid
frames of each row; then a padded batch gives what single utterances give. Three poolings leave
floor(T / 8) frames. Parameters have the names of the published checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_mean, through
from speechprobe.extractors.nets.resnet import valid_lengths

WIDTH = 64  # channels of each convolution
REDUCTION = 8  # three poolings by 2, in frequency and time


class AudioNTT2020(nn.Module):
    """Three convolutions, two layers a frame, and the maximum plus the mean over time.

    Parameters
    ----------
    n_dims
        Size of the embedding: published with 512, 1024 and 2048.
    n_mels
        Mel bands, a multiple of 8.

    Raises
    ------
    ValueError
        If `n_mels` is no multiple of 8; when called, if a row has fewer than 8 frames.

    Examples
    --------
    >>> network = AudioNTT2020()
    >>> sum(parameter.numel() for parameter in network.parameters())
    600192
    >>> network.eval()(torch.zeros(2, 50, 64)).shape
    torch.Size([2, 512])
    """

    def __init__(self, n_dims: int = 512, *, n_mels: int = 64) -> None:
        super().__init__()
        if n_mels < REDUCTION or n_mels % REDUCTION:
            raise ValueError(f"n_mels must be a multiple of {REDUCTION}, got {n_mels}")
        self.n_mels = n_mels
        # Its parts run one by one, with masks between them: a list, not a Sequential.
        self.features = nn.ModuleList([*_block(1), *_block(WIDTH), *_block(WIDTH)])
        self.fc = nn.Sequential(
            nn.Linear(WIDTH * (n_mels // REDUCTION), n_dims),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(n_dims, n_dims),
            nn.ReLU(),
        )
        self.embedding = MaxPlusMean()

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_dims) of features (B, T, n_mels)."""
        x, lengths = self._as_image(features, lengths)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                x = mask(x, lengths)
            x = layer(x)
            # No pooling is padded, so no valid frame looks beyond the end.
            lengths = through(lengths, layer) if isinstance(layer, nn.MaxPool2d) else lengths
        # A frame's vector counts the mels outside, the channels inside.
        frames = self.fc(x.permute(0, 3, 2, 1).flatten(2))
        embedding: Tensor = self.embedding(frames, lengths)
        return embedding

    def _as_image(self, features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return (B, 1, n_mels, T), and the lengths if a row is shorter than T."""
        if features.ndim != 3 or features.shape[-1] != self.n_mels:
            raise ValueError(
                f"expected features (B, T, {self.n_mels}), got {tuple(features.shape)}"
            )
        lengths = valid_lengths(features, lengths)
        shortest = features.shape[1] if lengths is None else int(lengths.min())
        if shortest < REDUCTION:
            raise ValueError(
                f"a signal of {shortest} frames is too short: three poolings by 2 need {REDUCTION}"
            )
        return features.transpose(1, 2)[:, None], lengths


class MaxPlusMean(nn.Module):
    """Maximum over time plus mean over time.

    Examples
    --------
    >>> MaxPlusMean()(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
    tensor([[5.]])
    """

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, D) of frames (B, T, D)."""
        x = frames.transpose(1, 2)
        return mask(x, lengths, -torch.inf).amax(-1) + masked_mean(x, lengths)


def _block(n_in: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(n_in, WIDTH, 3, padding=1)
    return convolution, nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.MaxPool2d(2)
