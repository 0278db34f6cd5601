"""What all front ends share: batched, on the device of their input, usable alone as extractors.

Called with waveforms, a tensor (B, n_samples), a front end gives features (B, T, n_dims) for a
network; called with one signal, an array (n_samples,), it is an extractor with one layer. A padded
batch gives each row what it gives alone, in the row's own `n_frames(n_samples)` frames; frames
beyond those hold anything. A front end may normalise its features over each row's own frames.
Float64 waveforms give float64 features (`LogMel` excepted), all others
float32, also under autocast.

================  ==================  ===================  ==================  ===================
front end         frames              window               bands               value
================  ==================  ===================  ==================  ===================
`LogMel`          inside the signal   Hann, periodic       Slaney, unit area   ln, clamped below
`KaldiFbank`      inside the signal   Hamming, symmetric   Kaldi, height 1     ln, clamped below
`MelSpectrogram`  centred, mirrored   Hann, periodic       HTK, height 1       power, or ln of sum
`MFCC`            as MelSpectrogram   as MelSpectrogram    as MelSpectrogram   cosines of decibels
================  ==================  ===================  ==================  ===================
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from speechprobe import pooling
from speechprobe.extractors.base import padded
from speechprobe.extractors.normalise import Normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling

# Frames that are worked on at once: on a CPU what stays in a core's cache, and below the size from
# which the C library asks the system for memory each time; on a device what bounds the memory of an
# hour of sound.
_FRAMES_AT_ONCE = {"cpu": 256}
_FRAMES_AT_ONCE_ON_DEVICES = 1 << 16


class SpectralFrontEnd(ABC):
    """What our front ends share: one signal, several signals, or waveforms for a network.

    Attributes
    ----------
    name : str
        Name of the one layer.
    sample_rate : int
        Samples per second.
    normalise : callable or None
        What is done to the features over each row's own frames.
    """

    name: str
    sample_rate: int
    normalise: Normalise | None = None

    @overload
    def __call__(self, signal: Tensor, n_samples: Tensor | None = None) -> Tensor: ...
    @overload
    def __call__(
        self, signal: NDArray[np.float32], n_samples: None = None
    ) -> dict[str, NDArray[np.float32]]: ...
    def __call__(
        self, signal: Tensor | NDArray[np.float32], n_samples: Tensor | None = None
    ) -> Tensor | dict[str, NDArray[np.float32]]:
        """Return features of waveforms for a network, or of one signal as an extractor.

        Parameters
        ----------
        signal
            Tensor (B, n_samples) or array (n_samples,), full scale at 1.0, at `sample_rate`.
        n_samples
            Where each row of a padded tensor ends, shape (B,); at its last sample by default.

        Returns
        -------
        features
            (B, T, n_dims) of a tensor, {name: (T, n_dims)} of an array.

        Raises
        ------
        ValueError
            If the shape is another, or a signal is too short for one frame.
        TypeError
            If the samples are integers.
        """
        if isinstance(signal, Tensor):
            return self._of_waveforms(signal, n_samples)
        return {self.name: self._of_waveforms(padded([signal]), None)[0].numpy()}

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> dict[str, Any]:
        """Return {name: (n_signals, n_dims')}, pooled over each signal's own frames.

        A list of n_signals arrays (n_rows, n_dims') if the pooling is ragged.
        """
        lengths = torch.tensor([self.n_frames(len(signal)) for signal in signals])
        n_samples = torch.tensor([len(signal) for signal in signals])
        features = self._of_waveforms(padded(signals), n_samples)
        rows = range(len(signals))
        own = pooling.bind(pool, rows, self.frame_rate)
        return {self.name: pooling.join([own(features, lengths)], rows)}

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        # A hop is a whole number of samples, and over this stretch the edges do not count.
        stretch = 1000 * self.sample_rate
        hop = round(stretch / (self.n_frames(2 * stretch) - self.n_frames(stretch)))
        return self.sample_rate / hop

    @abstractmethod
    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples; ValueError if there are too few for one."""

    @abstractmethod
    def _features(self, waveforms: Tensor, n_samples: Tensor | None) -> Tensor:
        """Return features (B, T, n_dims) of waveforms (B, n_samples), float32 or float64."""

    def _of_waveforms(self, waveforms: Tensor, n_samples: Tensor | None) -> Tensor:
        if waveforms.ndim != 2:
            raise ValueError(
                f"{self.name}: waveforms must have the shape (B, n_samples), got "
                f"{tuple(waveforms.shape)}; one signal is waveform[None]"
            )
        if not waveforms.is_floating_point():
            raise TypeError(
                f"{self.name}: samples must be floats with full scale at 1.0, got "
                f"{waveforms.dtype}; divide 16-bit samples by 32768"
            )
        wide = waveforms if waveforms.dtype == torch.float64 else waveforms.float()
        kind = waveforms.device.type
        # Half precision of a network must not reach its front end.
        exact = torch.is_autocast_enabled(kind) if kind != "meta" else False
        with torch.autocast(kind, enabled=False) if exact else contextlib.nullcontext():
            features = self._features(wide, n_samples)
            if self.normalise is None:
                return features
            return self.normalise(features, self._lengths(features, n_samples))

    def _lengths(self, features: Tensor, n_samples: Tensor | None) -> Tensor:
        """Return how many frames (B, T, n_dims) are each row's own, (B,)."""
        n_rows, most, _ = features.shape
        own = [most] * n_rows if n_samples is None else map(self.n_frames, n_samples.tolist())
        return torch.tensor(list(own), device=features.device)


def frames_inside(n_samples: int, window: int, hop: int) -> int:
    """Return the number of windows that lie wholly inside n samples; ValueError if none does."""
    if n_samples < window:
        raise ValueError(f"a signal of {n_samples} samples is shorter than one window of {window}")
    return 1 + (n_samples - window) // hop


def require_fits(window: int, n_fft: int) -> None:
    """Raise ValueError unless a window of some samples fits into the transform."""
    if not 0 < window <= n_fft:
        raise ValueError(f"the window has {window} samples; n_fft={n_fft} must hold it")


def require_bands(
    n_mels: int, sample_rate: int, low_hz: float, high_hz: float | None, *, fewest: int = 1
) -> None:
    """Raise ValueError unless there are mel bands and they lie below half the sample rate."""
    if n_mels < fewest:
        raise ValueError(f"n_mels must be at least {fewest}, got {n_mels}")
    half = sample_rate / 2
    if not 0 <= low_hz < (half if high_hz is None else high_hz) <= half:
        raise ValueError(
            f"the bands must lie from 0 to {half:g} Hz, half the sample rate; got low_hz={low_hz} "
            f"and high_hz={high_hz}"
        )


def centred_in(window: Tensor, n_fft: int) -> Tensor:
    """Return a window (n,) with zeros on both sides, as `torch.stft` places it: (n_fft,)."""
    margin = (n_fft - len(window)) // 2
    return torch.nn.functional.pad(window, (margin, n_fft - len(window) - margin))


def in_parts(frames: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return function(frames) for frames (B, T, n), made of short stretches of T."""
    at_once = _FRAMES_AT_ONCE.get(frames.device.type, _FRAMES_AT_ONCE_ON_DEVICES)
    parts = torch.split(frames, max(1, at_once // max(1, len(frames))), dim=1)
    return torch.cat([function(part) for part in parts], dim=1)


def power(spectrum: Tensor) -> Tensor:
    """Return the squared magnitude of complex numbers."""
    return spectrum.real.square() + spectrum.imag.square()


@contextlib.contextmanager
def plain_tensors() -> Iterator[None]:
    """Make tables that serve every later call: on the CPU, and not bound to inference mode."""
    with torch.inference_mode(mode=False), torch.device("cpu"):
        yield
