"""Networks of ours as extractors: they take lengths, so padded batches are exact and large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from speechprobe import _fingerprint
from speechprobe.extractors.base import padded
from speechprobe.extractors.module import ModuleExtractor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Normalise = Callable[[Tensor, Tensor], Tensor]


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
    layers, name, device, dtype
        As in `ModuleExtractor`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        frontend: FrontEnd,
        layers: str | Sequence[str],
        name: str,
        normalise: Normalise | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.frontend = frontend
        self._normalise = normalise
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
        front = [_fingerprint.of_object(each) for each in (self.frontend, self._normalise)]
        return super().provenance | {"preprocess": front}

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        waveforms = padded(signals).to(self.device, non_blocking=True)
        samples = [len(signal) for signal in signals]
        features = self.frontend(waveforms, torch.tensor(samples, device=self.device))
        lengths = torch.tensor([self.frontend.n_frames(n) for n in samples], device=self.device)
        if self._normalise is not None:
            features = self._normalise(features, lengths)
        return features, lengths


def subtract_mean(features: Tensor, lengths: Tensor) -> Tensor:
    """Subtract each band's mean over the valid frames of each row.

    Parameters
    ----------
    features
        Shape (B, T, n_mels).
    lengths
        Shape (B,).

    Examples
    --------
    >>> subtract_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))[0, :2, 0]
    tensor([-1.,  1.])
    """
    return features - _moments(features, lengths)[0]


def standardise(features: Tensor, lengths: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Bring each band to mean 0 and variance 1 over the valid frames of each row.

    The variance is divided by n and `eps` added to it, as in torch's instance norm.

    Examples
    --------
    >>> standardise(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]), eps=0)[0, :2, 0]
    tensor([-1.,  1.])
    """
    mean, variance = _moments(features, lengths)
    return (features - mean) / (variance + eps).sqrt()


def _moments(features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    inside = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
    weights = inside[..., None].to(features) / lengths[:, None, None]
    mean = (features * weights).sum(1, keepdim=True)
    return mean, ((features - mean).square() * weights).sum(1, keepdim=True)
