"""Many fits at once are the single fits, for any estimator."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from speechprobe.probes import (
    LogisticProbe,
    RidgeProbe,
    TorchMLPClassifier,
    TorchMLPRegressor,
    mdl,
    search,
    tune,
    usable_information,
)
from speechprobe.probes.jobs import Job, fit_predict_layers, fit_predict_many, seeded

N_ITEMS = 80


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N_ITEMS, 5))


@pytest.fixture(scope="module")
def numbers(X):
    return X @ [1.0, 2.0, 0.0, 0.0, -1.0] + X[:, 0] * X[:, 1]


def folds(seed=0, sizes=(64, 57, 33)):
    """Folds of unequal sizes; the MLPs take other numbers of steps on each."""
    rng = np.random.default_rng(seed)
    for size in sizes:
        fit = rng.permutation(N_ITEMS)[:size]
        yield fit, np.setdiff1d(np.arange(N_ITEMS), fit)


def jobs_for(*targets, seeds=(0, 1, 17)):
    return [
        Job(fit, predict, target, seed)
        for fit, predict in folds()
        for target in targets
        for seed in seeds
    ]


def one_by_one(probe, X, jobs):
    for job in jobs:
        single = clone(probe)
        if "random_state" in single.get_params():
            single.set_params(random_state=job.seed)
        yield single.fit(X[job.fit], job.target[job.fit]), job


@pytest.mark.parametrize("probe", [RidgeProbe(), TorchMLPRegressor((16, 8), epochs=3)], ids=type)
def test_regressors_fitted_together_are_those_fitted_alone(probe, X, numbers):
    jobs = jobs_for(numbers, np.random.default_rng(1).permutation(numbers), 1000 + 50 * numbers)
    found = fit_predict_many(probe, X, jobs)
    for (single, job), prediction in zip(one_by_one(probe, X, jobs), found, strict=True):
        expected = single.predict(X[job.predict])
        assert prediction.shape == expected.shape
        np.testing.assert_allclose(prediction, expected, rtol=1e-5, atol=1e-5 * expected.std())


@pytest.mark.parametrize(
    "probe",
    [LogisticProbe(C=1.0), TorchMLPClassifier((16,), epochs=3, learning_rate=1e-2)],
    ids=type,
)
def test_classifiers_fitted_together_are_those_fitted_alone(probe, X, numbers):
    classes = np.array(["a", "b", "c"])[np.digitize(numbers, np.quantile(numbers, [0.3, 0.7]))]
    fit, _ = next(iter(folds()))
    rare = classes.copy()
    rare[np.setdiff1d(np.arange(N_ITEMS), fit)[0]] = "only outside the first fold"
    two = np.where(numbers > 0, 3, 7)
    jobs = jobs_for(classes, rare, two)
    for (single, job), prediction in zip(
        one_by_one(probe, X, jobs), fit_predict_many(probe, X, jobs), strict=True
    ):
        np.testing.assert_array_equal(prediction, single.predict(X[job.predict]))
        assert set(prediction) <= set(job.target[job.fit])


def test_a_fold_with_one_class_predicts_it(X):
    target = np.where(np.arange(N_ITEMS) < 40, "F", "M")
    job = Job(np.arange(10), np.arange(40, 50), target, 0)
    (found,) = fit_predict_many(TorchMLPClassifier(epochs=1), X, [job])
    assert set(found) == {"F"}


def test_any_estimator_is_cloned_fitted_and_asked(X, numbers):
    probe = make_pipeline(StandardScaler(), LogisticRegression())
    jobs = jobs_for(numbers > 0, seeds=(0,))
    for job, found in zip(jobs, fit_predict_many(probe, X, jobs), strict=True):
        expected = clone(probe).fit(X[job.fit], job.target[job.fit]).predict(X[job.predict])
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(NotFittedError):
        check_is_fitted(probe[-1])


@pytest.mark.parametrize("probe", [RidgeProbe(), TorchMLPRegressor(epochs=1)], ids=type)
def test_the_probe_itself_stays_unfitted(probe, X, numbers):
    before = dict(vars(probe))
    fit_predict_many(probe, X, jobs_for(numbers, seeds=(0,)))
    assert vars(probe) == before


def test_seeds_reach_the_steps_of_a_pipeline():
    probe = make_pipeline(StandardScaler(), DummyClassifier(strategy="uniform"))
    assert seeded(clone(probe), 5).get_params()["dummyclassifier__random_state"] == 5
    assert seeded(StandardScaler(), 5).get_params() == StandardScaler().get_params()


def test_seeds_decide_where_an_estimator_is_random(X):
    probe = DummyClassifier(strategy="uniform")
    rows = np.arange(N_ITEMS)
    target = rows % 2
    jobs = [Job(rows, rows, target, seed) for seed in (0, 0, 1)]
    first, same, other = fit_predict_many(probe, X, jobs)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_no_job_gives_no_prediction(X):
    for probe in (RidgeProbe(), TorchMLPRegressor(), TorchMLPClassifier(), LogisticProbe()):
        assert fit_predict_many(probe, X, []) == []


@pytest.mark.parametrize(
    "probe",
    [RidgeProbe(), TorchMLPRegressor((4,), epochs=1), LinearRegression()],
    ids=lambda probe: type(probe).__name__,
)
def test_every_layer_is_fitted_in_its_order(probe, X, numbers):
    jobs = jobs_for(numbers, seeds=(0,))
    matrices = {"second": X, "first": X[:, :3], "third": -2 * X}
    found = fit_predict_layers(probe, matrices, jobs)
    assert list(found) == ["second", "first", "third"]
    for layer, features in matrices.items():
        expected = fit_predict_many(probe, features, jobs)
        for one, other in zip(found[layer], expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_layers_of_different_items_are_refused(X):
    with pytest.raises(ValueError, match=r"same items, got these numbers: \{'a': 80, 'b': 79\}"):
        fit_predict_layers(RidgeProbe(), {"a": X, "b": X[1:]}, [])


class GroupedMean(RegressorMixin, BaseEstimator):
    """Predicts the mean group, to show what reaches `fit`."""

    def fit(self, X, y, *, groups=None):
        self.mean_ = -1.0 if groups is None else groups.mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_groups_reach_an_estimator_that_takes_them(X, numbers):
    groups = np.arange(N_ITEMS)
    job = Job(np.array([3, 5]), np.arange(1), numbers, 0, groups)
    for wanted, given in ((4.0, job), (-1.0, job._replace(groups=None))):
        assert fit_predict_many(GroupedMean(), X, [given])[0] == wanted
    (found,) = fit_predict_many(LinearRegression(), X, [job])
    assert np.isfinite(found).all()


class Doubled(TorchMLPRegressor):
    """Changes what is predicted, and inherits the ways to share work."""

    def predict(self, X):
        return 2 * super().predict(X)


class Constant(TorchMLPRegressor):
    """Shares work between jobs in its own way."""

    def fit_predict_many(self, features, jobs):
        return [np.full(len(job.predict), 7.0) for job in jobs]


def test_a_subclass_is_not_bypassed_by_what_it_inherits(X, numbers):
    jobs = jobs_for(numbers, seeds=(0,))
    plain = fit_predict_many(TorchMLPRegressor(epochs=1), X, jobs)
    for one, other in zip(fit_predict_many(Doubled(epochs=1), X, jobs), plain, strict=True):
        np.testing.assert_allclose(one, 2 * other, rtol=1e-4, atol=1e-5)
    assert (fit_predict_many(Constant(), X, jobs)[0] == 7.0).all()


class Asks(RegressorMixin, BaseEstimator):
    """Keeps the groups that its fit is given."""

    seen: list = []  # noqa: RUF012 - a log that clones share

    def fit(self, X, y, *, groups=None):
        self.seen.append(None if groups is None else len(np.unique(groups)))
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda probe: probe,
        lambda probe: make_pipeline(StandardScaler(), probe),
        lambda probe: make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), probe)),
    ],
)
def test_groups_reach_the_last_step_of_a_pipeline(wrap):
    draw = np.random.default_rng(0)
    x, y, groups, rows = (
        draw.normal(size=(40, 2)),
        draw.normal(size=40),
        np.arange(40) // 4,
        np.arange(40),
    )
    Asks.seen.clear()
    fit_predict_many(wrap(Asks()), x, [Job(rows[:20], rows[20:], y, 0, groups)])
    mdl(x, y, probe=wrap(Asks()), groups=groups, fractions=(0.5, 1.0))
    usable_information(x, y, probe=wrap(Asks()), groups=groups, n_folds=5)
    search(wrap(Asks()), {}, (rows[:20], rows[20:30], rows[30:]), x, y, groups=groups)
    tune(wrap(Asks()), {}, x, y, split=(rows[:20], rows[20:]), groups=groups, n_trials=1)
    assert Asks.seen[0] == 5
    assert Asks.seen.count(None) == 0
    assert len(Asks.seen) == 1 + 1 + 5 + 2 + 2


def test_a_search_of_scikit_learn_gets_groups_only_if_its_splitter_wants_them():
    draw = np.random.default_rng(0)
    x, y, groups, rows = (
        draw.normal(size=(40, 2)),
        draw.normal(size=40),
        np.arange(40) // 4,
        np.arange(40),
    )
    jobs = [Job(rows[:20], rows[20:], y, 0, groups)]
    for splitter in (GroupKFold(3), KFold(3), 3):
        probe = GridSearchCV(RidgeProbe(), {"alphas": [[1.0], [100.0]]}, cv=splitter)
        assert len(fit_predict_many(probe, x, jobs)[0]) == 20
