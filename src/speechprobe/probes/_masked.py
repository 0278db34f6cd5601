"""Pieces of networks that count valid frames alone, and modules drawn from a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.Module):
    """Batch norm over valid frames, without running averages.

    A batch is normalised by its own statistics while the network learns. To predict, the
    statistics are those of all items fitted on, which `settle` counts after the last step: what is
    predicted for an item depends on no other that is predicted, and on the order of no batch.

    Parameters
    ----------
    n_channels
        Channels, on the second axis.
    """

    epsilon = 1e-5  # torch's

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("variance", torch.ones(n_channels))
        self._counts: list[tuple[Any, ...]] | None = None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return x (n, n_channels, ...) normalised; what is not valid is left undefined."""
        if not self.training:
            if self._counts is not None:
                count, *moments = _moments(x, lengths)
                self._counts.append((float(count), *(moment.cpu() for moment in moments)))
            return self._normalised(x, self.mean, self.variance)
        if lengths is None and x[:, 0].numel() > 1:  # one value alone, torch refuses
            return functional.batch_norm(
                x, None, None, self.weight, self.bias, training=True, eps=self.epsilon
            )
        _, mean, variance = _moments(x, lengths)
        return self._normalised(x, mean, variance)

    def count(self) -> None:
        """Begin to count the statistics of what passes."""
        self._counts = []

    def take(self) -> None:
        """Keep the statistics of all that has passed since `count`."""
        parts, self._counts = self._counts or [], None
        sizes = torch.tensor([part[0] for part in parts], dtype=torch.float64)[:, None]
        means = torch.stack([part[1] for part in parts]).double()
        within = torch.stack([part[2] for part in parts]).double()
        mean = (sizes * means).sum(0) / sizes.sum()
        variance = (sizes * (within + (means - mean) ** 2)).sum(0) / sizes.sum()
        self.mean.copy_(mean)
        self.variance.copy_(variance)

    def _normalised(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        gain = self.weight * (variance + self.epsilon).rsqrt()
        return (x - mean.view(shape)) * gain.view(shape) + self.bias.view(shape)


@torch.no_grad()
def settle(
    network: nn.Module, batches: Callable[[], Iterable[tuple[Tensor, Tensor | None]]]
) -> None:
    """Give every batch norm the statistics of all items, as if they were one batch.

    Parameters
    ----------
    network
        Its batch norms are settled one after the other, in the order of its modules.
    batches
        Gives all items again, at each call.
    """
    network.eval()
    for norm in [module for module in network.modules() if isinstance(module, BatchNorm)]:
        norm.count()
        for x, lengths in batches():
            network(x, lengths)
        norm.take()


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Module:
    """Return a linear module with weights drawn from the generator."""
    made: nn.Module = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
    return drawn(made, generator)


def perceptron(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Return linear modules of these widths with ReLU between them."""
    modules: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        modules += [linear(n_in, n_out, generator), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def blank(x: Tensor, lengths: Tensor | None, value: float = 0.0) -> Tensor:
    """Return x (n, ..., n_frames) with a value in the places behind the valid frames."""
    if lengths is None:
        return x
    return torch.where(_valid(x, lengths), x, value)


def mean_over_time(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean over the valid frames of x (n, ..., n_frames)."""
    if lengths is None:
        return x.mean(-1)
    counts = lengths.view((-1,) + (1,) * (x.ndim - 2))
    return blank(x, lengths).sum(-1) / counts


def _valid(x: Tensor, lengths: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (x.ndim - 1)
    return torch.arange(x.shape[-1], device=x.device) < lengths.view(shape)


def halved(lengths: Tensor | None) -> Tensor | None:
    """Return the lengths after a stride of 2: kernel 3 and padding 1, or an edge-taking maximum."""
    return None if lengths is None else (lengths + 1) // 2


def _moments(x: Tensor, lengths: Tensor | None) -> tuple[Any, Tensor, Tensor]:
    """Return count, mean and variance (divided by the count) of each channel of x (n, C, ...)."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    if lengths is None:
        variance, mean = torch.var_mean(x, axes, correction=0)
        return x.numel() / x.shape[1], mean, variance
    shape = (1, -1) + (1,) * (x.ndim - 2)
    count = lengths.sum() * (x[0, 0].numel() // x.shape[-1])
    mean = blank(x, lengths).sum(axes) / count
    variance = (blank(x - mean.view(shape), lengths) ** 2).sum(axes) / count
    return count, mean, variance


def drawn(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw the weights of a module that has none yet; torch's own generator stays untouched."""
    module.float()  # drawn alike whatever torch's default type is
    weight = next(module.parameters())
    bound = weight[0].numel() ** -0.5
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return module
