"""Trains many small networks as one: every matrix product is a batch of them.

Layers of equal width, folds, shuffles, seeds and grid points are all networks of one stack. Each
has its own rows, targets, initial weights, order of batches, dropout and early stopping, all from
its own seed, and its own learning rate and weight decay. Networks with the same number of steps an
epoch advance together; Adam works element by element and the loss is a sum over networks, so each
gets just the numbers that it would get alone, up to the rounding of the batched products.

A network that stops early keeps the weights of its best epoch and leaves the stack, which goes on
with the others. It stops by its own validation loss, on items of its own.

Memory is bounded: as many layers are laid side by side as fit in `LAYER_BYTES`, and as many
networks trained at once as fit, with gradients and moments, in `CPU_BYTES` (about what the caches
of a processor hold: more at once is slower) or, on another device, in `DEVICE_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from speechprobe.probes._stack_run import Run
from speechprobe.probes._stack_tasks import Network, Part, Settings, Table, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Network", "Part", "Settings", "Task", "train"]

LAYER_BYTES = 512 * 2**20
CPU_BYTES = 32 * 2**20
DEVICE_BYTES = 2**30


def train(
    matrices: Mapping[str, NDArray[np.floating]],
    tasks: Sequence[Task],
    *,
    device: str | torch.device | None = None,
) -> list[Network]:
    """Train one network a task.

    Parameters
    ----------
    matrices
        {layer: features (n_items, n_dims)}.
    tasks
        The networks.
    device
        Where; the CPU by default.

    Returns
    -------
    networks
        In the order of the tasks.

    Raises
    ------
    ValueError
        If there is patience and nothing to validate on.
    """
    for task in tasks:
        patience = task.settings.training.patience
        if patience is not None and not len(task.held.rows):
            raise ValueError(
                f"patience={patience} needs items to validate on; set validation_fraction"
            )
    where = torch.device(device or "cpu")
    found: dict[int, Network] = {}
    for layers in _side_by_side(matrices):
        numbers = [number for number, task in enumerate(tasks) if task.layer in layers]
        if not numbers:
            continue
        table = Table({layer: matrices[layer] for layer in layers}, where)
        n_dims = table.values.shape[1]
        for alike in _alike(
            tasks, numbers, n_dims, CPU_BYTES if where.type == "cpu" else DEVICE_BYTES
        ):
            networks = Run(table, [tasks[number] for number in alike]).networks()
            found |= zip(alike, networks, strict=True)
    return [found[number] for number in range(len(tasks))]


def _side_by_side(matrices: Mapping[str, NDArray[Any]]) -> Iterator[list[str]]:
    """Yield layers of equal width, as many as memory allows."""
    by_width: dict[int, list[str]] = {}
    for layer, matrix in matrices.items():
        by_width.setdefault(matrix.shape[1], []).append(layer)
    for width, layers in by_width.items():
        size = 4 * max(1, width * len(matrices[layers[0]]))
        at_once = max(1, LAYER_BYTES // size)
        for start in range(0, len(layers), at_once):
            yield layers[start : start + at_once]


def _alike(
    tasks: Sequence[Task], numbers: Sequence[int], n_dims: int, n_bytes: int
) -> Iterator[list[int]]:
    """Yield the numbers of tasks that can be one stack."""
    stacks: dict[tuple[Any, ...], list[int]] = {}
    for number in numbers:
        _, fit, _, n_outputs, _, settings = tasks[number]
        n_steps = -(-len(fit.rows) // settings.training.batch_size)
        same = replace(settings.training, learning_rate=1.0, weight_decay=0.0)
        kind = (n_steps, n_outputs, fit.target.dtype.kind, replace(settings, training=same))
        stacks.setdefault(kind, []).append(number)
    for (_, n_outputs, _, settings), members in stacks.items():
        sizes = (n_dims, *settings.hidden_sizes, n_outputs)
        n_weights = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
        at_once = max(1, n_bytes // (16 * n_weights))  # weight, gradient and two moments
        # Equal optimiser settings side by side share a group of the optimiser.
        members.sort(key=lambda number: _rates(tasks[number]))
        for start in range(0, len(members), at_once):
            yield members[start : start + at_once]


def _rates(task: Task) -> tuple[float, float]:
    return task.settings.training.learning_rate, task.settings.training.weight_decay
