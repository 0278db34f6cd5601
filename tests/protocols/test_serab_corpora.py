"""SERAB on ten miniature corpora in their published layouts, by one call and both editions."""

from __future__ import annotations

import itertools
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechprobe.extractors.nets.byol import AudioNTT2020
from speechprobe.protocols._serab.tasks import NINE, TASKS, material_of
from speechprobe.protocols.serab_benchmark import serab

EXAMPLE = Path(__file__).parents[2] / "examples" / "serab.py"
NUMBERS = [f"{n:02d}" for n in range(1, 25)]
EMODB_ACTORS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
CREMA_D_CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
EMOVO_CODES = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
FAST = ("LDA", "LR")


class Bands:
    """Four numbers a frame: the level in four bands; a tone tells the class."""

    name, sample_rate, layers = "bands", 16_000, ("halves", "bands")

    def __call__(self, signal):
        whole = signal[: len(signal) // 400 * 400].reshape(-1, 400)
        power = np.abs(np.fft.rfft(whole))[:, :200]
        bands = np.log(power.reshape(len(whole), 4, 50).mean(2) + 1e-6)
        return {"halves": bands[:, ::2], "bands": bands}


def aesdd() -> Iterator[str]:
    folders = ("anger", "disgust", "fear", "happiness", "sadness")
    for folder, take, speaker in itertools.product(folders, "12", "123456"):
        yield f"{folder}/{folder[0]}0{take} ({speaker}).wav"


def cafe() -> Iterator[str]:
    folders = ("Colère", "Dégoût", "Joie", "Peur", "Surprise", "Tristesse")
    for folder, actor in itertools.product(folders, NUMBERS[:12]):
        yield f"{folder}/Faible/{actor}-{folder[0]}-1-1.wav"
    for actor in NUMBERS[:12]:
        yield f"Neutre/{actor}-N-1-1.wav"


def crema_d() -> Iterator[str]:
    for actor, code in itertools.product(
        range(1001, 1013), ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]
    ):
        yield f"AudioWAV/{actor}_DFA_{code}_XX.wav"


def emodb() -> Iterator[str]:
    for actor, code, version in itertools.product(EMODB_ACTORS, "WLEAFTN", "ab"):
        yield f"wav/{actor}a01{code}{version}.wav"


def emovo() -> Iterator[str]:
    for speaker, code, text in itertools.product(
        ("f1", "f2", "f3", "m1", "m2", "m3"),
        ["dis", "gio", "neu", "pau", "rab", "sor", "tri"],
        ("b1", "b2"),
    ):
        yield f"{speaker}/{code}-{speaker}-{text}.wav"


def iem4() -> Iterator[str]:
    for session, wearer, speaker, turn in itertools.product("12345", "FM", "FM", range(4)):
        dialog = f"Ses0{session}{wearer}_impro01"
        yield f"Session{session}/sentences/wav/{dialog}/{dialog}_{speaker}{turn:03d}.wav"


def ravdess() -> Iterator[str]:
    for actor, code in itertools.product(NUMBERS[:10], NUMBERS[:8]):
        yield f"Actor_{actor}/03-01-{code}-01-01-01-{actor}.wav"


def savee() -> Iterator[str]:
    for actor, code, n in itertools.product(
        ("DC", "JE", "JK", "KL"), ["a", "d", "f", "h", "n", "sa", "su"], "12"
    ):
        yield f"AudioData/{actor}/{code}0{n}.wav"


def shemo() -> Iterator[str]:
    for speaker, code, n in itertools.product(
        ("F01", "F02", "F03", "M01", "M02"), "AFHNSW", "12345"
    ):
        yield f"{'female' if speaker < 'M' else 'male'}/{speaker}{code}0{n}.wav"


def subesco() -> Iterator[str]:
    codes = ["ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE"]
    for number, code in itertools.product(NUMBERS[:10], codes):
        yield f"F_{number}_A{chr(64 + int(number))}_S_1_{code}_1.wav"


TREES = {
    "aesdd": (aesdd, 44_100, 1, r"/(.)0\d \("),
    "cafe": (cafe, 48_000, 1, r"-([CDJPSTN])-"),
    "crema_d": (crema_d, 16_000, 1, r"_([A-Z]{3})_XX"),
    "emodb": (emodb, 16_000, 1, r"a01(.)"),
    "emovo": (emovo, 48_000, 2, r"/([a-z]{3})-"),
    "iem4": (iem4, 16_000, 1, r"_[FM]00(\d)"),
    "ravdess": (ravdess, 48_000, 1, r"03-01-(\d\d)"),
    "savee": (savee, 44_100, 1, r"/([a-z]+)0\d\.wav"),
    "shemo": (shemo, 44_100, 1, r"[FM]\d\d(.)0"),
    "subesco": (subesco, 48_000, 1, r"S_1_([A-Z]+)_"),
}


def write_tree(folder: Path, task: str, *, skip: str = "never") -> Path:
    """Write a corpus: noise with a tone whose pitch tells the class."""
    names, rate, channels, code = TREES[task]
    generator = np.random.default_rng(0)
    codes: list[str] = []
    for name in names():
        found = re.search(code, f"/{name}")[1]
        codes += [found] if found not in codes else []
        if re.search(skip, name):
            continue
        time = np.arange(round(0.1 * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * (300 + 950 * codes.index(found)) * time)
        sound = tone[:, None] + generator.normal(scale=0.05, size=(len(time), channels))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, rate, subtype="PCM_16")
    if task == "iem4":
        write_evaluations(folder)
    return folder


def write_evaluations(folder: Path) -> None:
    emotions = ("ang", "exc", "neu", "sad")
    for place in folder.glob("Session*/sentences/wav/*"):
        lines = [
            f"[{k}.0 - {k + 1}.0]\t{path.stem}\t{emotions[int(path.stem[-1])]}\t[2.5, 2.5, 2.5]\n"
            for k, path in enumerate(sorted(place.glob("*.wav")))
        ]
        file = place.parents[2] / "dialog" / "EmoEvaluation" / f"{place.name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serab")
    return {task: write_tree(folder / task, task) for task in TREES}


@pytest.fixture(scope="module")
def corrected(roots):
    return serab(Bands(), roots, model_selection=None, classifiers=FAST, progress=False)


@pytest.fixture(scope="module")
def of_2021(roots):
    return serab(
        Bands(), roots, edition="2021", model_selection=None, classifiers=FAST, progress=False
    )


def test_there_is_a_tree_for_every_task():
    assert list(TREES) == list(TASKS)
    assert len(NINE) == 9


def test_all_ten_tasks_run_in_both_editions(corrected, of_2021):
    for result in (corrected, of_2021):
        tasks = result.table("tasks").set_index("task")
        assert tasks.index.tolist() == list(TASKS)
        assert (tasks["status"] == "ran").all(), tasks["reason"].tolist()
        assert (result.missing, result.failed) == ((), ())
        parts = tasks[["n_train", "n_validation", "n_test"]]
        assert (parts > 0).all(axis=None)
        assert (parts.sum(axis=1) == tasks["n_items"]).all()
        best = result.table().set_index("task")
        assert (best["accuracy"] > best["floor"] + 10).all()
        assert (best["accuracy_low_by_validation"] <= best["accuracy_by_validation"]).all()
        assert (best["accuracy_by_test"] >= best["accuracy_by_validation"]).all()
        # The sounds tell the class, however they are resampled.
        assert best["accuracy"].median() > 95


def test_each_edition_gives_its_own_figure_and_both_stand_beside_each_other(corrected, of_2021):
    for result, choice in ((corrected, "validation"), (of_2021, "test")):
        best = result.table()
        assert set(best["chosen_by"]) == {choice}
        assert (best["accuracy"] == best[f"accuracy_by_{choice}"]).all()
        assert set(result.table("means")["chosen_on"]) == {"validation", "test"}


def test_means_are_of_the_nine_and_once_more_with_the_tenth(corrected):
    means = corrected.table("means")
    assert means["n_tasks"].tolist() == [9, 9, 10, 10]
    assert means["over"].tolist() == ["all nine"] * 2 + [", ".join(TASKS)] * 2
    best = corrected.table().set_index("task").loc[list(NINE)]
    accuracy, weights = best["accuracy_by_validation"], best["n_test"]
    assert means["UM"][0] == pytest.approx(accuracy.sum() / 9)
    assert means["WM"][0] == pytest.approx((accuracy * weights).sum() / weights.sum())
    assert means["GM"][0] == pytest.approx(np.exp(np.log(accuracy).mean()))


def test_cafe_of_2021_has_no_neutral_utterances(corrected, of_2021):
    sizes = [each.table("tasks").set_index("task").loc["cafe"] for each in (corrected, of_2021)]
    assert [int(size["n_items"]) for size in sizes] == [84, 72]
    assert [int(size["n_classes"]) for size in sizes] == [7, 6]
    assert any("neutral utterances are left out" in told for told in of_2021.deviations)


def test_the_speakers_of_2021_are_mistaken_where_they_were(roots, of_2021):
    taken = {"shemo": slice(4, 6), "iem4": slice(3, 6)}
    for task, root in roots.items():
        old, new = (material_of(task, root, edition) for edition in ("2021", "corrected"))
        true = old.column("speaker")
        ids = old.corpus.table.index
        expected = [key[taken[task]] for key in ids] if task in taken else list(true)
        assert old.voice.tolist() == expected
        leaks = set(true[old.part == "train"]) & set(true[old.part == "test"])
        assert bool(leaks) == (task in taken)
        told = [note for note in of_2021.deviations if note.startswith(f"{task}: SERAB's edition")]
        assert len(told) == (task in taken)
        speakers = [set(new.column("speaker")[new.part == name]) for name in set(new.part)]
        assert sum(map(len, speakers)) == len(set.union(*speakers))


def test_what_is_less_than_published_is_said(corrected):
    assert "emodb: 140 utterances in 7 classes are there, of 535 in 7" in corrected.deviations
    assert "cafe: 84 utterances in 7 classes are there, of 936 in 7" in corrected.deviations


def test_what_made_the_numbers_is_told(of_2021, tmp_path):
    assert sum("the front end is the extractor's own" in told for told in of_2021.deviations) == 1
    made = of_2021.provenance
    assert (made["seed"], made["model_selection"]) == (42, None)
    reading = made["extraction"]["emovo"]["extractor"]["reading"]
    assert reading == "floor of the mean of int16 channels / 32767, resampy 0.2.2 kaiser_best"
    names = {path.name for path in of_2021.write(tmp_path)}
    assert names == {
        "best.csv", "classifiers.csv", "means.csv", "tasks.csv", "tasks.svg", "study.json",
    }  # fmt: skip


def test_a_missing_folder_is_named_and_the_rest_runs(roots, tmp_path):
    given = {"savee": roots["savee"], "emovo": tmp_path / "nowhere"}
    result = serab(
        Bands(), given, tasks=["emovo", "savee", "aesdd"], model_selection=None, progress=False,
        classifiers=FAST,
    )  # fmt: skip
    assert result.missing == ("aesdd", "emovo")
    reasons = result.table("tasks").set_index("task")["reason"]
    assert reasons["aesdd"] == "no folder was given"
    assert reasons["emovo"] == f"{tmp_path / 'nowhere'} is no folder"
    others = "aesdd, cafe, crema_d, emodb, emovo, iem4, ravdess, shemo"
    assert f"of the nine tasks {others} did not run" in result.deviations
    assert result.table()["task"].tolist() == ["savee"]
    assert result.table("means")["over"].tolist() == ["savee"] * 2


def test_no_folder_at_all_is_one_error(tmp_path):
    with pytest.raises(ValueError, match=r"no task of SERAB has a folder: savee: .*nowhere is no"):
        serab(Bands(), {"savee": tmp_path / "nowhere"}, tasks=["savee"])
    with pytest.raises(ValueError, match="aesdd: no folder was given; cafe: no folder"):
        serab(Bands(), {})


def test_a_class_missing_in_a_part_fails_its_task_and_no_other(roots, tmp_path):
    # Speakers 03 and 12 are EmoDB's test speakers; T is sadness.
    broken = write_tree(tmp_path / "emodb", "emodb", skip="(03|12)a01T")
    given = {"emodb": broken, "savee": roots["savee"]}
    result = serab(Bands(), given, model_selection=None, classifiers=FAST, progress=False)
    assert result.failed == ("emodb",)
    reason = result.table("tasks").set_index("task")["reason"]["emodb"]
    assert reason.startswith("emodb: no utterance of sadness in test (speakers 03, 12)")
    assert result.table()["task"].tolist() == ["savee"]


def test_too_few_speakers_and_nothing_that_runs_is_one_error(tmp_path):
    few = write_tree(tmp_path / "savee", "savee", skip="/(JE|JK)/")
    with pytest.raises(ValueError, match="could be run: savee: 2 speakers are too few for SERAB"):
        serab(Bands(), {"savee": few}, tasks=["savee"], progress=False)


def test_a_folder_of_something_else_fails_with_the_layout(roots, tmp_path):
    given = {"crema_d": roots["savee"], "emodb": tmp_path, "savee": roots["savee"]}
    result = serab(Bands(), given, model_selection=None, classifiers=FAST, progress=False)
    assert result.failed == ("crema_d", "emodb")
    reasons = result.table("tasks").set_index("task")["reason"]
    assert "1001_IEO_ANG_HI.wav" in reasons["crema_d"]
    assert "holds no WAV file" in reasons["emodb"]


@pytest.mark.parametrize("edition", ["corrected", "2021"])
@pytest.mark.filterwarnings("ignore:corpus 'savee'")
def test_sounds_that_cannot_be_read_are_left_out_and_named(tmp_path, edition):
    root = write_tree(tmp_path / "savee", "savee")
    (root / "AudioData" / "KL" / "sa02.wav").write_bytes(b"no sound")
    result = serab(
        Bands(), {"savee": root}, edition=edition, tasks=["savee"], model_selection=None,
        classifiers=FAST, progress=False,
    )  # fmt: skip
    assert result.table("tasks")["n_items"].tolist() == [55]
    assert any(
        told.startswith("savee: 1 utterances gave no features") and "sa02.wav" in told
        for told in result.deviations
    )


def test_a_class_that_gives_no_features_fails_its_task_with_the_error_of_the_files(tmp_path):
    root = write_tree(tmp_path / "savee", "savee")
    for path in root.glob("AudioData/*/*.wav"):
        if path.name.startswith("su"):
            soundfile.write(path, np.full(2_000, 0.25), 16_000, subtype="PCM_16")

    class NaNs(Bands):
        def __call__(self, signal):
            found = super().__call__(signal)
            return {name: rows * (np.nan if np.ptp(signal) == 0 else 1)
                    for name, rows in found.items()}  # fmt: skip

    with pytest.raises(ValueError, match="no utterance of surprise in train") as caught:
        serab(NaNs(), {"savee": root}, classifiers=FAST, model_selection=None, progress=False)
    assert re.search("8 utterances gave no features .*su01.wav: .*NaN", str(caught.value))


def test_an_error_of_the_system_is_told_with_its_path(roots, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"savee: \w+Error: \[Errno \d+\] .*: '.*file"):
        serab(
            Bands(), {"savee": roots["savee"]}, store=tmp_path / "file", classifiers=FAST,
            model_selection=None, progress=False,
        )  # fmt: skip


def test_a_second_run_takes_the_vectors_from_the_store(roots, tmp_path):
    calls = []

    class Counting(Bands):
        def __call__(self, signal):
            calls.append(len(signal))
            return super().__call__(signal)

    settings = {"tasks": ["savee"], "model_selection": None, "classifiers": FAST, "progress": False}
    first, second = (
        serab(Counting(), roots, store=tmp_path, **settings).table("classifiers") for _ in range(2)
    )
    assert len(calls) == 56
    assert first.drop(columns="seconds").equals(second.drop(columns="seconds"))
    assert [path.name for path in (tmp_path / "bands" / "corrected").iterdir()] == ["savee"]


def test_layers_are_scored_each_and_the_last_by_default(roots, corrected):
    assert set(corrected.table()["layer"]) == {"bands"}
    settings = {"tasks": ["savee"], "model_selection": None, "classifiers": FAST, "progress": False}
    result = serab(Bands(), roots, layer="*", **settings)
    best = result.table().set_index("layer")
    assert best.index.tolist() == ["halves", "bands"]
    assert best["accuracy"]["bands"] == corrected.table().set_index("task")["accuracy"]["savee"]
    assert len(result.table("means")) == 4
    with pytest.raises(ValueError, match="no layer matches 'band'"):
        serab(Bands(), roots, layer="band", **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["emo_db"]}, "no task 'emo_db'; did you mean 'emodb'"),
        ({"tasks": []}, "no task is asked for"),
        ({"roots": {"cremad": "x"}}, "no task 'cremad'; did you mean 'crema_d'"),
        ({"edition": "2022"}, "edition must be 'corrected' or '2021', got '2022'"),
        ({"model_selection": "grid"}, "model_selection must be 'predefined' or None"),
        ({"classifiers": ["KNN"]}, "classifiers must be some of"),
        ({"classifiers": []}, "classifiers must be some of"),
    ],
)
def test_unknown_arguments_are_refused(roots, change, message):
    with pytest.raises(ValueError, match=message):
        serab(Bands(), **({"roots": roots} | change))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("/folder", "roots must be {task: folder or corpus}, .* got str '/folder'"),
        (["savee"], "roots must be {task: folder or corpus}, .* got list"),
        ({"savee": 3}, "savee: expected a folder or a Corpus, got int"),
    ],
)
def test_roots_of_another_kind_are_refused(given, message):
    with pytest.raises(TypeError, match=message):
        serab(Bands(), given)


def test_what_is_no_extractor_is_refused(roots):
    with pytest.raises(TypeError, match="did you forget the brackets"):
        serab(Bands, roots)


def test_the_example_compares_two_models_in_one_file(roots, tmp_path, monkeypatch, capsys):
    pytest.importorskip("opensmile")
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        torch.save(AudioNTT2020(16).state_dict(), tmp_path / "small.pth")
    monkeypatch.chdir(tmp_path)
    given = ["small.pth", f"savee={roots['savee']}", "--feature-set", "eGeMAPSv02", "--no-grid"]
    monkeypatch.setattr("sys.argv", ["serab.py", *given])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "small: missing (), failed ()" in printed
    assert re.search("small +embedding +corrected, none +validation", printed)
    assert re.search("opensmile-eGeMAPSv02 +functionals +corrected, none +validation", printed)
    assert "BYOL-S 512" in printed
    assert {"serab.csv", "serab.svg"} <= {path.name for path in Path("results").iterdir()}
