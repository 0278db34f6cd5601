"""Signals to the input of a speech transformer, by the feature extractor that was saved with it.

Each front end knows the shortest and the longest signal it takes, and which frames of the blocks
are those of a signal of n samples (at the published sizes, 16 kHz):

=====================  ==========================  ===============================================
Front end              Signals                     Frames
=====================  ==========================  ===============================================
`Waveforms`            any length, each            floor((n - 80) / 320), by the stem's kernels
(wav2vec 2.0 and kin)  normalised alone            and strides; half of that in SEW
`StackedMels`          any length, mel frames      floor((n - 240) / 320): pairs that are whole
(w2v-BERT 2.0)         stacked in pairs
`Window` (Whisper)     padded to 30 s              ceil(n / 320)
`PatchWindow` (AST)    padded to 10.24 s, cut      floor((n - 1200) / 1600): times of patches
                       into patches of 16 bands    that lie wholly inside; a frame is the mean
                       and 16 frames               over the patches above each other
=====================  ==========================  ===============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from speechprobe.extractors.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.extractors.transformer_layers import Rule

    Signals = Sequence[NDArray[np.float32]]
    Shape = tuple[int, ...]

# Mel frames of 25 ms every 10 ms, as Kaldi's and the library's, at 16 kHz.
_MEL_WINDOW, _MEL_HOP = 400, 160


class Waveforms:
    """Signals of any length, each normalised over itself where the model wants that.

    Parameters
    ----------
    features
        The library's feature extractor.
    rules
        Arithmetic of layers as (stride, offset), that of the blocks last: a signal of n samples has
        floor((n + offset) / stride) frames.
    """

    max_samples: int | None = None

    def __init__(self, features: Any, rules: Sequence[Rule] = ()) -> None:
        self.features = features
        self.sample_rate = int(features.sampling_rate)
        self.min_samples = rules[-1][0] - rules[-1][1] if rules else 1
        # How many frames a layer gives, and how many of them are the signal's.
        self._rules = {rule: rule for rule in rules}

    def __call__(self, signals: Signals) -> dict[str, Tensor]:
        """Return the network's inputs; a mask only where the model was trained with one."""
        # Always asked for: without it the library normalises over the padding, too.
        inputs = self._extract(signals, padding=True, return_attention_mask=True)
        if not self.features.return_attention_mask:
            inputs.pop("attention_mask", None)
        return inputs

    def _extract(self, signals: Signals, **settings: Any) -> dict[str, Tensor]:
        # A list, because an array of two axes would be normalised as one signal.
        arrays = [np.asarray(signal, np.float32) for signal in signals]
        return dict(
            self.features(arrays, sampling_rate=self.sample_rate, return_tensors="pt", **settings)
        )

    def layout(self, found: Layout, seen: Mapping[int, Shape]) -> Layout:
        """Return the layout of a layer with the arithmetic of its frames, where that is known.

        Parameters
        ----------
        found
            The axes.
        seen
            Shape of the layer for signals of some lengths in samples.
        """
        axis = found.time_axis
        if axis is None:
            return found
        for (stride, offset), own in self._rules.items():
            if all(shape[axis] == (n + offset) // stride for n, shape in seen.items()):
                return replace(found, stride=own[0], offset=own[1])
        return found


class StackedMels(Waveforms):
    """Mel frames stacked in pairs; the network is told by a mask that half a pair is no frame."""

    def __init__(self, features: Any) -> None:
        size = int(features.stride)
        stride, whole = size * _MEL_HOP, _MEL_HOP - _MEL_WINDOW
        super().__init__(features, [(stride, whole)])
        if features.return_attention_mask:
            begun = whole + (size - 1) * _MEL_HOP
            self._rules = {(stride, begun): (stride, whole)}


class Window(Waveforms):
    """Signals padded to one window, of which only the frames of the signal itself are wanted."""

    def __init__(self, features: Any) -> None:
        super().__init__(features)
        self.max_samples = self._n_samples()

    def _n_samples(self) -> int:
        return int(self.features.n_samples)

    def __call__(self, signals: Signals) -> dict[str, Tensor]:
        """Return the network's inputs."""
        return self._extract(signals)

    def window_layout(self, layer: str, shape: Shape) -> Layout:
        """Return the layout of a layer by its shape, of which the window is known."""
        n_frames = int(self.features.nb_max_frames)
        axes = [axis for axis, size in enumerate(shape)
                if axis > 0 and size in (n_frames, n_frames // 2)]  # fmt: skip
        if len(axes) != 1:
            raise ValueError(
                f"layer {layer!r}: expected one time axis of {n_frames} or {n_frames // 2} frames "
                f"in the shape {shape}; leave it out or capture a module around it"
            )
        stride = self._n_samples() // shape[axes[0]]
        return Layout(0, axes[0], stride=stride, offset=stride - 1)


class PatchWindow(Window):
    """A window of mel frames, cut into patches of time and frequency.

    Parameters
    ----------
    features
        The library's feature extractor.
    config
        The network's configuration.
    """

    def __init__(self, features: Any, config: Any) -> None:
        super().__init__(features)
        size = int(config.patch_size)
        self.min_samples = _MEL_WINDOW + (size - 1) * _MEL_HOP
        self._stride = int(config.time_stride) * _MEL_HOP
        self._n_bands = (config.num_mel_bins - size) // config.frequency_stride + 1
        self._n_times = (config.max_length - size) // config.time_stride + 1

    def _n_samples(self) -> int:
        # What the last, overlapping frames reach beyond it the library would take as well.
        return int(self.features.max_length) * _MEL_HOP

    def window_layout(self, layer: str, shape: Shape) -> Layout:
        """Return the layout of a layer by its shape: tokens in one row, or the patches' grid."""
        grid = (self._n_bands, self._n_times)
        n_patches = self._n_bands * self._n_times
        n_special = shape[1] - n_patches if len(shape) == 3 else 0
        if not (shape[2:] == grid or (len(shape) == 3 and n_special in (0, 2))):
            raise ValueError(
                f"layer {layer!r}: expected {n_patches} patches, {grid[0]} bands of {grid[1]}, "
                f"with or without the 2 special tokens, got the shape {shape}; leave it out or "
                "capture a module around it"
            )
        # The first patch ends at min_samples, and each further one a stride later.
        offset = self._stride - self.min_samples
        return PatchLayout(
            0, 1, stride=self._stride, offset=offset, n_bands=self._n_bands, n_special=n_special
        )


@dataclass(frozen=True)
class PatchLayout(Layout):
    """Axes of patches: special tokens, then all times of the first band, of the second, ...

    Parameters
    ----------
    n_bands
        Patches above each other.
    n_special
        Tokens before the patches, which are at no time and belong to no frame.
    """

    n_bands: int = 1
    n_special: int = 0

    def frames(self, output: Tensor, n_signals: int) -> Tensor:
        """Return the mean over the bands as frames, shape (n_signals, n_frames, n_dims)."""
        if output.ndim == 4:
            grid = output.permute(0, 2, 3, 1)
        else:
            patches = output[:, self.n_special :]
            grid = patches.reshape(n_signals, self.n_bands, -1, patches.shape[-1])
        return grid.mean(1, dtype=torch.float32)


def front_end(features: Any, config: Any, rules: Sequence[Rule]) -> Waveforms:
    """Return the front end of a network.

    Parameters
    ----------
    features
        The library's feature extractor.
    config
        The network's configuration.
    rules
        Arithmetic of the layers, if the network takes waveforms.
    """
    if hasattr(features, "nb_max_frames"):
        return Window(features)
    if hasattr(config, "time_stride") and hasattr(config, "patch_size"):
        return PatchWindow(features, config)
    if hasattr(features, "stride") and hasattr(features, "num_mel_bins"):
        return StackedMels(features)
    return Waveforms(features, rules)
