from __future__ import annotations

import math
import re

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechprobe import audio
from speechprobe._headers import read_headers

FLOAT_ENCODINGS = [("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("AIFF", "FLOAT"), ("CAF", "DOUBLE")]


def tone(frequency: float, n_samples: int, sample_rate: int, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(n_samples) / sample_rate)


def interior(signal: np.ndarray) -> np.ndarray:
    """Leave out the edges, where the interpolation kernel reaches beyond the signal."""
    return signal[len(signal) // 8 : -len(signal) // 8]


def write_floats(path, samples) -> None:
    soundfile.write(path, np.asarray(samples, np.float32), 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("sample_rate", "wanted", "frequency"),
    [
        (44_100, 16_000, 1000),
        (44_100, 16_000, 7000),
        (48_000, 16_000, 6500),
        (22_050, 16_000, 440),
        (8_000, 16_000, 3500),
        (16_000, 24_000, 5000),
    ],
)
def test_a_tone_keeps_frequency_phase_and_amplitude(
    tmp_path, write_sound, sample_rate, wanted, frequency
):
    path = write_sound(tmp_path / "tone.wav", 1.0, sample_rate, frequency, amplitude=0.5)
    signal = audio.read(path, wanted)
    assert signal.dtype == np.float32
    np.testing.assert_allclose(
        interior(signal), interior(tone(frequency, wanted, wanted)), atol=2e-4
    )


@pytest.mark.parametrize(
    ("sample_rate", "wanted", "frequency"),
    [(44_100, 16_000, 8500), (48_000, 16_000, 12_000), (16_000, 8_000, 4300)],
)
def test_a_tone_above_the_new_nyquist_frequency_vanishes(
    tmp_path, write_sound, sample_rate, wanted, frequency
):
    path = write_sound(tmp_path / "tone.wav", 1.0, sample_rate, frequency)
    assert np.abs(interior(audio.read(path, wanted))).max() < 1e-4


@given(
    n_samples=st.integers(1, 3000),
    sample_rate=st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    wanted=st.sampled_from([8_000, 16_000, 22_050]),
)
def test_resampling_keeps_the_duration_and_its_input(n_samples, sample_rate, wanted):
    signal = tone(300, n_samples, sample_rate).astype(np.float32)
    before = signal.copy()
    assert audio.resample(signal, sample_rate, wanted).shape == (
        math.ceil(n_samples * wanted / sample_rate),
    )
    np.testing.assert_array_equal(signal, before)


def test_a_read_only_signal_resamples_like_any_other():
    signal = tone(300, 1600, 16_000).astype(np.float32)
    expected = audio.resample(signal, 16_000, 8_000)
    signal.flags.writeable = False
    np.testing.assert_array_equal(audio.resample(signal, 16_000, 8_000), expected)


@pytest.mark.parametrize(
    ("extension", "tolerance"),
    [("wav", 1e-3), ("flac", 1e-3), ("aiff", 1e-3), ("ogg", 0.1), ("mp3", 0.1)],
)
def test_every_common_format_reads_at_full_scale_one(tmp_path, write_sound, extension, tolerance):
    path = write_sound(tmp_path / f"tone.{extension}", 1.0, 16_000, 500, amplitude=0.5)
    signal = audio.read(path)
    # A sine's root mean square is its amplitude over the square root of 2; OGG and MP3 are lossy.
    level = np.sqrt(np.mean(interior(signal) ** 2))
    assert level == pytest.approx(0.5 / math.sqrt(2), rel=tolerance)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    left, right = tone(500, 1600, 16_000), tone(900, 1600, 16_000, amplitude=0.1)
    write_floats(path, np.stack([left, right], axis=1))
    np.testing.assert_allclose(audio.read(path), (left + right) / 2, atol=1e-7)
    assert audio.read_header(path).channels == 2


def test_the_files_own_rate_is_kept_unless_another_is_wanted(tmp_path, write_sound):
    path = write_sound(tmp_path / "tone.wav", 0.5, 22_050)
    assert len(audio.read(path)) == len(audio.read(path, 22_050)) == 11_025
    assert len(audio.read(path, 16_000)) == 8_000


def test_written_integers_come_back_exactly(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 4000).astype(np.int16)
    audio.write(tmp_path / "a.flac", samples, 16_000)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.flac"), samples / np.float32(2**15))


# name: (bytes of the file, what the message says)
NO_SOUND = {
    "garbage": (bytes(range(256)) * 8, "cannot be"),
    "text": (b"This is a transcript, not a sound.\n" * 20, "cannot be"),
    "empty": (b"", "0 bytes"),
}


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "raw"])
@pytest.mark.parametrize("kind", NO_SOUND)
def test_a_file_that_is_no_sound_is_named(tmp_path, function, kind, extension):
    content, reason = NO_SOUND[kind]
    path = tmp_path / f"bad.{extension}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{reason}"):
        function(path)


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
def test_a_sound_without_samples_is_named(tmp_path, function):
    path = tmp_path / "none.wav"
    soundfile.write(path, np.zeros(0), 16_000)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*no samples"):
        function(path)


@pytest.mark.parametrize("function", [audio.read, audio.read_header])
@pytest.mark.parametrize("name", ["missing.wav", "."])
def test_a_missing_file_is_named(tmp_path, function, name):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        function(path)


@pytest.mark.parametrize(
    ("bad", "n_bad"),
    [
        ([np.nan], 1),
        ([np.inf, -np.inf], 2),
        ([[np.nan, 0.0]], 1),
        ([[np.inf, -np.inf], [np.inf, 0.0]], 2),
    ],
    ids=["nan", "infinite", "nan in one channel", "opposite infinities"],
)
def test_samples_that_are_not_finite_are_counted_and_the_file_named(tmp_path, bad, n_bad):
    path = tmp_path / "bad.wav"
    samples = np.full((100, *np.shape(bad)[1:]), 0.1)
    samples[5 : 5 + len(bad)] = bad
    write_floats(path, samples)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: {n_bad} of 100 samples"):
        audio.read(path)


@pytest.mark.parametrize(("container", "encoding"), FLOAT_ENCODINGS)
def test_a_header_never_promises_finite_samples_where_nan_fits(tmp_path, container, encoding):
    path = tmp_path / "nan.bin"
    soundfile.write(path, np.full(100, np.nan), 16_000, format=container, subtype=encoding)
    assert np.isnan(soundfile.read(path)[0]).all()
    assert audio.read_header(path).may_hold_nan


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_a_header_says_length_and_rate_of_integer_sound(tmp_path, write_sound, extension):
    header = audio.read_header(write_sound(tmp_path / f"a.{extension}", 1.5, 8_000))
    assert header == audio.Header(12_000, 8_000, 1, may_hold_nan=False)
    assert header.duration == 1.5


@pytest.mark.parametrize("sample_rate", [None, 8_000])
def test_digital_silence_warns_and_names_the_file(tmp_path, write_sound, sample_rate):
    path = write_sound(tmp_path / "silent.wav", amplitude=0.0)
    with pytest.warns(UserWarning, match=f"{re.escape(str(path))}.*zero") as record:
        signal = audio.read(path, sample_rate)
    assert not signal.any()
    assert record[0].filename == __file__


def test_headers_come_in_order_with_errors_in_their_place(tmp_path, write_sound):
    paths = [
        write_sound(tmp_path / "a.wav", 0.1),
        tmp_path / "missing.wav",
        write_sound(tmp_path / "b.flac", 0.2),
        tmp_path / "text.wav",
    ]
    paths[3].write_text("no sound")
    first, missing, second, text = read_headers(paths)
    assert (first.duration, second.duration) == (0.1, 0.2)
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(text, ValueError)
    assert str(paths[3]) in str(text)


def test_a_part_is_that_of_the_whole(tmp_path):
    signal = np.random.default_rng(0).uniform(-0.9, 0.9, size=(4000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "two.flac", signal, 16_000)
    whole = audio.read(tmp_path / "two.flac")
    part = audio.read_part(tmp_path / "two.flac", 1234, 500)
    np.testing.assert_array_equal(part, whole[1234:1734])
    with pytest.raises(ValueError, match="500 finite samples from 3900 on were expected, got 100"):
        audio.read_part(tmp_path / "two.flac", 3900, 500)
    for start, n_samples in ((0, -1), (0, 0), (-5, 3)):
        with pytest.raises(ValueError, match=f"got start={start}, n_samples={n_samples}"):
            audio.read_part(tmp_path / "two.flac", start, n_samples)
    with pytest.raises(FileNotFoundError):
        audio.read_part(tmp_path / "none.flac", 0, 1)
