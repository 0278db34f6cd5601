"""Verification by layer: against the metrics themselves, against other formulas, and refusals."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.verify import verify_layers
from speechprobe.metrics import (
    as_norm,
    cosine_scores,
    crop_distance_scores,
    equal_error_rate,
    equal_error_threshold,
    min_dcf,
)

N_SPEAKERS, N_FILES = 14, 5
SPEAKER = np.repeat([f"s{k:02d}" for k in range(N_SPEAKERS)], N_FILES)


def drawn(seed=0, speaker=SPEAKER, **noises):
    """Make features whose layers hold each speaker's voice beneath so much noise."""
    generator = np.random.default_rng(seed)
    codes = np.unique(speaker, return_inverse=True)[1]
    voice = generator.normal(size=(codes.max() + 1, 12))[codes]
    items = pd.DataFrame({"speaker": speaker}, index=[f"u{k:03d}" for k in range(len(speaker))])
    layers = {
        name: voice + noise * generator.normal(size=voice.shape)
        for name, noise in (noises or {"near": 0.8, "far": 6.0}).items()
    }
    return sp.Features(layers, items)


def all_trials(features, keep=None):
    speaker = features.items["speaker"].to_numpy()
    rows = np.arange(len(features)) if keep is None else np.flatnonzero(keep)
    first, second = (rows[side] for side in np.triu_indices(len(rows), 1))
    ids = features.items.index
    return pd.DataFrame(
        {"enrol": ids[first], "test": ids[second], "same": speaker[first] == speaker[second]}
    )


def rows_of(features, trials):
    return np.stack([features.items.index.get_indexer(trials[k]) for k in ("enrol", "test")], 1)


@pytest.fixture(scope="module")
def features():
    return drawn()


@pytest.fixture(scope="module")
def trials(features):
    return all_trials(features)


@pytest.fixture(scope="module")
def scores(features, trials):
    return verify_layers(features, trials)


def test_rates_are_those_of_the_metrics_on_the_scores_of_every_trial(features, trials, scores):
    rows, same = rows_of(features, trials), trials["same"].to_numpy()
    for record in scores.records:
        expected = cosine_scores(features[record.layer].astype(np.float32), rows)
        np.testing.assert_array_equal(scores.scores[record.layer], expected)
        assert record.eer == equal_error_rate(same, expected)
        assert record.threshold == equal_error_threshold(same, expected)
        assert record.min_dcf == min_dcf(same, expected, p_target=0.01)
        counts = (record.n_trials, record.n_target, record.n_speakers, record.n_dims)
        assert counts == (len(trials), same.sum(), N_SPEAKERS, 12)
    long = scores.trials
    assert list(long) == ["enrol", "test", "same", "layer", "score"]
    assert len(long) == 2 * len(trials)
    of_far = long[long["layer"] == "far"]
    assert of_far["enrol"].tolist() == trials["enrol"].tolist()
    np.testing.assert_array_equal(of_far["score"], scores.scores["far"])


def test_a_clear_voice_is_told_apart_and_one_beneath_noise_is_not(scores):
    near, far = (scores.record(layer) for layer in ("near", "far"))
    assert near.eer < 0.1 < 0.35 < far.eer
    assert near.eer_low <= near.eer <= near.eer_high < far.eer_low <= far.eer <= far.eer_high
    assert near.min_dcf_low <= near.min_dcf <= near.min_dcf_high


def test_shuffled_labels_are_chance(scores):
    for record in scores.records:
        assert record.eer_floor == pytest.approx(0.5, abs=0.05)
        assert 0.95 < record.min_dcf_floor <= 1
        assert record.gap == record.eer_floor - record.eer
    assert scores.record("near").gap_low > 0.3


def test_p_target_is_named_and_moves_the_cost_alone(features, trials, scores):
    other = verify_layers(features, trials, p_target=0.05)
    for record, changed in zip(scores.records, other.records, strict=True):
        assert (record.p_target, changed.p_target) == (0.01, 0.05)
        assert record.eer == changed.eer
        expected = min_dcf(trials["same"], other.scores[changed.layer], p_target=0.05)
        assert changed.min_dcf == expected
    assert other.table()["p_target"].tolist() == [0.05, 0.05]


def test_a_mean_taken_away_undoes_an_offset(features, trials, scores):
    moved = sp.Features(
        {name: np.asarray(rows) + 50 for name, rows in features.layers.items()}, features.items
    )
    harmed = verify_layers(moved, trials).record("near")
    assert harmed.eer > scores.record("near").eer + 0.02
    ways = {
        "one vector": np.full(12, 50.0),
        "by layer": {"near": np.full(12, 50.0), "far": np.full(12, 50.0)},
        "features": sp.Features(
            {name: np.full((3, 12), 50.0) for name in features.layers}, pd.DataFrame(index=range(3))
        ),
        "cohort": Cohort({name: np.full((2, 12), 50.0) for name in features.layers}, ("a", "b"), 2),
    }
    for name, mean in ways.items():
        found = verify_layers(moved, trials, subtract_mean=mean)
        np.testing.assert_allclose(found.scores["near"], scores.scores["near"], atol=1e-4), name


def test_as_norm_is_that_of_the_metric_with_the_mean_of_each_speaker(features, trials):
    others = drawn(7, np.repeat([f"t{k}" for k in range(20)], 3))
    cohort = Cohort.of(others, top_n=6)
    found = verify_layers(features, trials, "as-norm", cohort=cohort)
    rows = rows_of(features, trials)
    near = features["near"].astype(np.float32)
    means = others["near"].reshape(20, 3, 12)[np.argsort([f"t{k}" for k in range(20)])].mean(1)
    expected = as_norm(cosine_scores(near, rows), rows, embeddings=near, cohort=means, top_n=6)
    np.testing.assert_allclose(found.scores["near"], expected, rtol=1e-5)
    both = verify_layers(features, trials, "as-norm", cohort=cohort, subtract_mean=cohort)
    centred, mean = near - means.mean(0), means.mean(0)
    expected = as_norm(
        cosine_scores(centred, rows), rows, embeddings=centred, cohort=means - mean, top_n=6
    )
    np.testing.assert_allclose(both.scores["near"], expected, rtol=1e-4)


def test_ten_crops_are_compared_crop_by_crop(trials, features):
    generator = np.random.default_rng(3)
    crops = features["near"][:, None] + generator.normal(size=(len(features), 10, 12))
    flat = crops.reshape(len(features), -1)
    made = {"extractor": {"name": "mine", "n_crops": 10}}
    of_crops = sp.Features({"fc": flat}, features.items, made)
    found = verify_layers(of_crops, trials, "vox-trainer-10crop")
    expected = crop_distance_scores(crops.astype(np.float32), rows_of(features, trials))
    np.testing.assert_array_equal(found.scores["fc"], expected)
    assert found.records[0].n_dims == 12
    with pytest.raises(ValueError, match="TenCrops"):
        verify_layers(features, trials, "vox-trainer-10crop")
    with pytest.raises(ValueError, match="leave subtract_mean out"):
        verify_layers(of_crops, trials, "vox-trainer-10crop", subtract_mean=np.zeros(120))
    crops[4, 7] = 0
    silent = sp.Features({"fc": crops.reshape(len(features), -1)}, features.items, made)
    with pytest.raises(ValueError, match="layer 'fc': crop 7 of 'u004' is all zeros"):
        verify_layers(silent, trials, "vox-trainer-10crop")


def test_a_function_of_ones_own_scores_embeddings_and_rows(features, trials):
    def inner(embeddings, rows):
        return np.einsum("td,td->t", embeddings[rows[:, 0]], embeddings[rows[:, 1]])

    found = verify_layers(features, trials, inner)
    rows = rows_of(features, trials)
    expected = (features["near"][rows[:, 0]] * features["near"][rows[:, 1]]).sum(1)
    np.testing.assert_allclose(found.scores["near"], expected, rtol=1e-3, atol=1e-4)
    assert found.settings["scoring"] == "inner"
    with pytest.raises(ValueError, match=r"'<lambda>' must give \(2415,\) finite numbers"):
        verify_layers(features, trials, lambda embeddings, rows: embeddings[:, 0])


def test_floors_are_scored_on_the_same_trials_and_the_lowest_counts(features, trials, scores):
    mel, twin = drawn(5, mel=2.0), drawn(6, near=7.0, far=7.0)
    found = verify_layers(features, trials, floor={"mel": mel, "untrained": twin})
    expected = verify_layers(mel, trials).records[0]
    for record in found.records:
        floors = dict(record.floors)
        assert floors["mel"] == expected.eer
        assert floors["untrained"] == verify_layers(twin, trials).record(record.layer).eer
        assert record.gap == pytest.approx(expected.eer - record.eer)
    near, far = found.records
    assert near.gap_low > 0 > far.gap_high
    assert list(found.table())[4:7] == ["mel", "untrained", "gap"]


def test_the_gap_to_the_layer_itself_is_nil_in_every_resample(features, trials):
    one = sp.Features({"near": features["near"]}, features.items)
    record = verify_layers(one, trials, floor={"itself": one}).records[0]
    assert (record.gap, record.gap_low, record.gap_high) == (0, 0, 0)


def test_a_floor_cannot_share_a_mean_or_a_cohort(features, trials):
    with pytest.raises(ValueError, match="by a call of its own"):
        verify_layers(features, trials, subtract_mean=np.zeros(12), floor=features)


def test_the_best_layer_is_chosen_on_other_speakers(features):
    held = features.items["speaker"].isin([f"s{k:02d}" for k in range(5)]).to_numpy()
    ours, theirs = all_trials(features, ~held), all_trials(features, held)
    found = verify_layers(features, ours, validation=theirs)
    expected = verify_layers(features, theirs)
    assert [record.validation for record in found.records] == [r.eer for r in expected.records]
    assert found.best() == found.record("near")
    assert found.best().eer == verify_layers(features, ours).record("near").eer
    with pytest.raises(ValueError, match="5 speakers of the trials are in the validation trials"):
        verify_layers(features, all_trials(features), validation=theirs)


def test_without_validation_trials_nothing_is_chosen(scores):
    with pytest.raises(ValueError, match=r"chosen on validation trials, and there are none.*valid"):
        scores.best()


def test_paths_with_and_without_extension_name_their_files(features, trials, scores):
    items = features.items.assign(path=[f"/data/{key}.flac" for key in features.items.index])
    with_paths = sp.Features(features.layers, items)
    for form in ("/data/{}.flac", "/data/{}", "{}.wav"):
        named = trials.assign(
            enrol=[form.format(key) for key in trials["enrol"]],
            test=[form.format(key) for key in trials["test"]],
        )
        found = verify_layers(with_paths, named)
        assert found.records == scores.records, form


def test_ids_that_are_paths_are_found_by_a_list_without_extensions(features, trials, scores):
    items = features.items.set_axis([f"a/{key}.wav" for key in features.items.index])
    named = trials.assign(enrol="a/" + trials["enrol"], test="a/" + trials["test"])
    assert verify_layers(sp.Features(features.layers, items), named).records == scores.records


def test_absent_files_are_counted_and_named_or_left_out_with_a_warning(features, trials):
    some = features.select(~features.items.index.isin(["u000", "u007"]))
    n_lost = int((trials[["enrol", "test"]].isin(["u000", "u007"])).any(axis=1).sum())
    with pytest.raises(ValueError, match=rf"{n_lost} of 2415 trials name 2 files .*'u000', 'u007'"):
        verify_layers(some, trials)
    with pytest.warns(UserWarning, match=f"{n_lost} of 2415 trials are left out: .*'u000'"):
        found = verify_layers(some, trials, missing="skip")
    assert found.absent == ("u000", "u007")
    assert found.settings["n_skipped"] == n_lost
    assert any("left out" in caution for caution in found.cautions)
    assert found.records == verify_layers(some, all_trials(some)).records


def test_no_group_gives_no_interval_and_says_so(features, trials, scores):
    bare = sp.Features(features.layers, features.items[[]])
    with pytest.raises(KeyError, match="give groups=None for no interval"):
        verify_layers(bare, trials)
    found = verify_layers(bare, trials, groups=None)
    assert [r.eer for r in found.records] == [r.eer for r in scores.records]
    assert all(np.isnan(record.eer_low) and np.isnan(record.gap_low) for record in found.records)
    assert "there is no interval: groups is None" in found.cautions


def test_what_limits_the_rates_is_said():
    few = drawn(0, np.repeat(list("abcd"), 3), near=0.5)
    listed = all_trials(few)
    listed.loc[len(listed)] = ["u000", "u000", True]
    said = " | ".join(verify_layers(few, listed).cautions)
    for words in (
        "4 groups are few", "1 trials compare a file with itself",
        "one false accept moves minDCF at p_target=0.01 by 1.83: there are 54 non-target",
        "fewer than 30 target trials are missed",
    ):  # fmt: skip
        assert words in said


def changed(**columns):
    return lambda trials: trials.assign(**columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[t["same"]], "error rates need .*all 140 are only target trials"),
        (lambda t: t[~t["same"]], "error rates need .*all 2275 are only non-target trials"),
        (lambda t: t.iloc[:0], "there are no trials"),
        (lambda t: t.drop(columns="same"), r"lack \['same'\]"),
        (changed(same=np.nan), "must be True .* or False for each, but 2415 are not, first nan"),
        (lambda t: t.assign(same=~t["same"]), "contradict the label 'speaker'.*Is 1 the same"),
    ],
)
def test_trials_that_cannot_be_scored_are_refused(features, trials, change, message):
    with pytest.raises(ValueError, match=message):
        verify_layers(features, change(trials))


def test_trials_left_of_one_kind_are_told_from_a_list_of_one_kind(features, trials):
    lonely = features.select([0, 1, 2])
    with pytest.raises(ValueError, match="3 of the 2415 are only target trials"):
        verify_layers(lonely, trials, missing="skip")
    renamed = sp.Features(features.layers, features.items.add_prefix("x", axis=0))
    with pytest.raises(ValueError, match="no file of the 2415 is there"):
        verify_layers(renamed, trials, missing="skip")


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"scoring": "plda"}, ValueError, "one of .*'cosine'.*function"),
        ({"scoring": "as-norm"}, ValueError, "belong together"),
        ({"cohort": Cohort({"near": np.eye(3, 12)}, tuple("abc"), 2)}, ValueError, "together"),
        (
            {"scoring": "as-norm", "cohort": Cohort({"near": np.eye(3, 12)}, tuple("abc"), 2)},
            ValueError, "cohort has no layer 'far'",
        ),
        ({"scoring": "as-norm", "cohort": np.eye(3)}, TypeError, "must be a Cohort, got ndarray"),
        ({"subtract_mean": np.zeros(5)}, ValueError, r"\(12,\), got \(5,\)"),
        ({"subtract_mean": {"near": np.zeros(12)}}, ValueError, "no layer 'far'"),
        ({"p_target": 1}, ValueError, "p_target"),
        ({"missing": "drop"}, ValueError, "'raise' or 'skip'"),
        ({"trials": "trials.txt"}, TypeError, "load_trials gives, got str"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(features, trials, settings, kind, message):
    with pytest.raises(kind, match=message):
        verify_layers(features, **({"trials": trials} | settings))


def test_a_cohort_with_a_speaker_of_the_trials_is_refused(features, trials):
    with pytest.raises(ValueError, match="14 speakers of the trials are in the cohort too"):
        verify_layers(features, trials, "as-norm", cohort=Cohort.of(features, top_n=5))


def test_a_cohort_that_is_too_small_or_unnamed_is_refused(features):
    with pytest.raises(ValueError, match="from 2 to the 14 speakers of the cohort, got 300"):
        Cohort.of(features)
    with pytest.raises(KeyError, match="no label 'voice'"):
        Cohort.of(features, groups="voice")
    unnamed = sp.Features(
        features.layers, features.items.assign(speaker=[None, *features.items["speaker"][1:]])
    )
    with pytest.raises(ValueError, match="1 files of the cohort have no 'speaker', first 'u000'"):
        Cohort.of(unnamed, top_n=3)
    with pytest.raises(ValueError, match=re.escape("must be (2, n_dims)")):
        Cohort({"fc": np.eye(3)}, ("a", "b"), 2)


def test_frames_and_vectors_without_direction_are_refused(features, trials):
    frames = sp.Features({"near": [row[None] for row in features["near"]]}, features.items)
    with pytest.raises(ValueError, match="layer 'near' holds frames; pool them first"):
        verify_layers(frames, trials)
    silent = features["near"].copy()
    silent[3] = 0
    zero = sp.Features({"far": features["far"], "near": silent}, features.items)
    with pytest.raises(ValueError, match="layer 'near': the embedding of 'u003' is all zeros"):
        verify_layers(zero, trials)
    with pytest.raises(ValueError, match="layer 'near' of floor 'twin': the embedding of 'u003'"):
        verify_layers(features, trials, floor={"twin": zero})
    mean = {layer: features[layer][5].astype(np.float32) for layer in features.layers}
    with pytest.raises(ValueError, match="'u005' is all zeros or not finite once the mean is sub"):
        verify_layers(features, trials, subtract_mean=mean)


def test_a_speaker_of_the_cohort_without_direction_is_named(features, trials):
    means = {layer: np.eye(3, 12) for layer in features.layers}
    means["far"][1] = 0
    cohort = Cohort(means, ("a", "b", "c"), 2)
    with pytest.raises(ValueError, match="layer 'far' of the cohort: the embedding of 'b' is all"):
        verify_layers(features, trials, "as-norm", cohort=cohort)


def test_a_function_may_score_vectors_without_direction(features, trials):
    zero = sp.Features({"none": np.zeros((len(features), 2))}, features.items)
    found = verify_layers(zero, trials, lambda embeddings, rows: np.arange(float(len(rows))))
    assert found.scores["none"][-1] == len(trials) - 1


def test_the_warning_of_trials_left_out_points_to_the_caller(features, trials):
    some = features.select(np.arange(1, len(features)))
    with pytest.warns(UserWarning, match="are left out") as caught:
        verify_layers(some, trials, missing="skip")
    assert [each.filename for each in caught] == [__file__]


def test_a_name_that_two_files_could_mean_names_neither(features, trials):
    items = features.items.assign(path=[f"/data/{key}.wav" for key in features.items.index])
    items.loc["u001", "path"] = "/data/u000.flac"
    doubtful = sp.Features(features.layers, items)
    named = trials.assign(enrol="/data/" + trials["enrol"], test="/data/" + trials["test"])
    with pytest.raises(ValueError, match=r"name 2 files .*'/data/u000', '/data/u001'"):
        verify_layers(doubtful, named)
