"""Random search with successive halving, without Ray and with it."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform, randint
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import ParameterSampler
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechprobe.engines import Ray
from speechprobe.probes import (
    TorchMLPClassifier,
    TorchMLPRegressor,
    _attempts,
    _torch_mlp,
    tuning,
)
from speechprobe.probes._ray_trials import FAILED, _climb, _evaluations, _resources
from speechprobe.probes._trials import Study, epochs_name, rungs
from speechprobe.probes.tuning import Halving, tune

STUDY_SPACE = {
    "batch_size": range(4, 17),
    "learning_rate": loguniform(1e-5, 1e-2),
    "epochs": [10, 20],
}


class Learner(ClassifierMixin, BaseEstimator):
    """Right about a share of its items that grows with epochs, up to its skill; counts its fits."""

    fits: list = []  # noqa: RUF012 - a log that clones share

    def __init__(self, skill=0.5, epochs=8, *, breaks_at=None, random_state=None):
        self.skill = skill
        self.epochs = epochs
        self.breaks_at = breaks_at
        self.random_state = random_state

    def fit(self, X, y, *, groups=None):
        if self.breaks_at is not None and self.epochs >= self.breaks_at:
            raise FloatingPointError(f"lost after {self.breaks_at} epochs")
        self.fits.append((self.skill, self.epochs, X[:, 0].astype(int), groups, self.random_state))
        self.classes_ = np.unique(y)
        epochs = np.arange(1, self.epochs + 1)
        self.curves_ = pd.DataFrame(
            {
                "epoch": np.repeat(epochs, 2),
                "split": ["train", "validation"] * self.epochs,
                "loss": np.repeat(1.0 / epochs, 2),
                "accuracy": 0.25,
            }
        )
        return self

    def score(self, X, y):
        return self.skill * (1 - 2.0**-self.epochs)

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def fits():
    Learner.fits.clear()
    return Learner.fits


ROWS = np.arange(60)
X, Y, SPEAKERS = ROWS[:, None].astype(float), ROWS % 2, ROWS // 5
SKILLS = np.linspace(0.1, 0.9, 16)
PARTS = (ROWS[:30], ROWS[30:45], ROWS[45:])


def by_skill(n_trials=16, *, halving=None, probe=None, **space):
    return tune(
        Learner() if probe is None else probe,
        {"skill": list(SKILLS[:n_trials]), **space},
        X,
        Y,
        split=PARTS,
        n_trials=n_trials,
        halving=halving,
    )


def test_the_best_are_promoted_and_the_rest_stopped(fits):
    """Of 16 trials with epochs 1, 2, 4, 8 and eta 2: 16, 8, 4 and 2 are trained."""
    found = by_skill(halving=Halving(eta=2))
    ranked = found.table.sort_values("skill", ascending=False)
    assert ranked["epochs_run"].tolist() == [8] * 2 + [4] * 2 + [2] * 4 + [1] * 8
    assert ranked["finished"].tolist() == [True] * 2 + [False] * 14
    assert found.best == {"skill": 0.9}
    assert found.validation_score == pytest.approx(0.9 * (1 - 2**-8))
    assert len(fits) == 16 + 8 + 4 + 2 + 1
    np.testing.assert_allclose(ranked["score"], ranked["skill"] * (1 - 0.5 ** ranked["epochs_run"]))


def test_a_trial_never_runs_longer_than_it_asks_for(fits):
    space = {"skill": loguniform(0.1, 1), "epochs": [3, 8]}
    halving = Halving(eta=2, min_epochs=2)
    found = tune(Learner(), space, X, Y, split=PARTS, n_trials=16, halving=halving)
    assert (found.table["epochs_run"] <= found.table["epochs"]).all()
    assert found.table.query("epochs_run == epochs")["finished"].all()
    trained = [fit[:2] for fit in fits[:-1]]
    assert len(set(trained)) == len(trained)  # what ended is not trained again at the next rung


@pytest.mark.parametrize(
    ("eta", "min_epochs", "longest", "expected"),
    [(4, 1, 20, [1, 4, 16, 20]), (2, 5, 20, [5, 10, 20]), (4, 30, 20, [20]), (2, 1, 1, [1])],
)
def test_rungs_are_those_of_asha(eta, min_epochs, longest, expected):
    study = Study(Learner(), None, None, [{"epochs": longest}, {"epochs": 1}], 0)
    assert rungs(study, eta=eta, min_epochs=min_epochs) == expected


def test_test_items_are_never_seen_and_the_last_fit_takes_train_and_validation(fits):
    by_skill(4)
    *trials, last = (set(fit[2]) for fit in fits)
    assert all(rows == set(PARTS[0]) for rows in trials)
    assert last == set(PARTS[0]) | set(PARTS[1])


def test_a_fifth_of_the_groups_is_held_out_whole(fits):
    found = tune(Learner(), {"skill": [0.5]}, X, Y, groups=SPEAKERS, n_trials=1)
    trained = set(SPEAKERS[fits[0][2]])
    held_out = set(SPEAKERS) - trained
    assert len(fits[0][2]) == np.isin(SPEAKERS, list(trained)).sum()
    assert 2 <= len(held_out) <= 3
    np.testing.assert_array_equal(fits[0][3], SPEAKERS[fits[0][2]])
    assert found.best == {"skill": 0.5}


def test_the_seed_draws_trials_groups_and_training(fits):
    def run(seed):
        fits.clear()
        found = tune(
            Learner(), {"skill": loguniform(0.1, 1)}, X, Y, groups=SPEAKERS, n_trials=5, seed=seed
        )
        assert {fit[4] for fit in fits} == {seed}
        return found, fits[0][2].tolist()

    (one, rows), (again, same_rows), (other, other_rows) = run(0), run(0), run(1)
    pd.testing.assert_frame_equal(
        one.table.drop(columns="seconds"), again.table.drop(columns="seconds")
    )
    pd.testing.assert_frame_equal(one.curves, again.curves)
    assert rows == same_rows
    assert rows != other_rows
    assert one.best != other.best


def test_trials_are_drawn_as_by_scikit_learn():
    space = {"skill": loguniform(0.1, 1), "epochs": randint(1, 4)}
    found = tune(Learner(), space, X, Y, split=PARTS, n_trials=6, seed=3)
    expected = pd.DataFrame(list(ParameterSampler(space, 6, random_state=3)))
    pd.testing.assert_frame_equal(found.table[["epochs", "skill"]], expected[["epochs", "skill"]])
    assert [type(value) for value in found.best.values()] == [int, float]


def test_curves_hold_what_the_probe_kept_and_the_scores_at_rungs():
    found = by_skill(4, halving=Halving(eta=2))
    best = found.curves[found.curves["trial"] == found.table["score"].idxmax()]
    by_split = dict(iter(best.groupby("split")))
    assert set(by_split) == {"train", "early stopping", "validation"}
    assert by_split["train"]["epoch"].tolist() == list(range(1, 9))
    np.testing.assert_allclose(by_split["train"]["loss"], 1 / np.arange(1, 9))
    assert (by_split["train"]["metric"] == 0.25).all()
    assert by_split["validation"]["epoch"].tolist() == [1, 2, 4, 8]
    np.testing.assert_allclose(
        by_split["validation"]["metric"], found.best["skill"] * (1 - 2.0 ** -np.array([1, 2, 4, 8]))
    )
    assert by_split["validation"]["loss"].isna().all()
    stopped = found.curves[found.curves["trial"] == found.table["score"].idxmin()]
    assert set(stopped["epoch"]) == {1}


def test_a_trial_that_breaks_is_a_row_with_its_reason():
    with pytest.warns(UserWarning, match="of 8 settings failed, such as .*'breaks_at': 1"):
        found = tune(
            Learner(),
            {"skill": SKILLS, "breaks_at": [1, None]},
            X,
            Y,
            split=PARTS,
            n_trials=8,
        )
    assert 0 < len(found.failures) == (found.table["breaks_at"] == 1).sum()
    assert set(found.failures["failure"]) == {"FloatingPointError: lost after 1 epochs"}
    assert not found.failures["finished"].any()
    assert found.best["breaks_at"] is None


def test_a_search_in_which_all_break_raises_the_reason():
    with pytest.raises(ValueError, match="none of 4 trials was trained to its end: Fl.* 4 epochs"):
        by_skill(4, probe=Learner(breaks_at=4))


def test_a_probe_without_epochs_is_a_random_search():
    found = tune(
        KNeighborsClassifier(), {"n_neighbors": range(1, 20)}, X, Y, split=PARTS, n_trials=7
    )
    assert found.table["finished"].all()
    assert (found.table["epochs_run"] == 1).all()
    assert found.validation_score == found.table["score"].max()
    assert len(found.curves) == 7


def test_epochs_of_a_pipelines_step_are_halved_too():
    probe = make_pipeline(StandardScaler(), Learner())
    assert epochs_name(probe) == "learner__epochs"
    found = tune(probe, {"learner__skill": SKILLS}, X, Y, split=PARTS, n_trials=8)
    assert found.table["epochs_run"].max() == 8
    assert "train" in set(found.curves["split"])


def test_scoring_is_scikit_learns():
    halving = Halving(scoring="balanced_accuracy")
    found = tune(Learner(), {"skill": [0.3]}, X, Y, split=PARTS, n_trials=1, halving=halving)
    assert found.validation_score == 0.5


def test_the_studys_search_finds_a_learning_rate_that_learns():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 3))
    target = features[:, 0] * features[:, 1]
    space = STUDY_SPACE | {"learning_rate": loguniform(1e-5, 1e-1)}
    one, again = (
        tune(
            TorchMLPRegressor((32,)),
            space,
            features,
            target,
            groups=np.arange(120) // 4,
            n_trials=5,
        )
        for _ in range(2)
    )
    assert one.best["learning_rate"] > 1e-3
    assert one.validation_score > 0.2
    assert set(one.curves["split"]) == {"train", "validation"}
    np.testing.assert_array_equal(again.table["score"], one.table["score"])
    np.testing.assert_array_equal(
        again.best_estimator.predict(features), one.best_estimator.predict(features)
    )


def test_training_from_scratch_passes_through_the_same_weights():
    """Why a rung may start anew: at a constant rate, k epochs are the first k of more."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3))
    short, long = (
        TorchMLPRegressor((8,), epochs=epochs).fit(features, features[:, 0]) for epochs in (2, 5)
    )
    pd.testing.assert_frame_equal(short.curves_, long.curves_[: len(short.curves_)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing says which items are held out"),
        ({"groups": np.zeros(60)}, "all items are of one group"),
        ({"groups": SPEAKERS[:5]}, r"groups must be \(60,\)"),
        ({"groups": ROWS % 7, "split": PARTS}, "7 groups stand in train and in validation"),
        ({"split": (ROWS, ROWS)}, "60 rows stand in two parts"),
        ({"split": PARTS, "engine": "dask"}, "engine must be None, 'ray' or engines.Ray"),
        ({"split": PARTS, "n_trials": 0}, "n_trials must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_tuned_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tune(Learner(), {"skill": SKILLS}, X, Y, **settings)


def test_unknown_settings_are_errors_of_the_call(fits):
    with pytest.raises(ValueError, match="Invalid parameter 'talent'"):
        tune(Learner(), {"talent": [1, 2]}, X, Y, split=PARTS, n_trials=2)
    with pytest.raises(ValueError, match="eta must be at least 2"):
        Halving(eta=1)
    with pytest.raises(ValueError, match="X has 60 items and y has 59"):
        tune(Learner(), {"skill": SKILLS}, X, Y[1:], split=PARTS)
    assert not fits


def test_without_ray_its_engine_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ray.tune", raising=False)
    with pytest.raises(ImportError, match=r"speechprobe\[ray\]|does not load"):
        tune(Learner(), {"skill": SKILLS}, X, Y, split=PARTS, n_trials=4, engine="ray")


def study_of(n_trials, **settings):
    parts = tuning._data(Learner(), X, Y, None, PARTS, 0)
    drawn = [{"skill": skill, **settings} for skill in SKILLS[:n_trials]]
    return Study(Learner(), parts, lambda probe, X, y: probe.score(X, y), drawn, 0)


NOISY = np.random.default_rng(1).normal(size=(90, 3))
OF_NOISY = {
    TorchMLPRegressor: NOISY[:, 0] * NOISY[:, 1],
    TorchMLPClassifier: np.where(NOISY[:, 0] > 0, "F", "M"),
}


@pytest.mark.parametrize("kind", OF_NOISY)
def test_a_rung_of_perceptrons_is_one_stack_with_the_numbers_of_single_fits(kind, monkeypatch):
    stacks = []
    train = _torch_mlp.train
    monkeypatch.setattr(
        _torch_mlp,
        "train",
        lambda x, tasks, **more: stacks.append(len(tasks)) or train(x, tasks, **more),
    )
    space = {
        "learning_rate": loguniform(1e-3, 1e-1),
        "weight_decay": [0, 0.1],
        "batch_size": [8, 16],
    }
    probe = kind(epochs=4, validation_fraction=0.2, patience=2, dropout=0.2)
    groups = np.arange(90) // 5
    settings = {"n_trials": 6, "groups": groups, "halving": Halving(eta=2, min_epochs=2)}
    found = tune(probe, space, NOISY, OF_NOISY[kind], **settings)
    assert stacks == [6, 3, 1]
    monkeypatch.setattr(_attempts, "shares", lambda *_, **__: False)
    single = tune(probe, space, NOISY, OF_NOISY[kind], **settings)
    assert stacks[3:] == [1] * 10
    same = ["trial", "epochs_run", "finished", "score", "failure"]
    pd.testing.assert_frame_equal(found.table[same], single.table[same], rtol=1e-4)
    pd.testing.assert_frame_equal(found.curves, single.curves, rtol=1e-4)
    assert found.best == single.best


def test_one_bad_setting_of_a_stack_is_blamed_alone():
    with pytest.warns(UserWarning, match="1 of 2 settings failed"):
        found = tune(
            TorchMLPRegressor(epochs=1),
            {"dropout": [0.0, 2.0]},
            NOISY,
            NOISY[:, 0],
            split=(np.arange(60), np.arange(60, 90)),
            n_trials=2,
        )
    assert found.failures["dropout"].tolist() == [2.0]
    assert "dropout must be from 0" in found.failures["failure"].item()


def test_what_a_trial_reports_to_ray_comes_back_whole():
    study, reports = study_of(1), []
    _climb(study, 0, [1, 4, 8], reports.append)
    assert [told["epochs_run"] for told in reports] == [1, 4, 8]
    json.dumps(reports)  # Ray writes them down so
    result = SimpleNamespace(metrics_dataframe=pd.DataFrame(reports), error=None)
    for found, epochs in zip(_evaluations(0, result), (1, 4, 8), strict=True):
        (direct,) = study.evaluate([0], epochs)
        assert found.epochs_run == epochs
        assert found.attempt._replace(seconds=0) == direct.attempt._replace(seconds=0)
        pd.testing.assert_frame_equal(found.curves, direct.curves, check_dtype=False)


def test_a_trial_that_breaks_under_ray_ends_with_its_reason():
    study, reports = study_of(1, breaks_at=4), []
    _climb(study, 0, [1, 4, 8], reports.append)
    assert [told["score"] == FAILED for told in reports] == [False, True]
    result = SimpleNamespace(metrics_dataframe=pd.DataFrame(reports), error=None)
    first, last = _evaluations(0, result)
    assert not first.attempt.failure
    assert last.attempt.failure == "FloatingPointError: lost after 4 epochs"
    assert np.isnan(last.attempt.score)


def test_a_trial_that_ray_lost_is_a_failure():
    (found,) = _evaluations(0, SimpleNamespace(metrics_dataframe=None, error="worker died"))
    assert found.attempt.failure == "Ray: worker died"


def test_a_trial_on_a_gpu_asks_ray_for_one():
    on_gpu = make_pipeline(TorchMLPRegressor(device="cuda:0"))
    assert _resources(TorchMLPRegressor(), Ray()) == {"cpu": 1}
    assert _resources(on_gpu, Ray()) == {"cpu": 1, "gpu": 1}
    assert _resources(on_gpu, Ray(num_gpus_per_worker=0.5)) == {"cpu": 1, "gpu": 0.5}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_scores_that_the_plain_engine_gives(monkeypatch, capfd):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 3))
    found = {
        engine: tune(
            TorchMLPRegressor((8,), epochs=8),
            {"learning_rate": loguniform(1e-4, 1e-1)},
            features,
            features[:, 0],
            groups=np.arange(80) // 4,
            n_trials=4,
            engine=engine,
            halving=Halving(eta=2),
        )
        for engine in (None, Ray(num_workers=1))
    }
    plain, asha = found.values()
    np.testing.assert_array_equal(asha.table["learning_rate"], plain.table["learning_rate"])
    keys = ["trial", "epoch", "split"]
    both = asha.curves.merge(plain.curves, on=keys, suffixes=("_ray", ""))
    assert len(both) >= 4
    np.testing.assert_allclose(both["metric_ray"], both["metric"], rtol=1e-6)
    assert asha.table["finished"].any()
    assert asha.validation_score == asha.table.query("finished")["score"].max()
    assert not ray.is_initialized()
    assert "Configuration for experiment" not in capfd.readouterr().out
