"""Normalisation of features over each utterance: subtract the mean, or bring the variance to 1.

Conventions
-----------
A normalisation is any callable ``(features, lengths) -> features``: `features` a tensor (B, T, D),
`lengths` an integer tensor (B,) with the valid frames of each row. Each dimension is normalised by
itself, over the valid frames of its own row alone, so a row of a padded batch gives what it gives
alone; the frames beyond it hold anything. Ours take None for lengths where every frame is valid.

Front ends take one as `normalise`, and `MaskedExtractor` applies one behind its front end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from speechprobe.extractors.nets.masking import masked_mean

Normalise: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def subtract_mean(features: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Subtract each dimension's mean over the valid frames of each row.

    Parameters
    ----------
    features
        Shape (B, T, D).
    lengths
        Shape (B,), valid frames of each row; all frames by default.

    Returns
    -------
    features
        Shape (B, T, D).

    Examples
    --------
    >>> import torch
    >>> subtract_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))[0, :2, 0]
    tensor([-1.,  1.])
    """
    return features - _mean(features, lengths)


def standardise(features: Tensor, lengths: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    """Bring each dimension to mean 0 and variance 1 over the valid frames of each row.

    The variance is divided by n and `eps` added to it, as in torch's instance norm.

    Parameters
    ----------
    features, lengths
        As in `subtract_mean`.
    eps
        What keeps a constant dimension finite.

    Returns
    -------
    features
        Shape (B, T, D).

    Examples
    --------
    >>> import torch
    >>> standardise(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]), eps=0)[0, :2, 0]
    tensor([-1.,  1.])
    """
    centred = subtract_mean(features, lengths)
    return centred / (_mean(centred.square(), lengths) + eps).sqrt()


def _mean(features: Tensor, lengths: Tensor | None) -> Tensor:
    return masked_mean(features.mT, lengths, keepdim=True).mT
