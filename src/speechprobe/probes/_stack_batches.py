"""The batches of many networks: rows, targets and dropout masks, padded to the longest part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechprobe.probes._stack_tasks import Part, Table, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bounds what is drawn for dropout, or passed through the networks to validate, at once.
BLOCK_BYTES = 64 * 2**20


class Step(NamedTuple):
    """A batch of every network.

    Parameters
    ----------
    places
        Of the rows in the table, (n_networks, n_rows).
    target
        Numbers or classes, (n_networks, n_rows).
    weight
        1 over the rows that count, 0 for those that pad, (n_networks, n_rows, 1).
    masks
        For each hidden layer what dropout multiplies it by, (n_networks, n_rows, n_units).
    """

    places: Tensor
    target: Tensor
    weight: Tensor
    masks: Sequence[Tensor]


class Batches:
    """Rows and targets of one part of every task.

    Parameters
    ----------
    table
        Where the rows stand.
    tasks
        The tasks.
    parts
        A part of each.
    size
        Rows a batch; the last one takes what is left.
    """

    def __init__(
        self, table: Table, tasks: Sequence[Task], parts: Sequence[Part], size: int
    ) -> None:
        self._device = table.values.device
        self._places = [
            torch.from_numpy(part.rows + table.start[task.layer])
            for task, part in zip(tasks, parts, strict=True)
        ]
        self._targets = [torch.from_numpy(np.ascontiguousarray(part.target)) for part in parts]
        self._lengths = np.array([len(part.rows) for part in parts])
        longest = int(self._lengths.max())
        self._starts = range(0, longest, size)
        self._size = min(size, max(1, longest))
        self._counts = np.clip(self._lengths[:, None] - np.array(self._starts), 0, self._size)
        self._weight = self._weights()

    def in_order(self) -> Iterator[Step]:
        """Yield all rows in their order."""
        yield from self._steps(None)

    def shuffled(
        self, generators: Sequence[torch.Generator], hidden_sizes: Sequence[int], dropout: float
    ) -> Iterator[Step]:
        """Yield the steps of an epoch; each network's generator draws its order, then its masks."""
        lengths = self._lengths.tolist()
        orders = [
            torch.randperm(length, generator=generator)
            for length, generator in zip(lengths, generators, strict=True)
        ]
        steps = self._steps(orders)
        if not dropout or not hidden_sizes:
            yield from steps
            return
        masks = self._masks(generators, sum(hidden_sizes), dropout)
        for step, mask in zip(steps, masks, strict=True):
            yield step._replace(masks=torch.split(mask, list(hidden_sizes), -1))

    def scores(self, scores: Sequence[Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return loss and metric (accuracy or R2) over all rows; NaN where there are none.

        Parameters
        ----------
        scores
            Loss, and accuracy of classes, of each step, each (1 or 2, n_networks).
        """
        if not scores:
            nothing = np.full(len(self._lengths), np.nan)
            return nothing, nothing
        means = torch.stack(list(scores)).cpu().double().numpy()
        loss, *accuracy = (means * self._counts.T[:, None]).sum(0) / self._lengths
        if accuracy:
            return loss, accuracy[0]
        spread = np.array([float(each.double().var(correction=0)) for each in self._targets])
        varies = spread > 0
        return loss, np.where(varies, 1 - loss / np.where(varies, spread, 1), np.nan)

    def _steps(self, orders: Sequence[Tensor] | None) -> Iterator[Step]:
        shape = (len(self._places), len(self._starts) * self._size)
        places = torch.zeros(shape, dtype=torch.int64)
        target = torch.zeros(shape, dtype=self._targets[0].dtype)
        for number, (own, aim) in enumerate(zip(self._places, self._targets, strict=True)):
            order = slice(None) if orders is None else orders[number]
            places[number, : len(own)] = own[order]
            target[number, : len(own)] = aim[order]
        for step in zip(self._by_step(places), self._by_step(target), self._weight, strict=True):
            yield Step(*step, ())

    def _by_step(self, rows: Tensor) -> Tensor:
        """Return (n_steps, n_networks, size, ...) of (n_networks, n_steps * size, ...)."""
        cut = rows.view(len(rows), len(self._starts), self._size, *rows.shape[2:])
        return cut.transpose(0, 1).contiguous().to(self._device)

    def _weights(self) -> Tensor:
        """Return the weight of each row in the mean over its batch, as `_by_step` lays it out."""
        counts = self._counts[..., None]
        counted = np.arange(self._size) < counts
        weights = (counted / np.maximum(1, counts)).astype(np.float32)
        return self._by_step(torch.from_numpy(weights).flatten(1)[..., None])

    def _masks(
        self, generators: Sequence[torch.Generator], n_units: int, dropout: float
    ) -> Iterator[Tensor]:
        """Yield the masks of each step, (n_networks, n_rows, n_units)."""
        # Numbers are drawn row by row, so blocks of any length give the same ones.
        a_step = 4 * len(generators) * self._size * n_units
        length = self._size * max(1, BLOCK_BYTES // a_step)
        end = len(self._starts) * self._size
        for start in range(0, end, length):
            width = min(length, end - start)
            block = torch.zeros((len(generators), width, n_units))
            counts = np.clip(self._lengths - start, 0, width).tolist()
            for own, count, generator in zip(block, counts, generators, strict=True):
                torch.rand((count, n_units), generator=generator, out=own[:count])
            block = (block >= dropout).float().div_(1 - dropout).to(self._device)
            yield from torch.split(block, self._size, 1)
