"""What the losses for speakers share: their call, the check of shapes, cosines, cross-entropy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchLoss(NamedTuple):
    """What a loss says of a batch.

    Parameters
    ----------
    loss
        Mean cross-entropy in nats, a scalar with its gradient.
    accuracy
        Share of right choices, a scalar in [0, 1] without gradient.

    Examples
    --------
    >>> BatchLoss(torch.tensor(0.5), torch.tensor(1.0)).accuracy
    tensor(1.)
    """

    loss: Tensor
    accuracy: Tensor


class SpeakerLoss(nn.Module, ABC):
    """What the losses share: their call and the check of shapes.

    Attributes
    ----------
    n_speakers : int or None
        Speakers that there is a weight for; None where those of a batch are all that count.
    n_dims : int or None
        Dimensions of an embedding; None where any number does.
    least_speakers, least_utterances : int
        Speakers that a batch must have, and utterances of each.

    Examples
    --------
    >>> class Distance(SpeakerLoss):
    ...     least_utterances = 2
    ...     def _of(self, embeddings, speakers):
    ...         return BatchLoss(embeddings.diff(dim=1).square().mean(), torch.tensor(1.0))
    >>> Distance()(torch.zeros(3, 2, 4), torch.arange(3)).loss
    tensor(0.)
    """

    n_speakers: int | None = None
    n_dims: int | None = None
    least_speakers = 1
    least_utterances = 1

    def forward(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        """Return loss and accuracy of a batch.

        Parameters
        ----------
        embeddings
            Shape (n_speakers, n_utterances, n_dims).
        speakers
            Number of each row's speaker, (n_speakers,), integers.

        Raises
        ------
        ValueError
            If shapes do not fit, there are too few speakers or utterances, a speaker stands in two
            rows, or has a number for which there is no weight.
        """
        self._check_shape(embeddings, speakers)
        self._check_speakers(speakers.tolist())
        return self._of(embeddings, speakers)

    def _check_shape(self, embeddings: Tensor, speakers: Tensor) -> None:
        if embeddings.ndim != 3 or speakers.shape != embeddings.shape[:1]:
            raise ValueError(
                "expected embeddings (n_speakers, n_utterances, n_dims) and speakers "
                f"(n_speakers,), got {tuple(embeddings.shape)} and {tuple(speakers.shape)}"
            )
        if self.n_dims is not None and embeddings.shape[2] != self.n_dims:
            raise ValueError(
                f"{type(self).__name__} has weights for embeddings of {self.n_dims} dimensions, "
                f"got {embeddings.shape[2]}"
            )
        if embeddings.shape[1] < self.least_utterances:
            raise ValueError(
                f"{type(self).__name__} compares utterances of one speaker: it needs "
                f"{self.least_utterances} of each, got {embeddings.shape[1]}"
            )

    def _check_speakers(self, numbers: list[int]) -> None:
        if len(numbers) < self.least_speakers:
            raise ValueError(
                f"{type(self).__name__} tells the speakers of a batch apart: it needs "
                f"{self.least_speakers}, got {len(numbers)}"
            )
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"a speaker stands in two rows of the batch: {numbers}")
        if self.n_speakers is not None and not 0 <= min(numbers) <= max(numbers) < self.n_speakers:
            raise ValueError(
                f"{type(self).__name__} has weights for the speakers 0 to {self.n_speakers - 1}, "
                f"got {min(numbers)} to {max(numbers)}"
            )

    @abstractmethod
    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        """Return loss and accuracy of what has been checked."""


def repeated(embeddings: Tensor, speakers: Tensor) -> Tensor:
    """Return the speaker of each utterance, row by row, (n_speakers * n_utterances,)."""
    return speakers.to(embeddings.device, torch.int64).repeat_interleave(embeddings.shape[1])


def cosines_of(embeddings: Tensor, others: Tensor) -> Tensor:
    """Return (n, m) of (n, n_dims) and (m, n_dims)."""
    return functional.normalize(embeddings, dim=-1) @ functional.normalize(others, dim=-1).mT


def judged(logits: Tensor, truth: Tensor) -> BatchLoss:
    right = (logits.detach().argmax(1) == truth).float().mean()
    return BatchLoss(functional.cross_entropy(logits, truth), right)


def require(scale: float, margin: float = 0.0) -> None:
    if not scale > 0 or not margin >= 0:
        raise ValueError(f"scale must be above 0 and margin 0 or more, got {scale} and {margin}")


def require_sizes(n_dims: int, n_speakers: int) -> None:
    for name, size in (("n_dims", n_dims), ("n_speakers", n_speakers)):
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be a whole number from 1, got {size!r}")
