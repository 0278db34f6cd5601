"""Front ends: batched, on the device of their input, usable alone as extractors.

Called with waveforms, a tensor (B, n_samples), a front end gives features (B, T, n_dims) for a
network; called with one signal, an array (n_samples,), it is an extractor with one layer. Frames
lie wholly inside the signal, T = 1 + (n_samples - window) // hop, so padding never leaks into a
valid frame.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from torch import Tensor

from speechprobe._optional import torchaudio
from speechprobe.extractors.base import padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling


class LogMel:
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

    Raises
    ------
    ValueError
        If the window is longer than `n_fft`, or a signal is shorter than the window.

    Examples
    --------
    >>> LogMel(n_mels=40)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 98, 40])
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
    ) -> None:
        self.n_mels = n_mels
        self.sample_rate = sample_rate
        self.window = round(window_seconds * sample_rate)
        self.hop = round(hop_seconds * sample_rate)
        self.n_fft = n_fft
        self.smallest = smallest
        if not 0 < self.window <= n_fft:
            raise ValueError(f"the window has {self.window} samples; n_fft={n_fft} must hold it")

    def __repr__(self) -> str:
        return f"LogMel(n_mels={self.n_mels}, sample_rate={self.sample_rate})"

    @overload
    def __call__(self, signal: Tensor) -> Tensor: ...
    @overload
    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]: ...
    def __call__(
        self, signal: Tensor | NDArray[np.float32]
    ) -> Tensor | dict[str, NDArray[np.float32]]:
        """Return (B, T, n_mels) of a tensor, or {"logmel": (T, n_mels)} of one array."""
        if isinstance(signal, Tensor):
            return self._features(signal)
        batch = torch.from_numpy(np.ascontiguousarray(signal, dtype=np.float32))[None]
        return {self.name: self._features(batch)[0].numpy()}

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> dict[str, NDArray[np.float32]]:
        """Return {"logmel": (n_signals, n_dims')}, pooled over each signal's own frames."""
        batch = padded(signals)
        lengths = torch.tensor([self.n_frames(len(signal)) for signal in signals])
        return {self.name: pool(self._features(batch), lengths).numpy()}

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples.

        Raises
        ------
        ValueError
            If there are fewer samples than one window.
        """
        if n_samples < self.window:
            raise ValueError(
                f"a signal of {n_samples} samples is shorter than one window of {self.window}"
            )
        return 1 + (n_samples - self.window) // self.hop

    def _features(self, waveforms: Tensor) -> Tensor:
        self.n_frames(waveforms.shape[-1])
        filters, window = _tables(self.n_mels, self.sample_rate, self.window, self.n_fft)
        # The window is centred in n_fft points; these zeros only fill what it blanks out.
        margin = (self.n_fft - self.window) // 2
        widened = torch.nn.functional.pad(
            waveforms.float(), (margin, self.n_fft - self.window - margin)
        )
        frames = widened.unfold(-1, self.n_fft, self.hop) * window.to(waveforms.device)
        power: Tensor = torch.fft.rfft(frames).abs().square() @ filters.to(waveforms.device)
        return power.clamp_min(self.smallest).log()


@functools.lru_cache(maxsize=8)
def _tables(n_mels: int, sample_rate: int, window: int, n_fft: int) -> tuple[Tensor, Tensor]:
    filters = torchaudio().functional.melscale_fbanks(
        n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate, norm="slaney", mel_scale="slaney"
    )
    margin = (n_fft - window) // 2
    padding = (margin, n_fft - window - margin)
    return filters, torch.nn.functional.pad(torch.hann_window(window), padding)
