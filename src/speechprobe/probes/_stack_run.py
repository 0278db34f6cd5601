"""The training of one stack: batches, epochs, early stopping, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechprobe.probes._scaling import bound_of
from speechprobe.probes._stack_adam import StackedAdam
from speechprobe.probes._stack_batches import BLOCK_BYTES, Batches
from speechprobe.probes._stack_network import StackedPerceptron, loss_of
from speechprobe.probes._stack_tasks import Network, Table, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Run:
    """Networks that step together.

    Parameters
    ----------
    table
        Features of their layers.
    tasks
        What to train. They differ only in layer, rows, target, seed, learning rate and weight
        decay, and take the same number of steps an epoch.
    """

    def __init__(self, table: Table, tasks: Sequence[Task]) -> None:
        self._table = table
        self._device = table.values.device
        self._settings = tasks[0].settings
        self._generators = [torch.Generator().manual_seed(int(task.seed)) for task in tasks]
        sizes = (table.values.shape[1], *self._settings.hidden_sizes, tasks[0].n_outputs)
        self._network = StackedPerceptron(
            sizes, self._generators, batch_norm=self._settings.batch_norm, device=self._device
        )
        self._adam = StackedAdam(
            self._network.parameters,
            self._network.gradients,
            [task.settings.training for task in tasks],
        )
        self._found: list[Network | None] = [None] * len(tasks)
        self._histories: list[list[tuple[float, float, float, float]]] = [[] for _ in tasks]
        self._numbers = np.arange(len(tasks))  # of the tasks that are in the stack still
        self._best = _Best(self._network) if self._settings.training.patience else None
        self._buffer = torch.empty(0, device=self._device)
        self._feed(tasks)

    @torch.no_grad()
    def networks(self) -> list[Network]:
        """Train, and return one network a task, in their order."""
        training = self._settings.training
        epoch = 0
        for epoch in range(training.epochs):
            self._adam.begin(epoch)
            scores = [*self._learn(), *self._validate()]
            alive = [number for number in range(len(self._tasks)) if not self._is_done(number)]
            for number in alive:
                told = tuple(float(score[number]) for score in scores)
                self._histories[self._numbers[number]].append(told)
            if self._best is None or training.patience is None:
                continue
            self._best.see(epoch, scores[2], self._network)
            for number in alive:
                if epoch - self._best.epochs[number] >= training.patience:
                    self._finish(number, epoch)
            if not self._drop_finished():
                break
        for number in range(len(self._tasks)):
            if not self._is_done(number):
                self._finish(number, epoch)
        return [network for network in self._found if network is not None]

    def _feed(self, tasks: Sequence[Task]) -> None:
        """Lay out what the tasks in the stack are fed with."""
        self._tasks = list(tasks)
        moments = [self._table.moments(task.layer, task.fit.rows) for task in tasks]
        scale = torch.stack([each[1] for each in moments])[:, None]
        self._gain = 1 / scale
        self._shift = -torch.stack([each[0] for each in moments])[:, None] / scale
        bounds = [bound_of(len(task.fit.rows)) for task in tasks]
        self._bound = torch.tensor(bounds, device=self._device)[:, None, None]
        fit, held = [task.fit for task in tasks], [task.held for task in tasks]
        self._fit = Batches(self._table, tasks, fit, self._settings.training.batch_size)
        widest = max(self._table.values.shape[1], *self._settings.hidden_sizes, 1)
        at_once = max(1, BLOCK_BYTES // (4 * widest * len(tasks)))
        self._held = Batches(self._table, tasks, held, at_once)

    def _rows(self, places: Tensor) -> Tensor:
        """Return standardised rows (n_networks, n_rows, n_dims), in a buffer that is used again."""
        wanted = (*places.shape, self._table.values.shape[1])
        if self._buffer.shape != wanted:
            self._buffer = torch.empty(wanted, device=self._device)
        flat = self._buffer.view(-1, wanted[2])
        torch.index_select(self._table.values, 0, places.view(-1), out=flat)
        return torch.addcmul(self._shift, self._buffer, self._gain, out=self._buffer)

    def _learn(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pass once over the items; return loss and metric of each network on the way."""
        scores = []
        settings = self._settings
        for step in self._fit.shuffled(self._generators, settings.hidden_sizes, settings.dropout):
            output = self._network.forward(self._rows(step.places), step.weight, step.masks)
            score, delta = loss_of(output, step.target, step.weight)
            self._network.backward(delta)
            self._adam.step()
            scores.append(score)
        return self._fit.scores(scores)

    def _validate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return loss and metric of each network on what is held out; NaN where nothing is."""
        scores = []
        for step in self._held.in_order():
            rows = self._rows(step.places).clamp_(-self._bound, self._bound)
            output = self._network.outputs(rows)
            scores.append(loss_of(output, step.target, step.weight)[0])
        return self._held.scores(scores)

    def _is_done(self, number: int) -> bool:
        return self._found[self._numbers[number]] is not None

    def _finish(self, number: int, epoch: int) -> None:
        """Keep a network as it is, or as it was at its best."""
        state = self._network.state if self._best is None else self._best.state
        kept = epoch if self._best is None else int(self._best.epochs[number])
        task, place = self._tasks[number], self._numbers[number]
        weights = self._network.folded(state, number)
        # So is the standardisation: predictions begin with the table's centred rows.
        mean, scale = self._table.moments(task.layer, task.fit.rows)
        bound = bound_of(len(task.fit.rows))
        reach = torch.stack([mean - bound * scale, mean + bound * scale])
        first = weights[0][0] / scale[:, None]
        weights[0] = (first, weights[0][1] - mean @ first)
        self._found[place] = Network(
            self._table.centre[task.layer],
            reach.cpu().numpy(),
            [(each.cpu().numpy().copy(), bias[0].cpu().numpy().copy()) for each, bias in weights],
            np.array(self._histories[place]),
            kept + 1,
        )

    def _drop_finished(self) -> bool:
        """Make the stack smaller once half of it is done; say whether anything is left."""
        alive = [number for number in range(len(self._tasks)) if not self._is_done(number)]
        if alive and self._best is not None and 2 * len(alive) <= len(self._tasks):
            kept = torch.tensor(alive, device=self._device)
            self._network.take(kept)
            self._best.take(kept)
            self._adam.take(kept, self._network.parameters, self._network.gradients)
            self._generators = [self._generators[number] for number in alive]
            self._numbers = self._numbers[alive]
            self._feed([self._tasks[number] for number in alive])
        return bool(alive)


class _Best:
    """The weights of each network at the epoch with the least validation loss, the first if none.

    Parameters
    ----------
    network
        Whose weights.
    """

    def __init__(self, network: StackedPerceptron) -> None:
        self.state = [each.clone() for each in network.state]
        self.losses = np.full(len(self.state[0]), np.inf)
        self.epochs = np.zeros(len(self.state[0]), np.intp)

    def see(self, epoch: int, losses: NDArray[np.float64], network: StackedPerceptron) -> None:
        """Keep the weights of the networks whose loss is less than ever."""
        better = losses < self.losses
        self.losses[better], self.epochs[better] = losses[better], epoch
        chosen = torch.from_numpy(better | (epoch == 0)).to(self.state[0].device)
        for kept, current in zip(self.state, network.state, strict=True):
            kept[chosen] = current[chosen]

    def take(self, kept: Tensor) -> None:
        numbers = kept.cpu().numpy()
        self.state = [each[kept] for each in self.state]
        self.losses, self.epochs = self.losses[numbers], self.epochs[numbers]
