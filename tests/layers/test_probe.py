"""probe_layers on features with a planted, an absent and a leaking signal."""

import functools
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import speechprobe as sp
from speechprobe.datasets.splits import Split, predefined
from speechprobe.probes._scaling import BoundedScaler


def probe_rate(features, **settings):
    settings = {"probe": sp.probes.RidgeProbe(), "metrics": sp.metrics.r2, **settings}
    return sp.probe_layers(features, target="rate", groups="speaker", **settings)


def test_a_planted_signal_is_found_and_noise_stays_at_the_floor(features):
    noise, signal, _ = probe_rate(features).records
    assert signal.score > signal.low > 0.95 > 0.05 > signal.floor
    assert noise.low < 0 and abs(noise.score - noise.floor) < 0.15


def test_scores_equal_scikit_learns_own_cross_validation(features):
    found = probe_rate(features, n_folds=4, probe=sp.probes.RidgeProbe(selection="loo"))
    for record in found.records:
        # A unit that fires for one speaker lies 100 deviations away where that one is held out.
        scaler = BoundedScaler() if record.layer == "speaker" else StandardScaler()
        pipeline = make_pipeline(scaler, RidgeCV(np.logspace(0, 5, 16)))
        expected = cross_val_predict(
            pipeline,
            features[record.layer].astype(np.float32),
            features.items["rate"],
            groups=features.items["speaker"],
            cv=GroupKFold(4),
        )
        assert record.score == pytest.approx(
            sklearn.metrics.r2_score(features.items["rate"], expected), abs=1e-6
        )


def test_a_label_of_the_speaker_is_not_learnt_from_the_identity_of_the_speaker(features):
    by_speaker = sp.probe_layers(
        features,
        target="gender",
        groups="speaker",
        probe=KNeighborsClassifier(1),
        metrics=sp.metrics.uar,
        n_folds=3,
    )
    leaked = sp.probe_layers(
        features,
        target="gender",
        groups=None,
        probe=KNeighborsClassifier(1),
        metrics=sp.metrics.uar,
        n_folds=3,
    )
    assert leaked.by_metric()[2].score == 1.0
    assert by_speaker.by_metric()[2].score < 0.8


@pytest.mark.parametrize("n_speakers", [6, 10])
def test_the_floor_of_a_label_of_the_speaker_is_chance_and_as_wide_as_few_speakers_make_it(
    n_speakers,
):
    generator = np.random.default_rng(0)
    speaker = np.repeat(np.arange(n_speakers), 10)
    voice = generator.normal(size=(n_speakers, 20))[speaker]
    items = pd.DataFrame({"speaker": speaker, "gender": np.where(speaker % 2, "F", "M")})
    scores = sp.probe_layers(
        sp.Features({"voice": voice + 0.1 * generator.normal(size=voice.shape)}, items),
        target="gender",
        groups="speaker",
        probe=sp.probes.LogisticProbe(),
        metrics=sp.metrics.uar,
        n_shuffles=60,
        n_folds=3,
    )
    # Shuffling single items instead of speakers would give a spread of some 0.05.
    assert scores.records[0].floor == pytest.approx(0.5, abs=0.12)
    assert scores.records[0].floor_std > 0.1


def test_choosing_among_noise_layers_gains_nothing():
    gained, luckiest = [], []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        items = pd.DataFrame({"speaker": np.arange(60) % 12, "rate": generator.normal(size=60)})
        layers = {f"noise{k}": generator.normal(size=(60, 8)) for k in range(12)}
        scores = probe_rate(sp.Features(layers, items), n_shuffles=0, n_folds=4)
        values = [record.score for record in scores.records]
        gained.append(scores.best().score - np.mean(values))
        luckiest.append(max(values) - np.mean(values))
    assert np.mean(luckiest) > 0.05
    assert np.mean(gained) < 0.3 * np.mean(luckiest)


def test_with_one_split_the_score_of_the_choice_is_that_of_the_layer(features):
    items = features.items.assign(part=np.where(features.items["speaker"] < "08", "train", "test"))
    split = predefined(items, column="part")
    scores = probe_rate(sp.Features(features.layers, items), split=split)
    assert scores.best() == scores.records[1]


def test_metrics_of_one_name_are_refused_and_partials_are_told_apart(features):
    macro = functools.partial(sklearn.metrics.f1_score, average="macro")
    weighted = functools.partial(sklearn.metrics.f1_score, average="weighted")
    scores = sp.probe_layers(
        features,
        target="emotion",
        groups="speaker",
        probe=sp.probes.LogisticProbe(),
        metrics=[macro, weighted],
    )
    assert scores.metrics == ["f1_score(average=macro)", "f1_score(average=weighted)"]
    with pytest.raises(ValueError, match="two metrics have one name"):
        probe_rate(features, metrics=[sp.metrics.r2, sp.metrics.r2])


def test_a_probe_that_holds_groups_out_is_given_those_of_the_training_items(features):
    given = []

    class Holding(LinearRegression):
        def fit(self, X, y, groups=None):
            given.append(groups)
            return super().fit(X, y)

    probe_rate(features, probe=Holding(), n_folds=3, n_shuffles=0, select_on=None)
    assert [len(set(groups)) for groups in given] == [8] * 9
    given.clear()
    sp.probe_layers(
        features, target="rate", groups=None, probe=Holding(), metrics=sp.metrics.r2, n_folds=3,
        n_shuffles=0,
    )  # fmt: skip
    assert set(given) == {None}


def test_a_subclass_of_a_probe_is_not_bypassed(features):
    class Shifted(sp.probes.RidgeProbe):
        def predict(self, X):
            return super().predict(X) + 1000

    assert probe_rate(features, probe=Shifted(), metrics=sp.metrics.mae).records[0].score > 900


def test_a_metric_that_does_not_exist_for_a_layer_is_told_of_and_nothing_is_lost(features):
    def picky(truth, prediction):
        if np.ptp(prediction) < 1e-3 * np.ptp(truth):
            raise ZeroDivisionError("constant prediction")
        return float(np.mean(np.abs(truth - prediction)))

    flat = sp.Features({"flat": np.zeros((120, 2)), "signal": features["signal"]}, features.items)
    split = predefined(
        features.items.assign(part=np.where(features.items["speaker"] < "08", "train", "test")),
        column="part",
    )
    with pytest.warns(UserWarning, match="picky does not exist.*'flat'"):
        scores = probe_rate(flat, metrics=picky, split=split)
    assert np.isnan(scores.records[0].score)
    assert scores.records[1].score < 0.2
    assert "no score exists for: picky of 'flat'" in scores.cautions
    assert "4 groups are few; an interval from fewer than 10 is too narrow" in scores.cautions


def test_folds_that_test_an_item_twice_are_refused(features):
    twice = list(GroupKFold(3).split(np.zeros(120), groups=features.items["speaker"])) * 2
    with pytest.raises(ValueError, match="tested in several folds"):
        probe_rate(features, split=twice)


def test_a_split_of_masks_is_that_of_their_rows(features):
    tested = (features.items["speaker"] >= "08").to_numpy()
    by_mask = probe_rate(features, split=[(~tested, tested)])
    by_rows = probe_rate(features, split=[(np.flatnonzero(~tested), np.flatnonzero(tested))])
    assert by_mask.records == by_rows.records


def test_where_no_class_can_be_held_out_nothing_is_chosen_and_that_is_said(features):
    few = features.select((features.items["speaker"] < "04").to_numpy())
    with pytest.warns(UserWarning, match="too few groups to choose a layer"):
        scores = sp.probe_layers(
            few,
            target="gender",
            groups="speaker",
            probe=sp.probes.LogisticProbe(),
            metrics=sp.metrics.uar,
            n_folds=2,
        )
    assert np.isfinite(scores.records[0].score)
    assert not scores.chosen
    assert scores.cautions[0].startswith("too few groups to choose a layer")


def test_the_groups_themselves_cannot_be_the_target(features):
    with pytest.raises(ValueError, match="is the target the groups themselves"):
        sp.probe_layers(
            features,
            target="speaker",
            groups="speaker",
            probe=sp.probes.LogisticProbe(),
            metrics=sp.metrics.uar,
        )


def test_the_best_layer_is_chosen_on_validation_items_alone(features):
    scores = probe_rate(features)
    assert scores.best().layer == "signal"
    assert scores.best("r2") is scores.best(sp.metrics.r2)
    unchosen = probe_rate(features, select_on=None)
    assert np.isnan(unchosen.records[0].validation)
    with pytest.raises(ValueError, match="chosen on validation"):
        unchosen.best()
    assert [r.score for r in unchosen.records] == [r.score for r in scores.records]


def test_the_best_layer_of_an_error_metric_is_the_lowest(features):
    scores = probe_rate(features, metrics=[sp.metrics.mse, sp.metrics.mae])
    assert not scores.records[0].higher_is_better
    assert scores.best(sp.metrics.mse).layer == scores.best("mae").layer == "signal"


def test_the_interval_widens_when_few_groups_carry_the_items(features):
    wide = probe_rate(features)
    items = features.items.assign(speaker=features.items.index)
    narrow = sp.probe_layers(
        sp.Features(features.layers, items),
        target="rate",
        groups=None,
        probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2,
    )
    assert wide.records[1].n_groups == 12
    assert narrow.records[1].n_groups == 120
    assert wide.records[1].low < wide.records[1].score < wide.records[1].high


def test_predictions_hold_each_scored_item_once_for_each_layer(features):
    scores = probe_rate(features)
    table = scores.predictions
    assert len(table) == 3 * 120
    assert set(table.groupby("layer")["id"].nunique()) == {120}
    joined = table.join(features.items, on="id")
    np.testing.assert_allclose(joined["truth"], joined["rate"])
    assert (joined["group"] == joined["speaker"]).all()
    assert table.groupby(["layer", "group"])["fold"].nunique().max() == 1
    signal = table[table["layer"] == "signal"]
    assert sp.metrics.r2(signal["truth"], signal["prediction"]) == pytest.approx(
        scores.records[1].score
    )


def test_metrics_of_scikit_learn_and_string_classes_go_together(features):
    scores = sp.probe_layers(
        features,
        target="gender",
        groups="speaker",
        probe=make_pipeline(StandardScaler(), SVC()),
        metrics=[sklearn.metrics.f1_score],
        n_folds=3,
    )
    assert scores.metrics == ["f1_score"]
    assert set(scores.predictions["prediction"]) <= {"F", "M"}


def test_several_seeds_are_averaged_and_their_spread_is_kept(features):
    probe = sp.probes.TorchMLPRegressor(epochs=5, learning_rate=1e-2)
    both = probe_rate(features, probe=probe, seeds=(0, 1), n_shuffles=1)
    each = [probe_rate(features, probe=probe, seeds=(seed,), n_shuffles=1) for seed in (0, 1)]
    for k, record in enumerate(both.records):
        single = [scores.records[k].score for scores in each]
        assert record.score == pytest.approx(np.mean(single), abs=1e-5)
        assert record.seed_std == pytest.approx(np.std(single), abs=1e-5)
    assert set(both.predictions["seed"]) == {0, 1}


@pytest.mark.parametrize(
    "probe", [sp.probes.RidgeProbe(), sp.probes.TorchMLPRegressor(epochs=2, learning_rate=1e-2)]
)
def test_the_same_call_gives_the_same_bits(features, probe):
    def scores():
        settings = {"control": "word", "floor": features.select(range(120)), "n_shuffles": 2}
        return probe_rate(features, probe=probe, n_folds=3, **settings)

    first, second = scores(), scores()
    assert first == second
    bits = [each.predictions["prediction"].to_numpy().tobytes() for each in (first, second)]
    assert bits[0] == bits[1]


def test_layers_of_equal_width_reach_the_probe_together(features):
    calls = []

    class Recorded(sp.probes.RidgeProbe):
        def fit_predict_layers(self, matrices, jobs):
            calls.append((list(matrices), len(jobs)))
            return {name: self.fit_predict_many(rows, jobs) for name, rows in matrices.items()}

    scores = probe_rate(features, probe=Recorded(), n_shuffles=3)
    # 5 folds: the test parts, 3 shuffles of them, and the validation parts.
    assert calls == [(["noise", "signal"], 25), (["speaker"], 25)]
    assert scores == replace(probe_rate(features, n_shuffles=3), settings=scores.settings)


def test_a_probe_of_frames_takes_layers_of_frames(features):
    rate = features.items["rate"].to_numpy()
    generator = np.random.default_rng(0)
    frames = [0.3 * generator.normal(size=(3 + k % 4, 2)) + rate[k] for k in range(120)]

    class MeanRegression(LinearRegression):
        def fit(self, X, y):
            return super().fit(np.stack([each.mean(axis=0) for each in X]), y)

        def predict(self, X):
            return super().predict(np.stack([each.mean(axis=0) for each in X]))

    both = sp.Features({"frames": frames}, features.items)
    assert probe_rate(both, probe=MeanRegression(), n_folds=3).records[0].score > 0.9
    frames[7] = np.full((2, 2), np.nan)
    with pytest.raises(ValueError, match="'frames' holds NaN or infinity, first in item 'u7'"):
        probe_rate(sp.Features({"frames": frames}, features.items), probe=MeanRegression())


@pytest.mark.parametrize("form", ["split", "list", "pairs"])
def test_a_split_may_come_as_one_as_folds_or_as_pairs(features, form):
    items = features.items.assign(part=np.where(features.items["speaker"] < "08", "train", "test"))
    features = sp.Features(features.layers, items)
    split = predefined(items, column="part")
    given = {"split": split, "list": [split], "pairs": [(split.train, split.test)]}[form]
    scores = probe_rate(features, split=given)
    assert scores.records[1].n_items == 40
    assert scores.records[1].n_groups == 4
    assert scores.best().layer == "signal"


def test_a_split_that_leaks_a_speaker_is_refused(features):
    rows = np.arange(120)
    leaky = Split(rows[:95], rows[:0], rows[95:])
    with pytest.raises(ValueError, match="straddle.*'09'"):
        probe_rate(features, split=leaky)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"rate": np.nan}, {}, "items have none, first 'u0'"),
        ({"rate": 1.0}, {}, "is 1 for all 120 items"),
        ({"rate": "fast"}, {}, "wants numbers"),
        ({}, {"probe": sp.probes.LogisticProbe()}, "different fractional values"),
        ({}, {"n_folds": 13}, "13 folds need at least 13 groups.*there are 12"),
        ({}, {"n_folds": 1}, "at least 2"),
        ({"speaker": None}, {}, "have no 'speaker'"),
        ({}, {"confidence": 95}, "between 0 and 1"),
        ({}, {"metrics": []}, "at least one metric"),
        ({}, {"metrics": sklearn.metrics.accuracy_score}, "'accuracy_score' fails on this target"),
        ({}, {"seeds": ()}, "at least one seed"),
        ({}, {"n_shuffles": -1}, "0 or more"),
        ({}, {"shuffle": "all"}, "'auto' or 'within', got 'all'"),
        ({}, {"select_on": "test"}, "'validation' or None, got 'test'"),
        ({}, {"metrics": sp.metrics.uar}, "fractional numbers; this metric wants classes"),
        ({}, {"split": [(np.arange(3),)]}, r"pair \(train, test\)"),
    ],
)
def test_what_cannot_be_probed_is_said_before_anything_is_fitted(
    features, change, settings, message
):
    class NeverFitted(LinearRegression):
        def fit(self, X, y):
            raise AssertionError("fitted")

    bad = sp.Features(features.layers, features.items.assign(**change))
    with pytest.raises(ValueError, match=message):
        probe_rate(bad, **{"probe": NeverFitted(), **settings})


def test_one_class_is_refused(features):
    bad = sp.Features(features.layers, features.items.assign(gender="F"))
    with pytest.raises(ValueError, match="one class only"):
        sp.probe_layers(
            bad,
            target="gender",
            groups="speaker",
            probe=sp.probes.LogisticProbe(),
            metrics=sp.metrics.uar,
        )


def test_unknown_labels_are_named_with_those_there_are(features):
    with pytest.raises(KeyError, match="no label 'age' among"):
        sp.probe_layers(
            features,
            target="age",
            groups="speaker",
            probe=sp.probes.RidgeProbe(),
            metrics=sp.metrics.r2,
        )
    with pytest.raises(KeyError, match="no label 'book' among"):
        sp.probe_layers(
            features,
            target="rate",
            groups="book",
            probe=sp.probes.RidgeProbe(),
            metrics=sp.metrics.r2,
        )


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (StandardScaler(), "classifier or regressor, got StandardScaler"),
        ("ridge", "scikit-learn estimator such as .* got 'ridge'"),
        (sp.probes.RidgeProbe, "scikit-learn estimator"),
    ],
)
def test_a_probe_must_be_an_estimator(features, probe, message):
    with pytest.raises(TypeError, match=message):
        probe_rate(features, probe=probe)


def test_a_metric_must_be_a_function(features):
    with pytest.raises(TypeError, match="such as metrics.r2 without quotes; got 'r2'"):
        probe_rate(features, metrics="r2")


def test_groups_have_no_default(features):
    with pytest.raises(TypeError, match="groups"):
        sp.probe_layers(
            features, target="rate", probe=sp.probes.RidgeProbe(), metrics=sp.metrics.r2
        )


def test_a_layer_with_nan_is_named_with_the_item(features):
    broken = features["signal"].copy()
    broken[7, 0] = np.nan
    with pytest.raises(ValueError, match="'signal' holds NaN.*1 items, first 'u7'"):
        probe_rate(sp.Features({"signal": broken}, features.items))


def test_a_class_that_a_fold_never_trains_on_is_told_of(features):
    rare = features.items["emotion"].where(features.items["speaker"] != "00", "fear")
    items = features.items.assign(emotion=rare)
    with pytest.warns(UserWarning, match="never trains on: .*'fear'"):
        scores = sp.probe_layers(
            sp.Features(features.layers, items),
            target="emotion",
            groups="speaker",
            probe=sp.probes.LogisticProbe(),
            metrics=sp.metrics.uar,
        )
    assert np.isfinite(scores.records[1].score)
    assert any("never trains on: ['fear']" in sentence for sentence in scores.cautions)
    assert scores.table().attrs["cautions"] == list(scores.cautions)


def test_no_shuffles_give_no_floor(features):
    assert np.isnan(probe_rate(features, n_shuffles=0).records[0].floor)


def test_a_metric_that_warns_on_a_resample_does_not_drown_the_user(features):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sp.probe_layers(
            features,
            target="gender",
            groups="speaker",
            probe=sp.probes.LogisticProbe(),
            metrics=sklearn.metrics.precision_score,
            n_folds=3,
        )


def test_a_metric_of_ones_own_sees_the_labels(features):
    def share_of_women(truth, prediction):
        return float(np.mean([label == "F" for label in truth]))

    scores = sp.probe_layers(
        features,
        target="gender",
        groups="speaker",
        probe=sp.probes.LogisticProbe(),
        metrics=[share_of_women, functools.partial(sklearn.metrics.f1_score, pos_label="F")],
        n_folds=3,
    )
    assert scores.records[0].score == 0.5
    assert scores.records[1].metric == "f1_score(pos_label=F)"


def test_a_metric_of_numbers_is_refused_for_classes(features):
    with pytest.raises(ValueError, match="r2 wants numbers, and 'gender' has classes"):
        sp.probe_layers(
            features,
            target="gender",
            groups="speaker",
            probe=sp.probes.LogisticProbe(),
            metrics=sp.metrics.r2,
        )
