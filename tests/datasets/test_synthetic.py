from __future__ import annotations

import json
import locale
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from speechprobe import audio

espeakng_loader = pytest.importorskip("espeakng_loader")

from speechprobe.datasets import _espeak, synthetic  # noqa: E402
from speechprobe.datasets.synthetic import load_synthetic  # noqa: E402

SIZE = {"n_voices": 8, "n_utterances": 4}
SENTENCE = "The carpenter measured the table twice."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def corpus(folder):
    return load_synthetic(folder, **SIZE)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def say(voice, *, words_per_minute=170, pitch=50):
    return _espeak.synthesise(
        SENTENCE, voice=voice, words_per_minute=words_per_minute, pitch=pitch
    )[0]


def median_pitch(signal, sample_rate):
    """Median over loud frames of the lag with the highest autocorrelation, 60 to 400 Hz."""
    n_samples = sample_rate // 20
    frames = signal[: len(signal) // n_samples * n_samples].reshape(-1, n_samples)
    energy = (frames**2).sum(1)
    frames = frames[energy > 0.2 * energy.max()]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_samples), 2 * n_samples)) ** 2
    low, high = sample_rate // 400, sample_rate // 60
    lags = low + np.fft.irfft(power)[:, low:high].argmax(1)
    return np.median(sample_rate / lags)


def test_the_same_seed_gives_the_same_bytes_in_another_process(corpus, folder, tmp_path):
    call = f"load_synthetic({str(tmp_path)!r}, n_voices=8, n_utterances=4)"
    subprocess.run(
        [sys.executable, "-c", f"from speechprobe.datasets.synthetic import *; {call}"],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert contents(tmp_path) == contents(folder)


def test_another_seed_gives_another_corpus(corpus, tmp_path):
    other = load_synthetic(tmp_path, **SIZE, seed=1)
    for label in ("text", "words_per_minute", "pitch_setting"):
        assert (other.table[label] != corpus.table[label]).any()


@pytest.mark.parametrize("voice", [*synthetic.VARIANTS["F"], *synthetic.VARIANTS["M"]])
def test_a_voice_says_the_same_whatever_was_said_before(voice):
    before = say(f"en+{voice}")
    say("en-us+whisperf", words_per_minute=90, pitch=99)
    assert np.array_equal(before, say(f"en+{voice}"))


def test_threads_do_not_disturb_each_other():
    voices = ["en+f1", "en-us+m7", "en-029+grandma", "en+steph"] * 3
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(say, voices))
    for voice, samples in zip(voices, together, strict=True):
        assert np.array_equal(samples, say(voice))


@pytest.mark.parametrize("voice", ["en+f1", "en-us+m3", "en-gb-scotland+belinda"])
def test_more_words_per_minute_shorten_the_same_text(voice):
    lengths = [len(say(voice, words_per_minute=rate)) for rate in range(120, 241, 20)]
    assert np.all(np.diff(lengths) < 0)
    assert lengths[0] > 1.6 * lengths[-1]


def test_characters_per_second_follow_the_words_per_minute(corpus):
    rate = corpus.table["text"].str.len() / corpus.table["duration"]
    assert np.corrcoef(rate, corpus.table["words_per_minute"])[0, 1] > 0.85
    assert corpus.table.groupby("speaker")["words_per_minute"].nunique().min() > 1


def test_a_higher_pitch_setting_raises_the_pitch():
    pitches = [median_pitch(say("en+m3", pitch=pitch) / 2**15, 22_050) for pitch in (25, 50, 75)]
    assert np.all(np.diff(pitches) > 5)


def test_female_voices_are_higher_than_male_ones(corpus):
    pitch = pd.Series(
        [median_pitch(audio.read(path), 16_000) for path in corpus.table["path"]],
        index=corpus.table.index,
    )
    means = pitch.groupby(corpus.table["gender"]).mean()
    assert 140 < means["F"] < 280
    assert 75 < means["M"] < 130


def test_the_gender_is_the_one_that_the_variant_declares():
    variants = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    for gender, names in synthetic.VARIANTS.items():
        for name in names:
            lines = (variants / name).read_text(encoding="utf-8").splitlines()
            declared = [line.split()[1] for line in lines if line.startswith("gender")]
            assert [word[0].upper() for word in declared] == [gender], name


def test_no_variant_draws_breath_noise():
    variants = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    for name in sum(synthetic.VARIANTS.values(), ()):
        assert "breath" not in (variants / name).read_text(encoding="utf-8"), name


def test_files_are_what_the_table_says(corpus, folder):
    written = pd.read_csv(folder / "synthetic.csv", index_col="id")
    for name, row in corpus.table.iterrows():
        header = audio.read_header(row["path"])
        assert (header.sample_rate, header.channels) == (16_000, 1)
        assert header.duration == pytest.approx(written.loc[name, "duration"])
        assert folder / written.loc[name, "path"] == Path(row["path"])
    labels = [column for column in written if column not in ("path", "duration")]
    assert (written[labels] == corpus.table[labels]).all(axis=None)


def test_signals_peak_at_nine_tenths_and_begin_and_end_with_sound(corpus):
    for path in corpus.table["path"]:
        signal = audio.read(path)
        assert np.abs(signal).max() == pytest.approx(0.9, abs=1e-4)
        assert signal[0] != 0
        assert signal[-1] != 0


def test_all_voices_differ_and_half_are_female(tmp_path):
    table = load_synthetic(tmp_path, n_voices=synthetic.MAX_VOICES, n_utterances=1).table
    assert table["voice"].is_unique
    assert table["speaker"].is_unique
    assert (table["gender"] == "F").mean() == 0.5
    assert (table.groupby(["gender", "language"]).size() == 9).all()


def test_sentences_repeat_only_when_all_were_said(tmp_path):
    table = load_synthetic(tmp_path, n_voices=1, n_utterances=62).table
    assert table["text"][:60].is_unique
    assert len(table) == 62


def test_a_second_call_reuses_the_files(corpus, monkeypatch):
    folder = Path(corpus.table["path"].iloc[0]).parents[2]
    monkeypatch.setattr(_espeak, "synthesise", None)
    again = load_synthetic(folder, **SIZE)
    pd.testing.assert_frame_equal(again.table, corpus.table)


def test_lost_files_are_made_again(corpus, folder, tmp_path):
    load_synthetic(tmp_path, **SIZE)
    for name in ("synthetic.json", "synthetic.csv", "audio/m02/m02-001.flac"):
        (tmp_path / name).unlink()
    (tmp_path / "audio/f01/f01-000.flac").write_bytes(b"of unknown origin")
    load_synthetic(tmp_path, **SIZE)
    assert contents(tmp_path) == contents(folder)


def test_an_interrupted_call_is_finished_by_the_next(corpus, folder, tmp_path, monkeypatch):
    calls = []

    def synthesise(text, **settings):
        calls.append(text)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return synthesise_truly(text, **settings)

    synthesise_truly = _espeak.synthesise
    monkeypatch.setattr(_espeak, "synthesise", synthesise)
    with pytest.raises(KeyboardInterrupt):
        load_synthetic(tmp_path, **SIZE)
    assert not (tmp_path / "synthetic.json").exists()
    with pytest.raises(ValueError, match="made with"):
        load_synthetic(tmp_path, **SIZE, seed=1)
    load_synthetic(tmp_path, **SIZE)
    assert len(calls) == 1 + 8 * 4
    assert contents(tmp_path) == contents(folder)


def test_a_folder_of_other_arguments_is_refused(corpus, folder):
    with pytest.raises(ValueError, match=r'"seed": 0.*"seed": 3.*give another folder'):
        load_synthetic(folder, **SIZE, seed=3)


def test_a_folder_of_another_espeak_is_refused(tmp_path):
    load_synthetic(tmp_path, n_voices=1, n_utterances=1)
    record = tmp_path / "synthetic.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"espeak": "1.0"}))
    with pytest.raises(ValueError, match=r"made with .*1\.0"):
        load_synthetic(tmp_path, n_voices=1, n_utterances=1)


def test_foreign_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt.*empty folder"):
        load_synthetic(tmp_path, **SIZE)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_voices": 145}, "from 1 to 144.*got 145"),
        ({"n_voices": 0}, "from 1 to 144.*got 0"),
        ({"n_utterances": 0}, "at least 1, got 0"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_synthetic(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("voice", ["xx", "xx+f1", "en+nobody", "en-us+nobody"])
def test_an_unknown_voice_is_named(voice):
    with pytest.raises(ValueError, match="no voice") as error:
        say(voice)
    assert repr(voice) in str(error.value)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="words_per_minute must be from 80 to 450, got 20"):
        say("en", words_per_minute=20)
    with pytest.raises(ValueError, match="pitch must be from 0 to 99, got 120"):
        say("en", pitch=120)


def test_a_text_without_words_is_refused():
    with pytest.raises(ValueError, match="says nothing"):
        _espeak.synthesise(" ", voice="en", words_per_minute=170, pitch=50)


def test_an_error_code_of_espeak_is_raised_with_the_item():
    with pytest.raises(RuntimeError, match=r"could not speak 'Hello': code 1 \(buffer full\)"):
        _espeak._check(1, "speak 'Hello'")


def test_a_missing_package_is_named_with_its_pip_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"pip install 'speechprobe\[demo\]'"):
        load_synthetic(tmp_path)


def test_nothing_global_changes(monkeypatch):
    before = locale.setlocale(locale.LC_CTYPE)
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        np.random.seed(3)  # noqa: NPY002
        say("en+f1")
        assert locale.setlocale(locale.LC_CTYPE) == "C"
        assert np.random.random() == expected  # noqa: NPY002
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
