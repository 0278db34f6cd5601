"""Pooling over time by mean and standard deviation, plain or attentive, for padded batches.

Conventions
-----------
Input is (B, C, F, T) or (B, C, T); channels and bands are joined, so the result is (B, 2 C F):
first every mean, then every standard deviation. `lengths` (B,) are the valid frames of each row,
None where all are. The names of parameters are those of WeSpeaker's networks.

The plain statistics divide by T - 1, as WeSpeaker's; a single frame has the deviation of a
constant here, where dividing by T - 1 = 0 gives NaN there.

Sources: Snyder et al., "X-vectors", ICASSP 2018 (statistics pooling); Okabe, Koshinaka, Shinoda,
"Attentive statistics pooling", Interspeech 2018; Desplanques et al., "ECAPA-TDNN", Interspeech
2020 (attention for each channel, context vectors).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_mean, masked_softmax

_EPS = 1e-7


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over the valid frames.

    Examples
    --------
    >>> StatisticsPooling()(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([2]))
    tensor([[2.0000, 1.4142]])
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, 2 C F) of (B, C, F, T) or (B, C, T)."""
        return torch.cat(statistics(joined(x), lengths), dim=1).squeeze(-1)


class AttentivePooling(nn.Module):
    """Mean and deviation weighted by an attention over time, one for each channel: ECAPA-TDNN's.

    Parameters
    ----------
    n_dims
        Channels times bands of the input.
    context
        Let the attention see the plain mean and deviation beside each frame.
    n_hidden
        Width of the bottleneck.

    Examples
    --------
    >>> AttentivePooling(6, n_hidden=4).eval()(torch.zeros(2, 3, 2, 5)).shape
    torch.Size([2, 12])
    """

    def __init__(self, n_dims: int, *, context: bool = False, n_hidden: int = 128) -> None:
        super().__init__()
        self.context = context
        self.linear1 = nn.Conv1d(3 * n_dims if context else n_dims, n_hidden, 1)
        self.linear2 = nn.Conv1d(n_hidden, n_dims, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, 2 C F) of (B, C, F, T) or (B, C, T)."""
        x = joined(x)
        seen = x
        if self.context:
            seen = torch.cat([x, *(each.expand_as(x) for each in statistics(x, lengths))], dim=1)
        scores = self.linear2(torch.tanh(self.linear1(seen)))
        return weighted_statistics(x, masked_softmax(scores, lengths), floor=_EPS)


def joined(x: Tensor) -> Tensor:
    """Return channels and bands as one axis, (B, C F, T)."""
    return x.flatten(1, -2)


def statistics(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the valid frames, each (B, D, 1), of (B, D, T).

    Examples
    --------
    >>> statistics(torch.tensor([[[1.0, 3.0]]]), None)
    (tensor([[[2.]]]), tensor([[[1.4142]]]))
    """
    mean = masked_mean(x, lengths, keepdim=True)
    squares = mask((x - mean).square(), lengths).sum(-1, keepdim=True)
    if lengths is None:
        return mean, (squares / max(x.shape[-1] - 1, 1) + _EPS).sqrt()
    freedom = (lengths - 1).clamp_min(1).to(x)[:, None, None]
    return mean, (squares / freedom + _EPS).sqrt()


def weighted_statistics(x: Tensor, weights: Tensor, *, floor: float) -> Tensor:
    """Return weighted mean and deviation, (B, 2 D), of (B, D, T); weights sum to 1 over time.

    The variance E[x²] - E[x]² is not let below `floor`.

    Examples
    --------
    >>> weighted_statistics(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[0.5, 0.5]]]), floor=0.0)
    tensor([[2., 1.]])
    """
    mean = (x * weights).sum(-1)
    variance = (x.square() * weights).sum(-1) - mean.square()
    return torch.cat([mean, variance.clamp_min(floor).sqrt()], dim=1)
