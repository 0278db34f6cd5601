from __future__ import annotations

import itertools
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.subesco import load_subesco

# The corpus's own description, https://zenodo.org/records/4526477.
EMOTIONS = {
    "ANGRY": "anger",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happiness",
    "NEUTRAL": "neutral",
    "SAD": "sadness",
    "SURPRISE": "surprise",
}
NUMBERS = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10")
SENTENCES = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
MISNAMED = "F_02_MONIKA_S_2_SURPRISE_3]"


def is_of_subesco(stem):
    fields = stem.split("_")
    if stem == MISNAMED:
        return True
    if len(fields) != 7:
        return False
    gender, number, actor, unit, sentence, emotion, take = fields
    known = gender in ("F", "M") and number in NUMBERS and unit == "S" and sentence in SENTENCES
    letters = actor.isascii() and actor.isalpha() and actor.isupper()
    return known and letters and emotion in EMOTIONS and take in ("1", "2", "3", "4", "5")


def write_files(root, *stems):
    """Write one short sound and link it under every name."""
    sound = Path(root) / "sound"
    soundfile.write(sound, np.full(48, 0.1), 48_000, format="WAV")
    for stem in stems:
        os.link(sound, Path(root) / f"{stem}.wav")
    sound.unlink()


def test_a_name_gives_the_published_meaning_of_its_fields(tmp_path):
    write_files(tmp_path, "F_02_MONIKA_S_1_NEUTRAL_5", "F_01_OISHI_S_10_ANGRY_1")
    corpus = load_subesco(tmp_path)
    expected = {
        "speaker": "F02",
        "gender": "F",
        "actor": "MONIKA",
        "emotion": "neutral",
        "emotion_code": "NEUTRAL",
        "sentence": "1",
        "repetition": "5",
        "text": None,
        "language": "bn",
        "duration": 0.001,
        "sample_rate": 48_000,
    }
    assert {name: corpus["F_02_MONIKA_S_1_NEUTRAL_5"][name] for name in expected} == expected
    assert corpus["F_01_OISHI_S_10_ANGRY_1"]["sentence"] == "10"


def test_the_7000_names_have_the_published_counts(tmp_path):
    write_files(
        tmp_path,
        *(
            f"{gender}_{number}_ACTOR_S_{sentence}_{emotion}_{take}"
            for gender, number, sentence, emotion, take in itertools.product(
                "FM", NUMBERS, SENTENCES, EMOTIONS, "12345"
            )
        ),
    )
    table = load_subesco(tmp_path).table
    assert len(table) == 7000
    assert table["speaker"].value_counts().to_dict() == {
        f"{gender}{number}": 350 for gender in "FM" for number in NUMBERS
    }
    assert table["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS.values(), 1000)
    assert table["gender"].value_counts().to_dict() == {"F": 3500, "M": 3500}
    assert set(table["sentence"].value_counts()) == {700}


def test_the_same_number_of_the_other_sex_is_another_speaker(tmp_path):
    write_files(tmp_path, "F_01_OISHI_S_1_SAD_1", "M_01_NIPUN_S_1_SAD_1")
    assert list(load_subesco(tmp_path).table["speaker"]) == ["F01", "M01"]


def test_the_misnamed_file_of_the_archive_is_take_3(tmp_path):
    write_files(tmp_path, MISNAMED)
    utterance = load_subesco(tmp_path)[MISNAMED]
    assert (utterance["speaker"], utterance["emotion"]) == ("F02", "surprise")
    assert (utterance["sentence"], utterance["repetition"]) == ("2", "3")
    assert utterance.path == str(tmp_path / f"{MISNAMED}.wav")


def test_two_names_of_one_speaker_are_refused(tmp_path):
    write_files(tmp_path, "F_01_MONIKA_S_1_SAD_1", "F_01_OISHI_S_1_SAD_1")
    with pytest.raises(ValueError, match=r"F_01_OISHI.*F01 is MONIKA in other files, OISHI"):
        load_subesco(tmp_path)


def test_an_utterance_that_is_there_twice_is_refused(tmp_path):
    for name in ("SUBESCO", "copy"):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name, "F_01_OISHI_S_1_SAD_1")
    with pytest.raises(ValueError, match="F_01_OISHI_S_1_SAD_1 is there twice"):
        load_subesco(tmp_path)


NEARLY = st.builds(
    lambda *fields: "_".join(fields),
    st.sampled_from(["F", "M", "f", "FM"]),
    st.sampled_from(["01", "10", "11", "00", "1", "٠١"]),
    st.sampled_from(["OISHI", "MONIKA", "Oishi", "O_1", ""]),
    st.sampled_from(["S", "S", "S", "W"]),
    st.sampled_from(["1", "10", "11", "0", "01"]),
    st.sampled_from([*EMOTIONS, "BORED", "angry", ""]),
    st.sampled_from(["1", "5", "6", "0", "3]", ""]),
)


@given(stem=NEARLY | st.text("FM_01SADHPY]", min_size=1, max_size=20))
@example(stem="F_01_OISHI_S_1_ANGRY_1.1")
@example(stem="F_01_OISHI_S_1_ANGRY_1 copy")
@example(stem="F_01_OISHI_S_2_SURPRISE_3]")
@example(stem=MISNAMED)
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder, stem)
        if not is_of_subesco(stem):
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_subesco(folder)
            return
        utterance = load_subesco(folder)[stem]
    gender, number, actor, _, sentence, emotion, take = stem.split("_")
    assert (utterance["speaker"], utterance["gender"]) == (gender + number, gender)
    assert (utterance["actor"], utterance["sentence"]) == (actor, sentence)
    assert (utterance["emotion"], utterance["repetition"]) == (EMOTIONS[emotion], take[0])


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected(tmp_path, name):
    (tmp_path / "SUBESCO.zip").write_text("not unpacked")
    with pytest.raises(FileNotFoundError, match=r"F_01_OISHI_S_1_ANGRY_1\.wav.*zenodo"):
        load_subesco(tmp_path / name)
