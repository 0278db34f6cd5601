"""The Kaldi filter bank against torchaudio's and against its formula, alone and in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from speechprobe import _fingerprint, audio, pooling
from speechprobe.extractors import check_extractor
from speechprobe.extractors.kaldi import KaldiFbank
from speechprobe.extractors.masked import MaskedExtractor

RATE = 16_000
LENGTHS = [400, 5000, 16_123, 401, 559, 560, 47_999]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)


def tone(hertz: float, n: int, sample_rate: int = RATE) -> np.ndarray:
    return (0.9 * np.sin(2 * np.pi * hertz * np.arange(n) / sample_rate)).astype(np.float32)


def kaldis(signal: np.ndarray, front: KaldiFbank, **settings: object) -> np.ndarray:
    """What torchaudio gives for one signal with the same settings."""
    return torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(signal)[None] * front.scale,
        num_mel_bins=front.n_mels,
        sample_frequency=float(front.sample_rate),
        window_type=front.window,
        low_freq=front.low_hz,
        high_freq=front.high_hz or 0.0,
        preemphasis_coefficient=front.preemphasis,
        use_log_fbank=front.use_log,
        **settings,
    ).numpy()


SOUNDS = {
    "noise": noise(16_123),
    "faint noise": noise(16_123) * np.float32(1e-4),
    "silence": np.zeros(16_123, np.float32),
    "a constant": np.full(16_123, 0.1, np.float32),
    "a low tone": tone(50, 16_123),
    "a high tone": tone(3000, 16_123),
    "a click": np.eye(1, 16_123, 5000, dtype=np.float32)[0],
}


@pytest.mark.parametrize("window", ["hamming", "povey", "hanning"])
@pytest.mark.parametrize("sample_rate", [8000, 11_025, 16_000, 22_050, 44_100])
@pytest.mark.parametrize("n_mels", [23, 80, 128])
def test_it_is_torchaudios(n_mels, sample_rate, window):
    front = KaldiFbank(n_mels, sample_rate=sample_rate, window=window)
    for sound, signal in SOUNDS.items():
        np.testing.assert_allclose(
            front(signal)["fbank"], kaldis(signal, front), rtol=0, atol=1e-5, err_msg=sound
        )


@pytest.mark.parametrize(
    ("front", "theirs"),
    [
        (KaldiFbank(40, low_hz=100, high_hz=3800), {}),
        (KaldiFbank(40, preemphasis=0.0, scale=1.0), {}),
        (
            KaldiFbank(40, window_seconds=0.032, hop_seconds=0.016),
            {"frame_length": 32.0, "frame_shift": 16.0},
        ),
    ],
)
def test_it_is_torchaudios_with_other_settings(front, theirs):
    expected = kaldis(SOUNDS["noise"], front, **theirs)
    np.testing.assert_allclose(front(SOUNDS["noise"])["fbank"], expected, rtol=0, atol=1e-5)


def test_without_the_logarithm_it_is_torchaudios_power():
    front = KaldiFbank(use_log=False)
    found = front(SOUNDS["noise"])["fbank"]
    np.testing.assert_allclose(found, kaldis(SOUNDS["noise"], front), rtol=1e-5)


@pytest.mark.shared
@pytest.mark.parametrize("window", ["hamming", "povey"])
def test_it_is_torchaudios_on_real_speech(shared, window):
    front = KaldiFbank(window=window)
    for path in sorted((shared / "data" / "emodb" / "wav").glob("*.wav"))[::60]:
        signal = audio.read(path, RATE)
        np.testing.assert_allclose(
            front(signal)["fbank"], kaldis(signal, front), rtol=0, atol=1e-5, err_msg=path.name
        )


def test_one_frame_follows_the_formula_of_kaldi():
    signal = noise(400)
    frame = signal.astype(float) * 32768
    frame -= frame.mean()
    frame -= 0.97 * np.r_[frame[0], frame[:-1]]
    frame *= 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.fft(frame, 512)[:256]) ** 2

    def mel(hertz):
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(20), mel(8000), 42)
    bins = mel(np.arange(256) * 16_000 / 512)
    bands = [
        (np.interp(bins, edges[k : k + 3], [0, 1, 0], left=0, right=0) * power).sum()
        for k in range(40)
    ]
    np.testing.assert_allclose(KaldiFbank(40)(signal)["fbank"][0], np.log(bands), atol=1e-4)


def test_silence_and_constants_are_the_floor_of_float32():
    for signal in (np.zeros(8000, np.float32), np.full(8000, 0.5, np.float32)):
        np.testing.assert_allclose(KaldiFbank()(signal)["fbank"], np.log(2.0**-23), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_every_row_of_a_ragged_batch_is_what_it_is_alone(scale):
    front = KaldiFbank(40)
    batch = torch.full((len(LENGTHS), max(LENGTHS)), 0.7)  # what lies behind a row must not matter
    for row, n in enumerate(LENGTHS):
        batch[row, :n] = torch.from_numpy(noise(n, seed=row)) * scale
    found = front(batch, torch.tensor(LENGTHS)).numpy()
    assert np.array_equal(found, front(batch).numpy())
    for row, n in enumerate(LENGTHS):
        alone = front(batch[row, :n].numpy())["fbank"]
        np.testing.assert_allclose(found[row, : front.n_frames(n)], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_rows", [1, 3, 300])
def test_the_stretches_it_is_worked_in_leave_no_trace(n_rows):
    front = KaldiFbank(23)
    waveforms = torch.from_numpy(noise(16_000)).repeat(n_rows, 1)
    expected = kaldis(noise(16_000), front)
    np.testing.assert_allclose(front(waveforms)[n_rows // 2], expected, rtol=0, atol=1e-5)


def test_pooled_batches_are_the_pooled_single_signals():
    front = KaldiFbank(40)
    signals = [noise(n, seed=n) for n in LENGTHS]
    for pool in (pooling.mean, pooling.mean_std, pooling.maximum):
        batch = front.extract_batch(signals, pool)["fbank"]
        alone = np.stack([front.extract_batch([signal], pool)["fbank"][0] for signal in signals])
        np.testing.assert_allclose(batch, alone, rtol=1e-5, atol=1e-5)


@given(
    n_samples=st.integers(1, 3000),
    window_seconds=st.floats(0.002, 0.1),
    hop_seconds=st.floats(0.001, 0.1),
)
def test_n_frames_is_the_number_of_frames(n_samples, window_seconds, hop_seconds):
    front = KaldiFbank(4, sample_rate=8000, window_seconds=window_seconds, hop_seconds=hop_seconds)
    try:
        n_frames = front.n_frames(n_samples)
    except ValueError:
        with pytest.raises(ValueError, match="shorter than one window"):
            front(torch.zeros(1, n_samples))
    else:
        assert front(torch.zeros(1, n_samples)).shape == (1, n_frames, 4)


def test_lengths_in_seconds_are_cut_to_whole_samples_as_kaldi_does():
    front = KaldiFbank(sample_rate=11_025)  # 275.6 and 110.25 samples
    assert front.n_frames(275) == 1
    assert front.n_frames(275 + 110) == 2


def test_doubles_stay_doubles_and_agree():
    found = KaldiFbank()(torch.from_numpy(SOUNDS["noise"]).double()[None])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[0], KaldiFbank()(SOUNDS["noise"])["fbank"], atol=1e-4)


def test_it_runs_where_its_input_is():
    assert KaldiFbank()(torch.zeros(2, 16_000, device="meta")).device.type == "meta"
    if torch.cuda.is_available():
        waveforms = torch.from_numpy(SOUNDS["noise"])[None]
        found = KaldiFbank()(waveforms.cuda())
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), KaldiFbank()(waveforms), rtol=0, atol=1e-4)


def test_nothing_global_is_touched_and_no_input_written():
    waveforms = torch.from_numpy(noise(8000))[None]
    given_waveforms, threads = waveforms.clone(), torch.get_num_threads()
    state = torch.get_rng_state()
    KaldiFbank(19)(waveforms)
    assert torch.equal(waveforms, given_waveforms)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32


def test_it_keeps_the_rules_of_extractors():
    check_extractor(KaldiFbank())
    check_extractor(KaldiFbank(23, sample_rate=8000, window="povey"))


def test_it_is_a_front_end_of_masked_networks():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(40, 3)

        def forward(self, features, lengths):
            return self.layer(features)

    check_extractor(MaskedExtractor(Net().eval(), frontend=KaldiFbank(40), layers="*", name="net"))


def test_its_settings_are_in_the_provenance():
    prints = [_fingerprint.of_object(front) for front in (KaldiFbank(), KaldiFbank(window="povey"))]
    assert prints[0] == _fingerprint.of_object(KaldiFbank())
    assert prints[0] != prints[1]
    assert "window='hamming'" in repr(KaldiFbank())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_mels": 3}, "n_mels must be at least 4, got 3"),
        ({"window": "hann"}, "'hamming', 'povey' or 'hanning', got 'hann'"),
        ({"window_seconds": 0.0}, "window of 0.0 s and a hop of 0.01 s are too short"),
        ({"hop_seconds": 1e-5}, "hop of 1e-05 s are too short at 16000 Hz"),
        ({"preemphasis": 97}, "preemphasis must be from 0 to 1, got 97"),
        ({"high_hz": 9000}, "from 0 to 8000 Hz, half the sample rate; got low_hz=20.0 and high"),
        ({"low_hz": 500, "high_hz": 400}, "low_hz=500 and high_hz=400"),
        ({"low_hz": -1}, "low_hz=-1"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KaldiFbank(**settings)


@pytest.mark.parametrize(
    "call",
    [
        lambda front, signal: front(signal),
        lambda front, signal: front(torch.from_numpy(signal)[None]),
        lambda front, signal: front.extract_batch([np.zeros(800, np.float32), signal], None),
    ],
    ids=["alone", "tensor", "batch"],
)
def test_a_signal_shorter_than_the_window_is_an_error_that_says_both(call):
    with pytest.raises(ValueError, match="399 samples is shorter than one window of 400"):
        call(KaldiFbank(), noise(399))
