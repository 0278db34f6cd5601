from __future__ import annotations

import re
import sys
from fractions import Fraction

import numpy as np
import pytest

from speechprobe import audio
from speechprobe._headers import read_headers
from speechprobe.datasets import load_folder

av = pytest.importorskip("av")
PADDING = 2_048  # samples, the most that an AAC encoder puts before and after
BLOCK = 1_024


@pytest.fixture(scope="module")
def write_m4a():
    """Give a function that encodes channels, shape (n_channels, n_samples), as AAC in MP4."""

    def write(path, samples, sample_rate):
        samples = np.atleast_2d(np.asarray(samples, np.float32))
        layout = "stereo" if len(samples) == 2 else "mono"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=sample_rate, layout=layout)
            stream.bit_rate = 128_000
            for start in range(0, samples.shape[1], BLOCK):
                block = np.ascontiguousarray(samples[:, start : start + BLOCK])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = sample_rate, start
                frame.time_base = Fraction(1, sample_rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


def tone(frequency, seconds, sample_rate, amplitude=0.5):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return amplitude * np.sin(2 * np.pi * frequency * time)


def warble(seconds, sample_rate):
    """Return a tone that never repeats, so that a shift in time shows."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return 0.4 * np.sin(2 * np.pi * (300 * time + 400 * time**2))


def resemblance(signal, original):
    n = min(len(signal), len(original))
    middle = slice(n // 8, -n // 8)
    return np.corrcoef(signal[:n][middle], original[:n][middle])[0, 1]


@pytest.mark.parametrize("extension", ["m4a", "mp4", "M4A"])
@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_the_sound_comes_back_at_its_own_rate_and_in_its_place(
    tmp_path, write_m4a, sample_rate, extension
):
    original = warble(1.0, sample_rate)
    made = write_m4a(tmp_path / "a.mp4", original, sample_rate)
    path = made.rename(tmp_path / f"b.{extension}")
    signal = audio.read(path)
    assert signal.dtype == np.float32
    assert signal.ndim == 1
    assert sample_rate <= len(signal) <= sample_rate + PADDING
    assert resemblance(signal, original) > 0.99
    assert np.std(signal[:sample_rate]) == pytest.approx(np.std(original), rel=0.03)


def test_another_rate_is_reached_as_for_any_sound(tmp_path, write_m4a):
    path = write_m4a(tmp_path / "a.m4a", warble(1.0, 44_100), 44_100)
    signal = audio.read(path, 16_000)
    assert 16_000 <= len(signal) <= 16_000 + PADDING
    assert resemblance(signal, warble(1.0, 16_000)) > 0.99


def test_its_channels_are_averaged(tmp_path, write_m4a):
    left, right = tone(500, 1.0, 16_000), tone(1300, 1.0, 16_000, amplitude=0.2)
    path = write_m4a(tmp_path / "a.m4a", np.stack([left, right]), 16_000)
    assert audio.read_header(path).channels == 2
    signal = audio.read(path)
    assert resemblance(signal, (left + right) / 2) > 0.99
    assert np.std(signal[2000:14_000]) == pytest.approx(np.std((left + right) / 2), rel=0.05)


def test_a_signal_can_be_given_on_to_torch_and_written_to(tmp_path, write_m4a):
    signal = audio.read(write_m4a(tmp_path / "a.m4a", tone(500, 0.5, 16_000), 16_000))
    assert signal.flags.writeable
    assert signal.flags.c_contiguous


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.25, 1.0, 3.7])
def test_a_header_says_rate_channels_and_about_the_length(
    tmp_path, write_m4a, sample_rate, seconds
):
    path = write_m4a(tmp_path / "a.m4a", tone(300, seconds, sample_rate), sample_rate)
    header = audio.read_header(path)
    assert (header.sample_rate, header.channels) == (sample_rate, 1)
    assert not header.may_hold_nan
    assert seconds <= header.duration <= seconds + PADDING / sample_rate
    assert abs(header.n_samples - len(audio.read(path))) <= PADDING


def test_bare_aac_is_read(tmp_path, write_m4a):
    original = warble(1.0, 16_000)
    path = write_m4a(tmp_path / "a.aac", original, 16_000)
    assert audio.read_header(path).duration == pytest.approx(1.0, abs=2 * PADDING / 16_000)
    signal = audio.read(path)
    # Bare AAC does not say how long the encoder's padding is: it stays in front.
    shift = np.argmax(np.correlate(signal, original[4000:8000], "valid")) - 4000
    assert 0 <= shift <= PADDING
    assert resemblance(signal[shift:], original) > 0.99


def test_digital_silence_warns(tmp_path, write_m4a):
    path = write_m4a(tmp_path / "a.m4a", np.zeros(8000), 16_000)
    with pytest.warns(UserWarning, match=f"{re.escape(str(path))}.*zero"):
        assert not audio.read(path).any()


def cut(content):
    return content[: len(content) // 2]


def scrambled(content):
    start, length = len(content) // 4, len(content) // 2
    noise = np.random.default_rng(0).integers(0, 256, length, dtype=np.uint8).tobytes()
    return content[:start] + noise + content[start + length :]


# name: what became of the bytes of a good file
DAMAGE = {
    "cut": cut,
    "scrambled": scrambled,
    "text": lambda content: b"not a sound\n" * 100,
    "head only": lambda content: content[:40],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named(tmp_path, write_m4a, name):
    good = write_m4a(tmp_path / "good.m4a", warble(1.0, 16_000), 16_000)
    bad = tmp_path / "bad.m4a"
    bad.write_bytes(DAMAGE[name](good.read_bytes()))
    with pytest.raises(ValueError, match=f"^{re.escape(str(bad))}: cannot be decoded as sound"):
        audio.read(bad)


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
@pytest.mark.parametrize("name", ["text", "head only"])
def test_a_file_without_a_container_is_named(tmp_path, write_m4a, function, name):
    good = write_m4a(tmp_path / "good.m4a", warble(0.5, 16_000), 16_000)
    bad = tmp_path / "bad.m4a"
    bad.write_bytes(DAMAGE[name](good.read_bytes()))
    with pytest.raises(ValueError, match=f"^{re.escape(str(bad))}: cannot be"):
        function(bad)


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
def test_a_video_without_sound_is_named(tmp_path, function):
    path = tmp_path / "silent film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*no audio"):
        function(path)


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
def test_an_empty_and_a_missing_file_are_named(tmp_path, function):
    empty = tmp_path / "empty.m4a"
    empty.touch()
    with pytest.raises(ValueError, match=f"{re.escape(str(empty))}.*0 bytes"):
        function(empty)
    with pytest.raises(FileNotFoundError, match=r"missing\.m4a"):
        function(tmp_path / "missing.m4a")


@pytest.mark.parametrize("name", ["take:1.m4a", "100%d.m4a", "übung 音.m4a"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_of_any_name_is_read(tmp_path, write_m4a, monkeypatch, name, absolute):
    if sys.platform == "win32" and ":" in name:
        pytest.skip("Windows has no such names")
    made = write_m4a(tmp_path / "a.m4a", warble(0.5, 16_000), 16_000)
    path = made.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    asked = path if absolute else name
    assert audio.read_header(asked).sample_rate == 16_000
    assert len(audio.read(asked)) >= 8_000


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
def test_without_pyav_the_pip_line_is_named(tmp_path, write_m4a, monkeypatch, function):
    path = write_m4a(tmp_path / "a.m4a", tone(300, 0.5, 16_000), 16_000)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'speechprobe\[m4a\]'"):
        function(path)


def test_other_sounds_need_no_pyav(tmp_path, write_sound, monkeypatch):
    path = write_sound(tmp_path / "a.wav", 0.5)
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(audio.read(path)) == 8_000
    assert audio.read_header(path).duration == 0.5


def test_a_folder_of_m4a_is_a_corpus(tmp_path, write_m4a, write_sound):
    write_sound(tmp_path / "anna" / "b.wav", 0.5)
    write_m4a(tmp_path / "anna" / "a.m4a", warble(0.5, 16_000), 16_000)
    corpus = load_folder(tmp_path)
    assert corpus.table.index.tolist() == ["anna/a", "anna/b"]
    assert corpus.column("duration") == pytest.approx([0.5, 0.5], abs=PADDING / 16_000)
    assert len(corpus["anna/a"].signal(8_000)) == pytest.approx(4_000, abs=PADDING)


def test_many_threads_read_good_and_broken_files_at_once(tmp_path, write_m4a):
    good = write_m4a(tmp_path / "good.m4a", tone(300, 0.5, 16_000), 16_000).read_bytes()
    paths = [tmp_path / f"{n:03d}.m4a" for n in range(120)]
    for n, path in enumerate(paths):
        path.write_bytes(good if n % 2 else b"not a sound\n" * 100)
    found = read_headers(paths)
    assert len(set(found[1::2])) == 1
    assert all(isinstance(each, audio.Header) for each in found[1::2])
    for path, error in zip(paths[::2], found[::2], strict=True):
        assert isinstance(error, ValueError)
        assert str(path) in str(error)
