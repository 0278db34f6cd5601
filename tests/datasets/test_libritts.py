from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe import audio
from speechprobe.datasets import labels, load_libritts

PIPES = """\
; Some pipe(|) separated metadata about all LibriTTS speakers.
;ID  |SEX| SUBSET           |MINUTES| NAME
60   | M | train-clean-100  | 20.18 | |CBW|Simon
103  | F | train-clean-100  | 23.72 | Karen Savage
1089 | M | test-clean       | 8.03  | Peter Bobbe
"""
TABS = """\
READER\tGENDER\tSUBSET\tNAME
60\tM\ttrain-clean-100\t|CBW|Simon
103\tF\ttrain-clean-100\tKaren Savage
1089\tM\ttest-clean\tPeter Bobbe
"""
CHAPTERS_TXT = """\
1241   | 103  | 10.28 | train-clean-100  | 1168 | 45    | Matthew Cuthbert | Anne (version 3)
"""
BOOKS_TXT = "45     | Anne of Green Gables  | Lucy Maud Montgomery\n"
# (subset, speaker, chapter, paragraph and sentence, text as printed, text as spoken)
SENTENCES = (
    ("train-clean-100", "103", "1241", "000000_000001", "Mr. 5 went.", "Mister five went."),
    ("train-clean-100", "103", "1241", "000000_000002", '"Yes!"', '"Yes!"'),
    ("train-clean-100", "60", "121082", "000003_000000", "No. 2", "Number two"),
    ("test-clean", "1089", "134686", "000001_000001", "A. D. 1867", "A D eighteen sixty seven"),
)
FIRST = "103_1241_000000_000001"
CHAPTER = "train-clean-100/103/1241"


def build(folder: Path, speakers: dict[str, str]) -> Path:
    for subset, speaker, chapter, numbers, original, normalized in SENTENCES:
        place = folder / subset / speaker / chapter
        place.mkdir(parents=True, exist_ok=True)
        name = f"{speaker}_{chapter}_{numbers}"
        audio.write(place / f"{name}.wav", np.full(12_000, 0.1), 24_000)
        (place / f"{name}.original.txt").write_text(original, encoding="utf-8")
        (place / f"{name}.normalized.txt").write_text(f"{normalized}\n", encoding="utf-8")
        # Lists that the corpus puts into each chapter's folder.
        (place / f"{speaker}_{chapter}.trans.tsv").write_text(f"{name}\t{original}\t{normalized}\n")
        (place / f"{speaker}_{chapter}.book.tsv").write_text("")
    for file, text in speakers.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def root(tmp_path):
    return build(tmp_path / "LibriTTS", {"SPEAKERS.txt": PIPES})


@pytest.mark.parametrize("name", ["LibriTTS", "LibriTTS_R"])
@pytest.mark.parametrize(
    ("speakers", "minutes"),
    [
        ({"SPEAKERS.txt": PIPES}, 23.72),
        ({"speakers.tsv": TABS}, None),
        ({"speakers.tsv": TABS.split("\n", 1)[1]}, None),
    ],
    ids=["pipes", "tabs", "tabs without a header"],
)
def test_both_releases_and_both_lists_of_speakers_are_read(tmp_path, name, speakers, minutes):
    corpus = load_libritts(build(tmp_path / name, speakers))
    assert repr(corpus) == "Corpus('libritts', 4 utterances, 3 speakers)"
    utterance = corpus[FIRST]
    expected = {
        "speaker": "103",
        "gender": "F",
        "reader": "Karen Savage",
        "minutes": minutes,
        "subset": "train-clean-100",
        "chapter": "1241",
        "text": "Mister five went.",
        "text_original": "Mr. 5 went.",
        "language": "en",
        "duration": 0.5,
        "sample_rate": 24_000,
        "channels": 1,
        "book": None,
        "author": None,
    }
    assert {label: utterance[label] for label in expected} == expected
    assert utterance.path == str(tmp_path / name / CHAPTER / f"{FIRST}.wav")
    assert corpus["60_121082_000003_000000"]["reader"] == "|CBW|Simon"


def test_the_speaking_rate_counts_the_text_as_spoken(root):
    # "Misterfivewent" has 14 letters, "Mr5went" 7.
    assert labels.speaking_rate(load_libritts(root)[FIRST]) == 14 / 0.5


def test_chapters_and_books_are_labels_where_they_are_listed(root):
    (root / "CHAPTERS.txt").write_text(CHAPTERS_TXT, encoding="utf-8")
    (root / "BOOKS.txt").write_text(BOOKS_TXT, encoding="utf-8")
    corpus = load_libritts(root)
    expected = ["Matthew Cuthbert", "45", "Anne of Green Gables", "Lucy Maud Montgomery"]
    names = ["chapter_title", "book_id", "book", "author"]
    assert [corpus[FIRST][name] for name in names] == expected
    assert [corpus["60_121082_000003_000000"][name] for name in names] == [None] * 4


def test_the_first_folder_is_the_speaker(root):
    (root / "train-clean-100/1241").mkdir()
    (root / CHAPTER).rename(root / "train-clean-100/1241/103")
    with pytest.raises(ValueError, match="speaker 1241 is not in SPEAKERS.txt; the first folder"):
        load_libritts(root)


@pytest.mark.parametrize("subsets", ["test-clean", ["test-clean"]])
def test_subsets_can_be_chosen(root, subsets):
    assert load_libritts(root, subsets).table.index.tolist() == ["1089_134686_000001_000001"]


class TestTexts:
    def test_a_sound_without_its_normalised_text_is_named(self, root):
        (root / CHAPTER / f"{FIRST}.normalized.txt").unlink()
        message = rf"train-clean-100: 1 sound files have no text, first {FIRST}.*'optional'"
        with pytest.raises(FileNotFoundError, match=message):
            load_libritts(root)

    def test_they_can_be_done_without(self, root):
        (root / CHAPTER / f"{FIRST}.normalized.txt").unlink()
        corpus = load_libritts(root, transcripts="optional")
        assert corpus[FIRST]["text"] is None
        assert corpus[FIRST]["text_original"] == "Mr. 5 went."
        assert len(corpus) == 4

    def test_the_original_text_is_never_needed(self, root):
        for file in root.rglob("*.original.txt"):
            file.unlink()
        corpus = load_libritts(root)
        assert corpus.column("text_original").tolist() == [None] * 4
        assert corpus[FIRST]["text"] == "Mister five went."

    def test_only_two_choices_exist(self, root):
        with pytest.raises(ValueError, match="'required' or 'optional', got True"):
            load_libritts(root, transcripts=True)


NUMBERS = st.text("0123456789", min_size=1, max_size=6)
NEARLY = st.builds(
    lambda *parts: "_".join(parts),
    st.sampled_from(["103", "1241", "60", "0103", "١٠٣"]),
    st.sampled_from(["1241", "103", "121082", ""]),
    NUMBERS | st.just("x"),
    NUMBERS | st.sampled_from(["", "-1", "1_2"]),
)


@given(stem=NEARLY | st.text("0134_ -é", min_size=1, max_size=12))
@example(stem="103_1241_000000_000001")
@example(stem="103-1241-0000")
@example(stem="103_1241_000000_000001 copy")
def test_a_name_gives_its_place_or_an_error_that_names_the_file(stem):
    fits = re.fullmatch("103_1241_[0-9]+_[0-9]+", stem) is not None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, CHAPTER)
        place.mkdir(parents=True)
        (Path(folder) / "SPEAKERS.txt").write_text(PIPES)
        audio.write(place / f"{stem}.wav", np.full(2400, 0.1), 24_000, kind="wav")
        if not fits:
            with pytest.raises(ValueError, match=re.escape(f"{place}/{stem}.wav: the name")):
                load_libritts(folder, transcripts="optional")
            return
        corpus = load_libritts(folder, transcripts="optional")
    assert corpus.table.index.tolist() == [stem]
    assert (corpus[stem]["speaker"], corpus[stem]["chapter"]) == ("103", "1241")


def test_the_files_that_a_mac_puts_beside_others_are_passed_over(root):
    before = load_libritts(root)
    for suffix in ("wav", "normalized.txt", "original.txt"):
        (root / CHAPTER / f"._{FIRST}.{suffix}").write_bytes(b"\x00\x05\x16\x07\xff")
    pd.testing.assert_frame_equal(load_libritts(root).table, before.table)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "expected a folder, found nothing.*download_libritts"),
        (lambda root: (root / "SPEAKERS.txt").unlink(), FileNotFoundError, r"speakers\.tsv"),
        (
            lambda root: (root / "SPEAKERS.txt").write_text("103 | F\n"),
            ValueError,
            r"SPEAKERS\.txt.*'103 \| F'",
        ),
        (
            lambda root: (root / "SPEAKERS.txt").write_text(PIPES.replace("| F |", "| X |")),
            ValueError,
            r"SPEAKERS\.txt: expected 'id \| F or M",
        ),
        (
            lambda root: (root / "SPEAKERS.txt").rename(root / "speakers.tsv"),
            ValueError,
            r"speakers\.tsv: expected 'id, F or M, subset, name' between tabs",
        ),
        (
            lambda root: (root / "SPEAKERS.txt").write_text(PIPES.replace("103 ", "104 ")),
            ValueError,
            f"{FIRST}.wav: speaker 103 is not in SPEAKERS.txt",
        ),
        (
            lambda root: (root / "CHAPTERS.txt").write_text(CHAPTERS_TXT.replace("103 ", "60  ")),
            ValueError,
            f"{FIRST}.wav: the list of chapters gives chapter 1241 to reader 60, not 103",
        ),
        (
            lambda root: shutil.rmtree(root / "train-clean-100"),
            FileNotFoundError,
            r"'train-clean-100'.*not found; present are \['test-clean'\]",
        ),
        (
            lambda root: [file.unlink() for file in root.rglob("*.wav")],
            FileNotFoundError,
            "train-clean-100: holds no WAV file",
        ),
    ],
    ids=[
        *("no folder", "no list", "short line", "unknown sex", "pipes called tsv"),
        *("unknown speaker", "chapter of another", "no subset", "text only"),
    ],
)
def test_an_incomplete_corpus_says_what_is_missing_where(root, change, error, message):
    change(root)
    with pytest.raises(error, match=f"{re.escape(str(root))}.*{message}"):
        load_libritts(root, subsets=["train-clean-100"])
