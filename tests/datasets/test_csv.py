from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from speechprobe.datasets import Corpus, labels, load_librispeech, load_table

STUDY = ["audio_path", "text", "cps", "speaker_id", "chapter_id", "audio_id"]


@pytest.fixture
def corpus(tmp_path, librispeech_tree):
    return load_librispeech(librispeech_tree(tmp_path))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "corpus.csv"


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def small(**columns) -> Corpus:
    n = len(next(iter(columns.values())))
    table = pd.DataFrame({"path": "/a.wav", "speaker": "03", **columns})
    return Corpus("small", table.set_index(pd.Index([f"u{row}" for row in range(n)])))


def test_the_columns_of_the_speaking_rate_study_come_first(corpus, file):
    corpus.to_csv(file)
    header = file.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header[:6] == STUDY
    others = ["gender", "minutes", "reader", "subset", "chapter_title", "book_id", "book"]
    assert set(header[6:]) == {*others, "author", "language", "duration", "sample_rate", "channels"}
    assert len(set(header)) == len(header)


def test_a_row_says_what_the_corpus_says(corpus, file):
    corpus.to_csv(file)
    rows = rows_of(file)
    assert [row["audio_id"] for row in rows] == corpus.table.index.tolist()
    (row,) = [row for row in rows if row["audio_id"] == "60-121550-0001"]
    assert row["audio_path"] == corpus["60-121550-0001"].path
    assert (row["speaker_id"], row["chapter_id"]) == ("60", "121550")
    assert (row["text"], row["reader"], row["gender"]) == ("I'M 60", "|CBW|Simon", "M")
    assert float(row["cps"]) == 4 / 0.5  # I, M, 6, 0
    assert row["author"] == ""


def test_cps_is_the_speaking_rate(corpus, file):
    corpus.to_csv(file)
    expected = [labels.speaking_rate(utterance) for utterance in corpus]
    assert [float(row["cps"]) for row in rows_of(file)] == expected


def test_cps_is_a_label_where_there_is_one(corpus, file):
    corpus.label("cps", np.arange(8) / 4).to_csv(file)
    assert [float(row["cps"]) for row in rows_of(file)] == (np.arange(8) / 4).tolist()


@pytest.mark.parametrize("missing", [None, np.nan, "", " "])
def test_cps_is_missing_where_there_is_no_text(file, missing):
    corpus = small(text=["ab c", missing, "été 1"], duration=[2.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="needs a transcript"):
        labels.speaking_rate(corpus["u1"])
    corpus.to_csv(file)
    assert [row["cps"] for row in rows_of(file)] == ["1.5", "", "8.0"]


def test_a_corpus_without_texts_and_chapters_has_no_such_columns(file):
    small(duration=[1.0, 2.0]).to_csv(file)
    assert list(rows_of(file)[0]) == ["audio_path", "speaker_id", "audio_id", "duration"]


class TestColumns:
    def test_the_six_of_the_study_alone(self, corpus, file):
        corpus.to_csv(file, columns=STUDY)
        assert list(rows_of(file)[0]) == STUDY
        assert len(rows_of(file)) == 8

    def test_they_come_in_the_order_asked_for_and_by_either_name(self, corpus, file):
        corpus.to_csv(file, columns=["gender", "id", "cps", "path", "speaker_id"])
        (row, *_) = rows_of(file)
        assert list(row) == ["gender", "id", "cps", "path", "speaker_id"]
        first = next(iter(corpus))
        assert (row["id"], row["path"]) == (first.id, first.path)

    @pytest.mark.parametrize("name", ["emotion", "CPS", "Unnamed: 0"])
    def test_an_unknown_one_is_named_with_those_there(self, corpus, file, name):
        with pytest.raises(KeyError, match=f"no column '{name}'.*'audio_path'"):
            corpus.to_csv(file, columns=["text", name])
        assert not file.exists()

    def test_cps_cannot_be_had_without_texts(self, file):
        with pytest.raises(KeyError, match="no column 'cps'"):
            small(duration=[1.0]).to_csv(file, columns=["cps"])


class TestReadBack:
    def test_labels_and_their_types_come_back(self, corpus, file):
        corpus.to_csv(file)
        back = load_table(file)
        assert back.table.index.tolist() == corpus.table.index.tolist()
        for name in ("path", "speaker", "chapter", "text", "gender", "reader", "subset"):
            assert back.column(name).tolist() == corpus.column(name).tolist()
        for name in ("duration", "minutes"):
            np.testing.assert_array_equal(back.column(name), corpus.column(name))
        rate = [labels.speaking_rate(utterance) for utterance in corpus]
        assert back.column("cps").tolist() == rate
        assert np.abs(next(iter(back)).signal()).max() == pytest.approx(0.5, abs=1e-3)

    def test_a_second_round_writes_the_same_file(self, corpus, file, tmp_path):
        corpus.to_csv(file)
        load_table(file).to_csv(tmp_path / "again.csv")
        assert (tmp_path / "again.csv").read_text() == file.read_text()

    def test_numbers_of_speakers_chapters_and_utterances_stay_text(self, file):
        table = pd.DataFrame(
            {"path": "/a.wav", "speaker": ["03", "NA"], "chapter": ["007", "1e5"]},
            index=["01", "1.0"],
        )
        Corpus("small", table.assign(duration=1.0)).to_csv(file)
        back = load_table(file)
        assert back.table.index.tolist() == ["01", "1.0"]
        assert back.column("speaker").tolist() == ["03", "NA"]
        assert back.column("chapter").tolist() == ["007", "1e5"]

    def test_texts_with_separators_quotes_and_line_ends_come_back(self, file):
        texts = ['say "a, b"', "line\nbreak", "semi;colon\t|", "null", "été"]
        small(text=texts, duration=np.ones(5)).to_csv(file)
        assert load_table(file).column("text").tolist() == texts

    def test_the_six_columns_are_enough(self, corpus, file):
        corpus.to_csv(file, columns=STUDY)
        back = load_table(file)
        assert back.column("duration").tolist() == [0.5] * 8
        assert back.column("speaker").tolist() == corpus.column("speaker").tolist()

    def test_a_missing_text_is_missing(self, file):
        small(text=["a", None], duration=[1.0, 1.0]).to_csv(file)
        back = load_table(file)
        assert back["u0"]["text"] == "a"
        assert pd.isna(back["u1"]["text"])
        assert np.isnan(back["u1"]["cps"])

    def test_sounds_given_by_relative_paths_are_found_from_another_folder(
        self, tmp_path, librispeech_tree, monkeypatch
    ):
        librispeech_tree(tmp_path)
        monkeypatch.chdir(tmp_path)
        corpus = load_librispeech("LibriSpeech")
        (tmp_path / "tables").mkdir()
        corpus.to_csv("tables/corpus.csv")
        for utterance in load_table("tables/corpus.csv"):
            assert Path(utterance.path).is_file()

    def test_a_label_called_as_a_column_of_the_study_does_not_hide_it(self, file):
        # VoxPopuli, for one, has a column `audio_id`; so does a table with its own `speaker_id`.
        corpus = small(audio_id=["x", "y"], duration=[1.0, 2.0])
        corpus.to_csv(file)
        assert load_table(file).table.index.tolist() == ["u0", "u1"]


SPANS = [[[0.1, 0.25, "ə"], [0.25, 0.5, '"']], None, []]


class TestLists:
    def test_they_are_json(self, file):
        small(phones=SPANS, duration=np.ones(3)).to_csv(file)
        texts = [row["phones"] for row in rows_of(file)]
        assert json.loads(texts[0]) == SPANS[0]
        assert texts[1] == ""
        assert json.loads(texts[2]) == []
        assert "ə" in texts[0]

    @pytest.mark.parametrize("value", [("a", 1), {"start": 0.5}])
    def test_tuples_and_dicts_are_too(self, file, value):
        small(extra=[value], duration=[1.0]).to_csv(file)
        found = json.loads(rows_of(file)[0]["extra"])
        assert found == (list(value) if isinstance(value, tuple) else value)

    def test_writing_leaves_the_corpus_as_it_is(self, file):
        corpus = small(phones=SPANS, text=list("abc"), duration=np.ones(3))
        before = corpus.table.copy(deep=True)
        corpus.to_csv(file)
        pd.testing.assert_frame_equal(corpus.table, before)
