from __future__ import annotations

import re
import tempfile
import unicodedata
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.cafe import load_cafe

# The corpus's own readme: folder and letter of the emotions, sex of the actors.
FOLDERS = {
    "C": "Colère",
    "D": "Dégoût",
    "J": "Joie",
    "N": "Neutre",
    "P": "Peur",
    "S": "Surprise",
    "T": "Tristesse",
}
EMOTIONS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
MEN, WOMEN = ("01", "03", "05", "07", "09", "11"), ("02", "04", "06", "08", "10", "12")
INTENSITIES = {"1": ("Faible", "weak"), "2": ("Fort", "strong")}


def is_of_cafe(stem: str) -> bool:
    parts = stem.split("-")
    if len(parts) != 4 or parts[0] not in MEN + WOMEN or parts[1] not in EMOTIONS:
        return False
    levels = ("1",) if parts[1] == "N" else ("1", "2")
    return parts[2] in levels and parts[3] in tuple("123456")


def published_stems() -> list[str]:
    """12 actors say 6 sentences in 6 emotions of two intensities, and neutrally."""
    every = map("-".join, product(MEN + WOMEN, EMOTIONS, "12", "123456"))
    return [stem for stem in every if "N-2" not in stem]


def write_files(folder: Path, *stems: str, kind: str = "wav", sample_rate: int = 48_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        sound = np.full(sample_rate // 100, 0.1)
        soundfile.write(folder / f"{stem}.{kind}", sound, sample_rate, format=kind.upper())


@pytest.mark.parametrize("inner", ["CaFE_48k/Dégoût/Fort", "Dégoût", "."])
def test_the_folders_of_the_emotions_or_all_files_in_one_folder_are_loaded(tmp_path, inner):
    write_files(tmp_path / inner, "02-D-2-2")
    expected = {
        "speaker": "02",
        "gender": "F",
        "age": 64,
        "emotion": "disgust",
        "emotion_code": "D",
        "intensity": "strong",
        "text": "Deux ânes aigris au pelage brun.",
        "sentence": "2",
        "language": "fr",
        "duration": 0.01,
        "sample_rate": 48_000,
    }
    utterance = load_cafe(tmp_path)["02-D-2-2"]
    assert {name: utterance[name] for name in expected} == expected


def test_the_aiff_files_of_192_khz_are_loaded(tmp_path):
    write_files(tmp_path / "CaFE_192k_1/Neutre", "01-N-1-6", kind="aiff", sample_rate=192_000)
    write_files(tmp_path / "CaFE_192k_2/Joie/Faible", "12-J-1-1", kind="aiff", sample_rate=192_000)
    table = load_cafe(tmp_path).table
    assert table["sample_rate"].tolist() == [192_000, 192_000]
    assert table["intensity"].tolist() == [None, "weak"]


def test_all_published_names_load_with_the_published_counts(tmp_path):
    for stem in published_stems():
        level = () if stem[3] == "N" else (INTENSITIES[stem[5]][0],)
        write_files(tmp_path.joinpath(FOLDERS[stem[3]], *level), stem)
    table = load_cafe(tmp_path).table
    assert len(table) == 936
    assert table["emotion"].value_counts().to_dict() == {
        **dict.fromkeys(EMOTIONS.values(), 144),
        "neutral": 72,
    }
    assert set(table["speaker"].value_counts()) == {78}
    assert table["gender"].value_counts().to_dict() == {"F": 468, "M": 468}
    assert table["intensity"].value_counts().to_dict() == {"weak": 432, "strong": 432}
    assert table.loc[table["emotion"] == "neutral", "intensity"].isna().all()
    assert (table["age"].min(), table["age"].max()) == (15, 64)


# How unzipping, or a Mac, may write the two names with accents.
GARBLED = [
    ("01-C-1-1", unicodedata.normalize("NFD", "Colère")),
    ("01-C-1-1", "ColŠre"),
    ("01-C-1-1", "ColÃ¨re"),
    ("01-C-1-1", "Col#U00e8re"),
    ("01-C-1-1", "Colere"),
    ("01-D-1-1", unicodedata.normalize("NFD", "Dégoût")),
    ("01-D-1-1", "D‚go–t"),
    ("01-D-1-1", "DÃ©goÃ»t"),
    ("01-D-1-1", "Degout"),
]


@pytest.mark.parametrize(("stem", "folder"), GARBLED)
def test_a_folder_with_garbled_accents_is_still_held_against_the_name(tmp_path, stem, folder):
    write_files(tmp_path / folder / "Faible", stem)
    assert len(load_cafe(tmp_path)) == 1
    write_files(tmp_path / folder / "Faible", "01-J-1-1")
    with pytest.raises(ValueError, match=r"01-J-1-1\.wav: the name says code J, the folder"):
        load_cafe(tmp_path)


@pytest.mark.parametrize(
    "folder", ["Joie/Faible", "Joie", "Peur/Fort", "Neutre", "Fort/Joie/Faible", "Tristesse"]
)
def test_a_file_in_a_wrong_folder_is_an_error_that_names_it(tmp_path, folder):
    stem = "01-J-2-1" if "Faible" in folder else "01-C-2-1"
    write_files(tmp_path / folder, stem)
    with pytest.raises(ValueError, match=rf"{stem}\.wav: the name says"):
        load_cafe(tmp_path)


def test_both_sample_rates_under_one_root_are_an_error_that_names_both_files(tmp_path):
    write_files(tmp_path / "CaFE_192k_1/Neutre", "01-N-1-6", kind="aiff", sample_rate=192_000)
    write_files(tmp_path / "CaFE_48k/Neutre", "01-N-1-6")
    with pytest.raises(ValueError, match=r"192k_1/Neutre/01-N-1-6\.aiff and .*48k/Neutre/01-N-1-6"):
        load_cafe(tmp_path)


NEARLY = st.builds(
    lambda *parts: "-".join(parts),
    st.sampled_from([*MEN, *WOMEN, "00", "13", "1", "٠١"]),
    st.sampled_from([*EMOTIONS, "N", "N", "A", "c", "CC", ""]),
    st.sampled_from(["1", "2", "0", "3", "01", ""]),
    st.sampled_from([*"123456", "0", "7", "06", "٣", ""]),
)


@given(stem=NEARLY | st.text("01-CNc2 ", min_size=1, max_size=9))
@example(stem="01-N-2-1")
@example(stem="01-N-1-1")
@example(stem="01-C-1-1-")
@example(stem="01-C-1-1 (1)")
def test_a_name_gives_the_right_labels_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), stem)
        if not is_of_cafe(stem):
            with pytest.raises(ValueError, match=re.escape(f"{folder}/{stem}.wav")):
                load_cafe(folder)
            return
        utterance = load_cafe(folder)[stem]
    speaker, code, intensity, sentence = stem.split("-")
    assert (utterance["speaker"], utterance["sentence"]) == (speaker, sentence)
    assert utterance["gender"] == ("M" if speaker in MEN else "F")
    assert (utterance["emotion"], utterance["emotion_code"]) == (EMOTIONS[code], code)
    assert utterance["intensity"] == (None if code == "N" else INTENSITIES[intensity][1])
    # Every sentence begins with its number.
    assert utterance["text"].startswith(
        ("Un", "Deux", "Trois", "Quatre", "Cinq", "Six")[int(sentence) - 1]
    )


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_sound_says_which_layout_was_expected_and_where_to_get_it(tmp_path, name):
    (tmp_path / "01-C-1-1.txt").write_text("no sound")
    with pytest.raises(FileNotFoundError, match=r"Colère/Fort/01-C-2-6\.wav.*zenodo.*1478765"):
        load_cafe(tmp_path / name)


def test_folders_above_the_root_say_nothing(tmp_path):
    root = tmp_path / "Fort" / "Joie" / "cafe"
    root.mkdir(parents=True)
    soundfile.write(root / "01-C-1-6.wav", np.full(160, 0.1), 16_000)
    assert load_cafe(root)["01-C-1-6"]["intensity"] == "weak"
