from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from speechprobe.datasets import load_folder, load_table


@pytest.fixture
def folder(tmp_path, write_sound):
    """Two speakers' folders with three sounds of unlike kinds, and a note."""
    root = tmp_path / "mine"
    write_sound(root / "anna" / "happy-1.wav", 0.5)
    write_sound(root / "anna" / "sad-1.flac", 0.25, 8_000)
    write_sound(root / "ben" / "happy-1.WAV", 0.1)
    (root / "anna" / "notes.txt").write_text("not a sound")
    return root


class TestLoadFolder:
    def test_every_sound_file_is_an_utterance_and_its_folder_the_speaker(self, folder):
        corpus = load_folder(folder)
        assert corpus.name == "mine"
        expected = pd.DataFrame(
            {
                "path": [
                    str(folder / name)
                    for name in ("anna/happy-1.wav", "anna/sad-1.flac", "ben/happy-1.WAV")
                ],
                "speaker": ["anna", "anna", "ben"],
                "duration": [0.5, 0.25, 0.1],
                "sample_rate": pd.array([16_000, 8_000, 16_000], dtype="Int64"),
                "channels": pd.array([1, 1, 1], dtype="Int64"),
            },
            index=pd.Index(["anna/happy-1", "anna/sad-1", "ben/happy-1"], name="id"),
        )
        pd.testing.assert_frame_equal(corpus.table, expected)

    def test_a_pattern_chooses_and_a_function_labels(self, folder):
        corpus = load_folder(
            folder,
            "*/*.wav",
            lambda path: {"emotion": path.stem.split("-")[0], "speaker": path.parts[0].upper()},
            name="yours",
        )
        assert corpus.name == "yours"
        assert corpus["anna/happy-1"]["emotion"] == "happy"
        assert corpus["anna/happy-1"]["speaker"] == "ANNA"
        assert len(corpus) == 1

    def test_the_label_function_gets_paths_relative_to_the_folder(self, folder):
        seen = []
        load_folder(folder, labels=lambda path: seen.append(path) or {})
        assert seen[0] == Path("anna/happy-1.wav")

    def test_files_in_the_current_folder_belong_to_it(self, folder, monkeypatch):
        monkeypatch.chdir(folder / "anna")
        corpus = load_folder(".")
        assert corpus.name == "anna"
        assert set(corpus.column("speaker")) == {"anna"}

    @pytest.mark.parametrize(
        ("container", "encoding", "extension"),
        [("AIFF", "PCM_16", "aif"), ("OGG", "OPUS", "opus"), ("NIST", "PCM_16", "sph")],
    )
    def test_other_usual_extensions_count_as_sound(self, tmp_path, container, encoding, extension):
        path = tmp_path / f"a.{extension}"
        soundfile.write(path, np.full(1600, 0.1), 16_000, format=container, subtype=encoding)
        assert load_folder(tmp_path)["a"].path == str(path)

    @pytest.mark.parametrize(("name", "content"), [("bad.wav", b"text"), ("empty.flac", b"")])
    def test_an_unreadable_file_stays_without_a_duration_and_is_named_once(
        self, folder, name, content
    ):
        (folder / "ben" / name).write_bytes(content)
        message = f"'mine': 1 of 4 sound files cannot be read.*{re.escape(name)}"
        with pytest.warns(UserWarning, match=message) as record:
            corpus = load_folder(folder)
        assert len(record) == 1
        assert record[0].filename == __file__
        unreadable = corpus[f"ben/{Path(name).stem}"]
        assert np.isnan(unreadable["duration"])
        with pytest.raises(ValueError, match=re.escape(unreadable.path)):
            _ = unreadable.duration
        assert np.isfinite(corpus.column("duration")).sum() == 3

    def test_a_missing_folder_is_named_with_what_was_expected(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere: expected a folder.*'\*/\*\.wav'"):
            load_folder(tmp_path / "nowhere", "*/*.wav")

    def test_a_file_is_no_folder(self, folder):
        with pytest.raises(FileNotFoundError, match="expected a folder, found a file"):
            load_folder(folder / "anna" / "notes.txt")

    def test_a_folder_of_text_says_what_it_holds(self, tmp_path):
        (tmp_path / "notes.txt").write_text("not a sound")
        with pytest.raises(FileNotFoundError, match=r"no sound file.*1 other.*'\.txt'.*WAV, FLAC"):
            load_folder(tmp_path)

    def test_a_pattern_that_matches_nothing_is_named(self, folder):
        with pytest.raises(FileNotFoundError, match=r"no sound file matches '\*\.mp3'"):
            load_folder(folder, "*.mp3")

    @pytest.mark.parametrize("labels", [lambda path: path.stem.split("_")[1], lambda path: None])
    def test_a_label_function_that_fails_names_the_file(self, folder, labels):
        with pytest.raises(ValueError, match=r"anna/happy-1\.wav"):
            load_folder(folder, labels=labels)

    def test_two_files_of_one_name_are_not_mixed_up(self, folder, write_sound):
        write_sound(folder / "anna" / "happy-1.flac")
        with pytest.raises(ValueError, match="anna/happy-1 is there twice: .*flac and .*wav"):
            load_folder(folder)


FRAME = pd.DataFrame(
    {
        "id": ["1", "02"],
        "path": ["a.wav", "b.wav"],
        "speaker": ["03", "3"],
        "duration": [1.0, 2.0],
    }
)


class TestLoadTable:
    def test_ids_come_from_a_column_or_the_index(self):
        by_column = load_table(FRAME)
        by_index = load_table(FRAME.drop(columns="id").set_axis(FRAME["id"]))
        pd.testing.assert_frame_equal(by_column.table, by_index.table)
        assert by_column["02"]["speaker"] == "3"

    def test_the_callers_frame_stays_as_it_is(self):
        before = FRAME.copy(deep=True)
        load_table(FRAME, root="/somewhere")
        pd.testing.assert_frame_equal(FRAME, before)

    def test_a_csv_without_ids_takes_the_paths_and_keeps_leading_zeros(self, tmp_path):
        FRAME.drop(columns="id").to_csv(tmp_path / "t.csv", index=False)
        corpus = load_table(tmp_path / "t.csv")
        assert corpus["a.wav"]["speaker"] == "03"
        assert corpus["a.wav"].path == str(tmp_path / "a.wav")

    @pytest.mark.parametrize(("root", "start"), [("there", "there/"), ("/data", "/data/")])
    def test_relative_paths_start_from_the_given_root(self, root, start):
        assert load_table(FRAME, root=root).column("path").tolist() == [
            f"{start}a.wav",
            f"{start}b.wav",
        ]

    def test_lengths_are_read_from_the_headers_where_the_table_has_none(
        self, tmp_path, write_sound
    ):
        for name, seconds in (("a.wav", 0.5), ("b.wav", 0.25)):
            write_sound(tmp_path / name, seconds)
        corpus = load_table(FRAME.drop(columns="duration"), root=tmp_path)
        assert corpus.column("duration").tolist() == [0.5, 0.25]
        assert corpus.column("sample_rate").tolist() == [16_000, 16_000]

    def test_a_missing_sound_file_is_named_where_its_header_is_read(self, tmp_path, write_sound):
        write_sound(tmp_path / "a.wav")
        with pytest.warns(UserWarning, match=r"1 of 2 sound files.*b\.wav") as record:
            load_table(FRAME.drop(columns="duration"), root=tmp_path)
        assert record[0].filename == __file__

    def test_a_corpus_written_as_csv_loads_back_the_same(self, tmp_path):
        awkward = ['comma, "quote"', "two\nlines"]
        corpus = load_table(FRAME.assign(text=awkward, name="Åse"), root=tmp_path)
        corpus.to_csv(tmp_path / "corpus.csv")
        loaded = load_table(tmp_path / "corpus.csv").table
        pd.testing.assert_frame_equal(loaded[list(corpus.table)], corpus.table)
        assert set(loaded) - set(corpus.table) == {"cps"}

    def test_words_that_look_like_missing_values_stay_words(self, tmp_path):
        words = FRAME.assign(id=["NA", "null"], speaker=["nan", "None"], text=["NULL", "n/a"])
        words["path"] = [str(tmp_path / path) for path in words["path"]]
        load_table(words).to_csv(tmp_path / "corpus.csv")
        corpus = load_table(tmp_path / "corpus.csv")
        assert corpus.table.index.tolist() == ["NA", "null"]
        assert corpus.column("speaker").tolist() == ["nan", "None"]
        assert corpus.column("text").tolist() == ["NULL", "n/a"]

    def test_a_missing_csv_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.csv: no such CSV"):
            load_table(tmp_path / "none.csv")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"path": None}, "lacks.*'path'"),
            ({"speaker": None}, "lacks.*'speaker'"),
            ({"path": ["a.wav", None]}, "'02'.*no path"),
            ({"path": ["a.wav", ""]}, "'02'.*no path"),
            ({"id": ["1", "1"]}, "'1' occurs twice"),
            ({"id": ["1", None]}, "id"),
        ],
        ids=["no paths", "no speakers", "gap", "blank", "id twice", "id gap"],
    )
    def test_an_unsound_table_is_refused(self, changes, message):
        frame = FRAME.drop(columns=[name for name, values in changes.items() if values is None])
        frame = frame.assign(**{name: values for name, values in changes.items() if values})
        with pytest.raises(ValueError, match=message):
            load_table(frame)


class TestCsv:
    def test_codes_with_zeros_and_lists_come_back_as_they_were(self, tmp_path):
        frame = FRAME.assign(
            emotion_code=["06", "10"], take=[1, 2], phones=[[[0.0, 0.1, "a"]], None], level=[0.5, 1]
        )
        load_table(frame, root=tmp_path).to_csv(tmp_path / "corpus.csv")
        table = load_table(tmp_path / "corpus.csv").table
        assert table["emotion_code"].tolist() == ["06", "10"]
        assert table["take"].tolist() == [1, 2]
        assert table["level"].tolist() == [0.5, 1.0]
        assert table["phones"].tolist() == [[[0.0, 0.1, "a"]], None]

    def test_words_in_brackets_are_no_lists(self, tmp_path):
        frame = FRAME.assign(noise=["[[cough]]", "[[door]]"])
        load_table(frame, root=tmp_path).to_csv(tmp_path / "corpus.csv")
        assert load_table(tmp_path / "corpus.csv").column("noise").tolist() == [
            "[[cough]]",
            "[[door]]",
        ]
