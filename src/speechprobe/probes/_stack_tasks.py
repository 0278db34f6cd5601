"""What is trained as a stack: settings, one task a network, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechprobe.probes.training import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """How to train a perceptron.

    Parameters
    ----------
    hidden_sizes
        Width of each hidden layer; ReLU after each.
    training
        Optimiser, batches, epochs, schedule and patience.
    dropout
        Part of the hidden units that is left out of each step.
    batch_norm
        Whether each hidden layer is normalised before its ReLU.
    """

    hidden_sizes: tuple[int, ...]
    training: Training
    dropout: float = 0.0
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {self.dropout!r}")


class Part(NamedTuple):
    """Rows of a layer, and the target of each of them."""

    rows: Rows
    target: NDArray[np.generic]


class Task(NamedTuple):
    """One network to train.

    Parameters
    ----------
    layer
        Whose features.
    fit, held
        What to fit on and to validate on (which may be empty). Integer targets are classes
        (cross-entropy), floating ones numbers (mean squared error).
    n_outputs
        Number of classes, or 1.
    seed
        Of the weights, the order of batches and dropout.
    settings
        How.
    """

    layer: str
    fit: Part
    held: Part
    n_outputs: int
    seed: int
    settings: Settings


class Network(NamedTuple):
    """A trained network.

    Parameters
    ----------
    centre
        What is taken from the input, (n_dims,); not its mean, which the first bias takes off.
    reach
        The least and the largest that is then let in, (2, n_dims); see `probes._scaling`.
    weights
        Weights (n_in, n_out) and biases (n_out,); the standardisation of the input and batch norms
        are multiplied in.
    history
        Of each epoch the loss and the metric (accuracy or R2) of what was fitted on, and of what
        was held out (NaN where nothing was), (n_epochs, 4).
    epoch
        The epoch, from 1, whose weights these are.
    """

    centre: NDArray[np.float32]
    reach: NDArray[np.float32]
    weights: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    history: NDArray[np.float64]
    epoch: int

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the outputs, (n_items, n_outputs), of features (n_items, n_dims)."""
        centred = np.asarray(features, np.float32) - self.centre
        x: NDArray[np.float32] = np.clip(centred, *self.reach)
        for number, (weight, bias) in enumerate(self.weights):
            x = x @ weight + bias
            if number < len(self.weights) - 1:
                x = np.maximum(x, 0)
        return x


class Table:
    """Layers of one width, one below the other, so that one look-up serves all networks.

    Every layer is centred by about the mean of all its items. That changes nothing, as each network
    standardises by the items that it is fitted on, but for what large means would lose in float32.

    Parameters
    ----------
    matrices
        {layer: features (n_items, n_dims)}.
    device
        Where.
    """

    def __init__(self, matrices: Mapping[str, NDArray[np.floating]], device: torch.device) -> None:
        n_dims = next(iter(matrices.values())).shape[1]
        values = np.empty((sum(map(len, matrices.values())), n_dims), np.float32)
        self.start: dict[str, int] = {}
        self.centre: dict[str, NDArray[np.float32]] = {}
        place = 0
        for layer, matrix in matrices.items():
            single = np.asarray(matrix, np.float32)
            self.start[layer], self.centre[layer] = place, single.mean(0)
            np.subtract(single, self.centre[layer], out=values[place : place + len(single)])
            place += len(single)
        self.values = torch.from_numpy(values).to(device)
        self._known: dict[tuple[str, bytes], tuple[Tensor, Tensor]] = {}

    def moments(self, layer: str, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return mean, from that of the table on, and scale of some rows, each (n_dims,).

        The scale is 1 for a dimension that does not vary, up to the rounding of its mean.
        """
        key = (layer, rows.tobytes())
        if key not in self._known:
            places = torch.from_numpy(rows + self.start[layer]).to(self.values.device)
            chosen = self.values.index_select(0, places)  # many times as fast as [places]
            mean = chosen.mean(0)
            spread = chosen.sub_(mean).square_().mean(0).sqrt_()
            whole = mean + torch.from_numpy(self.centre[layer]).to(mean.device)
            # Rounding is that of the mean, and of what it is from the table's on.
            size = torch.maximum(whole.abs(), mean.abs())
            flat = (spread <= 1e-6 * size) | (spread == 0)
            self._known[key] = mean, torch.where(flat, torch.ones_like(spread), spread)
        return self._known[key]
