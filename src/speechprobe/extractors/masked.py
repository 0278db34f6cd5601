"""Networks of ours as extractors: they take lengths, so padded batches are exact and large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from speechprobe import _fingerprint
from speechprobe.extractors.layout import Shapes
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.nets.masking import mask
from speechprobe.extractors.normalise import Normalise
from speechprobe.extractors.wrapped import refuse_spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling


class FrontEnd(Protocol):
    """Waveforms to features, frames wholly inside the signal or padded by a rule of its own."""

    sample_rate: int

    def __call__(self, waveforms: Tensor, n_samples: Tensor | None = None, /) -> Tensor:
        """Return features (B, T, n_mels) of waveforms (B, most samples), full scale at 1.0.

        `n_samples` (B,) says where each row ends, for front ends that look over the end.
        """
        ...

    def n_frames(self, n_samples: int) -> int:
        """Return the frames of a signal of n samples."""
        ...


class MaskedExtractor(ModuleExtractor):
    """A network called as ``network(features, lengths)``.

    Parameters
    ----------
    network
        Takes features (B, T, n_mels) and the valid frames of each row (B,), and gives the same
        for a padded row as for that row alone.
    frontend
        Waveforms to features; it knows its number of frames.
    normalise
        Function (features, lengths) -> features, over the valid frames of each row.
    max_frames
        Feature frames of every signal, whatever its length: what is longer is cut, what is shorter
        is filled up with zeros behind it, after `normalise`, and all frames count. Whole signals
        by default.
    layers, name, device, dtype
        As in `ModuleExtractor`.

    Raises
    ------
    ValueError
        If `max_frames` is less than 1.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        frontend: FrontEnd,
        layers: str | Sequence[str],
        name: str,
        normalise: Normalise | None = None,
        max_frames: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {max_frames}")
        self.frontend = frontend
        self.max_frames = max_frames
        self.normalise = normalise
        super().__init__(
            network,
            layers=layers,
            sample_rate=frontend.sample_rate,
            name=name,
            device=device,
            dtype=dtype,
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: weights, layers, front end, normalisation."""
        front = [_fingerprint.of_object(each) for each in (self.frontend, self.normalise)]
        cut = {} if self.max_frames is None else {"max_frames": self.max_frames}
        return super().provenance | {"preprocess": front} | cut

    def _dry_run(self, n_signals: int, n_samples: int) -> Shapes:
        # With a fixed number of frames no axis would grow with the signal.
        most, self.max_frames = self.max_frames, None
        try:
            return super()._dry_run(n_signals, n_samples)
        finally:
            self.max_frames = most

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> dict[str, Any]:
        """Return the pooled layers of several signals, each as if it were alone.

        Raises
        ------
        ValueError
            If `max_frames` is set and the pooling is over spans, which may lie behind the cut.
        """
        if self.max_frames:
            refuse_spans(pool, self)
        return super().extract_batch(signals, pool)

    def _groups(self, lengths: list[int]) -> list[list[int]]:
        return [list(range(len(lengths)))] if self.max_frames else super()._groups(lengths)

    def _lengths(self, layer: str, extent: int, samples: list[int]) -> list[int]:
        if self.max_frames:
            return [extent] * len(samples)
        return super()._lengths(layer, extent, samples)

    def _count(self, layer: str, extent: int, n_samples: int) -> int:
        return extent if self.max_frames else super()._count(layer, extent, n_samples)

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        waveforms = self._waveforms(signals)
        samples = [len(signal) for signal in signals]
        features = self.frontend(waveforms, torch.tensor(samples, device=self.device))
        lengths = torch.tensor([self.frontend.n_frames(n) for n in samples], device=self.device)
        if self.normalise is not None:
            features = self.normalise(features, lengths)
        if self.max_frames is None:
            return features, lengths
        features, lengths = features[:, : self.max_frames], lengths.clamp(max=self.max_frames)
        missing = self.max_frames - features.shape[1]
        filled = torch.nn.functional.pad(mask(features.mT, lengths), (0, missing)).mT
        return filled, torch.full_like(lengths, self.max_frames)
