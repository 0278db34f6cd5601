from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets import load_emodb

# The corpus's own description, http://emodb.bilderbar.info/docu: speakers, texts, emotions.
MEN, WOMEN = ("03", "10", "11", "12", "15"), ("08", "09", "13", "14", "16")
TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}


def is_of_emodb(stem: str) -> bool:
    speaker, text, emotion, version = stem[:2], stem[2:5], stem[5:6], stem[6:]
    known = speaker in MEN + WOMEN and text in TEXTS and emotion in EMOTIONS
    return known and version in tuple("abcdef")


def write_files(folder: Path, *stems: str) -> None:
    for stem in stems:
        soundfile.write(folder / f"{stem}.wav", np.full(160, 0.1), 16_000, format="WAV")


@pytest.mark.parametrize("inner", ["wav", "."])
def test_the_folder_or_its_wav_folder_is_loaded(tmp_path, inner):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    write_files(folder, "03a01Fa", "16b10Td")
    corpus = load_emodb(tmp_path)
    expected = {
        "speaker": "16",
        "gender": "F",
        "age": 31,
        "emotion": "sadness",
        "emotion_code": "T",
        "text": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
        "sentence": "b10",
        "version": "d",
        "language": "de",
        "duration": 0.01,
        "sample_rate": 16_000,
    }
    assert {name: corpus["16b10Td"][name] for name in expected} == expected
    assert len(corpus) == 2


NEARLY = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from([*MEN, *WOMEN, "01", "17", "3", "٠٣"]),
    st.sampled_from([*TEXTS, "a03", "b11", "c01", "A01", "a1"]),
    st.sampled_from([*EMOTIONS, "X", "w", "f", "WN", ""]),
    st.sampled_from([*"abcdef", "g", "A", "ab", ""]),
)


@given(stem=NEARLY | st.text("0139abWNFé_ .-", min_size=1, max_size=9))
@example(stem="03a01Fa.1")
@example(stem="03a01Fa copy")
@example(stem=".03a01Fa")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), stem)
        if not is_of_emodb(stem):
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_emodb(folder)
            return
        utterance = load_emodb(folder)[stem]
    assert utterance["speaker"] == stem[:2]
    assert utterance["gender"] == ("M" if stem[:2] in MEN else "F")
    assert utterance["emotion"] == EMOTIONS[stem[5]]
    assert (utterance["sentence"], utterance["version"]) == (stem[2:5], stem[6])


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected(tmp_path, name):
    (tmp_path / "03a01Fa.txt").write_text("no sound")
    with pytest.raises(FileNotFoundError, match=r"wav/03a01Fa\.wav"):
        load_emodb(tmp_path / name)


@pytest.mark.shared
def test_the_real_files_have_the_published_counts(shared):
    table = load_emodb(shared / "data/emodb").table
    assert table["emotion"].value_counts().to_dict() == {
        "anger": 127,
        "neutral": 79,
        "happiness": 71,
        "sadness": 62,
    }
    assert table["gender"].value_counts().to_dict() == {"F": 188, "M": 151}
    assert set(table["speaker"]) == {*MEN, *WOMEN}
    assert table.groupby("speaker")[["gender", "age"]].nunique().to_numpy().max() == 1
    assert set(table["sentence"]) <= set(TEXTS)
    assert table["duration"].between(1.2, 9.0).all()
