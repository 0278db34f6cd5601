"""Ridge regression on many items, its left vectors made block by block."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechprobe.probes import ridge
from speechprobe.probes.ridge import RidgeProbe


def drawn(n_items: int, n_dims: int, n_targets: int):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n_items, n_dims)) @ generator.normal(size=(n_dims, n_dims))
    return X, X[:, :n_targets] + 5 * generator.normal(size=(n_items, n_targets))


@pytest.mark.parametrize("rows_at_once", [1, 7, 1024])
@pytest.mark.parametrize(("n_items", "n_dims"), [(50, 8), (12, 12), (9, 30)])
def test_the_size_of_blocks_changes_nothing(rows_at_once, n_items, n_dims, monkeypatch):
    monkeypatch.setattr(ridge, "ROWS_AT_ONCE", rows_at_once)
    X, y = drawn(n_items, n_dims, 3)
    alphas = np.logspace(-1, 3, 9)
    ours = RidgeProbe(alphas).fit(X, y)
    known = make_pipeline(StandardScaler(), RidgeCV(alphas, alpha_per_target=True)).fit(X, y)
    np.testing.assert_array_equal(ours.alpha_, known[-1].alpha_)
    np.testing.assert_allclose(ours.coef_, known[-1].coef_, rtol=1e-6, atol=1e-9)


def test_a_fit_holds_little_beside_the_features_and_their_standardised_copy():
    X, y = drawn(20_000, 100, 1)
    tracemalloc.start()
    try:
        RidgeProbe().fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.6 * X.nbytes  # left vectors of all items, and their squares, would be two more
