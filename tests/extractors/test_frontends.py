"""The log-mel front end against torchaudio's own, alone and in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio

from speechprobe import pooling
from speechprobe.extractors import LogMel, check_extractor


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(scale=0.1, size=16_123).astype(np.float32)


SETTINGS = [
    {"n_mels": 80},
    {"n_mels": 40, "sample_rate": 22_050, "window_seconds": 0.032, "hop_seconds": 0.016},
    {"n_mels": 23, "sample_rate": 8000, "n_fft": 400},
    {"n_mels": 64, "n_fft": 400, "window_seconds": 0.025},  # the window fills the transform
    {"n_mels": 64, "n_fft": 512, "window_seconds": 0.0251},  # an odd margin
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_log_mel_is_torchaudios_with_frames_inside_the_signal(settings, noise):
    ours = LogMel(**settings)
    theirs = torchaudio.transforms.MelSpectrogram(
        ours.sample_rate,
        n_fft=ours.n_fft,
        win_length=ours.window,
        hop_length=ours.hop,
        n_mels=ours.n_mels,
        norm="slaney",
        mel_scale="slaney",
        center=False,
    )
    # torch.stft wants n_fft samples a frame although the window is shorter: fill what it blanks.
    margin = (ours.n_fft - ours.window) // 2
    padded = torch.nn.functional.pad(
        torch.from_numpy(noise), (margin, ours.n_fft - ours.window - margin)
    )
    expected = theirs(padded).clamp_min(1e-10).log().T.numpy()
    found = ours(noise)["logmel"]
    assert found.shape == expected.shape == (ours.n_frames(len(noise)), ours.n_mels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_tone_is_loudest_in_the_band_that_holds_it():
    front = LogMel(n_mels=80)
    time = np.arange(16_000) / 16_000
    low, high = (front(np.sin(2 * np.pi * f * time).astype(np.float32))["logmel"].mean(0).argmax()
                 for f in (200, 4000))  # fmt: skip
    assert low < high
    assert low < 10


def test_a_batch_gives_the_single_vectors_and_never_frames_of_the_padding(noise):
    front = LogMel(n_mels=40)
    signals = [noise[:n] for n in (400, 5000, 16_123, 401, 559, 560)]
    for pool in (pooling.mean, pooling.mean_std, pooling.maximum):
        batch = front.extract_batch(signals, pool)["logmel"]
        alone = np.stack([front.extract_batch([signal], pool)["logmel"][0] for signal in signals])
        np.testing.assert_allclose(batch, alone, rtol=1e-4, atol=1e-5)


def test_tensors_give_a_batch_for_a_network(noise):
    front = LogMel(n_mels=40)
    found = front(torch.from_numpy(np.stack([noise, -noise])))
    np.testing.assert_allclose(found[0].numpy(), front(noise)["logmel"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0], found[1])


def test_silence_is_clamped_to_a_finite_floor():
    found = LogMel(n_mels=40, smallest=1e-6)(np.zeros(8000, np.float32))["logmel"]
    np.testing.assert_allclose(found, np.log(1e-6), rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda front, signal: front(signal),
        lambda front, signal: front(torch.from_numpy(signal)[None]),
        lambda front, signal: front.extract_batch([np.zeros(800, np.float32), signal], None),
    ],
    ids=["alone", "tensor", "batch"],
)
def test_a_signal_shorter_than_the_window_is_an_error_that_says_both(call, noise):
    with pytest.raises(ValueError, match="399 samples is shorter than one window of 400"):
        call(LogMel(), noise[:399])


def test_a_window_longer_than_the_transform_is_refused():
    with pytest.raises(ValueError, match="window has 800 samples; n_fft=512 must hold it"):
        LogMel(window_seconds=0.05, n_fft=512)


def test_it_keeps_the_rules_of_extractors():
    check_extractor(LogMel(n_mels=20))
