"""Trains many small networks as one: every matrix product is a batch of them.

Each network has its own rows, targets, initial weights and order of batches, all from its own
seed. Networks with the same number of steps an epoch advance together; Adam works element by
element and the loss is a sum over networks, so each gets just the numbers that it would get
alone, up to the rounding of the batched products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Networks trained at once; bounds the memory of a wide layer.
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    hidden_sizes
        Width of each hidden layer; ReLU between them.
    learning_rate, weight_decay
        Of Adam.
    batch_size
        Items a step; the last step of an epoch takes what is left.
    epochs
        Passes over the items.
    """

    hidden_sizes: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int


class Task(NamedTuple):
    """One network to train: its rows, the target of each of them, and its seed."""

    rows: NDArray[np.intp]
    target: NDArray[np.generic]
    seed: int


class Network(NamedTuple):
    """A trained network: standardisation of the input, weights, and the loss of each epoch."""

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    losses: NDArray[np.float32]

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the outputs, (n_items, n_outputs), of features (n_items, n_dims)."""
        x = (features.astype(np.float32) - self.centre) / self.scale
        for number, (weight, bias) in enumerate(self.weights):
            x = x @ weight + bias
            if number < len(self.weights) - 1:
                x = np.maximum(x, 0)
        return x


def train(
    features: NDArray[np.floating],
    tasks: Sequence[Task],
    settings: Settings,
    *,
    n_outputs: int,
    device: str | torch.device | None = None,
) -> list[Network]:
    """Train one network a task.

    Parameters
    ----------
    features
        Shape (n_items, n_dims).
    tasks
        The networks. Integer targets are classes (cross-entropy), floating ones numbers (mean
        squared error).
    settings
        How to train.
    n_outputs
        Number of classes, or 1.
    device
        Where; the CPU by default.

    Returns
    -------
    networks
        In the order of the tasks.
    """
    data = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device or "cpu")
    sizes = (data.shape[1], *settings.hidden_sizes, n_outputs)
    n_weights = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    at_once = max(1, CHUNK_BYTES // (16 * n_weights))  # weight, gradient and two moments
    networks: list[Network | None] = [None] * len(tasks)
    for numbers in _alike(tasks, settings.batch_size, at_once):
        group = [tasks[number] for number in numbers]
        for number, network in zip(
            numbers, _Stack(data, group, settings, sizes).run(), strict=True
        ):
            networks[number] = network
    return [network for network in networks if network is not None]


def _alike(tasks: Sequence[Task], batch_size: int, at_once: int) -> Iterator[list[int]]:
    """Yield the numbers of tasks that take the same number of steps an epoch."""
    by_steps: dict[int, list[int]] = {}
    for number, task in enumerate(tasks):
        by_steps.setdefault(-(-len(task.rows) // batch_size), []).append(number)
    for numbers in by_steps.values():
        for start in range(0, len(numbers), at_once):
            yield numbers[start : start + at_once]


class _Stack:
    """Networks that step together."""

    def __init__(
        self, data: Tensor, tasks: Sequence[Task], settings: Settings, sizes: Sequence[int]
    ) -> None:
        self.data, self.tasks, self.settings = data, tasks, settings
        self.generators = [torch.Generator().manual_seed(int(task.seed)) for task in tasks]
        self.centre = torch.stack([data[torch.from_numpy(task.rows)].mean(0) for task in tasks])
        spread = torch.stack([data[torch.from_numpy(t.rows)].std(0, correction=0) for t in tasks])
        # A dimension that does not vary, up to the rounding of its mean, says nothing.
        flat = spread <= 1e-6 * self.centre.abs()
        self.scale = torch.where(flat | (spread == 0), torch.ones_like(spread), spread)
        self.weights = [self._uniform(n_in, (n_in, n_out)) for n_in, n_out in pairwise(sizes)]
        self.biases = [self._uniform(n_in, (1, n_out)) for n_in, n_out in pairwise(sizes)]

    def _uniform(self, n_in: int, shape: tuple[int, int]) -> Tensor:
        # The initialisation of torch.nn.Linear, each network from its own generator.
        bound = n_in**-0.5
        drawn = [torch.rand(shape, generator=generator) for generator in self.generators]
        weights: Tensor = ((2 * torch.stack(drawn) - 1) * bound).to(self.data.device)
        return weights.requires_grad_()

    @torch.enable_grad()
    def run(self) -> list[Network]:
        parameters = [*self.weights, *self.biases]
        optimiser = torch.optim.Adam(
            parameters,
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        history = []
        for _ in range(self.settings.epochs):
            losses = torch.zeros(len(self.tasks), device=self.data.device)
            for rows, target, counted in self._batches():
                loss = self._loss(self._forward(rows), target, counted)
                optimiser.zero_grad()
                loss.sum().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                losses += loss.detach() * counted.sum(1)
            history.append(losses.cpu() / torch.tensor([len(task.rows) for task in self.tasks]))
        return [self._network(number, torch.stack(history)) for number in range(len(self.tasks))]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, targets and which of them count, each (n_networks, batch_size)."""
        size = self.settings.batch_size
        orders = [
            torch.randperm(len(task.rows), generator=generator).numpy()
            for task, generator in zip(self.tasks, self.generators, strict=True)
        ]
        longest = max(map(len, orders))
        for start in range(0, longest, size):
            width = min(size, longest - start)
            rows = np.zeros((len(orders), width), np.intp)
            target = np.zeros((len(orders), width), self.tasks[0].target.dtype)
            counted = np.zeros((len(orders), width), np.float32)
            for k, (task, order) in enumerate(zip(self.tasks, orders, strict=True)):
                chosen = order[start : start + width]
                rows[k, : len(chosen)] = task.rows[chosen]
                target[k, : len(chosen)] = task.target[chosen]
                counted[k, : len(chosen)] = 1
            device = self.data.device
            yield tuple(torch.from_numpy(part).to(device) for part in (rows, target, counted))  # type: ignore[misc]

    def _forward(self, rows: Tensor) -> Tensor:
        x = (self.data[rows] - self.centre[:, None]) / self.scale[:, None]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.baddbmm(bias, x, weight).relu()
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])

    @staticmethod
    def _loss(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        """Return the mean loss over the items that count, (n_networks,)."""
        if target.is_floating_point():
            each = (output[..., 0] - target) ** 2
        else:
            each = torch.nn.functional.cross_entropy(
                output.movedim(-1, 1), target, reduction="none"
            )
        return (each * counted).sum(1) / counted.sum(1)

    def _network(self, number: int, history: Tensor) -> Network:
        def array(tensor: Tensor) -> NDArray[np.float32]:
            values: NDArray[np.float32] = tensor.detach()[number].cpu().numpy().copy()
            return values

        weights = [
            (array(weight), array(bias)[0])
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]
        return Network(array(self.centre), array(self.scale), weights, history[:, number].numpy())
