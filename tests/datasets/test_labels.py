from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprobe.datasets import Corpus, labels


def utterance(**values):
    row = {"path": ["a.wav"], "speaker": ["s"]} | {key: [value] for key, value in values.items()}
    return Corpus("one", pd.DataFrame(row, index=["a"]))["a"]


@given(
    spoken=st.text("abzÄßéжあ0189", min_size=1, max_size=30),
    unspoken=st.text(" '.,-!?\n", max_size=30),
    seconds=st.floats(0.1, 60),
)
def test_speaking_rate_counts_letters_and_digits_only(spoken, unspoken, seconds):
    # Spread what is not spoken between the characters that are.
    text = "".join(map("".join, zip(spoken, unspoken, strict=False)))
    text += spoken[len(unspoken) :] + unspoken[len(spoken) :]
    rate = labels.speaking_rate(utterance(text=text, duration=seconds))
    assert rate == pytest.approx(len(spoken) / seconds)


def test_speaking_rate_takes_the_length_from_the_file_where_the_table_has_none(
    tmp_path, write_sound
):
    path = write_sound(tmp_path / "a.wav", 0.5)
    assert labels.speaking_rate(utterance(path=str(path), text="Well, yes.")) == 14


@pytest.mark.parametrize("values", [{}, {"text": None}, {"text": np.nan}, {"text": " \n"}])
def test_speaking_rate_without_a_transcript_says_what_it_needs(values):
    with pytest.raises(ValueError, match="transcript in the label 'text'"):
        labels.speaking_rate(utterance(duration=1.0, **values))


def test_a_label_that_does_not_exist_names_the_utterance():
    table = pd.DataFrame(
        {"path": "x.wav", "speaker": "s", "text": ["hi", None], "duration": 1.0}, index=["a", "b"]
    )
    with pytest.raises(ValueError, match=r"'rate' failed on utterance 'b'.*transcript"):
        Corpus("two", table).label("rate", labels.speaking_rate)


@pytest.mark.parametrize(
    ("stated", "letter"),
    [
        *(("F", "F"), ("f", "F"), ("female", "F"), (" Female ", "F")),
        *(("M", "M"), ("m", "M"), ("MALE", "M")),
    ],
)
def test_gender_is_one_letter(stated, letter):
    assert labels.gender(utterance(gender=stated)) == letter


@pytest.mark.parametrize("values", [{}, *({"gender": v} for v in (None, np.nan, pd.NA, "", "x"))])
def test_a_gender_that_is_not_stated_is_not_guessed(values):
    with pytest.raises(ValueError, match="'F' or 'M'"):
        labels.gender(utterance(**values))


def test_duration_is_in_seconds():
    assert labels.duration(utterance(duration=2.5)) == 2.5
