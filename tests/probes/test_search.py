"""A search over a predefined split against scikit-learn's GridSearchCV, and its failures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from speechprobe.probes.baselines import baselines
from speechprobe.probes.search import search

ROWS = np.random.default_rng(3).permutation(120)
SPLIT = (ROWS[:60], ROWS[60:90], ROWS[90:])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.array(["anger", "fear", "joy"])[np.arange(120) % 3]
    return rng.normal(size=(120, 5)) + (np.arange(120) % 3)[:, None] * 0.5, y


def predefined(estimator, grid, X, y, scoring):
    """The same choice by scikit-learn: train rows are marked -1, validation rows 0."""
    both = np.concatenate(SPLIT[:2])
    fold = np.repeat([-1, 0], [60, 30])
    return GridSearchCV(estimator, grid, cv=PredefinedSplit(fold), scoring=scoring).fit(
        X[both], y[both]
    )


@pytest.mark.parametrize("name", ["LDA", "LR", "QDA", "SVC"])
@pytest.mark.parametrize("scoring", [None, "balanced_accuracy"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_choice_is_that_of_scikit_learns_grid_search(data, name, scoring):
    X, y = data
    estimator, grid = baselines("classification")[name]
    ours = search(estimator, grid, SPLIT, X, y, scoring=scoring)
    theirs = predefined(estimator, grid, X, y, scoring)
    assert ours.best == theirs.best_params_
    assert ours.validation_score == theirs.best_score_
    np.testing.assert_array_equal(ours.table["score"], theirs.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(ours.prediction, theirs.predict(X[SPLIT[2]]))
    metric = balanced_accuracy_score if scoring else accuracy_score
    assert ours.test_score == pytest.approx(metric(y[SPLIT[2]], ours.prediction))


def test_regressors_are_scored_by_r2(data):
    X, _ = data
    y = X @ np.arange(5.0)
    found = search(Ridge(), {"alpha": [1.0, 1e5]}, SPLIT, X, y)
    assert found.best == {"alpha": 1.0}
    assert found.test_score == pytest.approx(found.best_estimator.score(X[SPLIT[2]], y[SPLIT[2]]))


@pytest.mark.filterwarnings("ignore:1 of 3 settings failed:UserWarning")
def test_a_singular_qda_is_a_row_with_its_reason(data):
    """A dimension that is there twice has no full covariance; with regularisation it has."""
    X, y = np.column_stack([data[0], data[0][:, 0]]), data[1]
    found = search(*baselines("classification")["QDA"], SPLIT, X, y)
    reasons = found.table["failure"] + found.table["warning"]
    assert "rank" in reasons[0] or "collinear" in reasons[0]
    assert (reasons[1:] == "").all()
    assert found.best["reg_param"] > 0


class Brittle(ClassifierMixin, BaseEstimator):
    """Breaks, or predicts what is asked of it."""

    def __init__(self, mood="good"):
        self.mood = mood

    def fit(self, X, y):
        if self.mood == "bad":
            raise FloatingPointError("cannot go on")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def score(self, X, y):
        return np.nan if self.mood == "odd" else 0.5


def test_failures_are_recorded_and_told_once(data):
    with pytest.warns(UserWarning, match="2 of 3 settings failed, such as {'mood': 'bad'}") as told:
        found = search(Brittle(), {"mood": ["bad", "odd", "good"]}, SPLIT, *data)
    assert len(told) == 1
    assert found.best == {"mood": "good"}
    assert found.failures["failure"].tolist() == [
        "FloatingPointError: cannot go on",
        "the validation score is nan",
    ]
    assert found.failures["score"].isna().all()


def test_a_search_with_nothing_but_failures_raises_the_reason(data):
    with pytest.raises(ValueError, match="none of 1 settings could be fitted.*cannot go on"):
        search(Brittle(), {"mood": ["bad"]}, SPLIT, *data)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the last fit
def test_warnings_stand_beside_the_setting_that_made_them(data):
    found = search(SVC(max_iter=1), {"C": [1e5, 1e-5]}, SPLIT, *data)
    assert found.table["warning"].str.contains("max_iter=1").all()


def test_test_items_choose_nothing(data):
    """Ruined test items change the test score alone."""
    X, y = data
    ruined_X, ruined_y = X.copy(), y.copy()
    ruined_X[SPLIT[2]], ruined_y[SPLIT[2]] = 1e6, "anger"
    estimator, grid = baselines("classification")["SVC"]
    plain, ruined = (
        search(estimator, {"C": grid["C"][3:8]}, SPLIT, *pair)
        for pair in ((X, y), (ruined_X, ruined_y))
    )
    assert ruined.best == plain.best
    assert ruined.validation_score == plain.validation_score
    assert ruined.test_score != plain.test_score


def test_neither_the_estimator_nor_the_arrays_are_touched(data):
    X, y = data[0].copy(), data[1].copy()
    X.flags.writeable = y.flags.writeable = False
    estimator = KNeighborsClassifier()
    search(estimator, {"n_neighbors": [1, 3]}, SPLIT, X, y)
    assert not hasattr(estimator, "classes_")
    assert estimator.n_neighbors == 5


def test_masks_objects_and_tuples_of_rows_are_the_same_split(data):
    masks = [np.isin(np.arange(120), part) for part in SPLIT]
    named = SimpleNamespace(train=SPLIT[0], validation=SPLIT[1], test=SPLIT[2])
    grid = {"n_neighbors": [1, 5, 15]}
    scores = {
        search(KNeighborsClassifier(), grid, split, *data).test_score
        for split in (SPLIT, tuple(masks), named)
    }
    assert len(scores) == 1


def test_side_by_side_is_one_by_one(data):
    grid = {"n_neighbors": [1, 5, 15]}
    one, two = (search(KNeighborsClassifier(), grid, SPLIT, *data, n_jobs=n) for n in (None, 2))
    assert one.best == two.best
    np.testing.assert_array_equal(one.table["score"], two.table["score"])


@pytest.mark.parametrize(
    ("split", "error", "message"),
    [
        (SPLIT[:2], TypeError, "is a tuple of these 3 arrays of rows, got tuple"),
        ("train", TypeError, "train, validation, test as attributes"),
        ((SPLIT[0], [], SPLIT[2]), ValueError, "the validation part of the split is empty"),
        ((SPLIT[0], SPLIT[1], SPLIT[0][:3]), ValueError, "3 rows stand in two parts"),
        ((SPLIT[0], SPLIT[1], [120]), ValueError, "rows from 120 to 120, but .* 0 to 119"),
        ((SPLIT[0], SPLIT[1], [-1]), ValueError, "rows from -1 to -1"),
        ((SPLIT[0], SPLIT[1], [0.5]), ValueError, "must be row positions"),
        ((SPLIT[0], SPLIT[1], [True]), ValueError, r"mask must be \(120,\), got \(1,\)"),
    ],
)
def test_what_is_no_split_is_refused(data, split, error, message):
    with pytest.raises(error, match=message):
        search(KNeighborsClassifier(), {}, split, *data)


def test_unknown_settings_and_unequal_lengths_are_refused(data):
    with pytest.raises(ValueError, match="Invalid parameter 'neighbours'"):
        search(KNeighborsClassifier(), {"neighbours": [1]}, SPLIT, *data)
    with pytest.raises(ValueError, match="X has 120 items and y has 119"):
        search(KNeighborsClassifier(), {}, SPLIT, data[0], data[1][1:])


def test_ragged_items_reach_the_estimator_as_they_are(data):
    class Longest(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            self.cut_ = np.median([len(frames) for frames in X])
            return self

        def predict(self, X):
            return self.classes_[[int(len(frames) > self.cut_) for frames in X]]

    long = np.arange(120) % 2
    frames = [np.zeros((5 + 3 * more, 2)) for more in long]
    assert search(Longest(), {}, SPLIT, frames, long).test_score == 1.0


def test_an_empty_grid_tries_the_estimator_as_it_is(data):
    found = search(QuadraticDiscriminantAnalysis(), {}, SPLIT, *data)
    assert found.best == {}
    assert len(found.table) == 1
