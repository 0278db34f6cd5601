"""Probing what is larger than memory: layers are read when it is their turn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers import scoring
from speechprobe.layers.floors import batches

N_ITEMS, N_DIMS = 4_000, 256


class Drawn:
    """A layer that takes no memory until it is read, as one of a store."""

    shape = (N_ITEMS, N_DIMS)

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return N_ITEMS

    def __array__(self, dtype=None, copy=None):
        drawn = np.random.default_rng(self.seed).standard_normal(self.shape, np.float32)
        return drawn.astype(dtype, copy=False)


def peak_of_probing(n_layers: int) -> float:
    items = pd.DataFrame({"rate": np.random.default_rng(0).normal(size=N_ITEMS)})
    features = sp.Features({str(number): Drawn(number) for number in range(n_layers)}, items)
    tracemalloc.start()
    try:
        sp.probe_layers(
            features, target="rate", groups=None, probe=sp.probes.RidgeProbe([1.0]), n_folds=2,
            n_shuffles=0, select_on=None, metrics=sp.metrics.mae, progress=False,
        )  # fmt: skip
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_ridge_probe_holds_one_layer_at_a_time(monkeypatch):
    monkeypatch.setattr(scoring, "N_RESAMPLES", 2)
    # Six layers more would be 25 MB; what is kept of each are its predictions, 0.03 MB.
    assert peak_of_probing(8) - peak_of_probing(2) < 4e6


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (sp.probes.RidgeProbe(), [["a"], ["c"], ["b"]]),
        (sp.probes.TorchMLPRegressor(), [["a", "c"], ["b"]]),
    ],
)
def test_layers_of_equal_width_go_together_to_a_probe_that_trains_them_as_one(probe, expected):
    layers = {"a": np.ones((4, 2)), "b": np.ones((4, 3)), "c": np.ones((4, 2))}
    assert batches(layers, probe) == expected
