from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from speechprobe.datasets import labels, load_librispeech

CHAPTER = "dev-clean/84/121123"


@pytest.fixture
def root(tmp_path, librispeech_tree):
    return librispeech_tree(tmp_path)


def add_line(root, line: str) -> None:
    with (root / CHAPTER / "84-121123.trans.txt").open("a", encoding="utf-8") as file:
        file.write(line)


def test_the_real_layout_gives_one_row_a_sound_file(root):
    corpus = load_librispeech(root)
    assert repr(corpus) == "Corpus('librispeech', 8 utterances, 4 speakers)"
    utterance = corpus["60-121550-0001"]
    expected = {
        "speaker": "60",
        "chapter": "121550",
        "subset": "train-clean-100",
        "gender": "M",
        "text": "I'M 60",
        "language": "en",
        "duration": 0.5,
        "sample_rate": 16_000,
    }
    assert {name: utterance[name] for name in expected} == expected
    assert utterance.path == str(root / "train-clean-100/60/121550/60-121550-0001.flac")
    assert labels.speaking_rate(utterance) == 8


def test_two_chapters_of_one_reader_are_one_speaker(root):
    table = load_librispeech(root).table
    assert table.groupby("speaker")["chapter"].nunique().to_dict() == {
        "14": 1,
        "60": 2,
        "84": 1,
        "174": 1,
    }


def test_a_readers_name_may_hold_the_separator(root):
    corpus = load_librispeech(root)
    assert corpus["60-121082-0000"]["reader"] == "|CBW|Simon"
    assert corpus["84-121123-0000"]["reader"] == "Christie Nowak"


@pytest.mark.parametrize("subsets", [["dev-clean"], ("dev-clean",), "dev-clean"])
def test_subsets_can_be_chosen(root, subsets):
    corpus = load_librispeech(root, subsets=subsets)
    assert set(corpus.column("subset")) == {"dev-clean"}
    assert set(corpus.column("speaker")) == {"84", "174"}


def test_loading_leaves_the_folder_as_it_is(root):
    def state():
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    before = state()
    load_librispeech(root)
    assert state() == before


class TestTranscripts:
    def test_a_chapter_without_them_is_named(self, root):
        (root / CHAPTER / "84-121123.trans.txt").unlink()
        message = r"dev-clean: 2 sound files in 1 chapters.*\(84-121123\).*transcripts='optional'"
        with pytest.raises(FileNotFoundError, match=message):
            load_librispeech(root)

    def test_they_can_be_done_without(self, root):
        (root / CHAPTER / "84-121123.trans.txt").unlink()
        corpus = load_librispeech(root, transcripts="optional")
        assert pd.isna(corpus["84-121123-0000"]["text"])
        assert corpus["174-50561-0000"]["text"] == "FORGOTTEN TOO"

    def test_a_missing_text_is_none(self, root):
        (root / CHAPTER / "84-121123.trans.txt").unlink()
        for subsets in (None, ["dev-clean"]):
            corpus = load_librispeech(root, subsets, transcripts="optional")
            assert corpus["84-121123-0000"]["text"] is None

    def test_a_line_without_its_sound_is_refused(self, root):
        add_line(root, "84-121123-0009 NOBODY SAYS THIS\n")
        with pytest.raises(ValueError, match=r"1 transcript lines.*84-121123-0009\.flac"):
            load_librispeech(root)

    def test_a_line_without_its_sound_warns_where_transcripts_are_optional(self, root):
        add_line(root, "84-121123-0009 NOBODY SAYS THIS\n\n")
        with pytest.warns(UserWarning, match=r"84-121123-0009\.flac") as record:
            corpus = load_librispeech(root, transcripts="optional")
        assert len(corpus) == 8
        assert [warning.filename for warning in record] == [__file__]

    def test_only_two_choices_exist(self, root):
        with pytest.raises(ValueError, match="'required' or 'optional', got 'maybe'"):
            load_librispeech(root, transcripts="maybe")


def remove_sounds(root) -> None:
    for path in (root / "dev-clean").rglob("*.flac"):
        path.unlink()


def rename_sound(root) -> None:
    path = root / CHAPTER / "84-121123-0001.flac"
    path.rename(path.with_name("84-999-0001.flac"))


def remove_speaker(root) -> None:
    file = root / "SPEAKERS.TXT"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("84 ")))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "expected a folder, found nothing"),
        (
            lambda root: (root / "SPEAKERS.TXT").unlink(),
            FileNotFoundError,
            r"SPEAKERS\.TXT: missing",
        ),
        (
            lambda root: (root / "SPEAKERS.TXT").write_text("84 female\n"),
            ValueError,
            r"SPEAKERS\.TXT.*'84 female'",
        ),
        (remove_speaker, ValueError, r"84-121123-0000\.flac: speaker 84 is not in SPEAKERS"),
        (
            lambda root: shutil.rmtree(root / "dev-clean"),
            FileNotFoundError,
            r"'dev-clean'.*not found; present are \['train-clean-100'\]",
        ),
        (remove_sounds, FileNotFoundError, "dev-clean: holds no FLAC file"),
        (rename_sound, ValueError, r"84-999-0001\.flac: the name does not fit"),
    ],
    ids=[
        *("no folder", "no SPEAKERS.TXT", "unreadable SPEAKERS.TXT", "unknown speaker"),
        *("no subset", "text only", "wrong name"),
    ],
)
def test_an_incomplete_corpus_says_what_is_missing_where(root, change, error, message):
    change(root)
    with pytest.raises(error, match=f"{re.escape(str(root))}.*{message}"):
        load_librispeech(root, subsets=["dev-clean"])


@pytest.mark.parametrize("name", ["dev-clean-2", "84"])
def test_an_unknown_subset_is_named_with_those_present(root, name):
    with pytest.raises(FileNotFoundError, match=f"'{name}'.*'train-clean-100', 'dev-clean'"):
        load_librispeech(root, subsets=[name])


def test_a_folder_without_any_subset_says_so(root):
    for subset in ("dev-clean", "train-clean-100"):
        shutil.rmtree(root / subset)
    with pytest.raises(FileNotFoundError, match="any subset not found; present are none"):
        load_librispeech(root)


@pytest.mark.shared
def test_speaking_rates_of_test_other_are_those_of_the_reference_computation(shared):
    corpus = load_librispeech(shared / "data/LibriSpeech", subsets=["test-other"])
    corpus = corpus.label("rate", labels.speaking_rate)
    speakers = corpus.table.drop_duplicates("speaker")
    assert len(corpus) == 100
    assert speakers["gender"].value_counts().to_dict() == {"F": 5, "M": 5}
    assert np.mean(corpus.column("rate")) == pytest.approx(10.138, abs=1e-3)
    assert np.std(corpus.column("rate")) == pytest.approx(2.191, abs=1e-3)


@pytest.mark.shared
def test_train_clean_100_has_a_reader_an_utterance_and_no_transcripts(shared):
    root = shared / "data/LibriSpeech"
    corpus = load_librispeech(root, subsets=["train-clean-100"], transcripts="optional")
    assert len(corpus) == corpus.table["speaker"].nunique() == 251
    assert corpus.table["gender"].value_counts().to_dict() == {"M": 126, "F": 125}
    assert corpus.table["text"].isna().all()
    message = r"251 sound files in 251 chapters have no transcript \(\d+-\d+, .*transcripts='opt"
    with pytest.raises(FileNotFoundError, match=message):
        load_librispeech(root, subsets=["train-clean-100"])
