"""Ten crops of each utterance, as voxceleb_trainer embeds the files that it compares.

A crop has n_frames * 160 + 240 samples at 16 kHz: for 400 frames 64,240, which are 4.015 s. A
signal that is not longer is repeated from its beginning up to one sample more. The starts of the
crops are n_crops numbers evenly from 0 to the last possible start, cut to whole samples; so crops
of a short file overlap, and those of a long one leave gaps.

References
----------
Chung, Huh, Mun, Lee, Heo, Choe, Ham, Jung, Lee, Han: "In defence of metric learning for speaker
recognition", Interspeech 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.extractors.base import check_frames, check_signals, pool_signals
from speechprobe.extractors.wrapped import Wrapped, refuse_spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.extractors import Extractor
    from speechprobe.pooling import Pooling

    Signal = NDArray[np.float32]

_FILES_AT_ONCE = {"cpu": 1}  # on a CPU, larger batches were no faster
_FILES_AT_ONCE_ON_DEVICES = 8


def crops_of(signal: Signal, n_samples: int, *, n_crops: int = 10) -> NDArray[np.float32]:
    """Return crops of a signal, (n_crops, n_samples), evenly from its beginning to its end.

    Parameters
    ----------
    signal
        Shape (n,). Up to `n_samples`, it is repeated to one more.
    n_samples
        Length of a crop in samples.
    n_crops
        How many.

    Raises
    ------
    TypeError
        If the signal is no array (n,) of floats.
    ValueError
        If the signal has no sample, NaN or infinity.

    Examples
    --------
    >>> crops_of(np.arange(7.0), 4, n_crops=3)
    array([[0., 1., 2., 3.],
           [1., 2., 3., 4.],
           [3., 4., 5., 6.]])
    >>> crops_of(np.arange(3.0), 4, n_crops=2)
    array([[0., 1., 2., 0.],
           [1., 2., 0., 1.]])
    """
    check_signals([signal])
    enough = signal if len(signal) > n_samples else np.resize(signal, n_samples + 1)
    starts = np.linspace(0, len(enough) - n_samples, n_crops).astype(np.intp)
    found: NDArray[np.float32] = np.stack([enough[s : s + n_samples] for s in starts])
    return found


class TenCrops(Wrapped):
    """An extractor that embeds ten crops of each signal, for the scoring "vox-trainer-10crop".

    A layer of n_dims gives vectors of n_crops * n_dims: crop after crop. All crops have one
    length, so they run in batches that are exact for every network.

    Parameters
    ----------
    extractor
        Any extractor.
    n_frames
        Length of a crop in frames of 10 ms: it has n_frames * 160 + 240 samples at 16 kHz, and
        lasts as long at other rates.
    n_crops
        How many.

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    >>> from speechprobe import pooling
    >>> from speechprobe.extractors import LogMel
    >>> crops = TenCrops(LogMel(n_mels=8))
    >>> crops.n_samples
    64240
    >>> crops.extract_batch([np.zeros(80_000, np.float32)], pooling.mean)["logmel"].shape
    (1, 80)
    """

    def __init__(self, extractor: Extractor, *, n_frames: int = 400, n_crops: int = 10) -> None:
        super().__init__(extractor)
        if n_frames < 1 or n_crops < 1:
            raise ValueError(
                f"crops need at least one frame, and there must be one: got n_frames={n_frames}, "
                f"n_crops={n_crops}"
            )
        self.n_frames, self.n_crops = int(n_frames), int(n_crops)
        self.n_samples = round((n_frames * 160 + 240) * self.sample_rate / 16_000)

    def __call__(self, signal: Signal) -> dict[str, NDArray[Any]]:
        """Return the frames of every layer, those of the crops side by side."""
        parts = [check_frames(self.extractor(crop), self.name) for crop in self._crops(signal)]
        return {layer: np.concatenate([part[layer] for part in parts], axis=1)
                for layer in parts[0]}  # fmt: skip

    def extract_batch(self, signals: Sequence[Signal], pool: Pooling) -> dict[str, Any]:
        """Return the pooled layers of the crops of several signals, (n_signals, n_crops * n_dims).

        For a ragged pooling, such as `pooling.frames`, the rows of the crops lie side by side.

        Raises
        ------
        ValueError
            If a signal has no sample, or the pooling is over spans, which crops cut.
        """
        refuse_spans(pool, self)
        found: dict[str, list[NDArray[Any]]] = {}
        for batch in self._batches(signals):
            crops = [crop for signal in batch for crop in self._crops(signal)]
            for layer, rows in pool_signals(self.extractor, crops, pool).items():
                own = found.setdefault(layer, [])
                for start in range(0, len(crops), self.n_crops):
                    own.append(np.concatenate(rows[start : start + self.n_crops], axis=-1))
        ragged = found and next(iter(found.values()))[0].ndim == 2
        return found if ragged else {layer: np.stack(rows) for layer, rows in found.items()}

    def _crops(self, signal: Signal) -> NDArray[np.float32]:
        return crops_of(signal, self.n_samples, n_crops=self.n_crops)

    def _batches(self, signals: Sequence[Signal]) -> Iterator[Sequence[Signal]]:
        kind = getattr(self.device, "type", "cpu")
        size = _FILES_AT_ONCE.get(kind, _FILES_AT_ONCE_ON_DEVICES)
        for start in range(0, len(signals), size):
            yield signals[start : start + size]

    def _settings(self) -> dict[str, Any]:
        return {"n_crops": self.n_crops, "crop_samples": self.n_samples}

    def __repr__(self) -> str:
        return f"TenCrops({self.extractor!r}, n_frames={self.n_frames}, n_crops={self.n_crops})"
