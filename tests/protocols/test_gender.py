"""The gender study: features, what is chosen where, curves, rivals, files, errors."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import speechprobe as sp
from speechprobe.datasets.corpus import Corpus
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.protocols._gender.features import MelImageCNN, gender_data, images, vectors
from speechprobe.protocols._gender.probes import Curves
from speechprobe.protocols.gender_study import (
    ALTERNATIVES,
    GenderSettings,
    gender,
    mel_extractor,
)

QUICK = GenderSettings(n_trials=3, curve_epochs=12, n_shuffles=1, epochs=(4, 8))
MEL = MelSpectrogram(32, n_fft=512)


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Intervals have tests of their own; 1,000 resamples of each score would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechprobe.layers.scoring.N_RESAMPLES", 20)
        yield


def voices(folder, n_speakers, prefix, seed):
    """Speakers with two tones in noise each, those of women higher; lengths differ."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n_speakers):
        sex = "FM"[number % 2]
        pitch = generator.normal(900 if sex == "F" else 500, 120)
        for take in range(2):
            time = np.arange(round(generator.uniform(0.15, 0.4) * 16_000)) / 16_000
            signal = np.sin(2 * np.pi * pitch * time) + 0.3 * generator.normal(size=len(time))
            path = folder / f"{prefix}{number}-{take}.wav"
            sp.audio.write(path, 0.2 * signal, 16_000)
            rows.append({"path": str(path), "speaker": f"{prefix}{number}", "gender": sex})
    table = pd.DataFrame(rows, index=[f"{prefix}{k}" for k in range(len(rows))])
    return Corpus(f"{prefix}voices", sp.datasets.load_table(table).table)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    return voices(folder, 20, "a", 0), voices(folder, 8, "b", 1)


@pytest.fixture(scope="module")
def study(corpora):
    return gender(*corpora, mel=MEL, settings=QUICK)


def swapped(corpus):
    return corpus.label("gender", np.where(corpus.column("gender") == "F", "M", "F"))


def row(study, model, feature="power"):
    found = study.table().query("model == @model and feature == @feature")
    assert len(found) == 1
    return found.iloc[0]


def test_the_feature_is_the_power_of_128_bands_averaged_over_time(corpora):
    torchaudio = pytest.importorskip("torchaudio")
    corpus = corpora[1]
    found = vectors(corpus, mel_extractor(), log=True, store=None)
    reference = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=2048, hop_length=512, n_mels=128, norm="slaney", mel_scale="slaney"
    )
    signal = sp.audio.read(corpus.column("path")[0])
    power = reference(torch.as_tensor(signal, dtype=torch.float32))
    assert found["power"]["power"].shape == (len(corpus), 128)
    np.testing.assert_allclose(found["power"]["power"][0], power.mean(-1), rtol=1e-3)
    expected = (power + 1e-10).log().mean(-1)
    np.testing.assert_allclose(found["log"]["log"][0], expected, rtol=1e-3, atol=1e-3)


def test_images_are_the_log_frames_bands_by_time(corpora):
    corpus = corpora[1]
    frames = images(corpus, MEL, store=None)["log image"]
    vector = vectors(corpus, MEL, log=True, store=None)["log"]["log"]
    assert len(set(frames.n_frames)) > 1
    np.testing.assert_allclose(np.stack([each.mean(0) for each in frames]), vector, rtol=1e-4)


def test_an_image_is_seen_alone_as_in_a_batch(corpora):
    corpus = corpora[1]
    frames = images(corpus, MEL, store=None)["log image"]
    sex = corpus.column("gender")
    network = MelImageCNN(learning_rate=3e-3, epochs=15).fit(frames, sex)
    assert network.score(frames, sex) > 0.8
    alone = np.concatenate([network.predict_proba([each]) for each in frames])
    np.testing.assert_allclose(alone, network.predict_proba(frames), atol=1e-9)


def test_every_rival_has_a_row_with_interval_floors_and_n(study):
    table = study.table()
    assert table["model"].tolist() == [
        *("CNN", "CNN, published settings", "CNN, least validation loss", "MLP", "LR", "RF"),
        *("CNN", "MLP", "LR", "RF", "CNN 2-D"),
    ]
    assert table["feature"].tolist() == ["power"] * 6 + ["log"] * 4 + ["log image"]
    assert (table["majority"] == 0.5).all()
    assert table["shuffled"].notna().sum() == 10  # not of the 2-D network
    assert (table["n_test"] == 16).all() and (table["n_test_speakers"] == 8).all()
    assert (table["n_train"] == 40).all()
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert row(study, "LR")["accuracy"] > 0.8 > row(study, "LR")["shuffled"]
    assert table["chosen"].sum() == 1
    assert table.loc[table["chosen"], "validation"].item() == table["validation"].max()
    assert table["published"].dropna().tolist() == [0.94]
    published = json.loads(row(study, "CNN, published settings")["settings"])
    assert published == {"batch_size": 16, "learning_rate": 7.9e-4, "epochs": 20}


def test_settings_and_epochs_are_chosen_without_the_test_corpus(study, corpora):
    train, test = corpora
    other = gender(train, swapped(test), mel=MEL, alternatives=["LR"], log=False, settings=QUICK)
    for table in ("curves", "overfitting"):
        pd.testing.assert_frame_equal(study.table(table), other.table(table))
    told = ["model", "settings", "validation"]
    same = study.table().query("feature == 'power' and model not in ('MLP', 'RF')")
    same = same.reset_index(drop=True)
    assert len(same) == 4
    pd.testing.assert_frame_equal(same[told], other.table()[told])
    # The same predictions are right where they were wrong.
    np.testing.assert_allclose(same["accuracy"], 1 - other.table()["accuracy"])


def test_the_chosen_settings_are_the_best_of_the_finished_trials_on_validation_speakers(study):
    trials = study.table("trials").query("model == 'CNN' and feature == 'power'")
    finished = trials[trials["finished"].astype(bool)]
    best = finished.loc[finished["score"].astype(float).idxmax()]
    found = row(study, "CNN")
    assert json.loads(best["settings"]) == json.loads(found["settings"])
    assert found["validation"] == pytest.approx(best["score"])
    assert len(trials) == 3


def test_the_curves_pass_through_the_search_and_name_the_point_of_overfitting(study):
    curves = study.table("curves")
    held = curves.query("split == 'validation'").set_index("epoch")
    assert held.index.tolist() == list(range(1, 13))
    found = row(study, "CNN")
    # The same speakers are held out, the same seed trains: the search saw this very network.
    epochs = json.loads(found["settings"])["epochs"]
    assert held.loc[epochs, "accuracy"] == pytest.approx(found["validation"])
    least = int(held["loss"].idxmin())
    assert study.table("overfitting")["epoch"].tolist() == [least, 12]
    stopped = row(study, "CNN, least validation loss")
    assert json.loads(stopped["settings"])["epochs"] == least
    assert stopped["validation"] == pytest.approx(held.loc[least, "accuracy"])


@pytest.mark.parametrize(("losses", "verdict"), [
    ([0.6, 0.4, 0.5], "overfits after epoch 2, where the validation loss is least"),
    ([0.6, 0.4, 0.3], "no overfitting within 3 epochs"),
])  # fmt: skip
def test_the_verdict_names_the_epoch_of_the_least_validation_loss(losses, verdict):
    parts = [
        pd.DataFrame({"epoch": [1, 2, 3], "split": split, "loss": loss, "accuracy": 0.5})
        for split, loss in (("train", [0.3, 0.2, 0.1]), ("validation", losses))
    ]
    assert Curves(pd.concat(parts)).verdict().startswith(verdict)


def test_no_speaker_is_in_two_parts_and_the_validation_speakers_are_a_fifth(corpora):
    data = gender_data(*corpora, fraction=0.2, seed=0)
    speakers = [set(data.corpus.column("speaker")[rows]) for rows in data.split]
    assert [len(each) for each in speakers] == [16, 4, 8]
    assert not speakers[0] & speakers[1]


def test_predictions_and_confusion_are_those_behind_the_accuracy(study):
    predictions = study.table("predictions").query("model == 'CNN' and feature == 'power'")
    assert len(predictions) == 16
    right = (predictions["truth"] == predictions["prediction"]).mean()
    assert right == pytest.approx(row(study, "CNN")["accuracy"])
    counts = study.table("confusion")
    assert counts.to_numpy().sum() == 16
    assert np.diag(counts).sum() == round(16 * right)


def test_files_come_back_equal_and_pictures_name_the_epoch(study, tmp_path):
    pytest.importorskip("matplotlib")
    paths = {path.name: path for path in study.write(tmp_path)}
    for name in ("results", "curves", "overfitting"):
        frame = pd.read_csv(paths[f"{name}.csv"])
        pd.testing.assert_frame_equal(frame, study.table(name), check_dtype=False, rtol=1e-14)
    assert {"curves.svg", "confusion.svg", "accuracy_bars.svg"} <= set(paths)
    assert study.picture("curves").get_suptitle() == study.provenance["overfitting"]
    told = json.loads(paths["study.json"].read_text(encoding="utf-8"))
    assert (told["protocol"], told["edition"]) == ("gender", "corrected")
    assert told["provenance"]["speakers"] == {"train": 16, "validation": 4, "test": 8}
    assert any("not LibriTTS train-clean-100" in each for each in told["deviations"])


def test_a_second_run_starts_from_the_store(corpora, tmp_path, monkeypatch):
    short = GenderSettings(n_trials=1, curve_epochs=2, n_shuffles=0, epochs=(1,))
    wanted = {"alternatives": ["CNN 2-D"], "log": False, "mel": MEL, "settings": short}
    wanted["store"] = tmp_path
    first = gender(*corpora, **wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log-frames", "mel"]

    def again(*_):
        raise RuntimeError("asked again")

    monkeypatch.setattr(MelSpectrogram, "_features", again)
    second = gender(*corpora, **wanted)
    pd.testing.assert_frame_equal(first.table(), second.table())


def test_ray_is_asked_for_and_named_where_it_is_missing(corpora):
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed; tests of the search run it")
    with pytest.raises(ImportError, match=r"speechprobe\[ray\]"):
        gender(*corpora, mel=MEL, engine="ray", alternatives=[], log=False, settings=QUICK)


def test_speakers_in_both_corpora_are_an_error(corpora):
    train, test = corpora
    known = test.label("speaker", ["a3", *test.column("speaker")[1:]])
    with pytest.raises(ValueError, match="1 speakers are in train and in test, first 'a3'"):
        gender(train, known)


@pytest.mark.parametrize(("part", "message"), [
    ("train", "the train part .* no speaker of gender 'M'"),
    ("test", "the test part .* no speaker of gender 'M'"),
])  # fmt: skip
def test_a_gender_missing_in_a_part_is_an_error(corpora, part, message):
    train, test = corpora
    women = {"train": train, "test": test}[part]
    women = women.select(women.column("gender") == "F")
    with pytest.raises(ValueError, match=message):
        gender(women if part == "train" else train, women if part == "test" else test)


def test_a_gender_missing_among_validation_speakers_says_what_to_change(corpora):
    train, test = corpora
    with pytest.raises(ValueError, match="the validation part .* another seed or validation_fract"):
        gender(train, test, settings=GenderSettings(validation_fraction=0.05))


def test_an_unstated_gender_an_unknown_rival_and_log_mel_are_errors(corpora):
    train, test = corpora
    with pytest.raises(ValueError, match="'gender' failed on utterance 'b0'"):
        gender(train, test.label("gender", ["?"] * len(test)))
    with pytest.raises(ValueError, match="no alternative 'SVM'; there are LR, MLP, RF, CNN 2-D"):
        gender(train, test, alternatives=["SVM"])
    with pytest.raises(ValueError, match=r"mel must give power, and has log_offset=1e-06"):
        gender(train, test, mel=MelSpectrogram(32, n_fft=512, log_offset=1e-6))
    with pytest.raises(TypeError, match=r"mel must be a MelSpectrogram, .*, got LogMel"):
        gender(train, test, mel=sp.extractors.LogMel())
    with pytest.raises(TypeError, match=r"settings must be GenderSettings\(...\), got dict"):
        gender(train, test, settings={"n_trials": 3})
    with pytest.raises(ValueError, match="errors must be 'raise' or 'record', got None"):
        gender(train, test, errors=None)
    with pytest.raises(TypeError, match="test must be a Corpus, .* or the folder .*got dict"):
        gender(train, {"test": test})
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder, found nothing"):
        gender(train, "nowhere")


SHORT = GenderSettings(n_trials=1, curve_epochs=2, n_shuffles=0, epochs=(1,))


def with_broken(corpus, folder, *rows):
    """Return a corpus whose files of these rows are no sounds."""
    paths = corpus.column("path").copy()
    for row in rows:
        paths[row] = str(folder / f"broken{row}.wav")
        Path(paths[row]).write_bytes(b"no sound")
    return corpus.label("path", paths)


def test_files_that_give_no_features_are_left_out_listed_and_counted(corpora, tmp_path):
    train, test = corpora
    # All files of speaker a1, so that other speakers validate, and one of b0.
    broken = with_broken(train, tmp_path, 2, 3), with_broken(test, tmp_path, 0)
    wanted = {"mel": MEL, "settings": SHORT, "alternatives": ["CNN 2-D"]}
    with pytest.raises(ValueError, match=r"3 of 56 utterances cannot be used, first .*broken2.wav"):
        gender(*broken, **wanted)
    found = gender(*broken, errors="record", **wanted)
    paths = [str(tmp_path / f"broken{row}.wav") for row in (2, 3, 0)]
    failures = found.provenance["failures"]
    assert set(failures) == {"power", "log", "log image"}
    assert [each["path"] for each in failures["power"]] == paths
    assert any(
        each.startswith(f"3 of 56 utterances gave no features and are left out, first {paths[0]}")
        for each in found.deviations
    )
    assert any("38 utterances of 19 speakers" in each for each in found.deviations)
    keep = ~np.isin(np.arange(40), [2, 3])
    alone = gender(train.select(keep), test.select(np.arange(16) > 0), **wanted)
    for table in ("results", "curves", "predictions"):
        pd.testing.assert_frame_equal(found.table(table), alone.table(table))


def test_a_part_that_lost_a_gender_says_why(corpora, tmp_path):
    train, test = corpora
    women = with_broken(test, tmp_path, *np.flatnonzero(test.column("gender") == "M"))
    with pytest.raises(ValueError, match="the test part .* gender 'M'; 8 of 56 .*broken2.wav"):
        gender(train, women, mel=MEL, settings=SHORT, errors="record")


def test_folders_of_libritts_and_librispeech_are_read_by_their_layout(tmp_path):
    generator = np.random.default_rng(0)
    kinds = {"LibriTTS/train-clean-100": ("_20_000000_", "wav", range(10)),
             "LibriSpeech/test-clean": ("-20-", "flac", range(10, 14))}  # fmt: skip
    for place, (middle, suffix, speakers) in kinds.items():
        for speaker in speakers:
            chapter = tmp_path / place / str(speaker) / "20"
            chapter.mkdir(parents=True)
            sound = generator.normal(scale=0.1, size=4_000)
            sp.audio.write(chapter / f"{speaker}{middle}0000.{suffix}", sound, 16_000)
        lines = [f"{n} | {'FM'[n % 2]} | x | 25.0 | Somebody" for n in speakers]
        (tmp_path / place).parent.joinpath("SPEAKERS.TXT").write_text("\n".join(lines))
    train, test = (tmp_path / place for place in kinds)
    wanted = {"mel": MEL, "alternatives": [], "log": False}
    wanted["settings"] = replace(SHORT, validation_fraction=0.5)
    found = gender(train, str(test), **wanted)
    assert (found.provenance["train"], found.provenance["test"]) == ("libritts", "librispeech")
    assert found.table()["n_train"].unique().tolist() == [10]
    assert found.table()["n_test"].unique().tolist() == [4]
    # The folder of a corpus gives all its subsets.
    whole = gender(train.parent, test.parent, **wanted)
    pd.testing.assert_frame_equal(found.table(), whole.table())


def test_bars_name_each_feature_once_and_none_hides_its_interval(study):
    pytest.importorskip("matplotlib")
    colors = pytest.importorskip("matplotlib.colors")
    figure = study.picture("accuracy_bars")
    figure.draw_without_rendering()
    table = study.table()
    names = [f"{m} ({f})" for m, f in zip(table["model"], table["feature"], strict=True)]
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_yticklabels()] == names
        fills = [colors.to_hex(bar.get_facecolor()) for bar in axes.patches]
        assert "#000000" not in fills
        # One colour a feature.
        assert len(set(fills)) == len(set(zip(fills, table["feature"], strict=True))) == 3


@pytest.mark.shared
@pytest.mark.slow
def test_real_voices_are_told_from_the_logarithm_well_above_the_floor(shared):
    root = shared / "data" / "LibriSpeech"
    load = sp.datasets.load_librispeech
    train = load(root, subsets=["train-clean-100"], transcripts="optional")
    found = gender(
        train,
        load(root, subsets=["test-other"]),
        alternatives=["MLP"],
        settings=GenderSettings(curve_epochs=30, n_shuffles=1),
    )
    assert found.provenance["speakers"] == {"train": 201, "validation": 50, "test": 10}
    assert row(found, "MLP", "log")["accuracy"] > 0.7 > 0.6 > row(found, "MLP", "log")["majority"]
    assert set(ALTERNATIVES) - {"MLP"} == {"LR", "RF", "CNN 2-D"}


@pytest.mark.shared
@pytest.mark.slow
def test_the_example_runs_on_librispeech(shared, tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[2] / "examples" / "gender_study.py"
    root = shared / "data" / "LibriSpeech"
    arguments = [root, root, "--test-subset", "test-other", "--trials", 2, "--no-images"]
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments), "--out", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    assert "least validation loss" in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "study" / "results.csv")
    assert (results["n_test_speakers"] == 10).all()
