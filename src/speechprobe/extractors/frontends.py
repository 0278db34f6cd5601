"""Log-mel spectrogram, frames wholly inside the signal.

The frames are those of `torch.stft` with ``center=False``, counted by the window instead of
`n_fft`: T = 1 + (n_samples - window) // hop. No sample is invented, so padding never leaks into a
valid frame. The table in `spectral` sets it beside the other front ends.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from speechprobe._optional import torchaudio
from speechprobe.extractors.normalise import Normalise
from speechprobe.extractors.spectral import (
    SpectralFrontEnd,
    centred_in,
    frames_inside,
    plain_tensors,
    require_bands,
    require_fits,
)


class LogMel(SpectralFrontEnd):
    """Log-mel spectrogram: the acoustic floor that a network should beat.

    Power spectrum of Hann windows, triangular filters on the Slaney mel scale with unit area,
    natural logarithm, clamped from below.

    Parameters
    ----------
    n_mels
        Number of mel bands from 0 Hz to half the sample rate.
    sample_rate
        Samples per second.
    window_seconds, hop_seconds
        Length and step of the frames in seconds.
    n_fft
        Points of the Fourier transform, at least the window.
    smallest
        Power below this counts as this.
    normalise
        Function (features, lengths) -> features over each signal's own frames, such as
        `subtract_mean` or `standardise`; none by default.

    Raises
    ------
    ValueError
        If the window is longer than `n_fft`, or a signal is shorter than the window.

    Examples
    --------
    >>> LogMel(n_mels=40)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 98, 40])
    >>> import numpy as np
    >>> LogMel(n_mels=40)(np.zeros(16_000, np.float32))["logmel"].shape
    (98, 40)
    """

    name = "logmel"

    def __init__(
        self,
        n_mels: int = 80,
        *,
        sample_rate: int = 16_000,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.010,
        n_fft: int = 1024,
        smallest: float = 1e-10,
        normalise: Normalise | None = None,
    ) -> None:
        self.n_mels = n_mels
        self.sample_rate = sample_rate
        self.window = round(window_seconds * sample_rate)
        self.hop = round(hop_seconds * sample_rate)
        self.n_fft = n_fft
        self.smallest = smallest
        self.normalise = normalise
        require_fits(self.window, n_fft)
        require_bands(n_mels, sample_rate, 0.0, None)

    def __repr__(self) -> str:
        return f"LogMel(n_mels={self.n_mels}, sample_rate={self.sample_rate})"

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples.

        Raises
        ------
        ValueError
            If there are fewer samples than one window.
        """
        return frames_inside(n_samples, self.window, self.hop)

    def _features(self, waveforms: Tensor, _n_samples: Tensor | None) -> Tensor:
        self.n_frames(waveforms.shape[-1])
        filters, window = _tables(
            self.n_mels, self.sample_rate, self.window, self.n_fft, waveforms.device
        )
        # The window is centred in n_fft points; these zeros only fill what it blanks out.
        margin = (self.n_fft - self.window) // 2
        widened = torch.nn.functional.pad(
            waveforms.float(), (margin, self.n_fft - self.window - margin)
        )
        frames = widened.unfold(-1, self.n_fft, self.hop) * window
        power: Tensor = torch.fft.rfft(frames).abs().square() @ filters
        return power.clamp_min(self.smallest).log()


@functools.lru_cache(maxsize=8)
def _tables(
    n_mels: int, sample_rate: int, window: int, n_fft: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    with plain_tensors():
        filters = torchaudio().functional.melscale_fbanks(
            n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate, norm="slaney",
            mel_scale="slaney",
        )  # fmt: skip
        shape = centred_in(torch.hann_window(window), n_fft)
        return filters.to(device), shape.to(device)
