"""Adam for a stack of networks, each with its own learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.optim.adam import adam

from speechprobe.probes.training import Training


class StackedAdam:
    """The fused Adam of torch, with its usual constants, on tensors that have the networks first.

    Adam works element by element, so a network moves in the stack as it would alone. Networks that
    stand side by side with the same learning rate and weight decay are moved at once.

    Parameters
    ----------
    parameters, gradients
        What is moved and by what, each (n_networks, ...), in place.
    settings
        Of each network.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        settings: Sequence[Training],
    ) -> None:
        self._first = [torch.zeros_like(each) for each in parameters]
        self._second = [torch.zeros_like(each) for each in parameters]
        self._settings, self._n_steps = list(settings), 0
        self.begin(0)
        self._lay_out(parameters, gradients)

    def begin(self, epoch: int) -> None:
        """Set the learning rates of an epoch, counted from 0."""
        self._epoch = epoch

    def step(self) -> None:
        """Move every parameter by its gradient."""
        self._n_steps += 1
        for settings, (parameters, gradients, first, second), counts in self._spans:
            adam(
                parameters,
                gradients,
                first,
                second,
                [],
                counts,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=settings.rate(self._epoch),
                weight_decay=settings.weight_decay,
                eps=1e-8,
                maximize=False,
            )

    def take(self, kept: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Go on with the networks of some numbers, which have these tensors now."""
        self._first = [each[kept] for each in self._first]
        self._second = [each[kept] for each in self._second]
        self._settings = [self._settings[number] for number in kept.tolist()]
        self._lay_out(parameters, gradients)

    def _lay_out(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Cut all tensors into spans of networks with the same settings."""
        self._spans: list[tuple[Training, list[list[Tensor]], list[Tensor]]] = []
        start = 0
        for _, run in groupby(self._settings, lambda each: (each.learning_rate, each.weight_decay)):
            span = slice(start, start + len(list(run)))
            lists = (parameters, gradients, self._first, self._second)
            tensors = [[each[span] for each in tensors] for tensors in lists]
            counts = [
                torch.full((), float(self._n_steps), device=each.device) for each in parameters
            ]
            self._spans.append((self._settings[start], tensors, counts))
            start = span.stop
