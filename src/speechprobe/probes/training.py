"""Trains one module of torch on items: Adam, batches in a seeded order, early stopping, curves.

Conventions
-----------
A network is called ``network(x, lengths)``: a batch and the valid frames of each of its items (None
where all are valid), and gives outputs (n, n_outputs). Floating targets are numbers (mean squared
error of the one output). Whole ones are classes: with one output it is the log-odds of class 1
(binary cross-entropy), else there is one output a class (cross-entropy). Losses are means over
items, in squared units of the target or in nats.

The order of batches comes from a generator of the call's own, on the CPU whatever the device: the
same seed gives the same bits on a CPU, and the same batches everywhere.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from speechprobe.probes._folds import group_codes
from speechprobe.probes._items import Batch, Items, Rows
from speechprobe.probes._masked import settle

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Training:
    """How to train.

    Parameters
    ----------
    learning_rate, weight_decay
        Of Adam.
    batch_size
        Items a step; the last step of an epoch takes what is left.
    epochs
        Most passes over the items.
    schedule
        "cosine" lets the learning rate fall to 0 along half a cosine, epoch by epoch.
    patience
        Stop after so many epochs without a lower validation loss, and go back to the epoch with
        the lowest; None never stops.
    """

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    schedule: Schedule = "constant"
    patience: int | None = None

    def __post_init__(self) -> None:
        whole = {"batch_size": self.batch_size, "epochs": self.epochs}
        whole |= {} if self.patience is None else {"patience": self.patience}
        for name, value in whole.items():
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                "learning_rate must be positive and weight_decay not negative, got "
                f"{self.learning_rate!r} and {self.weight_decay!r}"
            )
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule must be 'constant' or 'cosine', got {self.schedule!r}")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


class Trained(NamedTuple):
    """Loss and accuracy or R2 of each epoch, and the epoch whose weights the network has."""

    curves: pd.DataFrame
    epoch: int


class _Score(NamedTuple):
    loss: float
    metric: float


def train(
    network: nn.Module,
    items: Items,
    target: NDArray[Any],
    *,
    parts: tuple[Rows, Rows],
    training: Training,
    generator: torch.Generator,
) -> Trained:
    """Train a network in place, where its parameters are, and leave it ready to predict.

    Parameters
    ----------
    network
        As in the conventions above.
    items
        The items.
    target
        Numbers, float32, or whole-numbered classes from 0, of every item.
    parts
        Rows to fit on, and rows to validate on, which may be none.
    training
        How.
    generator
        Of the order of batches, on the CPU.

    Returns
    -------
    trained
        `curves` has the columns `epoch` (from 1), `split` ("train" or "validation"), `loss`, and
        `accuracy` or `r2` (NaN where the target does not vary). The values of "train" are means
        over the batches of an epoch while the network learns; "validation" comes after it.

    Raises
    ------
    ValueError
        If there is patience and nothing to validate on.
    """
    fit, held = parts
    if training.patience is not None and not len(held):
        raise ValueError(
            f"patience={training.patience} needs items to validate on; set validation_fraction"
        )
    run = _Run(network, items, torch.from_numpy(target), training)
    table, best, kept = [], (math.inf, 0), None
    for epoch in range(training.epochs):
        table.append((epoch + 1, "train", *run.learn(fit, epoch, generator)))
        if not len(held):
            continue
        run.settle(fit)
        score = run.validate(held)
        table.append((epoch + 1, "validation", *score))
        if training.patience is None:
            continue
        if kept is None or score.loss < best[0]:
            best, kept = (score.loss, epoch), copy.deepcopy(network.state_dict())
        if epoch - best[1] >= training.patience:
            break
    if kept is not None:
        network.load_state_dict(kept)
    elif not len(held):
        run.settle(fit)
    network.eval()
    metric = "r2" if run.target.is_floating_point() else "accuracy"
    curves = pd.DataFrame(table, columns=["epoch", "split", "loss", metric])
    return Trained(curves, int(curves["epoch"].iloc[-1]) if kept is None else best[1] + 1)


def outputs(network: nn.Module, items: Items, rows: Rows | None = None) -> NDArray[np.float64]:
    """Return the outputs of a trained network, (n_rows, n_outputs); of all items by default."""
    rows = np.arange(len(items)) if rows is None else rows
    parts = list(blocks_of(network, items, rows=rows))
    order = np.concatenate([block for block, _ in parts])
    found = np.concatenate([values for _, values in parts])
    return found[np.argsort(order)][np.argsort(np.argsort(rows))]


def blocks_of(
    network: nn.Module,
    items: Items,
    call: Callable[..., Tensor] = nn.Module.__call__,
    *,
    rows: Rows | None = None,
) -> Iterator[tuple[Rows, NDArray[np.float64]]]:
    """Yield rows and ``call(network, x, lengths)`` for them, in blocks of bounded memory.

    In double precision: an item has then the same outputs in any batch, far beyond what matters.
    """
    device = next(network.parameters()).device
    exact = copy.deepcopy(network).eval()
    if device.type != "mps":  # it has no doubles
        exact = exact.double()
    dtype = next(exact.parameters()).dtype
    for block in items.blocks(np.arange(len(items)) if rows is None else rows):
        x, lengths = _to(device, items.batch(block))
        with torch.inference_mode():
            values = call(exact, x.to(dtype), lengths).cpu().numpy()
        yield block, values.astype(np.float64, copy=False)


def hold_out(
    n_items: int, fraction: float, *, groups: ArrayLike | None, seed: int
) -> tuple[Rows, Rows]:
    """Return rows to fit on and rows to validate on; no group is in both.

    Parameters
    ----------
    n_items
        Number of items.
    fraction
        Of the groups to validate on, at least one group; 0 is none at all.
    groups
        Group of each item; None takes every item for a group of its own.
    seed
        Of the draw.

    Raises
    ------
    ValueError
        If the fraction is not in [0, 1), or no group would be left to fit on.

    Examples
    --------
    >>> fit, held = hold_out(4, 0.5, groups=["a", "b", "a", "b"], seed=0)
    >>> fit.tolist(), held.tolist()
    ([1, 3], [0, 2])
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction must be from 0 to below 1, got {fraction!r}")
    codes = np.arange(n_items) if groups is None else group_codes(groups, n_items)
    if fraction == 0:
        return np.arange(n_items), np.empty(0, np.intp)
    n_groups = int(codes.max()) + 1
    n_held = max(1, round(fraction * n_groups))
    if n_held >= n_groups:
        kind = "items" if groups is None else "groups"
        raise ValueError(
            f"validation_fraction={fraction} of {n_groups} {kind} leaves none to fit on"
        )
    chosen = np.random.default_rng(seed).permutation(n_groups)[:n_held]
    held = np.isin(codes, chosen)
    return np.flatnonzero(~held), np.flatnonzero(held)


class _Run:
    """A network, its optimiser and its items."""

    def __init__(
        self, network: nn.Module, items: Items, target: Tensor, training: Training
    ) -> None:
        self.network, self.items, self.target, self.training = network, items, target, training
        self.device = next(network.parameters()).device
        self.optimiser = torch.optim.Adam(
            network.parameters(),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )

    @torch.enable_grad()
    def learn(self, rows: Rows, epoch: int, generator: torch.Generator) -> _Score:
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate(epoch)
        order = rows[torch.randperm(len(rows), generator=generator).numpy()]
        found = []
        for start in range(0, len(order), self.training.batch_size):
            chosen = order[start : start + self.training.batch_size]
            target = self.target[chosen].to(self.device)
            output = self.network(*_to(self.device, self.items.batch(chosen)))
            loss = loss_of(output, target)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            found.append(output.detach())
        return self._score(torch.cat(found).cpu(), order)

    def settle(self, rows: Rows) -> None:
        def batches() -> Iterator[Batch]:
            return (_to(self.device, self.items.batch(block)) for block in self.items.blocks(rows))

        settle(self.network, batches)

    def validate(self, rows: Rows) -> _Score:
        return self._score(torch.from_numpy(outputs(self.network, self.items, rows)), rows)

    def _score(self, output: Tensor, rows: Rows) -> _Score:
        target = self.target[rows]
        target = target.to(output.dtype) if target.is_floating_point() else target
        loss = float(loss_of(output, target))
        if target.is_floating_point():
            spread = float(((target - target.mean()) ** 2).mean())
            return _Score(loss, 1 - loss / spread if spread > 0 else math.nan)
        chosen = output[:, 0] > 0 if output.shape[1] == 1 else output.argmax(1)
        return _Score(loss, float((chosen == target).double().mean()))


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean loss of outputs (n, n_outputs) for targets (n,)."""
    if target.is_floating_point():
        return functional.mse_loss(output[:, 0], target)
    if output.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(output[:, 0], target.to(output.dtype))
    return functional.cross_entropy(output, target)


def _to(device: torch.device, batch: Batch) -> Batch:
    x, lengths = batch
    return x.to(device), None if lengths is None else lengths.to(device)
