"""Units that were silent for all items fitted on but a trace must not blow up a prediction."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechprobe import probes
from speechprobe.probes._scaling import BoundedScaler, bound_of

N_FIT, N_HELD = 60, 20


@pytest.fixture
def layer():
    """A layer that tells the target, with three units that fire for held-out items only."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(N_FIT + N_HELD, 8))
    silent = np.zeros((N_FIT + N_HELD, 3))
    silent[5, 0], silent[9, 1], silent[3, 2] = 1e-9, 5e-6, 1e-22
    silent[N_FIT:] = np.abs(generator.normal(size=(N_HELD, 3)))
    return np.hstack([x, silent]).astype(np.float32), x[:, 0].astype(np.float32)


def regressors():
    return [
        probes.RidgeProbe(),
        probes.TorchMLPRegressor((16,), epochs=60, learning_rate=3e-3, random_state=0),
        probes.TorchCNNRegressor(epochs=3, random_state=0),
        probes.baselines("regression")["ridge"][0],
    ]


@pytest.mark.parametrize("probe", regressors(), ids=lambda probe: type(probe).__name__)
def test_predictions_stay_near_what_was_fitted(layer, probe):
    x, y = layer
    predicted = probe.fit(x[:N_FIT], y[:N_FIT]).predict(x[N_FIT:])
    assert np.abs(predicted).max() < 10 * np.abs(y).max()


def test_without_the_bound_ridge_predicts_millions(layer):
    x, y = layer
    plain = make_pipeline(StandardScaler(), Ridge()).fit(x[:N_FIT].astype(float), y[:N_FIT])
    assert np.abs(plain.predict(x[N_FIT:].astype(float))).max() > 1e4


def test_many_jobs_are_bounded_as_one_fit_is(layer):
    x, y = layer
    rows = np.arange(len(x))
    job = probes.Job(rows[:N_FIT], rows[N_FIT:], y, 0)
    for probe in (probes.RidgeProbe(), probes.TorchMLPRegressor((16,), epochs=20)):
        (many,) = probes.fit_predict_many(probe, x, [job])
        assert np.abs(many).max() < 10 * np.abs(y).max()


def test_validation_inside_a_stack_is_bounded_too(layer):
    x, y = layer
    rows = np.arange(len(x))
    probe = probes.TorchMLPRegressor((16,), epochs=20, random_state=0)
    held = {"train": rows[:N_FIT], "validation": rows[N_FIT:]}
    found = probes.tune(
        probe, {"learning_rate": [1e-3, 3e-3]}, x, y, n_trials=2,
        split=(held["train"], held["validation"]),
    )  # fmt: skip
    assert found.table["score"].min() > -100


def test_a_classifier_is_bounded_as_well(layer):
    x, y = layer
    classes = np.where(y > 0, "high", "low")
    probe = probes.LogisticProbe().fit(x[:N_FIT], classes[:N_FIT])
    assert np.abs(probe.decision_function(x[N_FIT:])).max() < 1e3


@pytest.mark.parametrize(("n_items", "bound"), [(2, 10.0), (100, 10.0), (400, 20.0)])
def test_no_item_fitted_on_can_reach_the_bound(n_items, bound):
    assert bound_of(n_items) == bound
    x = np.zeros((n_items, 1))
    x[0] = 1.0  # the farthest that one of n can be
    assert np.abs(BoundedScaler().fit(x).transform(x)).max() < bound
    assert BoundedScaler().fit(x).transform([[1e9]]).item() == bound
