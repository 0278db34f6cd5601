"""Ten crops: which samples they are, and that a batch of them is what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import speechprobe as sp
from speechprobe import pooling
from speechprobe.extractors import LogMel, ModuleExtractor
from speechprobe.layers.verification.ten_crops import TenCrops, crops_of
from speechprobe.layers.verification.verify import verify_layers

RATE = 16_000


def noise(n_samples, seed=0):
    values = np.random.default_rng(seed).normal(scale=0.1, size=n_samples)
    return values.astype(np.float32)


def by_loop(signal, length, n_crops=10):
    """Cut as the rule reads, sample by sample."""
    samples = list(signal)
    while len(signal) <= length and len(samples) < length + 1:
        samples.append(samples[len(samples) - len(signal)])
    last = len(samples) - length
    starts = [int(number * last / (n_crops - 1)) for number in range(n_crops)]
    return [samples[start : start + length] for start in starts]


@pytest.mark.parametrize("n_samples", [1, 7, 99, 100, 101, 102, 109, 250, 1003])
def test_crops_are_those_of_the_rule(n_samples):
    signal = noise(n_samples)
    np.testing.assert_array_equal(crops_of(signal, 100), by_loop(signal, 100))


def test_400_frames_are_4_015_seconds_at_any_rate():
    extractor = LogMel(n_mels=8)
    assert TenCrops(extractor).n_samples == 64_240
    assert TenCrops(extractor, n_frames=200).n_samples == 32_240
    extractor.sample_rate = 8_000
    assert TenCrops(extractor).n_samples == 32_120


class Normed(nn.Module):
    """Inexact under padding, so that only crops of one length may be batched."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 400, stride=320)
        self.norm = nn.GroupNorm(6, 6)
        nn.init.normal_(self.norm.bias)

    def forward(self, waveforms):
        return self.norm(self.frame(waveforms[:, None]))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ModuleExtractor(Normed().eval(), layers="*", sample_rate=RATE)


@pytest.mark.parametrize("pool", [pooling.mean, pooling.mean_std])
def test_a_row_holds_the_crops_side_by_side_each_as_it_is_alone(network, pool):
    crops = TenCrops(network, n_frames=50)
    signals = [noise(n, seed) for seed, n in enumerate((3_000, 20_000, 8_240))]
    found = crops.extract_batch(signals, pool)
    for row, signal in enumerate(signals):
        for number, crop in enumerate(by_loop(signal, 8_240)):
            alone = network.extract_batch([np.array(crop, np.float32)], pool)
            for layer, vector in alone.items():
                width = vector.shape[1]
                own = found[layer][row, number * width : (number + 1) * width]
                np.testing.assert_allclose(own, vector[0], rtol=1e-4, atol=1e-6)


def test_an_extractor_of_one_signal_at_a_time_and_frames_do_as_well():
    class Envelope:
        name, sample_rate = "envelope", RATE

        def __call__(self, signal):
            frames = np.abs(signal[: len(signal) // 160 * 160]).reshape(-1, 160)
            return {"envelope": frames.mean(1, keepdims=True)}

    crops, signal = TenCrops(Envelope(), n_frames=9), noise(5_000)
    frames = crops(signal)["envelope"]
    assert frames.shape == (10, 10)
    pooled = crops.extract_batch([signal], pooling.mean)["envelope"]
    np.testing.assert_allclose(pooled[0], frames.mean(0), rtol=1e-6)
    (ragged,) = crops.extract_batch([signal], pooling.frames)["envelope"]
    np.testing.assert_allclose(ragged, frames)


def test_features_of_crops_are_scored_and_say_what_they_are(tmp_path, write_sound):
    for speaker, pitch in enumerate((200, 900, 2_500)):
        for take in range(3):
            write_sound(tmp_path / f"s{speaker}" / f"{take}.wav", 0.4 + take / 9, frequency=pitch)
    corpus = sp.datasets.load_folder(tmp_path)
    features = sp.extract(corpus, TenCrops(LogMel(n_mels=12), n_frames=20), store=tmp_path / "f")
    assert features.provenance["extractor"]["n_crops"] == 10
    assert features.provenance["extractor"]["crop_samples"] == 3_440
    assert features["logmel"].shape == (9, 120)
    trials = sp.datasets.make_trials(corpus, 18)
    found = verify_layers(sp.load_features(tmp_path / "f"), trials, "vox-trainer-10crop")
    assert found.records[0].eer == 0
    assert (found.scores["logmel"] <= 0).all()


@pytest.mark.parametrize(
    ("signal", "kind", "message"),
    [
        (np.zeros(0, np.float32), ValueError, "no samples"),
        (np.array([0.1, np.nan]), ValueError, "NaN"),
        (np.zeros((2, 9)), TypeError, r"\(n_samples,\)"),
    ],
)
def test_a_signal_without_samples_cannot_be_repeated(signal, kind, message):
    with pytest.raises(kind, match=message):
        TenCrops(LogMel(n_mels=8)).extract_batch([signal], pooling.mean)


def test_an_empty_file_is_named(tmp_path, write_sound):
    write_sound(tmp_path / "s" / "a.wav")
    write_sound(tmp_path / "s" / "empty.wav", seconds=0)
    with pytest.warns(UserWarning, match="no samples"):
        corpus = sp.datasets.load_folder(tmp_path)
    with pytest.raises(ValueError, match=r"1 of 2 utterances cannot be used.*empty"):
        sp.extract(corpus, TenCrops(LogMel(n_mels=8)))


def test_numbers_below_one_and_spans_are_refused():
    with pytest.raises(ValueError, match="n_frames=400, n_crops=0"):
        TenCrops(LogMel(), n_crops=0)
    spans = pooling.for_batch(pooling.spans({"u": np.array([[0.0, 0.1]])}), ["u"], [0.5])
    with pytest.raises(ValueError, match="spans of a recording cannot be pooled"):
        TenCrops(LogMel()).extract_batch([noise(8_000)], spans)
