"""Normalisation over each utterance, as functions and as part of the front ends."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe import _fingerprint, pooling
from speechprobe.extractors import check_extractor
from speechprobe.extractors.frontends import LogMel
from speechprobe.extractors.kaldi import KaldiFbank
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.mfcc import MFCC
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.normalise import standardise, subtract_mean

LENGTHS = [16_123, 1200, 5000, 1201]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)


def fronts(normalise):
    return [
        LogMel(18, normalise=normalise),
        KaldiFbank(18, normalise=normalise),
        MelSpectrogram(18, log_offset=1e-6, normalise=normalise),
        MFCC(12, mel=MelSpectrogram(18), normalise=normalise),
    ]


def by_numpy(features: np.ndarray, normalise) -> np.ndarray:
    centred = features - features.mean(0)
    return centred if normalise is subtract_mean else centred / np.sqrt(features.var(0) + 1e-5)


both = pytest.mark.parametrize("normalise", [subtract_mean, standardise])
each_kind = pytest.mark.parametrize("kind", range(4), ids=["logmel", "fbank", "mel", "mfcc"])


@both
@each_kind
def test_a_front_end_normalises_over_the_utterance(kind, normalise):
    plain, normalised = fronts(None)[kind], fronts(normalise)[kind]
    features = plain(noise(16_123))[plain.name].astype(float)
    found = normalised(noise(16_123))[plain.name]
    np.testing.assert_allclose(found, by_numpy(features, normalise), rtol=1e-5, atol=3e-5)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)


@both
@each_kind
def test_a_padded_row_is_normalised_as_if_it_were_alone(kind, normalise):
    front = fronts(normalise)[kind]
    batch = torch.full((len(LENGTHS), max(LENGTHS)), 0.7)  # what lies behind a row must not matter
    for row, n in enumerate(LENGTHS):
        batch[row, :n] = torch.from_numpy(noise(n, row))
    found = front(batch, torch.tensor(LENGTHS))
    for row, n in enumerate(LENGTHS):
        alone = front(noise(n, row))[front.name]
        np.testing.assert_allclose(found[row, : front.n_frames(n)], alone, rtol=1e-4, atol=1e-4)


@both
@each_kind
def test_pooled_batches_are_the_pooled_single_signals(kind, normalise):
    front = fronts(normalise)[kind]
    signals = [noise(n, n) for n in LENGTHS]
    batch = front.extract_batch(signals, pooling.maximum)[front.name]
    alone = np.stack([front(signal)[front.name].max(0) for signal in signals])
    np.testing.assert_allclose(batch, alone, rtol=1e-4, atol=1e-4)


def test_nothing_is_normalised_unless_asked():
    assert all(front.normalise is None for front in (LogMel(), KaldiFbank(), MelSpectrogram()))
    assert KaldiFbank(20)(noise(8000))["fbank"].mean() > 5


def test_standardise_is_instance_norm():
    features = torch.randn(3, 50, 7, generator=torch.Generator().manual_seed(0)) * 4 + 3
    expected = nn.InstanceNorm1d(7)(features.mT).mT
    torch.testing.assert_close(standardise(features), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(standardise(features, torch.full((3,), 50)), expected)


@both
def test_constants_stay_finite_and_become_zero(normalise):
    found = normalise(torch.full((2, 40, 3), 7.5), torch.tensor([40, 9]))
    assert not found[0].any()
    assert not found[1, :9].any()


@both
def test_what_lies_behind_a_row_counts_for_nothing(normalise):
    features = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    other = features.clone()
    other[1, 20:] = torch.nan
    lengths = torch.tensor([30, 20])
    one, two = normalise(features, lengths), normalise(other, lengths)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1, :20], two[1, :20])
    torch.testing.assert_close(one[1, :20], normalise(features[1:, :20])[0])


def test_doubles_stay_doubles():
    waveforms = torch.from_numpy(noise(8000)).double()[None]
    assert KaldiFbank(20, normalise=standardise)(waveforms).dtype == torch.float64


@both
def test_any_function_serves(normalise):
    front = KaldiFbank(20, normalise=lambda features, lengths: -normalise(features, lengths))
    found = front(noise(8000))["fbank"]
    expected = KaldiFbank(20, normalise=normalise)(noise(8000))["fbank"]
    np.testing.assert_array_equal(found, -expected)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer = nn.Linear(20, 3)
        for weights in self.layer.parameters():
            nn.init.normal_(weights, generator=generator)

    def forward(self, features, lengths=None):
        return self.layer(features)


def test_it_is_what_masked_networks_do_behind_their_front_end():
    settings = {"layers": "*", "name": "net"}
    inside = MaskedExtractor(
        Net().eval(), frontend=KaldiFbank(20, normalise=standardise), **settings
    )
    behind = MaskedExtractor(
        Net().eval(), frontend=KaldiFbank(20), normalise=standardise, **settings
    )
    signals = [noise(n, n) for n in LENGTHS]
    one, two = (each.extract_batch(signals, pooling.mean_std)["layer"] for each in (inside, behind))
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)
    check_extractor(inside)


def test_a_plain_network_takes_a_normalised_front_end_as_preprocess():
    front = KaldiFbank(20, normalise=subtract_mean)
    extractor = ModuleExtractor(Net().eval(), layers="*", sample_rate=16_000, preprocess=front)
    signals = [noise(n, n) for n in LENGTHS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that unequal lengths run one by one
        found = extractor.extract_batch(signals, pooling.maximum)["layer"]
    alone = np.stack([extractor(signal)["layer"].max(0) for signal in signals])
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-4)


def test_it_is_in_the_provenance():
    prints = [
        _fingerprint.of_object(KaldiFbank(normalise=f)) for f in (None, subtract_mean, standardise)
    ]
    assert prints[0] != prints[1] != prints[2] != prints[0]


def test_a_normalised_spectrogram_has_no_cepstrum():
    with pytest.raises(ValueError, match="mel must not be normalised.*give normalise to MFCC"):
        MFCC(12, mel=MelSpectrogram(18, normalise=subtract_mean))
