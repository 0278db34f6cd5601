"""Ridge and logistic probes against scikit-learn's pipelines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechprobe.probes import LogisticProbe, RidgeProbe
from speechprobe.probes.jobs import Job, _fit_predict, fit_predict_many
from speechprobe.probes.linear import ALPHAS

SHAPES = {"many items": (120, 10), "many dims": (30, 80), "square": (40, 40), "one dim": (25, 1)}


def problem(n_items, n_dims, n_targets=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_items, n_dims)) * rng.uniform(0.1, 10, n_dims) + rng.normal(size=n_dims)
    weights = rng.normal(size=(n_dims, n_targets or 1)) / X.std(0)[:, None]
    noise = rng.normal(size=(n_items, n_targets or 1)) * n_dims**0.5 * rng.uniform(0.1, 3)
    y = X @ weights + noise + 7
    return X, y if n_targets else y[:, 0]


def reference(alphas=ALPHAS):
    return make_pipeline(StandardScaler(), RidgeCV(alphas, alpha_per_target=True))


def assert_same_as_scikit_learn(X, y, alphas=None):
    ours = RidgeProbe(alphas).fit(X, y)
    theirs = reference(ALPHAS if alphas is None else alphas).fit(X, y)
    np.testing.assert_array_equal(ours.alpha_, theirs[-1].alpha_)
    fresh = np.random.default_rng(9).normal(size=X.shape) * X.std(0) + X.mean(0)
    for rows in (X, fresh):
        expected = theirs.predict(rows)
        found = ours.predict(rows)
        assert found.shape == expected.shape
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * scale)
    np.testing.assert_allclose(
        ours.coef_, theirs[-1].coef_, rtol=1e-7, atol=1e-8 * np.abs(ours.coef_).max() + 1e-30
    )
    np.testing.assert_allclose(ours.intercept_, theirs[-1].intercept_, rtol=1e-8)


@pytest.mark.parametrize("n_targets", [None, 4])
@pytest.mark.parametrize(("n_items", "n_dims"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_ridge_is_scikit_learns_pipeline(n_items, n_dims, n_targets, seed):
    assert_same_as_scikit_learn(*problem(n_items, n_dims, n_targets, seed))


@pytest.mark.parametrize("n_dims", [6, 60])
@pytest.mark.parametrize("kind", ["constant", "duplicated", "both"])
def test_ridge_takes_constant_and_duplicated_dimensions(n_dims, kind):
    X, y = problem(40, n_dims)
    if kind != "duplicated":
        X = np.column_stack([X, np.full(40, 3.7)])
    if kind != "constant":
        X = np.column_stack([X, X[:, 0], X[:, 0]])
    assert_same_as_scikit_learn(X, y)


def test_ridge_takes_features_of_no_use_at_all():
    X, y = np.ones((12, 3)), np.arange(12.0)
    np.testing.assert_allclose(RidgeProbe().fit(X, y).predict(X), 5.5)


@pytest.mark.parametrize("alphas", [[1e-3], [0.1, 10.0, 1000.0]])
def test_ridge_takes_other_penalties(alphas):
    assert_same_as_scikit_learn(*problem(50, 8), alphas)


def test_the_penalty_is_the_best_by_leaving_one_out_really():
    """The closed form of the leave-one-out error against leaving one out, item by item."""
    X, y = problem(24, 6, seed=3)
    X = StandardScaler().fit_transform(X)
    alphas = (0.1, 1.0, 10.0, 100.0, 1000.0)
    errors = []
    for alpha in alphas:
        predicted = cross_val_predict(RidgeCV([alpha]), X, y, cv=LeaveOneOut())
        errors.append(np.mean((predicted - y) ** 2))
    assert RidgeProbe(alphas).fit(X, y).alpha_ == alphas[int(np.argmin(errors))]


@pytest.mark.parametrize("alphas", [[], [0.0, 1.0], [-1.0], [[1.0]]])
def test_penalties_must_be_positive_numbers(alphas):
    with pytest.raises(ValueError, match="alphas must be positive numbers"):
        RidgeProbe(alphas).fit(*problem(10, 2))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_logistic_is_scikit_learns_pipeline(n_classes, class_weight):
    X, y = problem(150, 6)
    edges = np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1])
    y = np.array(list("abcd"))[np.digitize(y, edges)]
    ours = LogisticProbe(C=0.3, class_weight=class_weight).fit(X, y)
    theirs = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.3, class_weight=class_weight, max_iter=1000)
    ).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-8)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


@pytest.fixture
def jobs():
    rng = np.random.default_rng(5)
    _, y = problem(90, 12)
    folds = [np.sort(rng.permutation(90)[:n]) for n in (60, 71, 20)]
    return [
        Job(fold, np.setdiff1d(np.arange(90), fold), target, seed=k)
        for k, (fold, target) in enumerate(
            (fold, target) for fold in folds for target in (y, rng.permutation(y), y**2)
        )
    ]


@pytest.mark.parametrize("alphas", [None, [3.0, 300.0]])
def test_many_ridge_fits_are_the_single_fits(jobs, alphas):
    X, _ = problem(90, 12)
    probe = RidgeProbe(alphas)
    for job, found in zip(jobs, fit_predict_many(probe, X, jobs), strict=True):
        np.testing.assert_allclose(found, _fit_predict(probe, X, job), rtol=1e-9)
        several = RidgeProbe(alphas).fit(X[job.fit], np.column_stack([job.target] * 2)[job.fit])
        assert (
            several.alpha_ == RidgeProbe(alphas).fit(X[job.fit], job.target[job.fit]).alpha_
        ).all()
