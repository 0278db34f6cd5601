"""Mel power spectrogram with the conventions of `torch.stft`.

Frames are centred on every `hop_seconds` from the first sample on, and each row is mirrored at both
of its own ends (without repeating the edge), so T = 1 + n_samples // hop for an even `n_fft`.
Windows are periodic and centred in `n_fft` points. The numbers are those of
`torchaudio.transforms.MelSpectrogram` of one signal at a time; of a padded batch that one mirrors
the padding.

`LogMel` differs: no mirrored samples, the bands of Slaney with unit area, a clamp instead of a sum
under the logarithm.
"""

from __future__ import annotations

import functools
from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from speechprobe._optional import torchaudio
from speechprobe.extractors.normalise import Normalise
from speechprobe.extractors.spectral import (
    SpectralFrontEnd,
    centred_in,
    in_parts,
    plain_tensors,
    power,
    require_bands,
    require_fits,
)

_Count = TypeVar("_Count", int, Tensor)


@dataclass(eq=False)
class MelSpectrogram(SpectralFrontEnd):
    """Mel power spectrogram, or its logarithm.

    Parameters
    ----------
    n_mels
        Number of mel bands.
    sample_rate
        Samples per second.
    n_fft
        Points of the Fourier transform, at least the window.
    window_seconds, hop_seconds
        Length and step of the frames in seconds; n samples are ``n / sample_rate``.
    window
        "hann" or "hamming", periodic.
    low_hz, high_hz
        Edges of the lowest and the highest band in Hz; half the sample rate by default above.
    norm
        "slaney" gives every band unit area; None gives height 1.
    mel_scale
        "htk", 2595 log10(1 + f / 700), or "slaney", linear below 1 kHz.
    preemphasis
        Share of the sample before that is subtracted; the one before the first is the second.
    log_offset
        Added to the power before the natural logarithm; None gives the power itself.
    normalise
        Function (features, lengths) -> features over each signal's own frames, such as
        `subtract_mean` or `standardise`; none by default.

    Raises
    ------
    ValueError
        If the window is longer than `n_fft`, the bands do not lie below half the sample rate, or a
        signal is not longer than half of `n_fft`.

    Examples
    --------
    >>> MelSpectrogram(n_mels=40)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 101, 40])

    The front end of BYOL-S, before its two constants (Elbanna et al., HEAR 2021):

    >>> byol = MelSpectrogram(
    ...     64, low_hz=60, high_hz=7800, n_fft=1024, window_seconds=400 / 16_000,
    ...     log_offset=torch.finfo(torch.float32).eps,
    ... )

    That of voxceleb_trainer's V2 (Heo et al., 2020), whose instance norm is `standardise`:

    >>> from speechprobe.extractors.normalise import standardise
    >>> v2 = MelSpectrogram(
    ...     64, n_fft=512, window="hamming", preemphasis=0.97, log_offset=1e-6,
    ...     normalise=standardise,
    ... )
    """

    n_mels: int = 80
    _: KW_ONLY
    sample_rate: int = 16_000
    n_fft: int = 1024
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    window: Literal["hann", "hamming"] = "hann"
    low_hz: float = 0.0
    high_hz: float | None = None
    norm: Literal["slaney"] | None = None
    mel_scale: Literal["htk", "slaney"] = "htk"
    preemphasis: float = 0.0
    log_offset: float | None = None
    normalise: Normalise | None = None

    name = "mel"

    def __post_init__(self) -> None:
        require_fits(self._window_samples, self.n_fft)
        if self._hop_samples < 1:
            raise ValueError(
                f"a hop of {self.hop_seconds} s is under one sample at {self.sample_rate} Hz"
            )
        require_bands(self.n_mels, self.sample_rate, self.low_hz, self.high_hz)
        if self.window not in ("hann", "hamming"):
            raise ValueError(f"window must be 'hann' or 'hamming', got {self.window!r}")
        if self.norm not in ("slaney", None):
            raise ValueError(f"norm must be 'slaney' or None, got {self.norm!r}")
        if self.mel_scale not in ("htk", "slaney"):
            raise ValueError(f"mel_scale must be 'htk' or 'slaney', got {self.mel_scale!r}")

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples, 1 + n // hop for an even `n_fft`.

        Raises
        ------
        ValueError
            If there are too few samples to mirror half of `n_fft` of them.
        """
        if n_samples <= self._margin:
            raise ValueError(
                f"a signal of {n_samples} samples is too short to be mirrored by {self._margin}, "
                f"half of n_fft={self.n_fft}; it must be longer than that"
            )
        return self.count(n_samples)

    def count(self, n_samples: _Count) -> _Count:
        """Return the number of frames of an int or of a tensor of ints, unchecked."""
        return (n_samples + 2 * self._margin - self.n_fft) // self._hop_samples + 1

    @property
    def _margin(self) -> int:
        return self.n_fft // 2

    @property
    def _window_samples(self) -> int:
        return round(self.sample_rate * self.window_seconds)

    @property
    def _hop_samples(self) -> int:
        return round(self.sample_rate * self.hop_seconds)

    def _features(self, waveforms: Tensor, n_samples: Tensor | None) -> Tensor:
        ends = self._ends(waveforms, n_samples)
        if self.preemphasis:
            before = torch.cat([waveforms[:, 1:2], waveforms[:, :-1]], dim=1)
            waveforms = waveforms - self.preemphasis * before
        widened = _mirrored(waveforms, ends, self._margin)
        return in_parts(widened.unfold(-1, self.n_fft, self._hop_samples), self._bands)

    def _ends(self, waveforms: Tensor, n_samples: Tensor | None) -> Tensor:
        """Return where each row ends, (B,), or raise if one ends too early or beyond the batch."""
        n_rows, most = waveforms.shape
        if n_samples is None:
            self.n_frames(most)
            return torch.full((n_rows,), most, device=waveforms.device)
        if n_samples.shape != (n_rows,) or int(n_samples.max()) > most:
            raise ValueError(
                f"n_samples must hold one length of at most {most} for each of {n_rows} rows, got "
                f"{n_samples.tolist()}"
            )
        self.n_frames(int(n_samples.min()))
        return n_samples.to(waveforms.device, torch.int64)

    def _bands(self, frames: Tensor) -> Tensor:
        window = _window(self.window, self._window_samples, self.n_fft, frames.device, frames.dtype)
        edges = (self.low_hz, self.sample_rate / 2 if self.high_hz is None else self.high_hz)
        filters = _filters(
            self.n_fft, self.n_mels, self.sample_rate, edges, self.norm, self.mel_scale,
            frames.device, frames.dtype,
        )  # fmt: skip
        bands = power(torch.fft.rfft(frames * window)) @ filters
        return bands if self.log_offset is None else (bands + self.log_offset).log()


def _mirrored(waveforms: Tensor, ends: Tensor, margin: int) -> Tensor:
    """Return waveforms (B, n) with `margin` mirrored samples before each row and behind its end."""
    widened = torch.nn.functional.pad(waveforms, (margin, margin))
    widened[:, :margin] = waveforms[:, 1 : margin + 1].flip(1)
    step = torch.arange(1, margin + 1, device=waveforms.device)
    last = ends[:, None] - 1
    return widened.scatter(1, last + margin + step, waveforms.gather(1, last - step))


@functools.lru_cache(maxsize=16)
def _window(name: str, n: int, n_fft: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    shape = torch.hann_window if name == "hann" else torch.hamming_window
    with plain_tensors():
        return centred_in(shape(n, dtype=dtype), n_fft).to(device)


@functools.lru_cache(maxsize=16)
def _filters(
    n_fft: int,
    n_mels: int,
    sample_rate: int,
    edges: tuple[float, float],
    norm: str | None,
    mel_scale: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    with plain_tensors():
        table: Tensor = torchaudio().functional.melscale_fbanks(
            n_fft // 2 + 1, *edges, n_mels, sample_rate, norm, mel_scale
        )
        return table.to(device, dtype)
