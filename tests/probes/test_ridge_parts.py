"""Ridge regression on features that are too large to be standardised as a whole."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from speechprobe.probes import RidgeProbe, _scaling, ridge


@pytest.mark.parametrize("shape", [(900, 20), (40, 60)])
@pytest.mark.parametrize("selection", ["loo", "groups"])
def test_by_parts_it_finds_the_same(monkeypatch, shape, selection):
    generator = np.random.default_rng(0)
    X = (3 + generator.normal(size=shape)).astype(np.float32)
    y = X[:, :3].sum(1) + generator.normal(size=len(X))
    groups = np.arange(len(X)) % 8
    whole = RidgeProbe(selection=selection).fit(X, y, groups=groups)
    monkeypatch.setattr(ridge, "MOST_BYTES", 0)
    monkeypatch.setattr(ridge, "PART", 64)
    parts = RidgeProbe(selection=selection).fit(X, y, groups=groups)
    assert parts.alpha_ == whole.alpha_
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-10)


def test_float32_features_give_what_the_same_numbers_in_float64_give():
    generator = np.random.default_rng(0)
    X = (100 + generator.normal(size=(200, 10))).astype(np.float32)
    y = X[:, 0] + generator.normal(size=200)
    single, double = RidgeProbe().fit(X, y), RidgeProbe().fit(X.astype(np.float64), y)
    np.testing.assert_array_equal(single.coef_, double.coef_)
    np.testing.assert_array_equal(single.predict(X), double.predict(X.astype(np.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mean_and_deviation_by_parts_are_those_of_the_whole(monkeypatch, dtype):
    X = (1000 + np.random.default_rng(0).normal(size=(301, 7))).astype(dtype)
    expected = StandardScaler().fit(X.astype(np.float64))
    monkeypatch.setattr(_scaling, "VALUES_AT_ONCE", 100)
    scaler = _scaling.BoundedScaler().fit(X)
    np.testing.assert_allclose(scaler.mean_, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-9)
    assert scaler.n_samples_seen_ == len(X)
    np.testing.assert_allclose(
        scaler.transform_part(X), expected.transform(X.astype(np.float64)), atol=1e-7
    )


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="0 sample"):
        _scaling.BoundedScaler().fit(np.zeros((0, 3)))
