"""The speaking-rate study: labels, planted layers, parts, frames, files, errors."""

from __future__ import annotations

import copy
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.splits import k_fold
from speechprobe.protocols._rate.inputs import FixedLength, features_of, models_of
from speechprobe.protocols._rate.parts import rate_data
from speechprobe.protocols._rate.scores import correlations
from speechprobe.protocols.speaking_rate_study import SpeakingRateSettings, speaking_rate

PLAIN = SpeakingRateSettings(next_steps=(), n_shuffles=1)
COLUMNS = ["audio_path", "text", "cps", "speaker_id", "chapter_id", "audio_id"]
SENTENCES = ("so it is", "a longer sentence than that one", "60 more, it's said", "no")


def corpus_of(n_speakers=8, n_items=6, *, prefix="", seed=0):
    """Speakers whose utterances differ in length and text; there is no sound behind them."""
    generator = np.random.default_rng(seed)
    n = n_speakers * n_items
    table = pd.DataFrame(
        {
            "path": [f"{prefix}{k}.wav" for k in range(n)],
            "speaker": [f"{prefix}s{k % n_speakers}" for k in range(n)],
            "chapter": "7",
            "text": [SENTENCES[k] for k in generator.integers(len(SENTENCES), size=n)],
            "duration": generator.uniform(0.5, 4, size=n),
        },
        index=[f"{prefix}u{k}" for k in range(n)],
    )
    return Corpus(f"{prefix}made", table)


def true_rate(corpus):
    counts = [sum(map(str.isalnum, text)) for text in corpus.column("text")]
    return np.array(counts) / corpus.column("duration")


def planted(corpus, seed=0):
    """Layers of which the middle one holds the rate, the last one the duration, the first noise."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(3, len(corpus), 3))
    rate, seconds = true_rate(corpus), corpus.column("duration").astype(float)
    layers = {
        "early": noise[0],
        "middle": noise[1] * 0.1 + (rate / rate.std())[:, None],
        "late": noise[2] * 0.1 + seconds[:, None],
    }
    return sp.Features(layers, corpus.table)


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Intervals have tests of their own; 1,000 resamples of each score would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechprobe.layers.scoring.N_RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def corpus():
    return corpus_of()


@pytest.fixture(scope="module")
def study(corpus):
    steps = ("beyond_duration", "duration")
    settings = SpeakingRateSettings(next_steps=steps, n_folds=4, n_shuffles=1)
    return speaking_rate(corpus, {"net": planted(corpus)}, settings=settings)


def r2_of(study, table, probe="ridge"):
    found = study.table(table).query("metric == 'r2' and probe == @probe")
    return dict(zip(found["layer"], found["score"], strict=True))


def test_the_labels_are_the_hand_worked_rates_in_the_columns_of_the_study():
    table = pd.DataFrame(
        {
            "path": ["a.wav", "b.wav"],
            "speaker": ["14", "60"],
            "text": ["It's 5 o'clock", "Ja."],
            "duration": [2.0, 0.5],
        },
        index=["14-208-0000", "b"],
    )
    data = rate_data(Corpus("two", table), None, n_folds=2, pauses=False)
    labels = data.label_tables()["labels"]
    assert labels.columns.tolist() == COLUMNS
    assert labels["cps"].tolist() == [5.0, 4.0]  # 10 characters in 2 s, 2 in half a second
    assert labels["speaker_id"].tolist() == ["14", "60"]
    assert labels["chapter_id"].isna().all()
    assert labels["audio_id"].tolist() == ["14-208-0000", "b"]


def test_the_layer_that_holds_the_rate_wins_and_is_chosen_on_validation_items(study):
    found = r2_of(study, "layer_metrics")
    assert found["middle"] > 0.9 > 0.6 > max(found["early"], found["late"])
    best = study.table("best_layers").query("table == 'layer_metrics' and probe == 'ridge'")
    assert best["layer"].tolist() == ["middle"] * 3
    cca = study.table("cca").query("ridge == 0").set_index("layer")["held_out"]
    assert cca.idxmax() == "middle"


def test_what_is_known_through_the_duration_alone_is_nothing_beyond_it(study):
    beyond, seconds = r2_of(study, "beyond_duration"), r2_of(study, "duration")
    assert seconds["late"] > 0.9 > 0.5 > seconds["early"]
    assert beyond["middle"] > 0.5 > 0.1 > beyond["late"]


def test_scores_of_ridge_are_those_of_probe_layers(study, corpus):
    features = planted(corpus)
    items = corpus.table.assign(cps=true_rate(corpus))
    expected = sp.probe_layers(
        sp.Features(features.layers, items),
        target="cps",
        groups="speaker",
        probe=sp.probes.RidgeProbe(),
        metrics=[sp.metrics.mse, sp.metrics.mae, sp.metrics.r2],
        n_folds=4,
        n_shuffles=1,
    )
    found = study.table("layer_metrics").query("probe == 'ridge'")
    assert found["score"].tolist() == [record.score for record in expected.records]
    assert found["low"].tolist() == [record.low for record in expected.records]
    assert found["depth"].unique().tolist() == [0.0, 0.5, 1.0]


def test_the_perceptron_of_the_study_trains_10_epochs_on_the_embedding_and_3_on_a_layer(study):
    probes = study.provenance["probes"]
    assert "epochs=10" in probes["embedding_metrics, mlp"]
    assert "epochs=3" in probes["layer_metrics, mlp"]
    # 3e-4 and batches of 32 are the defaults of the perceptron, which a repr leaves out.
    settings = sp.probes.TorchMLPRegressor().get_params()
    assert (settings["learning_rate"], settings["batch_size"]) == (3e-4, 32)
    assert study.provenance["embedding"] == {"net": "late"}


def test_correlations_are_those_of_cca_by_group(corpus):
    data = rate_data(corpus, None, n_folds=4, pauses=False)
    features = planted(data.corpus)
    found = correlations({"net": features}, data, [0.0]).set_index("layer")
    codes = np.unique(corpus.column("speaker"), return_inverse=True)[1]
    expected = sp.probes.cca(
        features["late"], true_rate(corpus), n_components=1, groups=codes, n_folds=4
    )
    assert found.loc["late", "correlation"] == pytest.approx(expected.correlations[0])
    assert found.loc["late", "held_out"] == pytest.approx(float(expected))
    assert found.loc["late", "held_out_std"] == pytest.approx(expected.held_out_std[0])


def test_all_files_are_written_and_come_back_equal(study, tmp_path):
    pytest.importorskip("matplotlib")
    paths = {path.name: path for path in study.write(tmp_path)}
    for name in ("layer_metrics.csv", "cca.csv", "embedding_metrics.csv", "labels.csv"):
        frame = pd.read_csv(paths[name], dtype={"chapter_id": str})
        expected = study.table(name.removesuffix(".csv"))
        pd.testing.assert_frame_equal(frame, expected, check_dtype=False, rtol=1e-14)
    wanted = {"layer_curves_ridge", "layer_curves_mlp", "embedding_bars_ridge", "cca", "tsne_net",
              "predictions_net", "errors_net"}  # fmt: skip
    assert wanted <= {name.removesuffix(".svg") for name in paths}
    told = json.loads(paths["study.json"].read_text(encoding="utf-8"))
    assert (told["protocol"], told["edition"]) == ("speaking_rate", "corrected")
    assert "whole utterances instead of 400 frames" in told["deviations"]


def test_curves_of_several_models_lie_over_each_other(corpus):
    pytest.importorskip("matplotlib")
    models = {"one": planted(corpus), "other": planted(corpus, seed=1)}
    found = speaking_rate(corpus, models, settings=PLAIN)
    figure = found.picture("layer_curves_ridge")
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "MSE ((characters/s)²)",
        "MAE (characters/s)",
        "R²",
    ]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["one", "other"]
    assert found.table("published")["model"].tolist() == ["one", "other"] * 3


def test_given_parts_are_the_split_and_each_has_its_file():
    parts = {
        "train": corpus_of(6, 5, prefix="a"),
        "dev": corpus_of(2, 5, prefix="b"),
        "test": corpus_of(3, 5, prefix="c"),
    }
    whole = Corpus("all", pd.concat([part.table for part in parts.values()]))
    found = speaking_rate(
        parts, {"net": planted(whole)}, edition="original", settings=PLAIN, embedding="middle"
    )
    sizes = {name: len(found.table(f"labels_{name}")) for name in ("train", "validation", "test")}
    assert sizes == {"train": 30, "validation": 10, "test": 15}
    assert found.table()["n_items"].unique().tolist() == [15]
    assert found.provenance["max_frames"] == 400
    assert found.provenance["main_probe"] == "mlp"
    assert not any("folds" in each for each in found.deviations)
    assert found.table("embedding_metrics")["layer"].unique().tolist() == ["middle"]
    assert set(found.table("predictions")["id"]) == set(parts["test"].table.index)


def test_the_articulation_rate_is_the_rate_of_speech_alone_and_leaves_out_what_has_none(
    corpus, monkeypatch
):
    speech = corpus.column("duration") / 2
    speech[3] = 0.0  # a recording without speech
    seconds = dict(zip(corpus.table.index, speech, strict=True))

    def spoken(utterance):
        n = sum(map(str.isalnum, utterance["text"]))
        return n / seconds[utterance.id] if seconds[utterance.id] else float("nan")

    monkeypatch.setattr("speechprobe.datasets.labels.articulation_rate", spoken)
    settings = SpeakingRateSettings(next_steps=("articulation_rate",), n_folds=4, n_shuffles=1)
    found = speaking_rate(corpus, planted(corpus), settings=settings)
    table = found.table("articulation_rate")
    assert table["n_items"].unique().tolist() == [len(corpus) - 1]
    assert table["target"].unique().tolist() == ["articulation_rate"]
    assert r2_of(found, "articulation_rate")["middle"] > 0.9  # half the time, twice the rate
    summary = found.table("label_summary").set_index("label")
    assert summary.loc["articulation_rate", "n_items"] == len(corpus) - 1
    assert summary.loc["articulation_rate", "pearson_cps"] == pytest.approx(1)


class Ends:
    """An extractor that tells the number of samples it was given and the last of them."""

    name, sample_rate = "ends", 16_000

    def __call__(self, signal):
        return {"ends": np.array([[len(signal), np.abs(signal[-1]) > 0]], np.float32)}


def sounds(folder, write_sound, seconds):
    paths = [write_sound(folder / f"{k}.wav", seconds=each) for k, each in enumerate(seconds)]
    table = {"path": map(str, paths), "speaker": range(len(paths)), "text": "so it is"}
    return sp.datasets.load_table(pd.DataFrame(table))


def test_400_frames_cut_long_and_fill_short_utterances(tmp_path, write_sound):
    corpus = sounds(tmp_path, write_sound, [1.0, 6.0])
    whole = features_of({"ends": Ends()}, corpus, max_frames=None, store=None)["ends"]
    cut = features_of({"ends": Ends()}, corpus, max_frames=400, store=None)["ends"]
    assert whole["ends"][:, 0].tolist() == [16_000, 96_000]
    # 400 frames of 400 samples every 160: 399 * 160 + 400.
    assert cut["ends"][:, 0].tolist() == [64_240, 64_240]
    assert cut["ends"][:, 1].tolist() == [0, 1]  # zeros at the end of the short one


def test_networks_fed_by_frames_see_as_many_of_them_and_stay_as_they_are(tmp_path, write_sound):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.yaml").write_text(
        "model: SimAM_ResNet34_ASP\nmodel_args:\n  in_planes: 1\n  embed_dim: 4\n"
    )
    load = sp.extractors.load_wespeaker
    network = load(tmp_path / "tiny", untrained=True, layers="bottleneck")
    corpus = sounds(tmp_path, write_sound, [0.5, 1.5])
    models = {"net": network}
    whole = features_of(models, corpus, max_frames=None, store=None)["net"]["bottleneck"]
    cut = features_of(models, corpus, max_frames=60, store=tmp_path / "store")["net"]["bottleneck"]
    own = load(tmp_path / "tiny", untrained=True, layers="bottleneck", max_frames=60)
    assert np.array_equal(cut, sp.extract(corpus, own)["bottleneck"])
    assert not np.allclose(cut, whole)
    assert network.max_frames is None
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["net-60-frames"]


def test_a_second_run_starts_from_the_store(tmp_path, write_sound):
    corpus = sounds(tmp_path / "sounds", write_sound, np.linspace(0.3, 1.2, 8))
    settings = SpeakingRateSettings(next_steps=(), n_shuffles=1, n_folds=2)

    class Once(Ends):
        def __call__(self, signal):
            if stop:
                raise RuntimeError("asked again")
            return {"ends": np.array([[len(signal), 1 / len(signal)]], np.float32)}

    stop = False
    kept = tmp_path / "store"
    first = speaking_rate(corpus, Once(), store=kept, settings=settings)
    stop = True
    second = speaking_rate(corpus, Once(), store=kept, settings=settings)
    pd.testing.assert_frame_equal(first.table(), second.table())
    # The labels are a corpus again, wherever they are read.
    second.write(tmp_path / "study", pictures=False)
    again = sp.datasets.load_table(tmp_path / "study" / "labels.csv")
    assert again.label("rate", sp.datasets.labels.speaking_rate).column("rate").tolist() == (
        first.table("labels")["cps"].tolist()
    )


def test_fixed_lengths_tell_what_they_do_and_refuse_nothing():
    fixed = FixedLength(Ends(), max_frames=400)
    assert fixed.provenance["max_frames"] == 400
    with pytest.raises(ValueError, match="max_frames must be at least 1, got 0"):
        FixedLength(Ends(), max_frames=0)


@pytest.mark.filterwarnings("ignore:.*has the same value")
def test_networks_without_frames_of_their_own_are_a_departure_of_the_original(
    tmp_path, write_sound
):
    corpus = sounds(tmp_path, write_sound, np.linspace(0.3, 1.2, 8))
    told = "is not fed frames of 10 ms: it sees signals of 4.015 s, zeros behind short ones"
    settings = SpeakingRateSettings(next_steps=(), n_shuffles=1, n_folds=2)
    for edition, expected in (("original", 1), ("corrected", 0)):
        model = sp.extractors.LogMel(n_mels=8)
        found = speaking_rate(corpus, model, edition=edition, settings=settings)
        assert found.deviations.count(f"logmel {told}") == expected
    given = speaking_rate(corpus, sp.extract(corpus, model), edition="original", settings=settings)
    assert not any(told in each for each in given.deviations)


def test_models_are_named_by_themselves_or_by_the_user():
    one, other = Ends(), copy.copy(Ends())
    assert list(models_of(one)) == ["ends"]
    assert list(models_of({"a": one, "b": other})) == ["a", "b"]
    with pytest.raises(ValueError, match=r"two extractors share a name, \['ends', 'ends'\]"):
        models_of([one, other])
    with pytest.raises(ValueError, match="names of files, and two coincide"):
        models_of({"a/b": one, "a b": other})


@pytest.mark.parametrize("nothing", [[], {}, ()])
def test_no_extractor_is_an_error(corpus, nothing):
    with pytest.raises(ValueError, match="no extractor was given"):
        speaking_rate(corpus, nothing)


def test_what_is_no_extractor_is_an_error(corpus):
    with pytest.raises(TypeError, match="an extractor"):
        speaking_rate(corpus, ["openai/whisper-base"])


@pytest.mark.parametrize("text", [None, "  ", "missing"])
def test_an_utterance_without_text_is_named(corpus, text):
    table = corpus.table.copy()
    if text == "missing":
        table, n, first = table.drop(columns="text"), len(table), "u0"
    else:
        table.loc[["u4", "u7"], "text"] = text
        n, first = 2, "u4"
    with pytest.raises(ValueError, match=f"{n} of 48 of corpus 'made' have none, first '{first}'"):
        speaking_rate(Corpus("made", table), planted(corpus))


def test_a_speaker_in_train_and_test_is_an_error():
    one, other = corpus_of(4, 3, prefix="a"), corpus_of(4, 3, prefix="b")
    table = other.table.assign(speaker=["as1", *other.column("speaker")[1:]])
    parts = {"train": one, "test": Corpus("bmade", table)}
    with pytest.raises(ValueError, match=r"straddle the split: 'as1' \(train and test\)"):
        speaking_rate(parts, {"net": Ends()})


def test_parts_that_share_utterances_or_have_other_names_are_errors():
    one = corpus_of(4, 3)
    with pytest.raises(ValueError, match="12 utterances stand in two parts or share an id"):
        speaking_rate({"train": one, "test": one}, Ends())
    with pytest.raises(ValueError, match="'train', 'validation' .* got 'eval'"):
        speaking_rate({"train": one, "eval": one}, Ends())
    with pytest.raises(ValueError, match="leave split out"):
        speaking_rate({"train": one, "test": one}, Ends(), split=[])
    with pytest.raises(TypeError, match="corpus must be a Corpus, .*or the folder.*got int"):
        speaking_rate(3, Ends())
    with pytest.raises(TypeError, match="test must be a Corpus, .*got list"):
        speaking_rate({"train": one, "test": []}, Ends())


def test_too_few_speakers_edition_step_and_embedding_are_errors_before_long(corpus):
    with pytest.raises(ValueError, match="5 folds need at least 5 groups of 'speaker'"):
        speaking_rate(corpus_of(3, 4), Ends(), settings=PLAIN)
    with pytest.raises(ValueError, match="edition must be 'original' or 'corrected', got '2021'"):
        speaking_rate(corpus, Ends(), edition="2021")
    with pytest.raises(ValueError, match="no next step 'pauses'; there are articulation_rate"):
        SpeakingRateSettings(next_steps=("pauses",))
    with pytest.raises(KeyError, match="'net' has no layer 'last' to be the embedding"):
        speaking_rate(corpus, {"net": planted(corpus)}, embedding="last", settings=PLAIN)
    with pytest.raises(ValueError, match="embedding names 'nett', which is no model; there are e"):
        speaking_rate(corpus, Ends(), embedding={"nett": "middle"}, settings=PLAIN)
    with pytest.raises(ValueError, match="errors must be 'raise' or 'record', got 'ignore'"):
        speaking_rate(corpus, Ends(), errors="ignore", settings=PLAIN)
    with pytest.raises(TypeError, match=r"settings must be SpeakingRateSettings\(...\), got dict"):
        speaking_rate(corpus, Ends(), settings={"n_folds": 3})


@pytest.mark.parametrize("ridges", [(), (1.0, -0.1), (float("nan"),), 1.0])
def test_ridges_that_none_can_have_are_refused_at_once(ridges):
    with pytest.raises(ValueError, match="cca_ridges must be one or more numbers from 0"):
        SpeakingRateSettings(cca_ridges=ridges)


def test_one_next_step_needs_no_brackets():
    assert SpeakingRateSettings(next_steps="duration").next_steps == ("duration",)


def test_a_layer_that_does_not_vary_has_no_correlation_and_is_named(corpus):
    good = planted(corpus)
    dead = sp.Features(dict(good.layers) | {"dead": np.zeros((len(corpus), 3))}, corpus.table)
    found = speaking_rate(corpus, {"good": good, "bad": dead}, settings=PLAIN)
    numbers = ["correlation", "held_out", "held_out_std"]
    cca = found.table("cca")
    is_dead = cca["layer"] == "dead"
    assert cca.loc[is_dead, numbers].isna().all(axis=None)
    assert cca.loc[~is_dead, numbers].notna().all(axis=None)
    assert is_dead.sum() == 2  # a row a ridge
    assert found.provenance["cautions"]["features"] == ["model bad, layer dead does not vary"]
    assert {"tsne_good", "errors_bad"} <= set(found.pictures)
    assert "tsne_bad" not in found.pictures  # its embedding is one point


def test_a_fold_whose_training_items_do_not_vary_does_not_count(corpus):
    data = rate_data(corpus, None, n_folds=4, pauses=False)
    values = np.zeros((len(corpus), 1))
    values[data.folds[0].test, 0] = true_rate(corpus)[data.folds[0].test]
    features = {"net": sp.Features({"late": values}, corpus.table)}
    found = correlations(features, data, [0.0]).iloc[0]
    assert np.isfinite(found["correlation"])
    assert np.isnan(found["held_out"])  # of the others the test items do not vary


# Files that give no features


class Nothing(Ends):
    """As `Ends`, and NaN for signals of one length."""

    def __call__(self, signal):
        values = np.array([[len(signal), 1 / len(signal)]], np.float32)
        return {"ends": values * (np.nan if len(signal) == 8_000 else 1)}


@pytest.fixture
def some_broken(tmp_path, write_sound):
    """A corpus of ten: the file of u0 is no sound, that of u1 is the only one of half a second."""
    corpus = sounds(tmp_path, write_sound, [0.4, 0.5, *np.linspace(0.6, 1.2, 8)])
    (tmp_path / "0.wav").write_bytes(b"no sound")
    return Corpus("ten", corpus.table.drop(columns=["duration", "sample_rate", "channels"]))


@pytest.mark.filterwarnings("ignore:.*has the same value")
def test_files_that_give_no_features_are_left_out_listed_and_counted(some_broken, monkeypatch):
    seconds = iter([0.5] * 20)

    def spoken(utterance):
        utterance.signal()  # fails where the file is no sound
        return sum(map(str.isalnum, utterance["text"])) / next(seconds)

    monkeypatch.setattr("speechprobe.datasets.labels.articulation_rate", spoken)
    settings = SpeakingRateSettings(next_steps=(), n_shuffles=1, n_folds=2)
    models = {"a": Ends(), "b": Nothing()}
    with pytest.raises(ValueError, match="no sound|0.wav"):
        speaking_rate(some_broken, models, settings=settings)
    found = speaking_rate(some_broken, models, errors="record", settings=settings)
    paths = some_broken.column("path")
    failures = found.provenance["failures"]
    assert [each["path"] for each in failures.pop("corpus")] == [paths[0]]
    assert [each["path"] for each in failures.pop("b")] == [paths[1]]
    assert not failures
    (told,) = [each for each in found.deviations if "gave no features" in each]
    assert told.startswith(
        f"2 of 10 utterances gave no features and are left out, first {paths[0]}"
    )
    # The others are probed as if these had never been there, by every model.
    data = rate_data(some_broken, None, n_folds=2, pauses=False, errors="record")
    folds = data.only(data.corpus.column("path") != paths[1]).folds
    rest = some_broken.select(np.arange(10) >= 2)
    alone = speaking_rate(rest, models, split=folds, settings=settings)
    pd.testing.assert_frame_equal(found.table(), alone.table())
    assert len(found.table("labels")) == 8
    # A file whose length is known and whose sound is broken has no rate of articulation.
    known = some_broken.label("duration", np.full(10, 1.0))
    rates = rate_data(known, None, n_folds=2, pauses=True, errors="record").corpus
    assert np.isnan(rates.column("articulation_rate")).tolist() == [True] + [False] * 9


def test_features_that_were_given_may_lack_utterances_if_errors_are_recorded(corpus):
    features = planted(corpus)
    some = features.select(list(corpus.table.index[1:]))
    found = speaking_rate(corpus, {"net": some}, errors="record", settings=PLAIN)
    assert found.table()["n_items"].unique().tolist() == [47]
    (failure,) = found.provenance["failures"]["net"]
    assert failure == {"path": "0.wav", "error": "is not among the features that were given"}


def test_nothing_left_to_test_says_why(some_broken):
    rows = np.arange(10)
    with pytest.raises(ValueError, match="no fold has training and test .*; 1 of 10 .*0.wav"):
        speaking_rate(
            some_broken, Ends(), split=[(rows[1:], rows[:1])], errors="record", settings=PLAIN
        )


# Folders


@pytest.fixture
def librispeech(tmp_path, write_sound):
    subsets = {"train-clean-100": range(1, 7), "dev-clean": (7, 8), "test-clean": (9, 10)}
    lines = []
    for subset, speakers in subsets.items():
        for speaker in speakers:
            chapter = tmp_path / "LibriSpeech" / subset / str(speaker) / "20"
            chapter.mkdir(parents=True)
            lines.append(f"{speaker} | F | {subset} | 25.0 | Somebody")
            texts = []
            for take in range(3):
                name = f"{speaker}-20-{take:04d}"
                write_sound(chapter / f"{name}.flac", seconds=0.3 + 0.1 * take + 0.01 * speaker)
                texts.append(f"{name} {SENTENCES[(take + speaker) % 3].upper()}")
            (chapter / f"{speaker}-20.trans.txt").write_text("\n".join(texts))
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text("\n".join(lines))
    return tmp_path / "LibriSpeech"


def test_a_folder_of_librispeech_has_the_parts_of_the_study(librispeech):
    found = speaking_rate(librispeech, Ends(), settings=PLAIN)
    sizes = {name: len(found.table(f"labels_{name}")) for name in ("train", "validation", "test")}
    assert sizes == {"train": 18, "validation": 6, "test": 6}
    assert not any("not LibriSpeech train-clean-100" in each for each in found.deviations)


def test_folders_of_subsets_are_corpora_and_parts(librispeech):
    alone = rate_data(str(librispeech / "train-clean-100"), None, n_folds=3, pauses=False)
    assert (len(alone.corpus), len(alone.folds)) == (18, 3)
    parts = {"train": librispeech / "train-clean-100", "test": librispeech / "test-clean"}
    data = rate_data(parts, None, n_folds=5, pauses=False)
    (fold,) = data.folds
    assert [len(part) for part in fold] == [18, 0, 6]
    # Where a part of the study is missing, all that is there is one corpus.
    (librispeech / "dev-clean").rename(librispeech / "dev-other")
    whole = rate_data(librispeech, None, n_folds=5, pauses=False)
    assert (len(whole.corpus), len(whole.folds), whole.given) == (30, 5, False)


def test_a_folder_without_the_corpus_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder, found nothing"):
        speaking_rate(tmp_path / "nowhere", Ends())
    (tmp_path / "SPEAKERS.TXT").touch()
    with pytest.raises(FileNotFoundError, match="not found; present are none. Layout: Libri"):
        speaking_rate(tmp_path, Ends())


def test_features_that_lack_an_utterance_are_an_error_and_others_are_put_in_order(corpus):
    features = planted(corpus)
    with pytest.raises(ValueError, match="features 'net' lack 1 of 48 utterances, first 'u0'"):
        features_of(
            {"net": features.select(list(corpus.table.index[1:]))},
            corpus,
            max_frames=None,
            store=None,
        )
    turned = features.select(np.arange(len(corpus))[::-1])
    found = features_of({"net": turned}, corpus, max_frames=None, store=None)["net"]
    assert np.array_equal(found["middle"], features["middle"])


def test_folds_that_are_given_are_kept(corpus):
    folds = k_fold(corpus.table, n_folds=3)
    data = rate_data(corpus, folds, n_folds=5, pauses=False)
    assert [fold.test.tolist() for fold in data.folds] == [fold.test.tolist() for fold in folds]
    assert data.given


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whisper_base_has_the_reference_r2_on_test_other(shared, tmp_path):
    corpus = sp.datasets.load_librispeech(shared / "data" / "LibriSpeech", subsets=["test-other"])
    model = sp.extractors.TransformerExtractor(shared / "models" / "whisper-base-encoder")
    settings = SpeakingRateSettings(n_folds=10, next_steps=(), n_shuffles=1)
    found = speaking_rate(corpus, model, settings=settings)
    scores = list(r2_of(found, "layer_metrics").values())
    # REFERENCE.md: states 0 to 5, and the last one after the final norm.
    reference = [0.433, 0.512, 0.724, 0.808, 0.791, 0.761, 0.784]
    assert [*scores[:6], scores[-1]] == pytest.approx(reference, abs=0.01)
    summary = found.table("label_summary").set_index("label").loc["cps"]
    assert (summary["mean"], summary["std"]) == pytest.approx((10.138, 2.191), abs=1e-3)


@pytest.mark.shared
@pytest.mark.slow
def test_the_example_runs_on_emodb_and_says_what_has_random_weights(
    shared, tmp_path, monkeypatch, capsys
):
    script = Path(__file__).parents[2] / "examples" / "speaking_rate_study.py"
    arguments = ["--emodb", shared / "data" / "emodb", "--limit", 30, "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    runpy.run_path(str(script), run_name="__main__")
    assert "- SimAM-ResNet34-untrained has random weights" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "emodb-corrected").iterdir()}
    assert {"layer_metrics.csv", "cca.csv", "labels.csv", "layer_curves_ridge.svg"} <= written
