"""Ridge and logistic probes against scikit-learn's pipelines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneGroupOut,
    LeaveOneOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechprobe.probes import LogisticProbe, RidgeProbe
from speechprobe.probes.jobs import Job, _fit_predict, fit_predict_many
from speechprobe.probes.ridge import ALPHAS

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


def left_out(X, y, groups, alphas):
    """Mean squared error of each penalty by really fitting without each group."""
    X = StandardScaler().fit_transform(X)
    predicted = [
        cross_val_predict(Ridge(alpha), X, y, groups=groups, cv=LeaveOneGroupOut())
        for alpha in alphas
    ]
    return np.array([np.mean((found - y) ** 2, axis=0) for found in predicted])


@pytest.mark.parametrize("n_targets", [None, 3])
@pytest.mark.parametrize("n_groups", [2, 7])
@pytest.mark.parametrize(("n_items", "n_dims"), SHAPES.values(), ids=SHAPES)
def test_leaving_groups_out_is_fitting_without_each(n_items, n_dims, n_groups, n_targets):
    X, y = problem(n_items, n_dims, n_targets)
    groups = np.random.default_rng(1).permutation(np.arange(n_items) % n_groups)
    probe = RidgeProbe(selection=None).fit(X, y, groups=groups)
    expected = left_out(X, y, groups, ALPHAS)
    np.testing.assert_allclose(probe.held_out_errors_, expected.T, rtol=1e-7)
    np.testing.assert_array_equal(probe.alpha_, np.array(ALPHAS)[expected.argmin(axis=0)])


def test_leaving_groups_out_is_scikit_learns_choice():
    X, y = problem(60, 30, seed=4)
    groups = np.repeat(list("abcdef"), 10)
    theirs = make_pipeline(
        StandardScaler(),
        RidgeCV(
            ALPHAS,
            cv=list(LeaveOneGroupOut().split(X, y, groups)),
            scoring="neg_mean_squared_error",
        ),
    ).fit(X, y)
    ours = RidgeProbe(selection="groups").fit(X, y, groups=groups)
    assert ours.alpha_ == theirs[-1].alpha_
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-8)
    np.testing.assert_allclose(ours.held_out_errors_.min(), -theirs[-1].best_score_, rtol=1e-8)


@pytest.mark.parametrize("n_dims", [4, 50])
def test_groups_of_one_are_single_items(n_dims):
    X, y = problem(30, n_dims, 2)
    by_item = RidgeProbe().fit(X, y)
    by_group = RidgeProbe(selection="groups").fit(X, y, groups=np.arange(30))
    np.testing.assert_allclose(by_group.held_out_errors_, by_item.held_out_errors_, rtol=1e-9)
    np.testing.assert_array_equal(by_group.alpha_, by_item.alpha_)


def test_items_like_each_other_want_a_larger_penalty_by_groups_than_by_items():
    """Copies of a group's item betray it to a probe that leaves single items out."""
    rng = np.random.default_rng(2)
    X, y = np.repeat(rng.normal(size=(20, 15)), 5, axis=0), np.repeat(rng.normal(size=20), 5)
    speakers = np.repeat(np.arange(20), 5)
    by_group = RidgeProbe(selection="groups").fit(X, y, groups=speakers)
    assert by_group.alpha_ > RidgeProbe().fit(X, y).alpha_
    told = RidgeProbe().fit(X, y, groups=speakers)
    assert told.alpha_ == RidgeProbe().fit(X, y).alpha_


@pytest.mark.parametrize(
    ("selection", "groups", "message"),
    [
        ("group", None, "selection must be None, 'loo' or 'groups', got 'group'"),
        ("groups", None, "needs the group of each item"),
        (None, ["a"] * 10, "all items are of one group"),
        (None, ["a", "b"], "groups must be \\(10,\\)"),
        (None, ["a", None] * 5, "5 items have no group"),
    ],
)
def test_groups_must_be_given_and_whole(selection, groups, message):
    with pytest.raises(ValueError, match=message):
        RidgeProbe(selection=selection).fit(*problem(10, 2), groups=groups)


def classes(y, n_classes):
    edges = np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1])
    return np.array(list("abcd"))[np.digitize(y, edges)]


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_logistic_is_scikit_learns_pipeline(n_classes, class_weight):
    X, y = problem(150, 6)
    y = classes(y, n_classes)
    ours = LogisticProbe(C=0.3, class_weight=class_weight).fit(X, y)
    theirs = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.3, class_weight=class_weight, max_iter=1000)
    ).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-8)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


CS = (1.0, 1e-3, 0.1, 10.0, 1e-2)


def penalised_loss(X, y, C, coef, intercept):
    """The objective of logistic regression, written out: summed cross-entropy and the penalty."""
    names, codes = np.unique(y, return_inverse=True)
    odds = X @ coef.T + intercept
    if len(names) == 2:
        odds = np.column_stack([np.zeros(len(X)), odds])
    entropy = np.logaddexp.reduce(odds, axis=1) - odds[np.arange(len(X)), codes]
    return entropy.sum() + (coef**2).sum() / (2 * C)


@pytest.mark.parametrize("C", CS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_reaches_the_optimum_at_every_penalty(C, n_classes):
    """A solver of another kind (Newton's method) finds the same weights and loss."""
    X, y = problem(150, 6)
    y = classes(y, n_classes)
    scaled = StandardScaler().fit_transform(X)
    ours = LogisticProbe(C, tol=1e-7).fit(X, y)
    theirs = LogisticRegression(C=C, solver="newton-cg", tol=1e-9, max_iter=1000).fit(scaled, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-5)
    found, best = (
        penalised_loss(scaled, y, C, model.coef_, model.intercept_) for model in (ours, theirs)
    )
    np.testing.assert_allclose(found, best, rtol=1e-6)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("by_group", [False, True])
def test_the_path_gives_the_losses_of_fits_from_scratch(by_group, n_classes, class_weight):
    X, y = problem(150, 6)
    y = classes(y, n_classes)
    y[::3] = "a"  # unequal, so that weights matter
    groups = np.random.default_rng(0).integers(12, size=150) if by_group else None
    probe = LogisticProbe(CS, class_weight, tol=1e-7).fit(X, y, groups=groups)
    scaled = StandardScaler().fit_transform(X)
    weight = np.ones(150)
    if class_weight:
        for name in np.unique(y):
            weight[y == name] = 150 / (n_classes * (y == name).sum())
    losses = [
        log_loss(
            y,
            cross_val_predict(
                LogisticRegression(C=C, class_weight=class_weight, tol=1e-7, max_iter=1000),
                scaled,
                y,
                groups=groups,
                cv=StratifiedGroupKFold(5) if by_group else StratifiedKFold(5),
                method="predict_proba",
            ),
            sample_weight=weight,
        )
        for C in CS
    ]
    np.testing.assert_allclose(probe.held_out_losses_, losses, rtol=1e-6)
    chosen = probe.C_
    assert chosen == CS[int(np.argmin(losses))]
    alone = LogisticProbe(probe.C_, class_weight, tol=1e-7).fit(X, y)
    np.testing.assert_array_equal(probe.coef_, alone.coef_)


def test_the_chosen_penalty_is_scikit_learns():
    X, y = problem(150, 6, seed=1)
    y = classes(y, 3)
    theirs = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": CS},
        scoring="neg_log_loss",
        cv=StratifiedKFold(5),
    ).fit(StandardScaler().fit_transform(X), y)
    ours = LogisticProbe(CS).fit(X, y)
    assert theirs.best_params_["C"] == ours.C_


@pytest.mark.parametrize("C", [[], [0.0, 1.0], [[1.0]], [-1.0]])
def test_inverse_penalties_must_be_positive_numbers(C):
    X, y = problem(40, 2)
    with pytest.raises(ValueError, match="C must be a positive number or several"):
        LogisticProbe(C).fit(X, classes(y, 2))


def test_with_fewer_groups_than_folds_each_group_is_a_fold():
    X, y = problem(40, 2)
    fewer, four = (
        LogisticProbe(CS, n_folds=n).fit(X, classes(y, 2), groups=np.arange(40) % 4) for n in (9, 4)
    )
    np.testing.assert_array_equal(fewer.held_out_losses_, four.held_out_losses_)
    with pytest.raises(ValueError, match="all items are of one group"):
        LogisticProbe(CS).fit(X, classes(y, 2), groups=np.zeros(40))


def test_classes_are_looked_at_before_folds_are_made():
    X, y = problem(40, 2)
    with pytest.raises(ValueError, match="Unknown label type"):
        LogisticProbe(CS).fit(X, y)


def test_one_penalty_is_several_of_one():
    X, y = problem(40, 2)
    assert RidgeProbe(10.0).fit(X, y).alpha_ == 10.0
    with pytest.raises(ValueError, match="alphas must be positive numbers"):
        RidgeProbe([np.inf]).fit(X, y)


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_a_class_of_one_group_is_named_and_left_out_of_the_choice():
    X, y = problem(60, 3)
    y, groups = classes(y, 3), np.arange(60) % 6
    y[groups == 5] = "z"
    with pytest.warns(UserWarning, match=r"took no part in choosing C.*: z \(10 items\)$"):
        probe = LogisticProbe(CS, n_folds=6).fit(X, y, groups=groups)
    assert np.isfinite(probe.held_out_losses_).all()
    assert "z" in probe.classes_


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_groups_that_share_no_class_leave_nothing_to_choose_by():
    X, _ = problem(40, 3)
    groups = np.arange(40) % 2
    with pytest.raises(ValueError, match="no penalty can be chosen"):
        LogisticProbe(CS, n_folds=2).fit(X, np.array(["F", "M"])[groups], groups=groups)


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


def test_many_ridge_fits_leave_out_the_groups_of_their_jobs(jobs):
    X, _ = problem(90, 12)
    speakers, rooms = np.arange(90) // 9, np.arange(90) % 3
    grouped = [job._replace(groups=known) for job in jobs for known in (speakers, rooms, None)]
    for job, found in zip(
        grouped, fit_predict_many(RidgeProbe(selection=None), X, grouped), strict=True
    ):
        np.testing.assert_allclose(
            found, _fit_predict(RidgeProbe(selection=None), X, job), rtol=1e-9
        )
    with pytest.raises(ValueError, match="needs the group of each item"):
        fit_predict_many(RidgeProbe(selection="groups"), X, jobs)
