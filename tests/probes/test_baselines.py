"""The usual estimators and SERAB's grids."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import ParameterGrid

from speechprobe.probes.baselines import baselines

SIZES = {
    "classification": {"LDA": 1, "LR": 22, "QDA": 3, "RF": 30, "SVC": 44},
    "regression": {"ridge": 13, "SVR": 36, "RF": 15, "KNN": 12},
}
TASKS = pytest.mark.parametrize("task", SIZES)


@TASKS
def test_the_grids_have_their_published_sizes(task):
    sizes = {name: len(ParameterGrid(grid)) for name, (_, grid) in baselines(task).items()}
    assert sizes == SIZES[task]


def test_settings_are_those_of_serab():
    found = baselines("classification")
    inverse_penalties = [10.0**power for power in range(5, -6, -1)]
    for name in ("LR", "SVC"):
        estimator, grid = found[name]
        np.testing.assert_allclose(grid["C"], inverse_penalties)
        assert estimator.max_iter == 10_000
        assert grid["class_weight"] == ["balanced", None]
    assert found["SVC"][1]["kernel"] == ["rbf", "linear"]
    lda = found["LDA"][0]
    assert (lda.solver, lda.shrinkage) == ("lsqr", "auto")
    assert found["RF"][0].n_estimators == 100
    assert found["RF"][1]["max_depth"] == [5, 10, 15, 20, 25]
    assert found["RF"][1]["min_samples_split"] == [2, 5, 10]
    assert found["QDA"][1] == {"reg_param": [0.0, 0.1, 0.25]}


@TASKS
def test_every_setting_is_one_of_its_estimator_of_the_right_kind(task):
    right = is_classifier if task == "classification" else is_regressor
    for estimator, grid in baselines(task).values():
        assert right(estimator)
        for setting in ParameterGrid(grid):
            clone(estimator).set_params(**setting)


@TASKS
def test_the_seed_reaches_every_estimator_that_draws(task):
    for estimator, _ in baselines(task, seed=7).values():
        for name, value in estimator.get_params().items():
            if name.split("__")[-1] == "random_state" and name != "random_state":
                continue  # steps that draw nothing
            assert name != "random_state" or value == 7
    assert baselines("classification")["RF"][0].random_state == 42


@TASKS
def test_each_call_makes_new_estimators(task):
    first, second = baselines(task), baselines(task)
    for name in first:
        assert first[name][0] is not second[name][0]
        first[name][1].clear()
    assert baselines(task)[name][1] == second[name][1]


def test_regressors_are_blind_to_the_units_of_features_and_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.sin(X[:, 0]) + X[:, 1]
    for name in ("ridge", "SVR", "KNN"):
        estimator = baselines("regression")[name][0]
        plain = clone(estimator).fit(X, y).predict(X)
        other = clone(estimator).fit(X * [1e-3, 1, 1e3], 100 * y + 7).predict(X * [1e-3, 1, 1e3])
        np.testing.assert_allclose((other - 7) / 100, plain, rtol=1e-5, atol=1e-6)


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="must be 'classification' or 'regression', got 'emotion'"):
        baselines("emotion")
