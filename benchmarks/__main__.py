"""Measure ours against the bare limit or the usual way, on the same inputs in the same run.

    python -m benchmarks

Each row is the median of seven runs taken in turns, so that a busy moment of the machine falls on
both sides. Results with the machine go to benchmarks/results/.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import speechprobe as sp
from speechprobe.extractors.nets import Crepe

REPEATS = 7


def in_turns(ours: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Return the median seconds of both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for function, taken in zip((ours, other), times, strict=True):
            started = time.perf_counter()
            function()
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def hooks_against_the_bare_forward_pass() -> tuple[float, float]:
    """All layers of CREPE-tiny pooled, against its forward pass on the same frames."""
    extractor = sp.extractors.load_crepe("tiny", untrained=True, hop_seconds=0.05)
    signal = np.random.default_rng(0).normal(size=80_000).astype(np.float32)
    network = Crepe("tiny").eval()
    waveforms = torch.from_numpy(signal)[None]

    @torch.inference_mode()
    def bare() -> object:
        frames = nn.functional.pad(waveforms, (512, 512)).unfold(-1, 1024, 800)
        frames = frames - frames.mean(-1, keepdim=True)
        return network(frames / frames.std(-1, keepdim=True))

    return in_turns(lambda: extractor.extract_batch([signal], sp.pooling.mean), bare)


def ridge_path_against_grid_search() -> tuple[float, float]:
    """RidgeProbe with 16 penalties, against GridSearchCV over the same ones in five folds."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2000, 512))
    y = x[:, 0] + generator.normal(size=2000)
    grid = {"ridge__alpha": np.logspace(0, 5, 16)}
    search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), grid, cv=5)
    return in_turns(lambda: sp.probes.RidgeProbe().fit(x, y), lambda: search.fit(x, y))


def stacked_perceptrons_against_one_by_one() -> tuple[float, float]:
    """Fifteen perceptrons trained as one stack, against one after another with torch modules."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(600, 256)).astype(np.float32)
    y = x[:, 0] * x[:, 1]
    rows = np.arange(600)
    jobs = [sp.probes.Job(rows, rows[:1], y, seed) for seed in range(15)]
    probe = sp.probes.TorchMLPRegressor(epochs=3)
    return in_turns(
        lambda: sp.probes.fit_predict_many(probe, x, jobs),
        lambda: [_train_alone(torch.from_numpy(x), torch.from_numpy(y)) for _ in jobs],
    )


def _train_alone(x: torch.Tensor, y: torch.Tensor) -> None:
    network = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 1))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
    for _ in range(3):
        for chosen in torch.randperm(len(x)).split(32):
            loss = nn.functional.mse_loss(network(x[chosen])[:, 0], y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def import_against_an_empty_python() -> tuple[float, float]:
    """`import speechprobe` in a new process, against a process that imports nothing."""
    code = {"ours": "import speechprobe", "bare": "pass"}
    runs = {
        name: lambda text=text: subprocess.run([sys.executable, "-c", text], check=True)
        for name, text in code.items()
    }
    return in_turns(runs["ours"], runs["bare"])


def main() -> None:
    """Run all, print the table, and keep it with the machine."""
    rows = [
        hooks_against_the_bare_forward_pass,
        ridge_path_against_grid_search,
        stacked_perceptrons_against_one_by_one,
        import_against_an_empty_python,
    ]
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, torch {version('torch')}, numpy {version('numpy')}, "
        f"scikit-learn {version('scikit-learn')}. Median of {REPEATS} runs in turns.",
        "",
        "| what | ours, s | other, s | other / ours |",
        "|---|---|---|---|",
    ]
    for row in rows:
        ours, other = row()
        lines.append(f"| {row.__doc__} | {ours:.4f} | {other:.4f} | {other / ours:.2f} |")
        print(lines[-1], flush=True)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "cpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
