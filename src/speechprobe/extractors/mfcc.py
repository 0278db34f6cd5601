"""Mel-frequency cepstral coefficients, of decibels or of natural logarithms.

The numbers are those of `torchaudio.transforms.MFCC` of one signal at a time. It takes the loudest
value of a whole batch (B, n_samples) as the top of every row; here each row has its own.

Source: Davis and Mermelstein, "Comparison of Parametric Representations for Monosyllabic Word
Recognition in Continuously Spoken Sentences", IEEE TASSP 1980.
"""

from __future__ import annotations

import functools
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from speechprobe._optional import torchaudio
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.normalise import Normalise
from speechprobe.extractors.spectral import SpectralFrontEnd, plain_tensors

# Below this power decibels stop, as in torchaudio.
_SMALLEST = 1e-10


@dataclass(eq=False)
class MFCC(SpectralFrontEnd):
    """Mel-frequency cepstral coefficients: orthonormal cosine transform of a log-mel spectrogram.

    The spectrogram is taken in decibels, 10 log10 of at least 1e-10, and cut `top_db` below each
    signal's own loudest value. Of a `mel` with a `log_offset`, its natural logarithm is taken.

    Parameters
    ----------
    n_mfcc
        Number of coefficients, the zeroth included; at most the bands of `mel`.
    mel
        The spectrogram; `MelSpectrogram()` by default.
    top_db
        Decibels below the loudest value of a signal that count; None for all.
    normalise
        Function (features, lengths) -> features over each signal's own frames, such as
        `subtract_mean` or `standardise`; none by default.

    Raises
    ------
    ValueError
        If there are more coefficients than bands, `mel` is normalised, or a signal is too short
        for it.

    Examples
    --------
    >>> MFCC(n_mfcc=13)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 101, 13])
    >>> MFCC(n_mfcc=13, mel=MelSpectrogram(23, sample_rate=8000, n_fft=256)).n_frames(8000)
    101
    """

    n_mfcc: int = 40
    _: KW_ONLY
    mel: MelSpectrogram = field(default_factory=MelSpectrogram)
    top_db: float | None = 80.0
    normalise: Normalise | None = None
    sample_rate: int = field(init=False, repr=False)

    name = "mfcc"

    def __post_init__(self) -> None:
        self.sample_rate = self.mel.sample_rate
        if not 0 < self.n_mfcc <= self.mel.n_mels:
            raise ValueError(
                f"n_mfcc must be from 1 to the {self.mel.n_mels} bands of mel, got {self.n_mfcc}"
            )
        if self.mel.normalise is not None:
            raise ValueError(
                "mel must not be normalised, its logarithm is taken here; give normalise to MFCC"
            )

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples, as of `mel`."""
        return self.mel.n_frames(n_samples)

    def _features(self, waveforms: Tensor, n_samples: Tensor | None) -> Tensor:
        bands = self.mel(waveforms, n_samples)
        if self.mel.log_offset is None:
            bands = 10 * bands.clamp_min(_SMALLEST).log10()
            if self.top_db is not None:
                bands = torch.maximum(bands, self._loudest(bands, n_samples) - self.top_db)
        return bands @ _cosines(self.n_mfcc, self.mel.n_mels, bands.device, bands.dtype)

    def _loudest(self, bands: Tensor, n_samples: Tensor | None) -> Tensor:
        if n_samples is not None:
            n_frames = self.mel.count(n_samples.to(bands.device))
            inside = torch.arange(bands.shape[1], device=bands.device) < n_frames[:, None]
            bands = bands.where(inside[..., None], -torch.inf)
        return bands.amax(dim=(1, 2), keepdim=True)


@functools.lru_cache(maxsize=16)
def _cosines(n_mfcc: int, n_mels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with plain_tensors():
        table: Tensor = torchaudio().functional.create_dct(n_mfcc, n_mels, "ortho")
        return table.to(device, dtype)
