"""What VGGish and YAMNet share: log-mel patches of 0.96 s, each of which is embedded on its own.

Conventions
-----------
Signals are at 16 kHz. Frames of 400 samples every 160 lie wholly inside the signal (Hann window,
periodic; 512 points). The magnitude of the spectrum, not its power, is summed in 64 bands from 125
to 7500 Hz, triangles that are straight over the mel scale 1127 ln(1 + f / 700). A small number is
added before the natural logarithm. 96 frames are a patch, which sees 15,600 samples (0.975 s).

These are Google's own features, and torchvggish's. torch_audioset and torch-vggish-yamnet take
torchaudio's instead: frames start 12.5 ms earlier, are mirrored at both ends of the signal, and the
triangles are straight over the frequency.

A signal shorter than a patch is filled up with zeros behind it. Patches do not see each other and
every other sample of theirs is the signal's or a zero behind its end, so padded batches are exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speechprobe.extractors.layout import Layout
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.nets.vggish import N_FRAMES, N_MELS
from speechprobe.extractors.spectral import SpectralFrontEnd, frames_inside, in_parts, plain_tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
_WINDOW, _HOP, _N_FFT = 400, 160, 512
_LOW_HZ, _HIGH_HZ = 125.0, 7500.0
N_SAMPLES = (N_FRAMES - 1) * _HOP + _WINDOW  # that a patch sees


@dataclass(eq=False)
class MagnitudeLogMel(SpectralFrontEnd):
    """Logarithm of the magnitude in 64 mel bands, as VGGish and YAMNet were trained with.

    Parameters
    ----------
    log_offset
        Added before the logarithm: 0.01 for VGGish, 0.001 for YAMNet.

    Examples
    --------
    >>> MagnitudeLogMel(0.01)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 98, 64])
    """

    log_offset: float

    name = "logmel"
    sample_rate = SAMPLE_RATE

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of n samples.

        Raises
        ------
        ValueError
            If there are fewer samples than one window.
        """
        return frames_inside(n_samples, _WINDOW, _HOP)

    def _features(self, waveforms: Tensor, _n_samples: Tensor | None) -> Tensor:
        self.n_frames(waveforms.shape[-1])
        return in_parts(waveforms.unfold(-1, _WINDOW, _HOP), self._bands)

    def _bands(self, frames: Tensor) -> Tensor:
        window, filters = _tables(frames.device, frames.dtype)
        magnitudes = torch.fft.rfft(frames * window, _N_FFT).abs()
        bands: Tensor = magnitudes @ filters
        return (bands + self.log_offset).log()


@dataclass(frozen=True)
class LogMelPatches:
    """Waveforms (B, n_samples) to patches (B, n_patches, 96, 64).

    Parameters
    ----------
    log_offset
        As in `MagnitudeLogMel`.
    hop_seconds
        Step from patch to patch in seconds, a multiple of 0.01.
    keep_end
        True fills the last patch up with zeros; False drops what does not fill a patch, unless it
        is all that there is.

    Raises
    ------
    ValueError
        If the step is not a multiple of 0.01 s, not positive, or, with `keep_end`, so long that a
        last patch of nothing but zeros could follow.

    Examples
    --------
    >>> patches = LogMelPatches(0.01, hop_seconds=0.96, keep_end=False)
    >>> patches(torch.zeros(1, 40_000)).shape
    torch.Size([1, 2, 96, 64])
    >>> [patches.n_patches(n) for n in (4800, 30_959, 30_960)]
    [1, 1, 2]
    """

    log_offset: float
    hop_seconds: float
    keep_end: bool

    def __post_init__(self) -> None:
        exact = self.hop_seconds * SAMPLE_RATE / _HOP
        if self._hop_frames < 1 or not math.isclose(exact, self._hop_frames, rel_tol=1e-6):
            raise ValueError(
                f"hop_seconds must be a positive multiple of 0.01, got {self.hop_seconds}"
            )
        if self.keep_end and self._hop_frames > N_FRAMES:
            raise ValueError(f"hop_seconds must be at most 0.96, got {self.hop_seconds}")

    @property
    def stride(self) -> int:
        """Samples from patch to patch."""
        return self._hop_frames * _HOP

    @property
    def offset(self) -> int:
        """What makes floor((n + offset) / stride) the patches of n samples, if there are any."""
        rounding = self.stride - 1 if self.keep_end else 0
        return self.stride - N_SAMPLES + rounding

    @property
    def _hop_frames(self) -> int:
        return round(self.hop_seconds * SAMPLE_RATE / _HOP)

    def n_patches(self, n_samples: int) -> int:
        """Return the number of patches of n samples, at least one."""
        return max(1, (n_samples + self.offset) // self.stride)

    def __call__(self, waveforms: Tensor) -> Tensor:
        """Return patches (B, n_patches, 96, 64)."""
        n_samples = waveforms.shape[-1]
        end = N_SAMPLES + (self.n_patches(n_samples) - 1) * self.stride
        # A negative number cuts.
        whole = torch.nn.functional.pad(waveforms, (0, end - n_samples))
        features = MagnitudeLogMel(self.log_offset)(whole)
        return features.unfold(1, N_FRAMES, self._hop_frames).mT


class PatchExtractor(ModuleExtractor):
    """A network of patches (B, n_patches, 96, 64), whose frames are the patches.

    Inside, the network has one row a patch. A map (rows, channels, time, bands) is averaged over
    the patch's time and gives channels times bands.

    Parameters
    ----------
    network
        Takes patches.
    patches
        Waveforms to patches.
    layers, name, device, dtype
        As in `ModuleExtractor`.

    Raises
    ------
    ValueError
        As in `ModuleExtractor`; when called, if a signal is empty.
    """

    def __init__(
        self,
        network: nn.Module,
        patches: LogMelPatches,
        *,
        layers: str | Sequence[str],
        name: str,
        device: str | torch.device | None,
        dtype: torch.dtype | None,
    ) -> None:
        self._patches = patches
        super().__init__(
            network,
            layers=layers,
            sample_rate=SAMPLE_RATE,
            preprocess=patches,
            name=name,
            device=device,
            dtype=dtype,
        )

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> Any:
        if not all(map(len, signals)):
            raise ValueError(f"{self.name}: a signal has no samples")
        return super()._inputs(signals)

    def _find_layouts(self) -> dict[str, Layout]:
        layout = _PatchLayout(0, 0, stride=self._patches.stride, offset=self._patches.offset)
        return dict.fromkeys(self._names, layout)


class _PatchLayout(Layout):
    """Rows are the patches of the first signal, then of the second."""

    def frames(self, output: Tensor, n_signals: int) -> Tensor:
        if output.ndim == 4:
            # Half precision would lose digits in the sum.
            wide = torch.promote_types(output.dtype, torch.float32)
            output = output.mean(2, dtype=wide).flatten(1)
        return output.reshape(n_signals, -1, output.shape[-1])

    def n_frames(self, n_samples: int) -> int:
        return max(1, super().n_frames(n_samples))


@functools.lru_cache(maxsize=8)
def _tables(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    with plain_tensors():
        window = torch.hann_window(_WINDOW, dtype=torch.float64)
        return window.to(device, dtype), _filters().to(device, dtype)


def _filters() -> Tensor:
    """Return the weights of the bands, (257, 64)."""
    hertz = torch.linspace(0, SAMPLE_RATE / 2, _N_FFT // 2 + 1, dtype=torch.float64)
    low, high = _mel(torch.tensor([_LOW_HZ, _HIGH_HZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, N_MELS + 2, dtype=torch.float64)
    distance = (_mel(hertz)[:, None] - edges[1:-1]).abs()
    return (1 - distance / (edges[1] - edges[0])).clamp_min(0)


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * (1 + hertz / 700).log()
