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

from speechprobe.datasets.ravdess import load_ravdess

# The corpus's own description, https://zenodo.org/records/1188976.
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
MEN = ("01", "03", "05", "07", "09", "11", "13", "15", "17", "19", "21", "23")
WOMEN = ("02", "04", "06", "08", "10", "12", "14", "16", "18", "20", "22", "24")


def is_of_ravdess(stem):
    fields = stem.split("-")
    if len(fields) != 7:
        return False
    modality, channel, emotion, intensity, statement, repetition, actor = fields
    two = ("01", "02")
    known = modality == "03" and emotion in EMOTIONS and actor in MEN + WOMEN
    if not known or any(field not in two for field in (channel, intensity, statement, repetition)):
        return False
    if emotion == "01" and intensity == "02":
        return False
    return channel == "01" or (emotion not in ("07", "08") and actor != "18")


def published_names(channel, emotions, actors):
    """All names that the rule of the corpus gives."""
    two = ("01", "02")
    for actor, emotion, intensity, statement, repetition in itertools.product(
        actors, emotions, two, two, two
    ):
        if (emotion, intensity) != ("01", "02"):
            yield f"03-{channel}-{emotion}-{intensity}-{statement}-{repetition}-{actor}"


SPEECH = tuple(published_names("01", EMOTIONS, MEN + WOMEN))
SONG = tuple(published_names("02", list(EMOTIONS)[:6], [a for a in MEN + WOMEN if a != "18"]))


def write_files(root, *stems, outer=""):
    """Write one short sound and link it under the name and in the folder of each."""
    sound = Path(root) / "sound"
    soundfile.write(sound, np.full(48, 0.1), 48_000, format="WAV")
    for stem in stems:
        folder = Path(root) / outer / f"Actor_{stem[-2:]}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(sound, folder / f"{stem}.wav")
    sound.unlink()


def test_a_name_gives_the_published_meaning_of_its_fields(tmp_path):
    write_files(tmp_path, "03-01-06-02-02-01-12", "03-01-02-01-01-02-07")
    corpus = load_ravdess(tmp_path)
    expected = {
        "speaker": "12",
        "gender": "F",
        "emotion": "fear",
        "emotion_code": "06",
        "intensity": "strong",
        "text": "Dogs are sitting by the door.",
        "statement": "02",
        "repetition": "01",
        "vocal_channel": "speech",
        "language": "en",
        "duration": 0.001,
        "sample_rate": 48_000,
    }
    assert {name: corpus["03-01-06-02-02-01-12"][name] for name in expected} == expected
    calm = corpus["03-01-02-01-01-02-07"]
    assert (calm["emotion"], calm["gender"], calm["intensity"]) == ("calm", "M", "normal")
    assert (calm["text"], calm["repetition"]) == ("Kids are talking by the door.", "02")
    assert len(corpus) == 2


def test_the_1440_spoken_files_have_the_published_counts(tmp_path):
    write_files(tmp_path, *SPEECH, outer="Audio_Speech_Actors_01-24")
    table = load_ravdess(tmp_path).table
    assert len(table) == 1440
    assert set(table["speaker"].value_counts()) == {60}
    assert table["gender"].value_counts().to_dict() == {"F": 720, "M": 720}
    counts = table["emotion"].value_counts().to_dict()
    assert counts.pop("neutral") == 96
    assert counts == dict.fromkeys(set(EMOTIONS.values()) - {"neutral"}, 192)


def test_the_1012_sung_files_have_the_published_counts(tmp_path):
    write_files(tmp_path, *SONG, outer="Audio_Song_Actors_01-24")
    table = load_ravdess(tmp_path, "song").table
    assert len(table) == 1012
    assert set(table["speaker"].value_counts()) == {44}
    assert table["speaker"].nunique() == 23
    assert set(table["emotion"]) == {"neutral", "calm", "happiness", "sadness", "anger", "fear"}


def test_the_channel_chooses_speech_song_or_both(tmp_path):
    spoken, sung = "03-01-05-01-01-01-01", "03-02-05-01-01-01-01"
    write_files(tmp_path, spoken, outer="Audio_Speech_Actors_01-24")
    write_files(tmp_path, sung, outer="Audio_Song_Actors_01-24")
    assert list(load_ravdess(tmp_path).table.index) == [spoken]
    assert list(load_ravdess(tmp_path, channel="song").table.index) == [sung]
    both = load_ravdess(tmp_path, channel="both").table["vocal_channel"].to_dict()
    assert both == {spoken: "speech", sung: "song"}


def test_an_unknown_channel_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'speech', 'song' or 'both', got 'singing'"):
        load_ravdess(tmp_path, channel="singing")


@pytest.mark.parametrize("channel", ["song", "both"])
def test_an_absent_channel_is_named(tmp_path, channel):
    write_files(tmp_path, "03-01-05-01-01-01-01")
    with pytest.raises(FileNotFoundError, match=r"holds no song, only speech.*zenodo"):
        load_ravdess(tmp_path, channel)


FIELD = st.sampled_from(["01", "02", "03", "00", "1", "٠١", ""])
NEARLY = st.builds(
    lambda *fields: "-".join(fields),
    st.sampled_from(["03", "03", "03", "01", "02"]),
    FIELD,
    st.sampled_from([*EMOTIONS, "00", "09", "x1"]),
    FIELD,
    FIELD,
    FIELD,
    st.sampled_from([*MEN, *WOMEN, "00", "25", "1"]),
)


@given(stem=NEARLY | st.sampled_from(SPEECH + SONG) | st.text("0123-a ", min_size=1, max_size=22))
@example(stem="03-01-06-01-02-01-12.1")
@example(stem="03-01-06-01-02-01-12 copy")
@example(stem="03-01-06-01-02-01-12-01")
@example(stem="03-01-01-02-01-01-01")
@example(stem="03-02-07-01-01-01-01")
@example(stem="03-02-08-01-01-01-01")
@example(stem="03-02-03-01-01-01-18")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/{stem}.wav"
        soundfile.write(path, np.full(48, 0.1), 48_000, format="WAV")
        if not is_of_ravdess(stem):
            with pytest.raises(ValueError, match=re.escape(path)):
                load_ravdess(folder)
            return
        utterance = load_ravdess(folder, "song" if stem[3:5] == "02" else "speech")[stem]
    assert utterance["speaker"] == stem[18:]
    assert utterance["gender"] == ("M" if stem[18:] in MEN else "F")
    assert utterance["emotion"] == EMOTIONS[stem[6:8]]
    assert utterance["intensity"] == ("strong" if stem[9:11] == "02" else "normal")
    assert utterance["text"].startswith("Kids" if stem[12:14] == "01" else "Dogs")


@pytest.mark.parametrize(
    ("stem", "reason"),
    [
        ("01-01-06-01-02-01-12", "modality 01 is video"),
        ("03-01-01-02-02-01-12", "neutral has no strong intensity"),
        ("03-02-07-01-02-01-12", "no song with disgust"),
        ("03-02-08-01-02-01-12", "no song with surprise"),
        ("03-02-03-01-02-01-18", "actor 18 did not sing"),
        ("03-01-09-01-02-01-12", "unknown code '09'"),
    ],
)
def test_a_name_that_cannot_be_says_why(tmp_path, stem, reason):
    write_files(tmp_path, stem)
    with pytest.raises(ValueError, match=reason):
        load_ravdess(tmp_path)


def test_a_file_in_the_folder_of_another_actor_is_refused(tmp_path):
    write_files(tmp_path, "03-01-06-01-02-01-12")
    (tmp_path / "Actor_12").rename(tmp_path / "Actor_13")
    with pytest.raises(ValueError, match="the name says actor 12, the folder 13"):
        load_ravdess(tmp_path)


def test_a_copy_that_repeats_the_tree_names_both_files_and_the_remedy(tmp_path):
    stem = "03-01-06-01-02-01-12"
    write_files(tmp_path, stem)
    write_files(tmp_path, stem, outer="audio_speech_actors_01-24")
    with pytest.raises(ValueError, match="twice") as error:
        load_ravdess(tmp_path)
    first, second = f"Actor_12/{stem}.wav", f"audio_speech_actors_01-24/Actor_12/{stem}.wav"
    assert str(tmp_path / first) in str(error.value)
    assert str(tmp_path / second) in str(error.value)
    assert "as root" in str(error.value)
    assert len(load_ravdess(tmp_path / "audio_speech_actors_01-24")) == 1


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected(tmp_path, name):
    (tmp_path / "01-01-06-01-02-01-12.mp4").write_text("a video")
    with pytest.raises(FileNotFoundError, match=r"Actor_12/03-01-06.*\.wav.*zenodo"):
        load_ravdess(tmp_path / name)
