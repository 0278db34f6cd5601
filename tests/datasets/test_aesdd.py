from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.aesdd import load_aesdd

# The corpus's own readme: a folder and a letter for each emotion.
EMOTIONS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}
SENTENCES = tuple(f"{number:02d}" for number in range(1, 21))


def is_of_aesdd(stem: str) -> bool:
    match = re.fullmatch(r"([adfhs])(..) \((0?)([1-6])\)([a-z]?)", stem)
    return match is not None and match[2] in SENTENCES


def published_stems() -> list[str]:
    """The 605 names: 20 utterances of 6 speakers in 5 emotions, but for what is listed here."""
    stems = {f"{code}{text} ({n})" for code in EMOTIONS for text in SENTENCES for n in range(1, 7)}
    stems -= {"f02 (4)", "h11 (3)", "d18 (5)"}
    for one in ("f10", "f11", "f12", "f13", "d03"):
        stems = stems - {f"{one} (1)"} | {f"{one} (01)"}
    takes = {f"{one} (5)b" for one in ("a06", "d01", "d03", "d04", "f18", "s01", "s02", "s04")}
    return sorted((stems - {"s01 (5)"}) | takes | {"s01 (5)a"})


def write_files(folder: Path, *stems: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        soundfile.write(folder / f"{stem}.wav", np.full(441, 0.1), 44_100, format="WAV")


@pytest.mark.parametrize("inner", ["anger", "Acted Emotional Speech Dynamic Database/anger", "."])
def test_the_folders_of_the_emotions_or_all_files_in_one_folder_are_loaded(tmp_path, inner):
    write_files(tmp_path / inner, "a03 (4)", "a06 (5)b")
    corpus = load_aesdd(tmp_path)
    expected = {
        "speaker": "4",
        "gender": None,
        "emotion": "anger",
        "emotion_code": "a",
        "sentence": "03",
        "version": "a",
        "text": None,
        "language": "el",
        "duration": 0.01,
        "sample_rate": 44_100,
    }
    assert {name: corpus["a03 (4)"][name] for name in expected} == expected
    assert (corpus["a06 (5)b"]["speaker"], corpus["a06 (5)b"]["version"]) == ("5", "b")
    assert len(corpus) == 2


def test_all_published_names_load_with_the_published_counts(tmp_path):
    for stem in published_stems():
        write_files(tmp_path / EMOTIONS[stem[0]], stem)
    table = load_aesdd(tmp_path).table
    counts = {"anger": 121, "disgust": 122, "fear": 120, "happiness": 119, "sadness": 123}
    assert table["emotion"].value_counts().to_dict() == counts
    assert sum(counts.values()) == len(table) == 605
    assert table["speaker"].value_counts().to_dict() == {
        "1": 100,
        "2": 100,
        "3": 99,
        "4": 99,
        "5": 107,
        "6": 100,
    }
    assert not table[["emotion", "sentence", "speaker", "version"]].duplicated().any()


def test_the_file_without_sound_data_is_kept_and_named_in_a_warning(tmp_path):
    write_files(tmp_path / "sadness", "s05 (2)")
    (tmp_path / "sadness/s05 (3).wav").write_bytes(b"RIFF")
    with pytest.warns(UserWarning, match=r"1 of 2 sound files cannot be read.*s05 \(3\)"):
        corpus = load_aesdd(tmp_path)
    assert np.isnan(corpus.table["duration"]["s05 (3)"])
    assert corpus["s05 (3)"]["emotion"] == "sadness"


def test_a_file_in_the_folder_of_another_emotion_is_an_error_that_names_it(tmp_path):
    write_files(tmp_path / "sadness", "s01 (1)", "a03 (2)")
    with pytest.raises(ValueError, match=r"a03 \(2\)\.wav: the name says anger, the folder sad"):
        load_aesdd(tmp_path)


def test_an_utterance_in_two_folders_is_an_error_that_names_both_files(tmp_path):
    write_files(tmp_path / "anger", "a03 (2)")
    write_files(tmp_path / "copy/anger", "a03 (2)")
    with pytest.raises(ValueError, match=r"/anger/a03 \(2\)\.wav and .*/copy/anger/a03 \(2\)\.wav"):
        load_aesdd(tmp_path)


NEARLY = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from([*EMOTIONS, "n", "A", "", "aa"]),
    st.sampled_from([*SENTENCES, "00", "21", "3", "٠٣"]),
    st.sampled_from([" ", "", "  ", "_"]),
    st.sampled_from([*(f"({n})" for n in range(8)), "(01)", "(06)", "(00)", "(11)", "(٣)", "3"]),
    st.sampled_from(["", "a", "b", "B", " b", "bb", "1"]),
)


@given(stem=NEARLY | st.text("ad0123() b", min_size=1, max_size=9))
@example(stem="a03 (4)")
@example(stem="f10 (01)")
@example(stem="s01 (5)b")
@example(stem="a03 (4) copy")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), stem)
        if not is_of_aesdd(stem):
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_aesdd(folder)
            return
        utterance = load_aesdd(folder)[stem]
    inside, take = stem[5:].split(")")
    assert utterance["speaker"] == inside[-1]
    assert (utterance["emotion_code"], utterance["sentence"]) == (stem[0], stem[1:3])
    assert utterance["emotion"] == EMOTIONS[stem[0]]
    assert utterance["version"] == (take or "a")


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected_and_where_to_get_it(tmp_path, name):
    (tmp_path / "a03 (4).txt").write_text("no sound")
    with pytest.raises(FileNotFoundError, match=r"anger/a03 \(4\)\.wav.*m3c\.web\.auth\.gr"):
        load_aesdd(tmp_path / name)
