from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe.datasets.iemocap import load_iemocap

# The codes of the corpus, with what the one vocabulary of this library calls them.
EMOTIONS = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "happiness",
    "sad": "sadness",
    "neu": "neutral",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "fru": None,
    "oth": None,
    "xxx": None,
}
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
LISTENERS = "C-E1:\tAnger;\t()\nC-F1:\tNeutral;\t()\nA-E3:\tval 2; act 4; dom  4;\t()\n\n"


def write_sound(root, turn, *, session=None, dialog=None):
    dialog = dialog or turn.rsplit("_", 1)[0]
    folder = Path(root, session or f"Session{turn[4:5]}", "sentences", "wav", dialog)
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{turn}.wav", np.full(160, 0.1), 16_000, format="WAV")
    return folder / f"{turn}.wav"


def write_text(root, dialog, text, kind="EmoEvaluation"):
    file = Path(root, f"Session{dialog[4]}", "dialog", kind, f"{dialog}.txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def line(turn, code="neu", numbers="2.5000, 2.5000, 2.5000"):
    return f"[6.2901 - 8.2357]\t{turn}\t{code}\t[{numbers}]\n{LISTENERS}"


def write_dialog(root, dialog, **codes):
    """Write sounds and evaluations of some turns, such as F000="ang"."""
    for number in codes:
        write_sound(root, f"{dialog}_{number}")
    lines = [line(f"{dialog}_{number}", code) for number, code in codes.items()]
    write_text(root, dialog, HEADER + "".join(lines))


def test_a_turn_has_the_labels_of_its_name_evaluation_and_transcript(tmp_path):
    turn = "Ses01F_impro05_M019"
    write_sound(tmp_path, turn)
    evaluation = f"[140.2250 - 145.6000]\t{turn}\tang\t[1.5000, 4.0000, 4.5000]\n"
    write_text(tmp_path, "Ses01F_impro05", HEADER + evaluation + LISTENERS)
    words = f"{turn} [140.2250-145.6000]: What did I do?\nM: no turn\n"
    write_text(tmp_path, "Ses01F_impro05", words, "transcriptions")
    expected = {
        "speaker": "Ses01M",
        "gender": "M",
        "emotion": "anger",
        "emotion_code": "ang",
        "valence": 1.5,
        "activation": 4.0,
        "dominance": 4.5,
        "text": "What did I do?",
        "session": "1",
        "dialog": "Ses01F_impro05",
        "scenario": "improvised",
        "start": 140.225,
        "end": 145.6,
        "language": "en",
        "duration": 0.01,
        "sample_rate": 16_000,
    }
    utterance = load_iemocap(tmp_path)[turn]
    assert {name: utterance[name] for name in expected} == expected


def test_the_last_letter_and_not_the_marked_actor_is_the_speaker(tmp_path):
    for session in range(1, 6):
        write_dialog(tmp_path, f"Ses0{session}F_impro01", F000="neu", M000="neu")
        write_dialog(tmp_path, f"Ses0{session}M_script01_1", F000="neu", M000="neu")
    table = load_iemocap(tmp_path).table
    assert table["speaker"].value_counts().to_dict() == {
        f"Ses0{session}{letter}": 2 for session in range(1, 6) for letter in "FM"
    }
    assert table.loc["Ses02F_impro01_M000", "speaker"] == "Ses02M"
    assert table.loc["Ses02M_script01_1_F000", "speaker"] == "Ses02F"
    assert table.loc["Ses02M_script01_1_F000", "scenario"] == "scripted"


def test_all_keeps_every_turn_and_its_code(tmp_path):
    codes = {f"F{number:03d}": code for number, code in enumerate(EMOTIONS)}
    write_dialog(tmp_path, "Ses03M_impro05a", **codes)
    table = load_iemocap(tmp_path, emotions="all").table
    assert dict(zip(table["emotion_code"], table["emotion"], strict=True)) == EMOTIONS
    assert set(table["text"]) == {None}


def test_four_merges_excitement_into_happiness_and_leaves_out_the_rest(tmp_path):
    codes = {f"M{number:03d}": code for number, code in enumerate(EMOTIONS)}
    write_dialog(tmp_path, "Ses05M_script01_1b", **codes)
    table = load_iemocap(tmp_path).table
    assert dict(zip(table["emotion_code"], table["emotion"], strict=True)) == {
        "ang": "anger",
        "hap": "happiness",
        "exc": "happiness",
        "neu": "neutral",
        "sad": "sadness",
    }


def test_hidden_files_of_the_archive_are_passed_over(tmp_path):
    write_dialog(tmp_path, "Ses01F_impro01", F000="neu")
    for kind in ("EmoEvaluation", "transcriptions"):
        folder = tmp_path / "Session1" / "dialog" / kind
        folder.mkdir(exist_ok=True)
        (folder / "._Ses01F_impro01.txt").write_bytes(b"\0\x05\x16\x07\n[\xff\n")
    sounds = tmp_path / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (sounds / "._Ses01F_impro01_F000.wav").write_bytes(b"\0\x05\x16\x07")
    assert len(load_iemocap(tmp_path)) == 1


def test_turns_that_only_the_transcript_has_are_passed_over(tmp_path):
    write_dialog(tmp_path, "Ses03F_impro06", F000="sad")
    write_sound(tmp_path, "Ses03F_impro06_FXX0")
    words = "Ses03F_impro06_FXX0 [001.0-002.0]: Mmhmm.\nSes03F_impro06_F000 [2.0-3.0]: Oh.\n"
    write_text(tmp_path, "Ses03F_impro06", words, "transcriptions")
    assert load_iemocap(tmp_path, "all").table["text"].to_dict() == {"Ses03F_impro06_F000": "Oh."}


def test_an_unknown_choice_of_emotions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'four' or 'all', got 'six'"):
        load_iemocap(tmp_path, emotions="six")


def test_no_turn_of_the_four_emotions_is_an_error(tmp_path):
    write_dialog(tmp_path, "Ses01F_impro01", F000="fru")
    with pytest.raises(ValueError, match=r"try emotions='all'"):
        load_iemocap(tmp_path)


def test_an_evaluated_turn_without_sound_is_named(tmp_path):
    write_dialog(tmp_path, "Ses01F_impro01", F000="neu", F001="fru", M000="neu")
    (tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav").unlink()
    assert len(load_iemocap(tmp_path)) == 2
    with pytest.raises(FileNotFoundError, match=r"1 evaluated turns.*'Ses01F_impro01_F001'"):
        load_iemocap(tmp_path, emotions="all")


@pytest.mark.parametrize("emotions", ["four", "all"])
def test_a_sound_without_evaluation_is_named(tmp_path, emotions):
    write_dialog(tmp_path, "Ses01F_impro01", F000="neu")
    write_sound(tmp_path, "Ses01F_impro02_F000")
    with pytest.raises(ValueError, match=r"1 sounds have no line.*'Ses01F_impro02_F000'"):
        load_iemocap(tmp_path, emotions)


@pytest.mark.parametrize(
    "wrong",
    [
        line("Ses01F_impro01_F000", code="bor"),
        line("Ses01F_impro01_F000", numbers="2.5, 2.5"),
        line("Ses01F_impro01_F000", numbers="2.5, nan, 2.5"),
        line("Ses01F_impro02_F000"),
        "[6.2901]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n",
    ],
)
def test_an_evaluation_that_cannot_be_read_names_file_and_line(tmp_path, wrong):
    write_dialog(tmp_path, "Ses01F_impro01", F000="neu")
    write_text(tmp_path, "Ses01F_impro01", HEADER + wrong)
    with pytest.raises(ValueError, match=r"Ses01F_impro01\.txt: expected.*got") as error:
        load_iemocap(tmp_path)
    assert repr(wrong.splitlines()[0]) in str(error.value)


def test_a_turn_evaluated_twice_is_refused(tmp_path):
    write_dialog(tmp_path, "Ses01F_impro01", F000="neu")
    write_text(tmp_path, "Ses01F_impro01", 2 * line("Ses01F_impro01_F000"))
    with pytest.raises(ValueError, match="evaluates Ses01F_impro01_F000 a second time"):
        load_iemocap(tmp_path)


@pytest.mark.parametrize("place", [{"session": "Session2"}, {"dialog": "Ses01F_impro02"}])
def test_a_sound_in_another_folder_is_refused(tmp_path, place):
    path = write_sound(tmp_path, "Ses01F_impro01_F000", **place)
    with pytest.raises(ValueError, match=re.escape(f"{path}: the name does not fit its folders")):
        load_iemocap(tmp_path)


def test_a_sound_that_is_there_twice_is_refused(tmp_path):
    write_dialog(tmp_path, "Ses01F_impro01", F000="neu")
    write_sound(tmp_path, "Ses01F_impro01_F000", dialog="copy/Ses01F_impro01")
    with pytest.raises(ValueError, match="Ses01F_impro01_F000 is there twice"):
        load_iemocap(tmp_path)


@pytest.mark.parametrize("lacking", ["nowhere", ".", "sounds", "evaluations"])
def test_a_missing_folder_says_which_layout_was_expected_and_where_to_ask(tmp_path, lacking):
    if lacking == "evaluations":
        write_sound(tmp_path, "Ses01F_impro01_F000")
    if lacking == "sounds":
        write_text(tmp_path, "Ses01F_impro01", line("Ses01F_impro01_F000"))
    root = tmp_path / "nowhere" if lacking == "nowhere" else tmp_path
    message = r"Session1/sentences/wav/.*\.wav.*release form at https://sail\.usc\.edu/iemocap/"
    with pytest.raises(FileNotFoundError, match=message):
        load_iemocap(root)


def is_a_turn_of_session_1(stem):
    fields = stem.split("_")
    scenario, part, turn = fields[1:2], fields[2:-1], fields[-1]
    if fields[0] not in ("Ses01F", "Ses01M") or len(fields) not in (3, 4):
        return False
    dialog = scenario[0] + "".join(f"_{number}" for number in part)
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = {
        f"{kind}{a}{b}{c}{letter}"
        for kind in ("impro", "script")
        for a in "0123456789"
        for b in "0123456789"
        for c in ["", *(f"_{digit}" for digit in "0123456789")]
        for letter in ["", *letters]
    }
    number = turn[1:]
    whole = len(number) == 3 and all(digit in "0123456789" for digit in number)
    return dialog in known and turn[:1] in ("F", "M") and whole


NEARLY = st.builds(
    lambda *parts: "_".join(part for part in parts if part != "-"),
    st.sampled_from(["Ses01F", "Ses01M", "Ses1F", "ses01F", "Ses06F", "Ses01X"]),
    st.sampled_from(["impro01", "impro05a", "script01", "impro1", "improv01", "impro٠١"]),
    st.sampled_from(["-", "1", "1b", "12", ""]),
    st.sampled_from(["F000", "M012", "X000", "F00", "M0000", "f000", "F٠٠٠", "000"]),
)


@given(stem=NEARLY | st.text("SesFM01_impro -", min_size=1, max_size=20))
@example(stem="Ses01F_impro01_F000")
@example(stem="Ses01F_impro05a_M000")
@example(stem="Ses01M_script01_1b_F000")
@example(stem="Ses01F_impro01_F000.1")
@example(stem="Ses01F_impro01_F000 copy")
def test_a_name_gives_the_right_speaker_or_an_error_that_names_the_file(stem):
    dialog = stem.rsplit("_", 1)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = write_sound(folder, stem, session="Session1", dialog=dialog)
        if not is_a_turn_of_session_1(stem):
            with pytest.raises(ValueError, match=re.escape(str(path))):
                load_iemocap(folder)
            return
        write_text(folder, dialog, line(stem))
        utterance = load_iemocap(folder)[stem]
    assert utterance["speaker"] == "Ses01" + stem[-4]
    assert (utterance["dialog"], utterance["gender"]) == (dialog, stem[-4])
