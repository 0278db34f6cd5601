"""The mel spectrogram against torchaudio's and against its formula, alone and in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st

from speechprobe import audio, pooling
from speechprobe.extractors import check_extractor
from speechprobe.extractors.mel import MelSpectrogram

RATE = 16_000
LENGTHS = [600, 5000, 16_123, 601, 1024, 47_999]
EPS = torch.finfo(torch.float32).eps


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)


SOUNDS = {
    "noise": noise(16_123),
    "faint noise": noise(16_123) * np.float32(1e-4),
    "silence": np.zeros(16_123, np.float32),
    "a constant": np.full(16_123, 0.1, np.float32),
    "a tone": (0.9 * np.sin(2 * np.pi * 3000 / RATE * np.arange(16_123))).astype(np.float32),
}
# ours, torchaudio's
SETTINGS = {
    "default": ({}, {"n_fft": 1024, "win_length": 400, "hop_length": 160, "n_mels": 80}),
    "torchaudio's own": ({"n_mels": 60, "n_fft": 400, "hop_seconds": 200 / RATE}, {"n_mels": 60}),
    "BYOL-A": (
        {"n_mels": 64, "low_hz": 60, "high_hz": 7800, "window_seconds": 1024 / RATE},
        {"n_fft": 1024, "hop_length": 160, "n_mels": 64, "f_min": 60.0, "f_max": 7800.0},
    ),
    "BYOL-S": (
        {"n_mels": 64, "low_hz": 60, "high_hz": 7800, "window_seconds": 400 / RATE},
        {"n_fft": 1024, "win_length": 400, "hop_length": 160, "n_mels": 64, "f_min": 60.0,
         "f_max": 7800.0},
    ),
    "voxceleb_trainer": (
        {"n_mels": 40, "n_fft": 512, "window": "hamming"},
        {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40,
         "window_fn": torch.hamming_window},
    ),
    "odd transform": (
        {"n_mels": 40, "n_fft": 401, "window_seconds": 397 / RATE, "norm": "slaney",
         "mel_scale": "slaney"},
        {"n_fft": 401, "win_length": 397, "hop_length": 160, "n_mels": 40, "norm": "slaney",
         "mel_scale": "slaney"},
    ),
    "8 kHz": (
        {"n_mels": 23, "sample_rate": 8000, "n_fft": 256},
        {"sample_rate": 8000, "n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 23},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), SETTINGS.values(), ids=SETTINGS)
def test_it_is_torchaudios(ours, theirs):
    front = MelSpectrogram(**ours)
    reference = torchaudio.transforms.MelSpectrogram(**({"sample_rate": RATE} | theirs))
    for sound, signal in SOUNDS.items():
        expected = reference(torch.from_numpy(signal)).T
        found = front(signal)["mel"]
        assert found.shape == expected.shape == (front.n_frames(len(signal)), front.n_mels)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-30, err_msg=sound)


@pytest.mark.shared
def test_it_is_torchaudios_on_real_speech(shared):
    ours, theirs = SETTINGS["BYOL-S"]
    front = MelSpectrogram(**ours, log_offset=EPS)
    reference = torchaudio.transforms.MelSpectrogram(RATE, **theirs)
    for path in sorted((shared / "data" / "emodb" / "wav").glob("*.wav"))[::60]:
        signal = audio.read(path, RATE)
        expected = (reference(torch.from_numpy(signal)) + EPS).log().T
        np.testing.assert_allclose(front(signal)["mel"], expected, rtol=0, atol=1e-5)


def test_voxceleb_trainers_second_front_end_emphasises_first():
    front = MelSpectrogram(64, n_fft=512, window="hamming", preemphasis=0.97, log_offset=1e-6)
    reference = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=512, win_length=400, hop_length=160, n_mels=64, window_fn=torch.hamming_window
    )
    signal = torch.from_numpy(SOUNDS["noise"])
    widened = torch.nn.functional.pad(signal[None, None], (1, 0), mode="reflect")
    emphasised = torch.nn.functional.conv1d(widened, torch.tensor([[[-0.97, 1.0]]]))[0, 0]
    expected = (reference(emphasised) + 1e-6).log().T
    np.testing.assert_allclose(front(SOUNDS["noise"])["mel"], expected, rtol=0, atol=1e-4)


def test_one_frame_follows_the_formula():
    signal = noise(2000)
    frame = np.pad(signal.astype(float), 512, mode="reflect")[160 : 160 + 1024]
    frame[312:712] *= 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frame[:312] = frame[712:] = 0
    power = np.abs(np.fft.fft(frame)[:513]) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
    bins = np.arange(513) * RATE / 1024
    expected = [
        (np.interp(bins, edges[k : k + 3], [0, 1, 0], left=0, right=0) * power).sum()
        for k in range(40)
    ]
    np.testing.assert_allclose(MelSpectrogram(40)(signal)["mel"][1], expected, rtol=1e-4)


@pytest.mark.parametrize("n_fft", [1024, 401])
@pytest.mark.parametrize("preemphasis", [0.0, 0.97])
def test_every_row_of_a_ragged_batch_is_what_it_is_alone(n_fft, preemphasis):
    front = MelSpectrogram(40, n_fft=n_fft, preemphasis=preemphasis, log_offset=1e-6)
    batch = torch.full((len(LENGTHS), max(LENGTHS)), torch.nan)  # what lies behind must not matter
    for row, n in enumerate(LENGTHS):
        batch[row, :n] = torch.from_numpy(noise(n, seed=row))
    found = front(batch, torch.tensor(LENGTHS)).numpy()
    for row, n in enumerate(LENGTHS):
        alone = front(batch[row, :n].numpy())["mel"]
        np.testing.assert_allclose(found[row, : front.n_frames(n)], alone, rtol=1e-6, atol=2e-6)


def test_pooled_batches_are_the_pooled_single_signals():
    front = MelSpectrogram(40)
    signals = [noise(n, seed=n) for n in LENGTHS]
    for pool in (pooling.mean, pooling.mean_std, pooling.maximum):
        batch = front.extract_batch(signals, pool)["mel"]
        alone = np.stack([front.extract_batch([signal], pool)["mel"][0] for signal in signals])
        np.testing.assert_allclose(batch, alone, rtol=1e-5)


@given(n_samples=st.integers(1, 2000), n_fft=st.integers(64, 300), hop=st.integers(1, 200))
def test_n_frames_is_the_number_of_frames(n_samples, n_fft, hop):
    front = MelSpectrogram(
        4, sample_rate=8000, n_fft=n_fft, window_seconds=0.008, hop_seconds=hop / 8000
    )
    waveforms = torch.zeros(2, 2000)
    try:
        n_frames = front.n_frames(n_samples)
    except ValueError:
        with pytest.raises(ValueError, match="too short to be mirrored"):
            front(waveforms[:, :n_samples])
        with pytest.raises(ValueError, match="too short to be mirrored"):
            front(waveforms, torch.tensor([2000, n_samples]))
    else:
        assert front(waveforms[:, :n_samples]).shape == (2, n_frames, 4)
        padded = torch.stft(
            waveforms[0, :n_samples], n_fft, hop, window=torch.ones(n_fft), return_complex=True
        )
        assert padded.shape[1] == n_frames


def test_doubles_stay_doubles_and_agree():
    front, waveforms = MelSpectrogram(), torch.from_numpy(SOUNDS["noise"])[None]
    exact = front(waveforms.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), front(waveforms), rtol=1e-4, atol=1e-9)


def test_no_input_is_written_and_nothing_global_touched():
    waveforms = torch.from_numpy(noise(8000))[None]
    given_waveforms, state = waveforms.clone(), torch.get_rng_state()
    MelSpectrogram(19, preemphasis=0.97)(waveforms, torch.tensor([8000]))
    assert torch.equal(waveforms, given_waveforms)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_runs_where_its_input_is():
    assert MelSpectrogram()(torch.zeros(2, 16_000, device="meta")).device.type == "meta"
    if torch.cuda.is_available():
        waveforms = torch.from_numpy(SOUNDS["noise"])[None]
        found = MelSpectrogram()(waveforms.cuda(), torch.tensor([16_000]))
        assert found.is_cuda
        expected = MelSpectrogram()(waveforms, torch.tensor([16_000]))
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-9)


def test_it_keeps_the_rules_of_extractors():
    check_extractor(MelSpectrogram())
    check_extractor(MelSpectrogram(64, n_fft=512, preemphasis=0.97, log_offset=1e-6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_seconds": 0.1}, "window has 1600 samples; n_fft=1024 must hold it"),
        ({"hop_seconds": 1e-5}, "hop of 1e-05 s is under one sample at 16000 Hz"),
        ({"window": "hanning"}, "'hann' or 'hamming', got 'hanning'"),
        ({"high_hz": 9000}, "from 0 to 8000 Hz, half the sample rate"),
        ({"low_hz": 500, "high_hz": 400}, "low_hz=500 and high_hz=400"),
        ({"n_mels": 0}, "n_mels must be at least 1, got 0"),
        ({"norm": "area"}, "norm must be 'slaney' or None, got 'area'"),
        ({"mel_scale": "bark"}, "mel_scale must be 'htk' or 'slaney', got 'bark'"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MelSpectrogram(**settings)


@pytest.mark.parametrize(
    "lengths", [torch.tensor([600]), torch.tensor([600, 1001]), torch.tensor([[600, 700]])]
)
def test_lengths_that_do_not_fit_the_batch_are_refused(lengths):
    with pytest.raises(ValueError, match="one length of at most 1000 for each of 2 rows"):
        MelSpectrogram()(torch.zeros(2, 1000), lengths)
