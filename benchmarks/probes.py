"""Perceptrons on every layer: one stack, against the loops that one writes by hand.

    python -m benchmarks.probes

18 layers of 256 dims, 2,703 items each, hidden layer of 128, batches of 32, 3 epochs, Adam: the
speaking-rate study's probe of a layer. The usual loop takes one layer after the other with
`DataLoader(TensorDataset(...), batch_size=32, shuffle=True)`; the lean loop indexes the tensors by
`randperm` instead. All three standardise the features and keep the mean loss of each epoch.

    OMP_NUM_THREADS=1 python -m benchmarks.probes

Times are the least of several runs in turns. With one thread they are the processor's, so that a
busy machine does not count; with more they are the clock's, and the machine must be quiet.
"""

import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from speechprobe.probes import TorchMLPRegressor
from speechprobe.probes.jobs import Job, fit_predict_layers

N_LAYERS, N_ITEMS, N_DIMS, HIDDEN, BATCH, EPOCHS = 18, 2703, 256, 128, 32, 3


def batches_of_a_loader(x: torch.Tensor, y: torch.Tensor):
    """Return an iterable over batches, shuffled anew at each pass."""
    return DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)


class IndexedBatches:
    """Shuffled batches without a loader."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self):
        for rows in torch.randperm(len(self.x)).split(BATCH):
            yield self.x[rows], self.y[rows]


def train_one_by_one(layers, target, batches_of) -> None:
    """Train a network a layer, one after the other."""
    for x in layers:
        network = nn.Sequential(nn.Linear(N_DIMS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
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


def main() -> None:
    """Measure, print and keep the table; a first argument gives the number of runs."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    generator = np.random.default_rng(0)
    matrices = {
        f"layer{number}": generator.normal(size=(N_ITEMS, N_DIMS)).astype(np.float32)
        for number in range(N_LAYERS)
    }
    target = generator.normal(size=N_ITEMS)
    layers = [torch.from_numpy(each) for each in matrices.values()]
    wanted = torch.from_numpy(target.astype(np.float32))
    rows = np.arange(N_ITEMS)
    probe = TorchMLPRegressor((HIDDEN,), batch_size=BATCH, epochs=EPOCHS)
    ways = {
        "one stack": lambda: fit_predict_layers(probe, matrices, [Job(rows, rows[:1], target, 0)]),
        "layer by layer, indexed tensors": lambda: train_one_by_one(layers, wanted, IndexedBatches),
        "layer by layer, DataLoader": lambda: train_one_by_one(layers, wanted, batches_of_a_loader),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            started = clock()
            way()
            least[name] = min(least[name], clock() - started)
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}. {N_LAYERS} layers x "
        f"{N_ITEMS} items x {N_DIMS} dims, hidden {HIDDEN}, batch {BATCH}, {EPOCHS} epochs; least "
        f"{clock.__name__} of {repeats} runs in turns.",
        "",
        "| how | s | times the stack |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {seconds:.3f} | {seconds / least['one stack']:.1f} |"
        for name, seconds in least.items()
    ]
    print("\n".join(lines))
    results = Path(__file__).parent / "results" / "probes.md"
    results.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
