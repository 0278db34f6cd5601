from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.savee import load_savee

# Info.txt of the corpus: speakers, letters, sentences.
SPEAKERS = ("DC", "JE", "JK", "KL")
EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
SENTENCES = tuple(
    f"{code}{number:02d}" for code in EMOTIONS for number in range(1, 31 if code == "n" else 16)
)


def write_files(folder: Path, *stems: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        soundfile.write(folder / f"{stem}.wav", np.full(441, 0.1), 44_100, format="WAV")


PLACES = [
    ("AudioData/JK", "sa15"),
    ("JK", "sa15"),
    (".", "JK_sa15"),
    ("ALL", "JK_sa15"),
    ("JK", "JK_sa15"),
]


@pytest.mark.parametrize(("folder", "stem"), PLACES)
def test_both_layouts_give_the_same_labels_and_id(tmp_path, folder, stem):
    write_files(tmp_path / folder, stem)
    expected = {
        "speaker": "JK",
        "gender": "M",
        "emotion": "sadness",
        "emotion_code": "sa",
        "text": None,
        "sentence": "sa15",
        "language": "en",
        "duration": 0.01,
        "sample_rate": 44_100,
    }
    utterance = load_savee(tmp_path)["JK_sa15"]
    assert {name: utterance[name] for name in expected} == expected


@pytest.mark.parametrize("flat", [False, True])
def test_all_published_names_load_with_the_published_counts(tmp_path, flat):
    for speaker in SPEAKERS:
        if flat:
            write_files(tmp_path / "ALL", *(f"{speaker}_{name}" for name in SENTENCES))
        else:
            write_files(tmp_path / "AudioData" / speaker, *SENTENCES)
    table = load_savee(tmp_path).table
    assert len(table) == 480
    assert table["speaker"].value_counts().to_dict() == dict.fromkeys(SPEAKERS, 120)
    assert table["emotion"].value_counts().to_dict() == {
        **dict.fromkeys(EMOTIONS.values(), 60),
        "neutral": 120,
    }
    assert set(table["gender"]) == {"M"}


def test_a_file_in_the_folder_of_another_speaker_is_an_error_that_names_it(tmp_path):
    write_files(tmp_path / "DC", "JE_a01")
    with pytest.raises(ValueError, match=r"JE_a01\.wav: the name says speaker JE, the folder DC"):
        load_savee(tmp_path)


def test_a_file_that_says_nowhere_who_speaks_is_an_error_that_names_it(tmp_path):
    write_files(tmp_path, "a01")
    with pytest.raises(ValueError, match=r"/a01\.wav: expected a speaker of \('DC'"):
        load_savee(tmp_path)


def test_a_second_tree_inside_the_first_is_an_error_that_names_both_files(tmp_path):
    write_files(tmp_path / "AudioData/DC", "a01")
    write_files(tmp_path / "AudioData/AudioData/DC", "a01")
    with pytest.raises(ValueError, match=r"/AudioData/DC/a01\.wav and .*/AudioData/DC/a01\.wav"):
        load_savee(tmp_path)


NEARLY = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "", "KL_", "DC_", "XX_", "kl_", "KL", "KL-", "_"]),
    st.sampled_from([*EMOTIONS, "s", "A", "sad", "x", ""]),
    st.sampled_from(["01", "15", "16", "30", "31", "00", "1", "٠١", "001"]),
    st.sampled_from(["", "", "", "b", " "]),
)


@given(stem=NEARLY | st.text("KL_sau015", min_size=1, max_size=7))
@example(stem="n30")
@example(stem="a16")
@example(stem="KL_su15")
@example(stem="KL_KL_a01")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "KL")
        write_files(folder, stem)
        sentence = stem.removeprefix("KL_")
        if sentence not in SENTENCES:
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_savee(root)
            return
        utterance = load_savee(root)[f"KL_{sentence}"]
    code = sentence.rstrip("0123456789")
    assert (utterance["speaker"], utterance["sentence"]) == ("KL", sentence)
    assert (utterance["emotion_code"], utterance["emotion"]) == (code, EMOTIONS[code])


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_that_the_authors_must_be_asked(tmp_path, name):
    (tmp_path / "a01.txt").write_text("no sound")
    with pytest.raises(
        FileNotFoundError, match=r"AudioData/DC/a01\.wav.*Ask.*surrey\.ac\.uk/savee"
    ):
        load_savee(tmp_path / name)
