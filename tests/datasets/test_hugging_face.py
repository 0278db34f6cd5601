from __future__ import annotations

import io
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from speechprobe.datasets import load_hf_dataset

datasets = pytest.importorskip("datasets")
RATE = 16_000


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No request, no progress bar, and no TorchCodec, which `datasets` itself decodes with."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def samples(seed: int, n: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, n).astype(np.int16)


def content(seed: int, kind: str = "FLAC") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(seed), RATE, format=kind, subtype="PCM_16")
    return buffer.getvalue()


def of_bytes(*sounds: bytes | None, names: list[str | None] | None = None, **columns):
    """Give a dataset as Parquet datasets have it: bytes, and the name that the file had."""
    names = names or [f"{row}.flac" for row in range(len(sounds))]
    pairs = zip(sounds, names, strict=True)
    rows = [None if sound is None else {"bytes": sound, "path": name} for sound, name in pairs]
    columns = {"speaker_id": [7] * len(rows)} | columns
    records = [
        {"audio": row} | {name: values[k] for name, values in columns.items()}
        for k, row in enumerate(rows)
    ]
    dataset = datasets.Dataset.from_list(records)
    return dataset.cast_column("audio", datasets.Audio())


@pytest.fixture
def files(tmp_path):
    """Two sound files."""
    paths = [tmp_path / f"sound{seed}.wav" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        soundfile.write(path, samples(seed), RATE, subtype="PCM_16")
    return [str(path) for path in paths]


def of_files(files, **columns):
    dataset = datasets.Dataset.from_dict({"audio": files, "speaker": ["a", "b"]} | columns)
    return dataset.cast_column("audio", datasets.Audio())


def assert_sounds(corpus, seeds) -> None:
    for utterance, seed in zip(corpus, seeds, strict=True):
        np.testing.assert_array_equal(utterance.signal() * 32768, samples(seed))
        assert utterance.duration == 4000 / RATE


class TestFiles:
    def test_they_are_used_where_they_lie(self, tmp_path, files):
        folder = tmp_path / "none"
        corpus = load_hf_dataset(of_files(files, text=["x", "y"]), folder=folder)
        assert corpus.column("path").tolist() == files
        assert corpus.column("speaker").tolist() == ["a", "b"]
        assert corpus.column("text").tolist() == ["x", "y"]
        assert corpus.column("sample_rate").tolist() == [RATE, RATE]
        assert_sounds(corpus, [0, 1])
        assert not folder.exists()

    def test_a_selection_and_another_order_stay_in_step(self, files):
        dataset = of_files(files, text=["x", "y"]).select([1, 0])
        corpus = load_hf_dataset(dataset)
        assert corpus.column("path").tolist() == files[::-1]
        assert corpus.column("text").tolist() == ["y", "x"]
        assert corpus.column("speaker").tolist() == ["b", "a"]

    def test_a_wanted_rate_of_the_column_leaves_the_file_as_it_is(self, files):
        dataset = of_files(files).cast_column("audio", datasets.Audio(sampling_rate=8000))
        assert_sounds(load_hf_dataset(dataset), [0, 1])

    def test_one_that_is_lost_is_named(self, files):
        with pytest.warns(UserWarning, match=r"1 of 2 sound files cannot.*gone\.wav"):
            corpus = load_hf_dataset(of_files([files[0], files[1] + "gone.wav"]))
        assert np.isnan(corpus["1"].get("duration"))


class TestBytes:
    def test_they_are_written_as_they_are_and_decode(self, tmp_path):
        sounds = [content(0), content(1, "WAV"), content(2)]
        dataset = of_bytes(*sounds, names=["a.flac", "b.wav", None])
        corpus = load_hf_dataset(dataset, folder=tmp_path / "sounds")
        assert_sounds(corpus, [0, 1, 2])
        written = list((tmp_path / "sounds").iterdir())
        assert {path.read_bytes() for path in written} == set(sounds)
        assert sorted(path.suffix for path in written) == [".flac", ".flac", ".wav"]
        assert {str(path) for path in written} == set(corpus.column("path"))

    def test_a_second_load_writes_nothing(self, tmp_path):
        def state():
            return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

        dataset = of_bytes(content(0), content(1))
        first = load_hf_dataset(dataset, folder=tmp_path)
        before = state()
        second = load_hf_dataset(of_bytes(content(0), content(1)), folder=tmp_path)
        assert state() == before
        assert len(before) == 2
        pd.testing.assert_frame_equal(first.table, second.table)

    def test_identical_bytes_are_stored_once(self, tmp_path):
        dataset = of_bytes(content(0), content(1), content(0), names=["a.flac", "b.flac", "c.flac"])
        corpus = load_hf_dataset(dataset, folder=tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
        assert corpus["0"].path == corpus["2"].path != corpus["1"].path
        assert_sounds(corpus, [0, 1, 0])

    def test_they_go_to_the_cache_folder_by_default(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SPEECHPROBE_CACHE", str(tmp_path))
        corpus = load_hf_dataset(of_bytes(content(0)))
        assert corpus["0"].path.startswith(str(tmp_path / "sounds"))
        assert_sounds(corpus, [0])

    @pytest.mark.parametrize("name", [None, "clip", "clip.bin", "https://x.org/a?b=1"])
    @pytest.mark.parametrize("kind", ["FLAC", "WAV", "MP3", "OGG", "AIFF"])
    def test_without_a_file_name_their_beginning_tells_the_kind(self, tmp_path, name, kind):
        buffer = io.BytesIO()
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
        soundfile.write(buffer, tone, RATE, format=kind)
        corpus = load_hf_dataset(of_bytes(buffer.getvalue(), names=[name]), folder=tmp_path)
        if kind != "AIFF":
            assert corpus["0"].path.endswith(f".{kind.lower()}")
        signal = corpus["0"].signal()[4000:12_000]
        assert np.argmax(np.abs(np.fft.rfft(signal))) * RATE / 8000 == pytest.approx(440, abs=4)

    @pytest.mark.parametrize("form", ["mp4", "adts"])
    def test_aac_without_a_file_name_is_read(self, tmp_path, form):
        av = pytest.importorskip("av")
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=form) as container:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            block = np.sin(0.2 * np.arange(4096, dtype=np.float32))[None]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        corpus = load_hf_dataset(of_bytes(buffer.getvalue(), names=[None]), folder=tmp_path)
        assert len(corpus["0"].signal()) == pytest.approx(4096, abs=2048)

    def test_a_row_without_sound_is_named(self, tmp_path):
        dataset = of_bytes(content(0), None, id=["first", "second"])
        with pytest.raises(ValueError, match="row 'second' of the dataset has no sound; filter"):
            load_hf_dataset(dataset, folder=tmp_path)


class TestLabels:
    def test_class_labels_have_their_names(self, files):
        dataset = of_files(files, emotion=[1, 0])
        dataset = dataset.cast_column("emotion", datasets.ClassLabel(names=["calm", "angry"]))
        assert load_hf_dataset(dataset).column("emotion").tolist() == ["angry", "calm"]

    @pytest.mark.parametrize("missing", [-1, None])
    def test_an_item_without_a_class_has_none(self, files, missing):
        dataset = of_files(files, emotion=[1, missing])
        dataset = dataset.cast_column("emotion", datasets.ClassLabel(names=["calm", "angry"]))
        assert load_hf_dataset(dataset).column("emotion").tolist() == ["angry", None]

    def test_a_column_called_path_is_kept_beside_the_sounds(self, files):
        corpus = load_hf_dataset(of_files(files, path=["x/a.mp3", "x/b.mp3"]))
        assert corpus.column("path").tolist() == files
        assert corpus.column("original_path").tolist() == ["x/a.mp3", "x/b.mp3"]

    def test_no_label_comes_twice(self, files):
        # Multilingual LibriSpeech has an `original_path` of its own.
        columns = {"path": ["x", "y"], "original_path": ["o", "p"]}
        corpus = load_hf_dataset(of_files(files, **columns))
        assert corpus.table.columns.is_unique
        assert corpus.column("path").tolist() == files

    def test_the_measured_length_replaces_a_stated_one(self, files):
        corpus = load_hf_dataset(of_files(files, duration=[99.0, 99.0]))
        assert corpus.column("duration").tolist() == [0.25, 0.25]

    def test_lists_stay_lists(self, files):
        corpus = load_hf_dataset(of_files(files, words=[["a", "b"], []]))
        assert [list(words) for words in corpus.column("words")] == [["a", "b"], []]


class TestSpeakers:
    @pytest.mark.parametrize("column", ["speaker", "speaker_id", "client_id"])
    def test_the_usual_columns_are_found(self, files, column):
        dataset = of_files(files).remove_columns("speaker").add_column(column, ["a", "b"])
        corpus = load_hf_dataset(dataset)
        assert corpus.column("speaker").tolist() == ["a", "b"]
        assert column == "speaker" or column not in corpus.table

    def test_another_column_can_be_named(self, files):
        dataset = of_files(files, reader=[103, 60]).remove_columns("speaker")
        assert load_hf_dataset(dataset, speaker="reader").column("speaker").tolist() == [
            "103",
            "60",
        ]

    def test_another_column_can_be_named_beside_one_called_speaker(self, files):
        corpus = load_hf_dataset(of_files(files, reader=["r", "s"]), speaker="reader")
        assert corpus.column("speaker").tolist() == ["r", "s"]

    @pytest.mark.parametrize("column", [None, "reader"])
    def test_a_missing_column_is_named_with_those_there(self, files, column):
        dataset = of_files(files, text=["x", "y"]).remove_columns("speaker")
        message = rf"no column '{column or 'speaker'}' but \['audio', 'text'\].*speaker=\.\.\."
        with pytest.raises(ValueError, match=message):
            load_hf_dataset(dataset, speaker=column)

    @pytest.mark.parametrize("speakers", [["a", None], [103, None]], ids=["text", "numbers"])
    def test_a_missing_speaker_does_not_become_a_name(self, files, speakers):
        dataset = of_files(files).remove_columns("speaker").add_column("speaker", speakers)
        found = load_hf_dataset(dataset).column("speaker").tolist()
        assert found[0] == str(speakers[0])
        assert pd.isna(found[1])


class TestIds:
    def test_they_are_the_ids_of_the_dataset_where_those_are_unique(self, files):
        corpus = load_hf_dataset(of_files(files, id=[1272, 1273]))
        assert corpus.table.index.tolist() == ["1272", "1273"]
        assert "id" not in corpus.table

    @pytest.mark.parametrize("ids", [["x", "x"], ["x", None]], ids=["twice", "missing"])
    def test_they_are_the_rows_where_those_are_not(self, files, ids):
        corpus = load_hf_dataset(of_files(files, id=ids))
        assert corpus.table.index.tolist() == ["0", "1"]

    def test_another_column_can_be_named(self, files):
        corpus = load_hf_dataset(of_files(files, key=["x", "y"]), id="key")
        assert corpus.table.index.tolist() == ["x", "y"]

    def test_one_that_occurs_twice_is_named(self, files):
        with pytest.raises(ValueError, match="'x' occurs twice"):
            load_hf_dataset(of_files(files, key=["x", "x"]), id="key")

    def test_the_corpus_has_the_name_that_one_gives(self, files):
        assert load_hf_dataset(of_files(files), name="mine").name == "mine"


class TestAudioColumn:
    def test_one_of_two_must_be_named(self, files):
        dataset = of_files(files, clean=files[::-1]).cast_column("clean", datasets.Audio())
        with pytest.raises(ValueError, match=r"expected one audio column.*\['audio', 'clean'\]"):
            load_hf_dataset(dataset)
        assert load_hf_dataset(dataset, audio="clean").column("path").tolist() == files[::-1]

    def test_it_may_have_any_name(self, files):
        corpus = load_hf_dataset(of_files(files).rename_column("audio", "speech"))
        assert corpus.column("path").tolist() == files

    @pytest.mark.parametrize("audio", [None, "sound", "speaker"])
    def test_a_dataset_without_it_says_how_to_make_one(self, files, audio):
        dataset = datasets.Dataset.from_dict({"sound": files, "speaker": ["a", "b"]})
        with pytest.raises(ValueError, match=r"has none among \['sound', 'speaker'\].*cast_column"):
            load_hf_dataset(dataset, audio=audio)


def test_of_a_dict_of_splits_one_must_be_chosen(files):
    splits = datasets.DatasetDict({"train": of_files(files), "test": of_files(files)})
    with pytest.raises(TypeError, match=r"got DatasetDict; choose a split of \['train', 'test'\]"):
        load_hf_dataset(splits)


def test_what_is_no_dataset_is_refused(files):
    with pytest.raises(TypeError, match=r"expected a datasets\.Dataset, got list"):
        load_hf_dataset(files)


def test_without_the_package_the_pip_line_is_named(files, monkeypatch):
    dataset = of_files(files)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'speechprobe\[datasets\]'"):
        load_hf_dataset(dataset)
