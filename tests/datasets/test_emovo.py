from __future__ import annotations

import re
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.emovo import load_emovo

# The corpus's description: emotions, actors, sentences.
EMOTIONS = {
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
KINDS = {"b": "123", "d": "12", "l": "1234", "n": "12345"}
SENTENCES = tuple(kind + number for kind in KINDS for number in KINDS[kind])


def is_of_emovo(stem: str) -> bool:
    emotion, speaker, sentence, *more = [*stem.split("-"), "", ""]
    known = emotion in EMOTIONS and speaker in SPEAKERS and sentence in SENTENCES
    return known and stem.count("-") == 2 and more == ["", ""]


def write_files(folder: Path, *stems: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        soundfile.write(folder / f"{stem}.wav", np.full((480, 2), 0.1), 48_000, format="WAV")


@pytest.mark.parametrize("inner", ["EMOVO/f2", "f2", "."])
def test_the_folders_of_the_speakers_or_all_files_in_one_folder_are_loaded(tmp_path, inner):
    write_files(tmp_path / inner, "pau-f2-l4")
    expected = {
        "speaker": "f2",
        "gender": "F",
        "age": 23,
        "emotion": "fear",
        "emotion_code": "pau",
        "text": "Vorrei il numero telefonico del Signor Piatti.",
        "sentence": "l4",
        "language": "it",
        "duration": 0.01,
        "sample_rate": 48_000,
    }
    utterance = load_emovo(tmp_path)["pau-f2-l4"]
    assert {name: utterance[name] for name in expected} == expected


def test_all_published_names_load_with_the_published_counts(tmp_path):
    for speaker in SPEAKERS:
        names = product(EMOTIONS, [speaker], SENTENCES)
        write_files(tmp_path / speaker, *map("-".join, names))
    table = load_emovo(tmp_path).table
    assert len(table) == 588
    assert table["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS.values(), 84)
    assert table["speaker"].value_counts().to_dict() == dict.fromkeys(SPEAKERS, 98)
    assert table["gender"].value_counts().to_dict() == {"F": 294, "M": 294}
    assert table["text"].nunique() == table["sentence"].nunique() == 14
    # Sentences d (domanda) are the questions.
    assert set(table.loc[table["text"].str.endswith("?"), "sentence"]) == {"d1", "d2"}


def test_a_file_in_the_folder_of_another_speaker_is_an_error_that_names_it(tmp_path):
    write_files(tmp_path / "m1", "dis-m1-b1", "dis-f1-b1")
    with pytest.raises(ValueError, match=r"dis-f1-b1\.wav: the name says speaker f1, the folder m"):
        load_emovo(tmp_path)


def test_an_utterance_in_two_folders_is_an_error_that_names_both_files(tmp_path):
    write_files(tmp_path / "f1", "dis-f1-b1")
    write_files(tmp_path / "EMOVO/f1", "dis-f1-b1")
    with pytest.raises(ValueError, match=r"/EMOVO/f1/dis-f1-b1\.wav and .*/f1/dis-f1-b1\.wav"):
        load_emovo(tmp_path)


NEARLY = st.builds(
    lambda separator, *parts: separator.join(parts),
    st.sampled_from(["-", "-", "-", "_", ""]),
    st.sampled_from([*EMOTIONS, "ang", "Dis", "di", ""]),
    st.sampled_from([*SPEAKERS, "f4", "m0", "F1", "f١", "f11"]),
    st.sampled_from([*SENTENCES, "b4", "d3", "l5", "n6", "B1", "b", "b01"]),
)


@given(stem=NEARLY | st.text("disf1-b ", min_size=1, max_size=10))
@example(stem="dis-f1-b1-1")
@example(stem="dis-f1-b1 (1)")
@example(stem="dis-f1-b1")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), stem)
        if not is_of_emovo(stem):
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_emovo(folder)
            return
        utterance = load_emovo(folder)[stem]
    assert (utterance["emotion_code"], utterance["emotion"]) == (stem[:3], EMOTIONS[stem[:3]])
    assert (utterance["speaker"], utterance["sentence"]) == (stem[4:6], stem[7:])
    assert utterance["gender"] == stem[4].upper()


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected_and_where_to_get_it(tmp_path, name):
    (tmp_path / "dis-f1-b1.txt").write_text("no sound")
    with pytest.raises(FileNotFoundError, match=r"f1/dis-f1-b1\.wav.*voice\.fub\.it"):
        load_emovo(tmp_path / name)
