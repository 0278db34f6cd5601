"""The cepstra against torchaudio's and scipy's, alone and in batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch
import torchaudio

from speechprobe import audio, pooling
from speechprobe.extractors import check_extractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.mfcc import MFCC

RATE = 16_000
LENGTHS = [600, 5000, 16_123, 601, 47_999]
THEIRS = {"n_fft": 1024, "win_length": 400, "hop_length": 160, "n_mels": 80}


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)


def fading(n: int, seed: int = 0) -> np.ndarray:
    """Noise whose end is over 80 dB below its start."""
    return noise(n, seed) * np.geomspace(1, 1e-6, n, dtype=np.float32)


SOUNDS = {
    "noise": noise(16_123),
    "fading": fading(16_123),
    "silence": np.zeros(16_123, np.float32),
    "a constant": np.full(16_123, 0.1, np.float32),
}


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("log_mels", [False, True])
def test_it_is_torchaudios(sound, log_mels):
    front = MFCC(mel=MelSpectrogram(log_offset=1e-6 if log_mels else None))
    reference = torchaudio.transforms.MFCC(RATE, 40, log_mels=log_mels, melkwargs=THEIRS)
    expected = reference(torch.from_numpy(SOUNDS[sound])).T.numpy()
    found = front(SOUNDS[sound])["mfcc"]
    assert found.shape == expected.shape == (front.n_frames(16_123), 40)
    # Relative to the frame: single coefficients pass through zero.
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 1e-5


@pytest.mark.shared
def test_it_is_torchaudios_on_real_speech(shared):
    reference = torchaudio.transforms.MFCC(RATE, 13, melkwargs=THEIRS)
    for path in sorted((shared / "data" / "emodb" / "wav").glob("*.wav"))[::60]:
        signal = audio.read(path, RATE)
        expected = reference(torch.from_numpy(signal)).T.numpy()
        np.testing.assert_allclose(MFCC(13)(signal)["mfcc"], expected, rtol=1e-4, atol=1e-3)


def test_it_is_the_cosine_transform_of_decibels_cut_below_the_loudest():
    mel = MelSpectrogram(30)
    decibels = 10 * np.log10(np.maximum(mel(SOUNDS["fading"])["mel"].astype(float), 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    expected = scipy.fft.dct(decibels, norm="ortho")[:, :20]
    np.testing.assert_allclose(MFCC(20, mel=mel)(SOUNDS["fading"])["mfcc"], expected, atol=1e-3)


def test_all_coefficients_give_the_spectrogram_back():
    mel = MelSpectrogram(30, log_offset=1e-6)
    found = MFCC(30, mel=mel)(SOUNDS["noise"])["mfcc"]
    back = scipy.fft.idct(found, norm="ortho")
    np.testing.assert_allclose(back, mel(SOUNDS["noise"])["mel"], atol=1e-4)


def test_every_row_of_a_ragged_batch_is_cut_below_its_own_loudest():
    front = MFCC(13)
    batch = torch.full((len(LENGTHS), max(LENGTHS)), 0.9)  # loud behind the rows
    for row, n in enumerate(LENGTHS):
        batch[row, :n] = torch.from_numpy(fading(n, seed=row)) * 10.0**-row
    found = front(batch, torch.tensor(LENGTHS)).numpy()
    for row, n in enumerate(LENGTHS):
        alone = front(batch[row, :n].numpy())["mfcc"]
        np.testing.assert_allclose(found[row, : front.n_frames(n)], alone, rtol=1e-6, atol=2e-4)


def test_pooled_batches_are_the_pooled_single_signals():
    signals = [fading(n, seed=n) for n in LENGTHS]
    for pool in (pooling.mean, pooling.mean_std, pooling.maximum):
        batch = MFCC(13).extract_batch(signals, pool)["mfcc"]
        alone = np.stack([MFCC(13).extract_batch([each], pool)["mfcc"][0] for each in signals])
        np.testing.assert_allclose(batch, alone, rtol=1e-5, atol=1e-4)


def test_without_a_top_nothing_is_cut():
    uncut, cut = (MFCC(13, top_db=top)(SOUNDS["fading"])["mfcc"] for top in (None, 80.0))
    assert uncut[-1, 0] < cut[-1, 0] - 10
    np.testing.assert_allclose(uncut[0], cut[0], atol=1e-3)


def test_it_has_the_rate_and_the_frames_of_its_spectrogram():
    mel = MelSpectrogram(23, sample_rate=8000, n_fft=256)
    front = MFCC(13, mel=mel)
    assert front.sample_rate == 8000
    assert front.n_frames(8000) == mel.n_frames(8000) == len(front(noise(8000))["mfcc"])
    with pytest.raises(ValueError, match="128 samples is too short to be mirrored by 128"):
        front(noise(128))


def test_more_coefficients_than_bands_are_refused():
    with pytest.raises(ValueError, match="from 1 to the 23 bands of mel, got 24"):
        MFCC(24, mel=MelSpectrogram(23))
    with pytest.raises(ValueError, match="got 0"):
        MFCC(0)


def test_it_keeps_the_rules_of_extractors():
    check_extractor(MFCC())
    check_extractor(MFCC(13, mel=replace(MelSpectrogram(23), sample_rate=8000)))
