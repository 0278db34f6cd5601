"""SERAB's parts against second formulas, scikit-learn's own search, and the measured reference."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from speechprobe import datasets
from speechprobe.extractors import LogMel, OpenSmile, load_byol_a
from speechprobe.extractors.nets.byol import AudioNTT2020
from speechprobe.probes.baselines import baselines
from speechprobe.protocols._serab.classifiers import classify, normalised
from speechprobe.protocols._serab.embedding import embed
from speechprobe.protocols._serab.picture import plot_serab
from speechprobe.protocols._serab.published import published
from speechprobe.protocols._serab.reading import ReadAsIn2021, fit_to, wrapped_around
from speechprobe.protocols._serab.resampler import resample_as_in_2021
from speechprobe.protocols._serab.result import SerabResult, best_of, compare_serab, means
from speechprobe.protocols._serab.tasks import Material
from speechprobe.protocols.serab_benchmark import serab

EMOTIONS = ("anger", "fear", "sadness")


def material(n_speakers: int = 10, per_class: int = 4, parts: tuple[int, int] = (6, 8)) -> Material:
    """Speakers with the same number of utterances of each class, the first ones in training."""
    rows = [
        {"path": f"{speaker}-{emotion}-{n}.wav", "speaker": f"s{speaker:02d}", "emotion": emotion}
        for speaker in range(n_speakers)
        for emotion in EMOTIONS
        for n in range(per_class)
    ]
    table = pd.DataFrame(rows, index=[row["path"] for row in rows])
    number = table["speaker"].str[1:].astype(int).to_numpy()
    part = np.where(number < parts[0], "train", np.where(number < parts[1], "validation", "test"))
    speakers = table["speaker"].to_numpy(dtype=object)
    return Material("emodb", datasets.Corpus("made", table), part.astype(object), speakers, ())


def vectors_of(given: Material, n_dims: int = 6, *, strength: float = 1.0) -> np.ndarray:
    """Return vectors that tell the class, each speaker with an offset and a scale of its own."""
    generator = np.random.default_rng(0)
    emotion = pd.factorize(given.column("emotion"))[0]
    speaker = pd.factorize(given.column("speaker"))[0]
    x = generator.normal(size=(len(emotion), n_dims))
    x[:, 0] += strength * emotion
    offsets = generator.normal(scale=9, size=(speaker.max() + 1, n_dims))
    return x * (1 + speaker[:, None]) + offsets[speaker]


def run(given: Material, x: np.ndarray, *names: str, grid: bool = True) -> pd.DataFrame:
    rows = classify(x, given, names=names, grid=grid, n_jobs=None, progress=False)
    return pd.DataFrame(rows).set_index("classifier")


# Normalisation


def test_every_speaker_of_every_part_has_mean_0_and_deviation_1():
    given = material()
    x = vectors_of(given)
    x[:, 2] = 7.0
    found = normalised(x, given)
    groups = pd.DataFrame(x).groupby([given.part, given.voice])
    expected = (x - groups.transform("mean")) / groups.transform("std", ddof=0).replace(0, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert not found[:, 2].any()
    assert x[0, 2] == 7.0


def test_a_voice_in_two_parts_has_statistics_of_its_own_in_each():
    given = material()
    shared = Material("shemo", given.corpus, given.part, np.full(120, "07", dtype=object), ())
    found = normalised(vectors_of(given), shared)
    for part in ("train", "validation", "test"):
        np.testing.assert_allclose(found[given.part == part].mean(axis=0), 0, atol=1e-9)


def test_the_test_part_is_normalised_without_the_others():
    given = material()
    x = vectors_of(given)
    other = np.where(given.part[:, None] == "test", x, 3 * x + 5)
    test = given.part == "test"
    np.testing.assert_allclose(normalised(other, given)[test], normalised(x, given)[test])


# Classifiers


def test_the_grids_are_those_of_the_benchmark():
    tenths = [1e5, 1e4, 1e3, 100, 10, 1, 0.1, 0.01, 1e-3, 1e-4, 1e-5]
    weights = ["balanced", None]
    expected = {
        "LDA": {},
        "LR": {"C": tenths, "class_weight": weights},
        "QDA": {"reg_param": [0.0, 0.1, 0.25]},
        "RF": {
            "max_depth": [5, 10, 15, 20, 25],
            "min_samples_split": [2, 5, 10],
            "class_weight": weights,
        },
        "SVC": {"C": tenths, "kernel": ["rbf", "linear"], "class_weight": weights},
    }
    found = baselines("classification", seed=42)
    assert list(found) == list(expected)
    for name, (estimator, grid) in found.items():
        assert set(grid) == set(expected[name])
        for key, values in grid.items():
            assert values == (
                pytest.approx(expected[name][key]) if key == "C" else expected[name][key]
            )
        assert estimator.get_params().get("random_state", 42) in (42, None)
        assert estimator.get_params().get("max_iter", 10_000) == 10_000
    lda = found["LDA"][0].get_params()
    assert (lda["solver"], lda["shrinkage"]) == ("lsqr", "auto")
    assert found["RF"][0].get_params()["n_estimators"] == 100


@pytest.mark.parametrize("name", ["LDA", "LR", "QDA", "SVC"])
def test_a_classifier_is_chosen_and_fitted_as_by_scikit_learns_own_search(name):
    given = material()
    x = vectors_of(given, strength=0.8)
    row = run(given, x, name).loc[name]
    fit = given.part != "test"
    folds = PredefinedSplit(np.where(given.part[fit] == "train", -1, 0))
    estimator, grid = baselines("classification", seed=42)[name]
    theirs = GridSearchCV(estimator, grid, scoring="accuracy", cv=folds)
    ready, y = normalised(x, given), given.column("emotion").astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SVC stops at 10,000 steps
        theirs.fit(ready[fit], y[fit])
    test = given.part == "test"
    prediction = theirs.predict(ready[test])
    assert row["accuracy"] == pytest.approx(100 * np.mean(prediction == y[test]))
    recalls = [np.mean(prediction[y[test] == one] == one) for one in EMOTIONS]
    assert row["uar"] == pytest.approx(100 * np.mean(recalls))
    assert row["validation_accuracy"] == pytest.approx(100 * theirs.best_score_)
    told = dict(pair.split("=") for pair in row["setting"].split(", ") if pair)
    assert told == {key: str(value) for key, value in theirs.best_params_.items()}


def test_without_a_grid_classifiers_are_taken_as_they_are():
    given = material()
    x = vectors_of(given)
    row = run(given, x, "LR", grid=False).loc["LR"]
    estimator = baselines("classification", seed=42)["LR"][0]
    ready, y, test = normalised(x, given), given.column("emotion").astype(str), given.part == "test"
    estimator.fit(ready[~test], y[~test])
    assert row["accuracy"] == pytest.approx(100 * estimator.score(ready[test], y[test]))
    assert row["setting"] == ""


def test_a_classifier_that_cannot_be_fitted_is_a_row_with_the_reason():
    given = material(per_class=1)  # 6 items a class in training
    rows = run(given, vectors_of(given, n_dims=40), "LDA", "QDA")
    assert rows["accuracy"].notna().tolist() == [True, False]
    assert np.isnan(
        rows.loc["QDA", ["uar", "accuracy_low", "validation_accuracy"]].astype(float)
    ).all()
    assert "full rank" in rows["failure"]["QDA"]
    assert rows["failure"]["LDA"] == ""
    assert rows["n_test"].tolist() == [6, 6]


def test_intervals_are_by_speaker_from_ten_test_speakers_on():
    few, many = material(n_speakers=17), material(n_speakers=18)
    rows = [run(each, vectors_of(each), "LDA").iloc[0] for each in (few, many)]
    assert [row["interval"] for row in rows] == ["by file", "by speaker"]
    assert [row["n_speakers"] for row in rows] == [9, 10]
    for row in rows:
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert row["uar_low"] < row["uar"] < row["uar_high"]
    # By file: the normal approximation of a share.
    share, n = rows[0]["accuracy"] / 100, rows[0]["n_test"]
    half = 100 * 1.96 * np.sqrt(share * (1 - share) / n)
    assert (rows[0]["accuracy_high"] - rows[0]["accuracy_low"]) / 2 == pytest.approx(half, rel=0.15)


def test_an_interval_by_speaker_sees_that_whole_speakers_are_right_or_wrong():
    given = material(n_speakers=18)
    x = vectors_of(given, strength=50)
    number = np.array([int(name[1:]) for name in given.column("speaker")])
    turned = number >= 13  # five of ten test speakers: anger and sadness change places
    x[turned, 0] *= -1
    row = run(given, x, "LDA").iloc[0]
    assert row["accuracy"] == pytest.approx(200 / 3)  # fear is in the middle either way
    # Ten speakers, half at 100 % and half at a third: 1.96 * 33.3 / sqrt(10) each way.
    assert row["accuracy_high"] - row["accuracy_low"] == pytest.approx(2 * 20.7, rel=0.2)


def test_the_floor_is_the_largest_class_of_training():
    given = material()
    # In training anger is the largest class, in the test part it is a fifth.
    keep = (given.column("emotion") == "anger") | (np.arange(120) % 2 == 0)
    keep &= ~(
        (given.part == "test") & (given.column("emotion") == "anger") & (np.arange(120) % 4 > 0)
    )
    few = given.only(given.corpus.table.index[keep])
    row = run(few, vectors_of(few), "LDA").iloc[0]
    of_test = few.column("emotion")[few.part == "test"]
    assert row["floor"] == pytest.approx(100 * np.mean(of_test == "anger")) == 20
    assert row["floor_uar"] == pytest.approx(100 / 3)


def test_what_goes_missing_is_looked_for_again():
    given = material()
    gone = (given.part == "validation") & (given.column("emotion") == "fear")
    with pytest.raises(ValueError, match=r"emodb: no utterance of fear in validation .*s06, s07"):
        given.only(given.corpus.table.index[~gone])
    # Nowhere at all is no other than nowhere in a part.
    with pytest.raises(ValueError, match="no utterance of fear in train .* in validation .* in te"):
        given.only(given.corpus.table.index[given.column("emotion") != "fear"])


# The choice, the means and the tables


def rows_of(task: str, scores: dict[str, tuple[float, float]], edition: str, n_test: int = 60):
    """Return rows of classifiers, {name: (validation accuracy, test accuracy)}."""
    shared = {
        "model": "net", "layer": "last", "edition": edition, "model_selection": "predefined",
        "task": task, "floor": 20.0, "n_test": n_test, "n_speakers": 2, "interval": "by file",
    }  # fmt: skip
    return [
        shared
        | {"classifier": name, "validation_accuracy": validation, "accuracy": test, "uar": test - 1}
        | {"accuracy_low": test - 5, "accuracy_high": test + 5, "failure": ""}
        for name, (validation, test) in scores.items()
    ]


SCORES = {
    "ravdess": {
        "LR": (60.0, 77.3),
        "QDA": (np.nan, np.nan),
        "RF": (66.0, 68.7),
        "SVC": (66.0, 70.0),
    },
    "savee": {"LR": (50.0, 40.0), "SVC": (40.0, 60.0)},
}


def result_of(edition: str = "corrected", model: str = "net", **changes) -> SerabResult:
    sizes = {"ravdess": 300, "savee": 100} | dict.fromkeys(changes.keys() - SCORES, 700)
    rows = [row for task, scores in (SCORES | changes).items()
            for row in rows_of(task, scores, edition, sizes[task])]  # fmt: skip
    best = best_of(pd.DataFrame(rows).assign(model=model))
    tasks = pd.DataFrame({"task": list(sizes), "status": "ran", "reason": ""})
    tables = {"best": best, "means": means(best), "tasks": tasks}
    return SerabResult("serab", edition, (), tables)


@pytest.mark.parametrize(("edition", "expected"), [("corrected", 68.7), ("2021", 77.3)])
def test_both_choices_are_in_the_table_and_the_edition_says_which_counts(edition, expected):
    best = result_of(edition).table().set_index("task")
    assert best["classifier_by_validation"]["ravdess"] == "RF"  # the first of equals
    assert best["accuracy_by_validation"].tolist() == [68.7, 40.0]
    assert best["classifier_by_test"].tolist() == ["LR", "SVC"]
    assert best["accuracy_by_test"].tolist() == [77.3, 60.0]
    assert best["accuracy"]["ravdess"] == expected
    assert best["validation_accuracy_by_test"].tolist() == [60.0, 40.0]


def test_means_by_hand():
    table = result_of().table("means").set_index("chosen_on")
    assert table.loc["test", "UM"] == pytest.approx((77.3 + 60) / 2)
    assert table.loc["test", "WM"] == pytest.approx((300 * 77.3 + 100 * 60) / 400)
    assert table.loc["test", "GM"] == pytest.approx((77.3 * 60) ** 0.5)
    assert table.loc["validation", "UM"] == pytest.approx((68.7 + 40) / 2)
    assert set(table["over"]) == {"ravdess, savee"}


def test_means_over_the_published_task_accuracies_are_the_published_means():
    row = published().loc["BYOL-S 512"]
    nine = row.drop(["UM", "WM", "GM"])
    assert len(nine.dropna()) == 9
    assert nine.mean() == pytest.approx(row["UM"], abs=0.06)
    assert np.exp(np.log(nine.astype(float)).mean()) == pytest.approx(row["GM"], abs=0.06)


def test_models_are_compared_by_means_of_the_nine_and_beside_them_of_all():
    nine = result_of()
    ten = result_of(subesco={"LR": (10.0, 10.0)})
    told = compare_serab([nine, ten])
    assert len(told) == 4
    of_nine, of_ten = (told[told["subesco"].isna() == lacks] for lacks in (True, False))
    for name in ("UM", "WM", "GM", "over"):
        assert of_nine[name].tolist() == of_ten[name].tolist()
        assert of_ten[name].tolist() == ten.table("means")[name][:2].tolist()
    for name in ("UM", "WM", "GM"):
        assert of_ten[f"{name}_with_subesco"].tolist() == ten.table("means")[name][2:].tolist()
        assert of_nine[f"{name}_with_subesco"].isna().all()
    assert "UM_with_subesco" not in compare_serab(nine)


def test_subesco_alone_has_no_mean_of_the_nine():
    rows = rows_of("subesco", {"LR": (10.0, 10.0)}, "corrected")
    tables = {"best": best_of(pd.DataFrame(rows))}
    told = compare_serab([SerabResult("serab", "corrected", (), tables), result_of()])
    assert told["over"].tolist() == ["none of the nine"] * 2 + ["ravdess, savee"] * 2
    assert told["UM"].isna().tolist() == [True, True, False, False]
    assert told["UM_with_subesco"].tolist()[:2] == [10.0, 10.0]


def test_a_task_where_nothing_could_be_fitted_has_no_best():
    failed = {"QDA": (np.nan, np.nan)}
    assert result_of(savee=failed).table()["task"].tolist() == ["ravdess"]


def test_a_csv_keeps_other_models_and_replaces_the_same_rows(tmp_path):
    path = tmp_path / "new" / "serab.csv"
    result_of().to_csv(path)
    result_of(model="other").to_csv(path)
    result_of("2021").to_csv(path)
    changed = result_of(savee={"LR": (50.0, 99.0)})
    changed.to_csv(path)
    table = pd.read_csv(path, dtype={"edition": str})
    assert len(table) == 6
    mine = table[(table["model"] == "net") & (table["edition"] == "corrected")]
    assert mine.set_index("task")["accuracy"].to_dict() == {"ravdess": 68.7, "savee": 99.0}
    assert [each.name for each in path.parent.iterdir()] == ["serab.csv"]
    result_of().to_csv(path, append=False)
    assert len(pd.read_csv(path)) == 2


def test_the_same_rows_twice_change_nothing(tmp_path):
    path = tmp_path / "serab.csv"
    for _ in range(2):
        result_of("2021").to_csv(path)
    pd.testing.assert_frame_equal(
        pd.read_csv(path, dtype={"edition": str}), result_of("2021").table(), check_dtype=False
    )


def test_another_file_is_not_written_over(tmp_path):
    path = tmp_path / "serab.csv"
    path.write_text("model,score\nnet,1\n")
    with pytest.raises(ValueError, match=r"lacks the columns \['layer'"):
        result_of().to_csv(path)
    assert path.read_text() == "model,score\nnet,1\n"


@pytest.mark.parametrize("name", result_of().table().columns)
def test_a_file_that_lacks_any_column_is_not_written_over(tmp_path, name):
    path = tmp_path / "serab.csv"
    result_of("2021").table().drop(columns=name).to_csv(path, index=False)
    before = path.read_text()
    with pytest.raises(ValueError, match=rf"serab.csv: .* lacks the columns \['{name}'\]"):
        result_of().to_csv(path)
    assert path.read_text() == before


def test_an_empty_file_and_a_folder_are_errors_that_name_them(tmp_path):
    (tmp_path / "empty.csv").touch()
    with pytest.raises(
        ValueError, match=r"empty.csv: no table of .*, it is empty; .* append=False"
    ):
        result_of().to_csv(tmp_path / "empty.csv")
    result_of().to_csv(tmp_path / "empty.csv", append=False)
    assert len(compare_serab(tmp_path / "empty.csv")) == 2
    for append in (True, False):
        with pytest.raises(IsADirectoryError, match=f"{tmp_path.name} is a folder"):
            result_of().to_csv(tmp_path, append=append)


def test_models_are_compared_by_both_choices_beside_what_was_published(tmp_path):
    path = tmp_path / "serab.csv"
    result_of(model="other").to_csv(path)
    table = compare_serab([result_of(), path], published_too=True)
    assert table.loc[("net", "last", "corrected", "validation"), "ravdess"] == 68.7
    assert table.loc[("net", "last", "corrected", "test"), "ravdess"] == 77.3
    assert table.loc[("other", "last", "corrected", "test"), "over"] == "ravdess, savee"
    theirs = table.loc[("BYOL-S 512", "published", "2021", "test")]
    assert (theirs["emodb"], theirs["WM"], theirs["over"]) == (86.9, 71.7, "all nine")
    assert len(table) == 2 + 2 + 8
    assert compare_serab(path).equals(compare_serab([path]))


def test_the_picture_shows_both_choices_of_every_model(tmp_path):
    path = tmp_path / "serab.csv"
    result_of(model="other").to_csv(path)
    figure = plot_serab([result_of(), path], published_models=["BYOL-S 512"])
    axes = figure.axes[0]
    assert sorted(bar.get_height() for bar in axes.patches) == [40.0, 40.0, 68.7, 68.7]
    circles = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"]
    theirs = published().loc["BYOL-S 512"].drop(["UM", "WM", "GM"])
    assert sorted(circles) == sorted([77.3, 60.0] * 2 + theirs.tolist())
    assert [tick.get_text() for tick in axes.get_xticklabels()][-2:] == ["savee", "shemo"]
    one = plot_serab(result_of(), published_models="BYOL-S 512").axes[0]
    assert len(one.patches) == 2
    assert len([line for line in one.lines if line.get_marker() == "o"]) == 2 + 9
    with pytest.raises(KeyError, match="no published model 'BYOL'"):
        plot_serab(result_of(), published_models="BYOL")
    with pytest.raises(ValueError, match="no results to plot"):
        plot_serab([])


# What an extractor is given


@pytest.fixture(scope="module")
def byol(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        path = tmp_path_factory.mktemp("byol") / "small.pth"
        torch.save(AudioNTT2020(16).state_dict(), path)
    return load_byol_a(path, mean=1.0, std=2.0, win_length=1024)


def given_sounds(folder, task: str = "emodb", sample_rate: int = 16_000) -> Material:
    given = material(per_class=1)
    generator = np.random.default_rng(0)
    paths = []
    for name in given.column("path"):
        paths.append(str(folder / name))
        sound = generator.normal(scale=0.1, size=sample_rate // 4)
        soundfile.write(paths[-1], sound, sample_rate, subtype="PCM_16")
    corpus = given.corpus.label("path", paths)
    return Material(task, corpus, given.part, given.voice, ())


def features_of(extractor, signal):
    return extractor._inputs([signal])[0][0].numpy()


def log_mel(signal, window):
    front = load_byol_a(None, mean=0.0, std=1.0, win_length=window, untrained=True)
    return features_of(front, signal)


def test_a_byol_network_gets_the_window_and_constants_of_2021(byol, tmp_path):
    signal = np.random.default_rng(0).normal(scale=0.1, size=8_000).astype(np.float32)
    for task, mean, std in (("savee", -7.3620586, 4.7177248), ("iem4", -5.7522306, 3.4032545)):
        fitted = fit_to(byol, given_sounds(tmp_path, task), "2021")
        expected = (log_mel(signal, 400) - mean) / std
        np.testing.assert_allclose(features_of(fitted.extractor, signal), expected, atol=1e-4)
        assert "window 400" in fitted.note and "published" in fitted.note
        assert fitted.extractor.name == byol.name
        assert fitted.extractor.layers == byol.layers
    # The one that was given is as it was.
    expected = (log_mel(signal, 1024) - 1) / 2
    np.testing.assert_allclose(features_of(byol, signal), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "window", "edition"),
    [("subesco", 400, "2021"), ("savee", 1024, "corrected"), ("shemo", 400, "corrected")],
)
def test_constants_that_were_not_published_are_of_the_training_part(
    byol, tmp_path, task, window, edition
):
    extractor = byol if window == 1024 else load_byol_a(None, mean=0.0, std=1.0, untrained=True)
    given = given_sounds(tmp_path, task)
    fitted = fit_to(extractor, given, edition)
    spectra = [
        log_mel(soundfile.read(path, dtype="float32")[0], window)
        for path in given.column("path")[given.part == "train"]
    ]
    mean, std = np.mean([(x.mean(), x.std()) for x in spectra], axis=0)
    signal = np.random.default_rng(0).normal(scale=0.1, size=8_000).astype(np.float32)
    expected = (log_mel(signal, window) - mean) / std
    np.testing.assert_allclose(features_of(fitted.extractor, signal), expected, atol=2e-3)
    assert f"window {window}" in fitted.note and "of the training part" in fitted.note


def test_the_corrected_edition_keeps_published_constants_with_their_window(tmp_path):
    extractor = load_byol_a(None, mean=0.0, std=1.0, untrained=True)
    fitted = fit_to(extractor, given_sounds(tmp_path), "corrected")
    assert "mean -2.6927330, std 4.1030712 (published)" in fitted.note


def test_other_extractors_stay_as_they_are(tmp_path):
    extractor = LogMel(n_mels=8)
    for edition in ("corrected", "2021"):
        fitted = fit_to(extractor, given_sounds(tmp_path), edition)
        assert fitted.extractor is extractor
        assert fitted.note.startswith("the front end is the extractor's own")


def test_sounds_are_whole_numbers_cut_down_and_divided_by_32767(tmp_path):
    seen = []

    class Ear:
        name, sample_rate = "ear", 16_000

        def __call__(self, signal):
            seen.append(signal)
            return {"sum": np.ones((1, 1))}

    generator = np.random.default_rng(0)
    whole = generator.integers(-32768, 32768, size=(4_800, 2)).astype(np.int16)
    whole[:2] = [[-3, -4], [3, 4]]  # the mean is cut to -4 and 3
    soundfile.write(tmp_path / "a.wav", whole, 48_000)
    mono = soundfile.read(tmp_path / "a.wav", dtype="float32")[0].mean(axis=1)
    ReadAsIn2021(Ear(), 48_000)(mono)
    expected = np.floor(whole.astype(np.int64).sum(axis=1) / 2) / 32767
    assert expected[:2].tolist() == [-4 / 32767, 3 / 32767]
    np.testing.assert_array_equal(
        seen[0], resample_as_in_2021(expected.astype(np.float32), 48_000, 16_000)
    )


class Length:
    """How many samples it is given, in two layers whose names it does not tell."""

    name, sample_rate = "length", 16_000

    def __call__(self, signal):
        return {"half": np.full((2, 1), len(signal) / 2), "whole": np.full((2, 1), len(signal))}


@pytest.mark.parametrize("edition", ["corrected", "2021"])
def test_files_of_several_rates_keep_their_order(tmp_path, edition):
    given = given_sounds(tmp_path)
    seconds = np.linspace(0.1, 0.5, len(given.part)).round(2)
    for number, (path, length) in enumerate(zip(given.column("path"), seconds, strict=True)):
        rate = (48_000, 16_000, 24_000)[number % 3]
        soundfile.write(path, np.full(round(length * rate), 0.1), rate, subtype="PCM_16")
    made = embed(Length(), given, edition, layer=None, store=tmp_path / "store", progress=False)
    assert list(made.layers) == ["whole"]
    np.testing.assert_allclose(made.layers["whole"][:, 0], 16_000 * seconds, atol=1)
    assert made.material is given


def test_samples_at_full_scale_wrap_around_as_16_bits_do():
    whole = np.array([-32768, -32767, 0, 32766, 32767])
    found = wrapped_around((whole / 32767).astype(np.float32))
    # 32767 / 32767 is 32768 / 32768, one more than fits; -32768 / 32767 is just below -1.
    np.testing.assert_allclose(found, [1.0, -1.0, 0, 32766 / 32767, -1.0], atol=1e-4)


def test_opensmile_of_2021_is_the_packages_own_on_numbers_divided_by_32767():
    opensmile = pytest.importorskip("opensmile")
    whole = np.random.default_rng(0).normal(scale=9_000, size=16_000).astype(np.int16)
    whole[1_000:1_010] = 32767
    theirs = opensmile.Smile("eGeMAPSv02", "func").process_signal(whole / 32767, 16_000)
    found = ReadAsIn2021(OpenSmile("eGeMAPS"), 16_000)(whole.astype(np.float32) / 32768)
    np.testing.assert_array_equal(found["functionals"][0], theirs.to_numpy()[0])


# The reference: the authors' own code on the same files, test accuracy / UAR (validation)

REFERENCE = {
    "BYOL-S": {
        "LDA": (93.4, 96.2, 93.5),
        "LR": (88.5, 87.8, 95.2),
        "RF": (95.1, 95.3, 90.3),
        "SVC": (95.1, 97.1, 96.8),
    },
    "openSMILE": {"LR": (86.9, 87.2, 85.5), "RF": (86.9, 84.7, 88.7), "SVC": (90.2, 92.2, 90.3)},
}
ONE_FILE = 1.7  # of 61


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("edition", ["corrected", "2021"])
def test_byol_s_on_emodb_is_the_reference_classifier_by_classifier(shared, edition):
    extractor = load_byol_a(shared / "models" / "byol-s-512.pth", mean=0.0, std=1.0)
    result = serab(extractor, {"emodb": shared / "data" / "emodb"}, edition=edition, progress=False)
    rows = result.table("classifiers").set_index("classifier")
    assert rows.index.tolist() == ["LDA", "LR", "QDA", "RF", "SVC"]
    for name, (accuracy, uar, validation) in REFERENCE["BYOL-S"].items():
        tolerance = ONE_FILE if name == "RF" else 0.06
        assert rows["accuracy"][name] == pytest.approx(accuracy, abs=tolerance), name
        assert rows["uar"][name] == pytest.approx(uar, abs=tolerance), name
        assert rows["validation_accuracy"][name] == pytest.approx(validation, abs=tolerance), name
    assert np.isnan(rows["accuracy"]["QDA"])
    assert "full rank" in rows["failure"]["QDA"]
    assert (result.table()["accuracy"] > 90).all()


@pytest.mark.shared
@pytest.mark.slow
def test_opensmile_on_emodb_is_the_reference_classifier_by_classifier(shared):
    pytest.importorskip("opensmile")
    result = serab(
        OpenSmile(), {"emodb": shared / "data" / "emodb"}, edition="2021",
        classifiers=["LR", "QDA", "RF", "SVC"], progress=False,
    )  # fmt: skip
    rows = result.table("classifiers").set_index("classifier")
    for name, (accuracy, uar, _) in REFERENCE["openSMILE"].items():
        exact = name != "RF"
        assert rows["accuracy"][name] == pytest.approx(accuracy, abs=0.06 if exact else ONE_FILE)
        if name != "RF":
            assert rows["uar"][name] == pytest.approx(uar, abs=0.06 if exact else ONE_FILE), name
    assert np.isnan(rows["accuracy"]["QDA"])
