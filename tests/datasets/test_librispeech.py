from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

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


CHAPTERS_TXT = """\
; Some pipe(|) separated metadata about the audio chapters included in the corpus.
;ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE | PROJECT TITLE
208    | 14   | 12.95 | train-clean-100  | 219  | 121   | Chapter 11 | Northanger Abbey (version 2)
121082 | 60   | 8.01  | train-clean-100  | 4010 | 37106 | Part 1 - Chapter 2 | Little Women
121550 | 60   | 12.17 | train-clean-100  | 4010 | 9999  | In Fashion | A | B
50561  | 174  | 8.04  | dev-clean        | 300  | 606   | Sparks | Indian Why Stories
"""
# As published, subtitles stand behind a lone carriage return and most lines have no author.
BOOKS_TXT = b"""\
; id | title | authors
121    | Northanger Abbey                                   |
606    | Indian Why Stories\r Sparks from War Eagle's Lodge-Fire | Frank Bird Linderman
1023   | Bleak House
torn line
37106  | Little Women; Or, Meg, Jo, Beth, and Amy | Louisa May Alcott
"""
OF_CHAPTER = ["chapter", "minutes", "chapter_title", "book_id", "book", "author"]


def write_lists(root, chapters=CHAPTERS_TXT, books=BOOKS_TXT) -> None:
    (root / "CHAPTERS.TXT").write_text(chapters, encoding="utf-8")
    (root / "BOOKS.TXT").write_bytes(books)


class TestChaptersAndBooks:
    def of(self, corpus, key):
        return [corpus[key][name] for name in OF_CHAPTER]

    def test_they_give_title_book_and_author(self, root):
        write_lists(root)
        title, author = "Little Women; Or, Meg, Jo, Beth, and Amy", "Louisa May Alcott"
        expected = ["121082", 20.18, "Part 1 - Chapter 2", "37106", title, author]
        assert self.of(load_librispeech(root), "60-121082-0000") == expected

    def test_a_book_without_an_author_has_none(self, root):
        write_lists(root)
        expected = ["208", 25.03, "Chapter 11", "121", "Northanger Abbey", None]
        assert self.of(load_librispeech(root), "14-208-0000") == expected

    def test_a_book_that_is_not_listed_has_the_title_of_the_project(self, root):
        write_lists(root)
        expected = ["121550", 20.18, "In Fashion", "9999", "A | B", None]
        assert self.of(load_librispeech(root), "60-121550-0000") == expected

    def test_a_chapter_that_is_not_listed_has_none(self, root):
        write_lists(root)
        expected = ["121123", 8.02, None, None, None, None]
        assert self.of(load_librispeech(root), "84-121123-0000") == expected

    def test_a_subtitle_behind_a_carriage_return_does_not_cost_the_author(self, root):
        write_lists(root)
        utterance = load_librispeech(root)["174-50561-0000"]
        assert utterance["author"] == "Frank Bird Linderman"
        assert utterance["book"].startswith("Indian Why Stories")
        assert utterance["book"].endswith("Sparks from War Eagle's Lodge-Fire")
        assert "\r" not in utterance["book"]

    def test_a_torn_line_costs_its_own_book_only(self, root):
        chapters = CHAPTERS_TXT.replace("| 121   |", "| 1023  |")
        write_lists(root, chapters)
        corpus = load_librispeech(root)
        assert corpus["14-208-0000"]["book"] == "Bleak House"
        assert corpus["14-208-0000"]["author"] is None
        assert corpus["60-121082-0000"]["author"] == "Louisa May Alcott"

    def test_without_the_lists_their_labels_are_none(self, root):
        corpus = load_librispeech(root)
        for name in OF_CHAPTER[2:]:
            assert corpus.column(name).tolist() == [None] * 8
        assert corpus["14-208-0001"]["minutes"] == 25.03

    def test_without_the_books_a_chapter_has_the_title_of_the_project(self, root):
        write_lists(root)
        (root / "BOOKS.TXT").unlink()
        expected = ["208", 25.03, "Chapter 11", "121", "Northanger Abbey (version 2)", None]
        assert self.of(load_librispeech(root), "14-208-0000") == expected

    def test_without_the_chapters_nothing_is_known_of_a_book(self, root):
        write_lists(root)
        (root / "CHAPTERS.TXT").unlink()
        expected = ["208", 25.03, None, None, None, None]
        assert self.of(load_librispeech(root), "14-208-0000") == expected

    def test_a_chapter_of_another_reader_is_refused(self, root):
        write_lists(root, CHAPTERS_TXT.replace("208    | 14 ", "208    | 60 "))
        message = r"14-208-0000\.flac: the list of chapters gives chapter 208 to reader 60, not 14"
        with pytest.raises(ValueError, match=message):
            load_librispeech(root)

    def test_a_torn_line_of_the_chapters_is_named(self, root):
        write_lists(root, CHAPTERS_TXT + "209    | 198  | 8.20\n")
        with pytest.raises(ValueError, match=r"CHAPTERS\.TXT.*'209    \| 198  \| 8\.20'"):
            load_librispeech(root)


def test_swapped_folders_of_speaker_and_chapter_are_refused(root):
    (root / "dev-clean/121123").mkdir()
    (root / CHAPTER).rename(root / "dev-clean/121123/84")
    message = "speaker 121123 is not in SPEAKERS.TXT; the first folder below a subset is the speak"
    with pytest.raises(ValueError, match=message):
        load_librispeech(root)


def test_the_files_that_a_mac_puts_beside_others_are_passed_over(root):
    before = load_librispeech(root)
    for name in ("84-121123-0000.flac", "84-121123.trans.txt"):
        (root / CHAPTER / f"._{name}").write_bytes(b"\x00\x05\x16\x07 no sound, no text \xff")
    pd.testing.assert_frame_equal(load_librispeech(root).table, before.table)


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


@pytest.mark.shared
def test_real_readers_read_the_books_that_librivox_names(shared):
    corpus = load_librispeech(shared / "data/LibriSpeech", transcripts="optional")
    karen = corpus["103-1240-0000"]
    assert (karen["reader"], karen["gender"], karen["minutes"]) == ("Karen Savage", "F", 23.72)
    assert (karen["book"], karen["book_id"]) == ("Anne of Green Gables", "45")
    assert karen["chapter_title"] == "Mrs. Rachel Lynde Is Surprised"
    (simon,) = corpus.table[corpus.table["speaker"] == "60"]["reader"]
    assert simon == "|CBW|Simon"
    # Each chapter that is here is listed, so each has a book.
    assert not corpus.table[["chapter_title", "book_id", "book"]].isna().any(axis=None)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("chapter", "title", "subtitle", "author"),
    [
        (
            "156975",
            "Twelve Studies",
            "The Beginnings of Israel's History",
            "Jeremiah Whipple Jenks",
        ),
        ("130550", "Fifteen Thousand", "Who Read, Write, And Speak English", "Grenville Kleiser"),
        ("128291", "Thus Spake Zarathustra", "A book for all and none", None),
    ],
)
def test_real_books_with_a_subtitle_have_it_and_their_author(
    shared, chapter, title, subtitle, author
):
    table = load_librispeech(shared / "data/LibriSpeech", transcripts="optional").table
    found = table[table["chapter"] == chapter].iloc[0]
    assert found["author"] == author
    assert found["book"].startswith(title)
    assert found["book"].endswith(subtitle)


NEARLY = st.builds(
    "-".join,
    st.tuples(
        st.sampled_from(["84", "174", "121123", "8", "84 ", "٨٤"]),
        st.sampled_from(["121123", "84", "50561", "121123a"]),
        st.sampled_from(["0000", "12", "000x", "", "0000-1"]),
    ),
)


@given(stem=NEARLY | st.text("0123489-_ ax", min_size=1, max_size=16))
@example(stem="84-121123-0000")
@example(stem="121123-84-0000")
@example(stem="84_121123_0000")
def test_a_name_gives_its_own_speaker_and_chapter_or_an_error_that_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, CHAPTER)
        place.mkdir(parents=True)
        Path(folder, "SPEAKERS.TXT").write_text(
            "84 | F | dev-clean | 8.02 | A\n174 | M | x | 1 | B\n"
        )
        soundfile.write(place / f"{stem}.flac", np.full(160, 0.1), 16_000, format="FLAC")
        if not re.fullmatch("84-121123-[0-9]+", stem):
            with pytest.raises(ValueError, match=re.escape(f"{place}/{stem}.flac")):
                load_librispeech(folder, transcripts="optional")
            return
        utterance = load_librispeech(folder, transcripts="optional")[stem]
    assert (utterance["speaker"], utterance["chapter"]) == ("84", "121123")


def test_a_subset_asked_for_twice_is_loaded_once(root):
    assert len(load_librispeech(root, subsets=["dev-clean", "dev-clean"])) == 3
