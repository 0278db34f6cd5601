from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.shemo import load_shemo

# The corpus's own description, https://github.com/pariajm/sharif-emotional-speech-dataset.
EMOTIONS = {
    "A": "anger",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
    "W": "surprise",
}


def is_of_shemo(stem):
    numbers = stem[1:3] + stem[4:]
    ascii_digits = numbers != "" and all(letter in "0123456789" for letter in numbers)
    known = stem[:1] in ("F", "M") and stem[3:4] in EMOTIONS
    return known and ascii_digits and len(stem) in (6, 7)


def write_files(root, *names):
    for name in names:
        path = Path(root) / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(441, 0.1), 44_100, format="WAV")


def test_the_first_three_characters_are_the_speaker(tmp_path):
    write_files(tmp_path, "female/F03S02", "female/F03A02", "male/M03S02", "male/M03F01")
    corpus = load_shemo(tmp_path)
    expected = {
        "speaker": "F03",
        "gender": "F",
        "emotion": "sadness",
        "emotion_code": "S",
        "number": "02",
        "text": None,
        "language": "fa",
        "duration": 0.01,
        "sample_rate": 44_100,
    }
    assert {name: corpus["F03S02"][name] for name in expected} == expected
    assert corpus["M03F01"]["emotion"] == "fear"
    assert corpus.table["speaker"].to_dict() == {
        "F03A02": "F03",
        "F03S02": "F03",
        "M03F01": "M03",
        "M03S02": "M03",
    }


def test_every_letter_has_its_published_meaning(tmp_path):
    write_files(tmp_path, *(f"F21{letter}01" for letter in EMOTIONS))
    table = load_shemo(tmp_path).table
    assert dict(zip(table["emotion_code"], table["emotion"], strict=True)) == EMOTIONS


def test_the_text_comes_from_the_corrected_transcripts(tmp_path):
    write_files(tmp_path, "female/F21N05", "female/F03S10", "male/M36S02")
    # Entries of the published file, shortened: a name of a sound may hold the text of another,
    # and with it another emotion.
    transcripts = {
        "F21N05.wav": {"text_name": "F21N37", "emotion": "neutral", "transcript": "مگه من"},
        "F03S10.wav": {"text_name": "F03N01", "emotion": "neutral", "transcript": "\ufeffاین"},
    }
    text = json.dumps(transcripts, ensure_ascii=False)
    (tmp_path / "modified_shemo.json").write_text(text, encoding="utf-8")
    corpus = load_shemo(tmp_path)
    assert corpus.table["text"].to_dict() == {"F03S10": "این", "F21N05": "مگه من", "M36S02": None}
    assert corpus["F03S10"]["emotion"] == "sadness"


def test_the_mismatched_transcripts_of_the_corpus_are_not_taken_for_text(tmp_path):
    write_files(tmp_path, "female/F03N01")
    entries = [{"id": "F03N01", "emotion": "neutral", "transcript": "این", "ipa": "in"}]
    (tmp_path / "shemo.json").write_text(json.dumps(entries), encoding="utf-8")
    assert load_shemo(tmp_path)["F03N01"]["text"] is None


@pytest.mark.parametrize("content", ["[]", '{"F03S02.wav": "text"}', '{"F03S02.wav": {}}', "{"])
def test_transcripts_of_another_form_are_refused(tmp_path, content):
    write_files(tmp_path, "F03S02")
    (tmp_path / "modified_shemo.json").write_text(content)
    with pytest.raises(ValueError, match=r"modified_shemo\.json: expected"):
        load_shemo(tmp_path)


@pytest.mark.parametrize("name", ["male/F03S02", "female/M03S02", "Female/M03S02"])
def test_a_folder_of_the_other_sex_is_refused(tmp_path, name):
    write_files(tmp_path, name)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / name}.wav")):
        load_shemo(tmp_path)


def test_an_utterance_that_is_there_twice_is_refused(tmp_path):
    write_files(tmp_path, "female/F03S02", "copy/female/F03S02")
    with pytest.raises(ValueError, match="F03S02 is there twice"):
        load_shemo(tmp_path)


NEARLY = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["F", "M", "f", "X", ""]),
    st.sampled_from(["01", "31", "56", "3", "٠٣", "²3"]),
    st.sampled_from([*EMOTIONS, "D", "a", "AN", ""]),
    st.sampled_from(["01", "37", "100", "1", "0101", "", "٠١"]),
)


@given(stem=NEARLY | st.text("0139FMNSWé -", min_size=1, max_size=8))
@example(stem="F03S02.1")
@example(stem="F03S02 copy")
@example(stem=".F03S02")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder, stem)
        if not is_of_shemo(stem):
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_shemo(folder)
            return
        utterance = load_shemo(folder)[stem]
    assert (utterance["speaker"], utterance["gender"]) == (stem[:3], stem[0])
    assert (utterance["emotion"], utterance["number"]) == (EMOTIONS[stem[3]], stem[4:])


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected(tmp_path, name):
    (tmp_path / "female.zip").write_text("not unpacked")
    with pytest.raises(FileNotFoundError, match=r"female/F03S02\.wav.*github"):
        load_shemo(tmp_path / name)
