"""Kaldi's log-mel filter bank, batched: what WeSpeaker and many speaker networks were trained on.

Each frame by itself: subtract its mean, pre-emphasise (its first sample with itself), window,
power spectrum of the next power of two points, triangular bands of height 1 on the mel scale
1127 ln(1 + f / 700), natural logarithm of at least float32's epsilon. Frames lie wholly inside the
signal (Kaldi's ``snip_edges``), so padding needs no lengths. There is no dither: the same signal
gives the same numbers.

Source: Povey et al., "The Kaldi Speech Recognition Toolkit", ASRU 2011. The numbers are those of
`torchaudio.compliance.kaldi.fbank` of the signal times `scale`, to 2e-6 on noise, speech and tones.
"""

from __future__ import annotations

import functools
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor

from speechprobe._optional import torchaudio
from speechprobe.extractors.normalise import Normalise
from speechprobe.extractors.spectral import (
    SpectralFrontEnd,
    frames_inside,
    in_parts,
    plain_tensors,
    power,
    require_bands,
)

# Kaldi's floor under the logarithm, whatever the precision of the sums.
_FLOOR = torch.finfo(torch.float32).eps


@dataclass(eq=False)
class KaldiFbank(SpectralFrontEnd):
    """Kaldi-compatible filter bank, before any mean subtraction unless `normalise` asks for it.

    Called with waveforms (B, n_samples) in [-1, 1] it gives (B, T, n_mels); with one array it is
    an extractor whose layer is "fbank".

    Parameters
    ----------
    n_mels
        Number of mel bands, at least 4. With many bands and a short window the lowest may hold no
        bin of the transform; these are constant, as in Kaldi.
    sample_rate
        Samples per second.
    window_seconds, hop_seconds
        Length and step of the frames in seconds, cut to whole samples.
    window
        "hamming" (WeSpeaker), "povey" (Kaldi's own, CAM++, ERes2Net) or "hanning" (AST).
    low_hz, high_hz
        Edges of the lowest and the highest band in Hz; half the sample rate by default above.
    preemphasis
        Share of the sample before that is subtracted, 0 to 1.
    scale
        The waveforms are multiplied by this: 32768 for networks trained on 16-bit integers, 1 for
        those trained on floats.
    use_log
        Natural logarithm of the power, or the power itself.
    normalise
        Function (features, lengths) -> features over each signal's own frames, such as
        `subtract_mean` or `standardise`; none by default.

    Raises
    ------
    ValueError
        If a setting is out of its range, or a signal is shorter than the window.

    Examples
    --------
    >>> KaldiFbank(n_mels=80)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 98, 80])
    >>> import numpy as np
    >>> KaldiFbank(n_mels=40, window="povey")(np.zeros(16_000, np.float32))["fbank"].shape
    (98, 40)

    The front end of WeSpeaker's networks, each band's mean over the utterance taken away:

    >>> from speechprobe.extractors.normalise import subtract_mean
    >>> wespeakers = KaldiFbank(80, normalise=subtract_mean)
    """

    n_mels: int = 80
    _: KW_ONLY
    sample_rate: int = 16_000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    window: Literal["hamming", "povey", "hanning"] = "hamming"
    low_hz: float = 20.0
    high_hz: float | None = None
    preemphasis: float = 0.97
    scale: float = 32768.0
    use_log: bool = True
    normalise: Normalise | None = None

    name = "fbank"

    def __post_init__(self) -> None:
        if self.window not in ("hamming", "povey", "hanning"):
            raise ValueError(f"window must be 'hamming', 'povey' or 'hanning', got {self.window!r}")
        if self._window_samples < 2 or self._hop_samples < 1:
            raise ValueError(
                f"a window of {self.window_seconds} s and a hop of {self.hop_seconds} s are too "
                f"short at {self.sample_rate} Hz; give both in seconds"
            )
        if not 0 <= self.preemphasis <= 1:
            raise ValueError(f"preemphasis must be from 0 to 1, got {self.preemphasis}")
        require_bands(self.n_mels, self.sample_rate, self.low_hz, self.high_hz, fewest=4)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples, 1 + (n - window) // hop.

        Raises
        ------
        ValueError
            If there are fewer samples than one window.
        """
        return frames_inside(n_samples, self._window_samples, self._hop_samples)

    @property
    def _window_samples(self) -> int:
        return _whole(self.sample_rate * self.window_seconds)

    @property
    def _hop_samples(self) -> int:
        return _whole(self.sample_rate * self.hop_seconds)

    def _features(self, waveforms: Tensor, _n_samples: Tensor | None) -> Tensor:
        self.n_frames(waveforms.shape[-1])
        scaled = waveforms * self.scale
        return in_parts(scaled.unfold(-1, self._window_samples, self._hop_samples), self._bands)

    def _bands(self, frames: Tensor) -> Tensor:
        n_fft = 1 << (self._window_samples - 1).bit_length()
        window = _window(self.window, self._window_samples, frames.device, frames.dtype)
        filters = _filters(
            n_fft, self.n_mels, self.sample_rate, self.low_hz, self.high_hz, frames.device,
            frames.dtype,
        )  # fmt: skip
        # In the order of the reference: in silent bands the rounding is all there is.
        centred = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([centred[..., :1], centred[..., :-1]], -1).mul_(self.preemphasis)
        shaped = (centred - before).mul_(window)
        bands = power(torch.fft.rfft(shaped, n_fft)) @ filters
        return bands.clamp_min_(_FLOOR).log_() if self.use_log else bands


def _whole(samples: float) -> int:
    # 0.0029 s at 10 kHz is 28.999... in floats.
    return int(samples + 1e-6)


@functools.lru_cache(maxsize=16)
def _window(name: str, n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with plain_tensors():
        if name == "hamming":
            shape = torch.hamming_window(n, periodic=False, dtype=dtype)
        else:
            shape = torch.hann_window(n, periodic=False, dtype=dtype)
        # Povey's goes to zero like a Hann window, and is as wide as a Hamming window.
        return (shape.pow(0.85) if name == "povey" else shape).to(device)


@functools.lru_cache(maxsize=16)
def _filters(
    n_fft: int,
    n_mels: int,
    sample_rate: int,
    low_hz: float,
    high_hz: float | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Return (n_fft // 2 + 1, n_mels); the last bin, half the sample rate, never counts."""
    banks = torchaudio().compliance.kaldi.get_mel_banks
    with plain_tensors():
        # The last three only matter for warped vocal tracts; a high edge of 0 is half the rate.
        bands, _ = banks(n_mels, n_fft, sample_rate, low_hz, high_hz or 0.0, 100.0, -500.0, 1.0)
        table: Tensor = torch.nn.functional.pad(bands.T, (0, 0, 0, 1)).contiguous()
        return table.to(device, dtype)
