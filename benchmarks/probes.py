"""Probes of all layers against what one writes by hand, and against scikit-learn.

    python -m benchmarks.probes
    python -m benchmarks.probes --device cuda

Perceptrons: 18 layers of 256 dims, 2,703 items each, hidden layer of 128, batches of 32, 3 epochs,
Adam: the speaking-rate study's probe of a layer. The usual loop takes one layer after the other
with `DataLoader(TensorDataset(...), batch_size=32, shuffle=True)`; the lean loop indexes the
tensors by `randperm` instead; scikit-learn's `MLPRegressor` has the same sizes, rate and epochs and
no penalty. All standardise the features and keep the mean loss of each epoch. Ridge regression:
2,000 items of 512 dims, 16 penalties, against a grid search over the same in five folds.

    OMP_NUM_THREADS=1 python -m benchmarks.probes

With one thread times are the processor's, so that a busy machine does not count; with more they are
the clock's, and the machine must be quiet.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.timing import Row, clock, in_turns, run
from speechprobe.probes.jobs import Job, fit_predict_layers
from speechprobe.probes.mlp import TorchMLPRegressor
from speechprobe.probes.ridge import RidgeProbe

N_LAYERS, N_ITEMS, N_DIMS, HIDDEN, BATCH, EPOCHS, RATE = 18, 2703, 256, 128, 32, 3, 3e-4
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
DEVICE = "cuda" if "cuda" in sys.argv[1:] else "cpu"


def batches_of_a_loader(x: torch.Tensor, y: torch.Tensor) -> Batches:
    """Return an iterable over batches, shuffled anew at each pass."""
    return DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)


class IndexedBatches:
    """Shuffled batches without a loader."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self):
        for rows in torch.randperm(len(self.x), device=self.x.device).split(BATCH):
            yield self.x[rows], self.y[rows]


def train_one_by_one(
    layers: Sequence[torch.Tensor], target: torch.Tensor, batches_of: Callable[..., Batches]
) -> None:
    """Train a network a layer, one after the other."""
    for x in layers:
        network = nn.Sequential(nn.Linear(N_DIMS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        network.to(x.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
        batches = batches_of((x - x.mean(0)) / x.std(0), target)
        losses = []
        for _ in range(EPOCHS):
            total = 0.0
            for features, wanted in batches:
                loss = nn.functional.mse_loss(network(features)[:, 0], wanted)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(features)
            losses.append(total / len(x))


def with_scikit_learn(layers: Sequence[NDArray[np.float32]], target: NDArray[np.float64]) -> None:
    """Train scikit-learn's perceptron a layer, one after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # three epochs are what is asked for
        for x in layers:
            network = MLPRegressor(
                hidden_layer_sizes=(HIDDEN,),
                batch_size=BATCH,
                max_iter=EPOCHS,
                learning_rate_init=RATE,
                alpha=0.0,
                random_state=0,
            )
            make_pipeline(StandardScaler(), network).fit(x, target)


def perceptrons(*, quick: bool) -> list[Row]:
    """Return one stack against the loops."""
    generator = np.random.default_rng(0)
    matrices = {
        f"layer{number}": generator.normal(size=(N_ITEMS, N_DIMS)).astype(np.float32)
        for number in range(N_LAYERS)
    }
    target = generator.normal(size=N_ITEMS)
    layers = [torch.from_numpy(each).to(DEVICE) for each in matrices.values()]
    wanted = torch.from_numpy(target.astype(np.float32)).to(DEVICE)
    rows = np.arange(N_ITEMS)
    inputs = torch.randn(N_LAYERS, BATCH, N_DIMS, device=DEVICE)
    weights = torch.randn(N_LAYERS, N_DIMS, HIDDEN, device=DEVICE)

    def products() -> None:
        for _ in range(EPOCHS * -(-N_ITEMS // BATCH)):
            torch.bmm(inputs.mT, torch.bmm(inputs, weights))
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    probe = TorchMLPRegressor((HIDDEN,), batch_size=BATCH, epochs=EPOCHS, device=DEVICE)
    ours, loader, lean, sklearns, bare = in_turns(
        lambda: fit_predict_layers(probe, matrices, [Job(rows, rows[:1], target, 0)]),
        lambda: train_one_by_one(layers, wanted, batches_of_a_loader),
        lambda: train_one_by_one(layers, wanted, IndexedBatches),
        lambda: with_scikit_learn(list(matrices.values()), target),
        products,
        repeats=3 if quick else 9,
        clock=clock() if DEVICE == "cpu" else time.perf_counter,
    )
    size = f"{N_LAYERS} layers x {N_ITEMS:,} x {N_DIMS}, {DEVICE}"
    times = "at least 10 times" if DEVICE == "cpu" else "at least 30 times"
    alone = f"the two products of matrices of each step alone take {bare:.3f} s, so"
    bounds = [
        f"{alone} {other / bare:.1f} times is the bound; the rest is mostly Adam"
        for other in (loader, lean, sklearns)
    ]
    return [
        Row(f"Perceptrons as one stack, {size}, against a DataLoader each", ours, loader, times,
            bounds[0]),
        Row("The same, against indexed tensors, layer by layer", ours, lean, "", bounds[1]),
        Row("The same, against scikit-learn's MLPRegressor (processor)", ours, sklearns, times,
            bounds[2]),
    ]  # fmt: skip


def ridge() -> Row:
    """Return RidgeProbe against GridSearchCV over the same penalties."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2000, 512))
    y = x[:, 0] + generator.normal(size=2000)
    grid = {"ridge__alpha": np.logspace(0, 5, 16)}
    search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), grid, cv=5)
    times = in_turns(
        lambda: RidgeProbe().fit(x, y), lambda: search.fit(x, y), repeats=5, clock=clock()
    )
    name = "`RidgeProbe`, 16 penalties, 2,000 x 512, against GridSearchCV(Ridge) in five folds"
    return Row(name, *times, "at least 20 times")


def rows(*, quick: bool = False) -> list[Row]:
    """Return all rows."""
    return [*perceptrons(quick=quick), ridge()]


if __name__ == "__main__":
    run("probes", rows)
