"""The verification study: against its rule written out, its tables, and what it refuses."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

import speechprobe as sp
from speechprobe.extractors import LogMel
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.metrics import as_norm, cosine_scores, equal_error_rate, min_dcf
from speechprobe.protocols._voxceleb.lists import describe
from speechprobe.protocols.voxceleb_verification import voxceleb

PITCHES = (110, 170, 260, 400, 620)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """VoxCeleb's layout: five speakers, each a hum beneath noise; some files longer than a crop."""
    folder = tmp_path_factory.mktemp("vox") / "wav"
    generator = np.random.default_rng(0)
    for speaker, pitch in enumerate(PITCHES):
        for take, seconds in enumerate((0.6, 4.4, 1.1)):
            time = np.arange(int(seconds * 16_000)) / 16_000
            hum = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
            signal = 0.05 * hum + 0.1 * generator.normal(size=len(time))
            path = folder / f"id1027{speaker}" / "video" / f"0000{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            sp.audio.write(path, signal, 16_000)
    return folder


@pytest.fixture(scope="module")
def corpus(root):
    return sp.datasets.load_voxceleb(root)


@pytest.fixture(scope="module")
def trials(corpus):
    return sp.datasets.make_trials(corpus, 30)


@pytest.fixture(scope="module")
def listed(trials, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "veri_test.txt"
    lines = [f"{int(same)} {a}.wav {b}.wav\n" for a, b, same in trials.itertuples(index=False)]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def mel():
    return LogMel(n_mels=20)


@pytest.fixture(scope="module")
def study(mel, root, listed):
    return voxceleb(mel, root, listed)


def crops_by_loop(signal):
    samples = signal.tolist()
    if len(samples) <= 64_240:
        samples = (samples * (64_241 // len(samples) + 1))[:64_241]
    starts = [int(k * (len(samples) - 64_240) / 9) for k in range(10)]
    return [np.array(samples[start : start + 64_240], np.float32) for start in starts]


def test_scores_are_the_trainers_rule_written_out(study, mel, corpus, trials):
    unit = {}
    for utterance in corpus:
        crops = [mel(crop)["logmel"].mean(0) for crop in crops_by_loop(utterance.signal(16_000))]
        unit[utterance.id] = np.array([crop / np.linalg.norm(crop) for crop in crops])
    expected = [
        -cdist(unit[a], unit[b]).mean()
        for a, b in zip(trials["enrol"], trials["test"], strict=True)
    ]
    found = study.table("trials")
    assert found[["enrol", "test", "same"]].equals(trials)
    np.testing.assert_allclose(found["score"], expected, atol=2e-4)
    row = study.table().iloc[0]
    assert row["eer"] == round(equal_error_rate(trials["same"], found["score"]), 4)
    assert row["min_dcf"] == round(min_dcf(trials["same"], found["score"], p_target=0.05), 4)
    assert (row["scoring"], row["p_target"], row["n_files"]) == ("vox-trainer-10crop", 0.05, 15)


def test_tables_pictures_and_deviations_are_written(study, tmp_path):
    written = {path.name for path in study.write(tmp_path)}
    assert written == {
        "results.csv", "layers.csv", "published.csv", "trial_list.csv", "trials.csv",
        "histogram.svg", "det.svg", "layers.svg", "study.json",
    }  # fmt: skip
    told = json.loads((tmp_path / "study.json").read_text())
    assert (told["protocol"], told["edition"]) == ("voxceleb", "vox-trainer-10crop")
    assert told["provenance"]["features"]["extractor"]["n_crops"] == 10
    assert any(
        "no VoxCeleb1-O but own list (30 trials of 15 files" in d for d in told["deviations"]
    )


def test_published_figures_stand_above_the_measured_one(study):
    table = study.table("published")
    assert table["eer_percent"].tolist()[:2] == [2.1792, 1.1771]
    assert set(table["trials"][:-1]) == {"VoxCeleb1-O"}
    last = table.iloc[-1]
    assert (last["trials"], last["source"]) == ("own list", "measured here")
    assert last["eer_percent"] == round(100 * study.scores.records[0].eer, 4)
    assert last["low"] <= last["eer_percent"] <= last["high"]


def made(n_trials, n_files, n_speakers):
    """Make a list with these numbers, its ids as VoxCeleb's."""
    ids = np.array([f"id{10_270 + k % n_speakers}/v/{k:05d}" for k in range(n_files)])
    rows = np.arange(n_trials)
    return pd.DataFrame(
        {"enrol": ids[rows % n_files], "test": ids[(rows * 7 + 1) % n_files], "same": rows % 2 == 0}
    )


@pytest.mark.parametrize(
    ("numbers", "name", "note"),
    [
        ((37_720, 4_715, 40), "VoxCeleb1-O", "veri_test.txt: the original list"),
        ((37_611, 4_708, 40), "VoxCeleb1-O-cleaned", "veri_test2.txt: .*found wrong"),
        ((37_720, 4_708, 40), "own list", "as many trials as VoxCeleb1-O, but 4708 files where"),
        ((37_611, 4_708, 39), "own list", "VoxCeleb1-O-cleaned, but 39 speakers where it has 40"),
        ((581_480, 9_000, 1_251), "VoxCeleb1-E", "reads dev and test folders"),
        ((900, 100, 10), "own list", "none of VoxCeleb1's lists"),
    ],
)
def test_a_list_is_known_by_its_published_numbers(numbers, name, note):
    found = describe(made(*numbers))
    assert found.name == name
    assert re.search(note, found.note)
    assert (found.n_trials, found.n_files, found.n_speakers) == numbers


def test_layers_of_any_extractor_are_scored_and_one_is_named(corpus, trials):
    both = sp.extractors.Together({"few": LogMel(n_mels=8), "many": LogMel(n_mels=30)})
    found = voxceleb(both, corpus, trials, scoring="cosine", embedding="few/logmel", p_target=0.01)
    assert found.table("layers").index.tolist() == ["few/logmel", "many/logmel"]
    assert found.table()["layer"].tolist() == ["few/logmel"]
    assert voxceleb(both, corpus, trials, scoring="cosine").embedding == "many/logmel"
    assert any("minDCF at p_target=0.01" in sentence for sentence in found.deviations)
    with pytest.raises(KeyError, match="no layer 'fc' among"):
        voxceleb(both, corpus, trials, scoring="cosine", embedding="fc")


def test_a_wrong_layer_is_told_before_anything_runs_where_layers_are_known(corpus, trials):
    never = Never()
    never.layers = ("stem", "fc1")
    with pytest.raises(KeyError, match=r"no layer 'fc' among \['stem', 'fc1'\]"):
        voxceleb(never, corpus, trials, embedding="fc")
    with pytest.raises(KeyError, match=r"no layer 'stem' among \['fc1'\]"):
        voxceleb(never, corpus, trials, layers="fc*", embedding="stem")


class Counting:
    """An extractor that does not tell its layers, and counts its calls."""

    name, sample_rate = "mine/counting", 16_000

    def __init__(self):
        self._calls = 0

    def __call__(self, signal):
        self._calls += 1
        frames = np.abs(signal[: len(signal) // 160 * 160]).reshape(-1, 160)
        return {"low": frames[:, :8], "high": frames[:, 8:20]}


def test_one_file_is_run_to_tell_a_wrong_layer_of_an_extractor_that_names_none(corpus, trials):
    model = Counting()
    with pytest.raises(KeyError, match=r"no layer 'fc' among \['low', 'high'\]"):
        voxceleb(model, corpus, trials, embedding="fc")
    ours = halves(corpus)[0]
    lacking = Cohort({"low": np.eye(2, 8)}, ("a", "b"), 2)
    settings = {"scoring": "as-norm", "cohort": lacking}
    with pytest.raises(ValueError, match=r"cohort has no layer 'high'; it has \['low'\]"):
        voxceleb(model, ours, sp.datasets.make_trials(ours, 18), **settings)
    assert model._calls == 2


def test_studies_of_every_kind_share_a_store(corpus, tmp_path):
    ours, others = halves(corpus)
    trials = sp.datasets.make_trials(ours, 18)
    model = Counting()
    kinds = (
        {},
        {"scoring": "cosine"},
        {"scoring": "as-norm", "cohort": others},
        {"scoring": "cosine", "layers": ["low", "high"]},
        {"scoring": "cosine", "layers": "low"},
        {"scoring": "cosine", "pool": "max"},
    )
    for store in (tmp_path, str(tmp_path)):
        for settings in kinds:
            voxceleb(model, ours, trials, store=store, **settings)
        n_run = 9 * 10 + 9 + 6 + 3 * 9  # crops, whole, cohort, three kinds of whole
        assert model._calls == n_run  # the second time everything is there
    folders = sorted(path.name for path in (tmp_path / "mine-counting").iterdir())
    assert folders[:2] == ["cohort-whole", "trials-crops"]
    assert [name[:12] for name in folders[2:]] == ["trials-whole"] * 4


def halves(corpus):
    """Part the corpus into three speakers for the trials and two others."""
    is_ours = [u["speaker"] < "id10273" for u in corpus]
    return corpus.select(is_ours), corpus.select(np.logical_not(is_ours))


def test_a_corpus_of_other_speakers_becomes_the_cohort(mel, root, corpus):
    ours, others = halves(corpus)
    trials = sp.datasets.make_trials(ours, 18)
    settings = {"scoring": "as-norm", "cohort": others, "subtract_mean": True}
    found = voxceleb(mel, ours, trials, **settings)
    embeddings = {u.id: mel(u.signal(16_000))["logmel"].mean(0) for u in corpus}
    means = np.stack([
        np.mean([embeddings[u.id] for u in others if u["speaker"] == name], axis=0)
        for name in ("id10273", "id10274")
    ])  # fmt: skip
    table = np.stack(list(embeddings.values())) - means.mean(0)
    index = pd.Index(list(embeddings))
    rows = np.stack([index.get_indexer(trials[side]) for side in ("enrol", "test")], axis=1)
    raw = cosine_scores(table, rows)
    expected = as_norm(raw, rows, embeddings=table, cohort=means - means.mean(0), top_n=2)
    np.testing.assert_allclose(found.table("trials")["score"], expected, rtol=1e-3, atol=1e-3)
    said = " | ".join(found.deviations)
    assert "AS-norm with the 2 nearest speakers" in said
    assert "the mean of a cohort is subtracted" in said
    with pytest.raises(ValueError, match="2 speakers of the trials are in the cohort too"):
        voxceleb(Never(), corpus, sp.datasets.make_trials(corpus, 30), **settings)


def test_the_folder_of_a_corpus_is_a_cohort(mel, root, corpus, tmp_path):
    ours, others = halves(corpus)
    for name in ("id10273", "id10274"):
        (tmp_path / name).symlink_to(root / name)
    trials = sp.datasets.make_trials(ours, 18)
    found = [
        voxceleb(mel, ours, trials, scoring="as-norm", cohort=cohort).table("trials")
        for cohort in (others, tmp_path, str(tmp_path))
    ]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


class Never:
    """An extractor that must not run."""

    name, sample_rate = "never", 16_000

    def __call__(self, signal):
        raise AssertionError("it ran")


def test_absent_files_are_told_before_anything_runs(corpus, trials):
    some = corpus.select(corpus.table.index[1:].tolist())
    with pytest.raises(ValueError, match=r"name 1 files that are not there: 'id10270/video/00000'"):
        voxceleb(Never(), some, trials)


def test_absent_and_broken_files_are_left_out_and_listed_with_the_reason(
    mel, root, corpus, trials, tmp_path
):
    broken = tmp_path / "00000.wav"
    broken.write_bytes(b"RIFF, but no sound")
    gone, bad, *_ = corpus.table.index
    table = corpus.table.drop(index=gone)
    table.loc[bad, "path"] = str(broken)
    some = sp.datasets.Corpus("broken", table)
    with pytest.warns(UserWarning, match="of 30 trials are left out: they name 2 files"):
        found = voxceleb(mel, some, trials, missing="skip")
    absent = found.table("absent").set_index("file")["reason"]
    assert absent[gone] == "not in the corpus"
    assert str(broken) in absent[bad]
    lost = int(trials[["enrol", "test"]].isin([gone, bad]).any(axis=1).sum())
    facts = found.table("trial_list").iloc[0]
    assert (facts["n_trials"], facts["n_skipped"], facts["n_absent"]) == (30, lost, 2)
    assert len(found.table("trials")) == 30 - lost
    assert any(f"{lost} trials are left out" in sentence for sentence in found.deviations)
    with pytest.raises(ValueError, match=r"1 of 14 utter.*\. missing='skip' leaves their trials"):
        voxceleb(mel, some, trials[~trials[["enrol", "test"]].isin([gone]).any(axis=1)])


def test_a_broken_file_of_the_cohort_is_to_be_left_out(mel, corpus, tmp_path):
    ours, others = halves(corpus)
    (tmp_path / "a.wav").write_bytes(b"RIFF, but no sound")
    others = others.label("path", [str(tmp_path / "a.wav"), *others.column("path")[1:]])
    trials = sp.datasets.make_trials(ours, 18)
    with pytest.raises(ValueError, match=r"1 of 6 utter.*\. Leave them out of the cohort$"):
        voxceleb(mel, ours, trials, scoring="as-norm", cohort=others)


def test_the_warning_of_trials_left_out_points_to_the_caller(mel, corpus, trials):
    some = corpus.select(corpus.table.index[1:].tolist())
    with pytest.warns(UserWarning, match="are left out") as caught:
        voxceleb(mel, some, trials, scoring="cosine", missing="skip")
    assert [each.filename for each in caught] == [__file__]


def test_only_the_files_of_trials_are_run(mel, corpus, trials, tmp_path):
    few = pd.concat([trials[trials["same"]].head(2), trials[~trials["same"]].head(2)])
    voxceleb(mel, corpus, few, store=tmp_path)
    kept = sp.load_features(tmp_path / "logmel" / "trials-crops")
    assert set(kept.items.index) == set(few["enrol"]) | set(few["test"])


def test_a_line_without_a_label_and_a_missing_folder_are_refused(mel, corpus, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("1 id10270/video/00000.wav id10270/video/00001.wav\nid10270/a id10271/b\n")
    with pytest.raises(ValueError, match=r"line 2: .* has no label; expected '1 enrol test'"):
        voxceleb(mel, corpus, path)
    with pytest.raises(FileNotFoundError, match="VoxCeleb1/wav"):
        voxceleb(mel, tmp_path / "nowhere", path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scoring": "plda"}, "must be one of"),
        ({"scoring": "as-norm"}, "need cohort="),
        ({"scoring": "cosine", "subtract_mean": True}, "need cohort="),
        ({"cohort": Cohort({"logmel": np.eye(2, 20)}, ("a", "b"), 2)}, "neither is asked for"),
        ({"p_target": 5}, "p_target must be between 0 and 1"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"subtract_mean": True, "cohort": "folder"}, "crops without a mean: leave subtract_mean"),
        ({"pool": "frames"}, "pool='frames' keeps several rows a file"),
        ({"missing": "drop"}, "'raise' or 'skip'"),
        (
            {"scoring": "as-norm", "cohort": Cohort({"fc": np.eye(2)}, ("id10270", "b"), 2)},
            "1 speakers of the trials are in the cohort too",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_runs(
    corpus, trials, settings, message
):
    with pytest.raises(ValueError, match=message):
        voxceleb(Never(), corpus, trials, **settings)


@pytest.mark.parametrize(
    ("speakers", "message"),
    [([None] * 6, "has 0, and 6 of its 6 utterances have none"), (["b"] * 6, "has 1, and 0")],
)
def test_a_cohort_without_two_named_speakers_is_refused_before_anything_runs(
    corpus, speakers, message
):
    ours, others = halves(corpus)
    settings = {"scoring": "as-norm", "cohort": others.label("speaker", speakers)}
    with pytest.raises(ValueError, match=message):
        voxceleb(Never(), ours, sp.datasets.make_trials(ours, 18), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cohort": sp.Features({"fc": np.eye(2)}, pd.DataFrame(index=range(2)))}, "got Features"),
        ({"trials": [("a", "b", True)]}, "trials must be a DataFrame .* got list"),
        ({"root": None}, "root must be a corpus or a folder, got NoneType"),
        ({"extractor": LogMel}, "did you forget the brackets"),
    ],
)
def test_arguments_of_another_type_are_named(corpus, trials, settings, message):
    given = {"extractor": Never(), "root": corpus, "trials": trials} | settings
    with pytest.raises(TypeError, match=message):
        voxceleb(**given)


@pytest.mark.shared
def test_ge2e_tells_real_speakers_apart_by_ten_crops(shared):
    if find_spec("resemblyzer") is None:
        pytest.skip("the weights that ship with resemblyzer are not there")
    corpus = sp.datasets.load_librispeech(shared / "data" / "LibriSpeech", subsets=["test-other"])
    corpus = corpus.select(corpus.table.groupby("speaker").cumcount() < 3)
    trials = sp.datasets.make_trials(corpus, 60)
    model = sp.extractors.load_ge2e(layers=["lstm.0", "embedding"], partials=True)
    found = voxceleb(model, corpus, trials)
    assert found.table()["eer"].item() < 0.02
    assert found.scores.record("lstm.0").eer > 0.05
