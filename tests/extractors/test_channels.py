"""Channels last: the same numbers, laid otherwise in memory."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe import extractors, pooling
from speechprobe.extractors import ModuleExtractor


class Maps(nn.Module):
    """Two 2-D convolutions over a map of 8 rows, and one over time."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.over_time = nn.Conv1d(32, 5, 1)

    def forward(self, waveforms):
        maps = waveforms[:, : waveforms.shape[1] // 8 * 8].unflatten(-1, (-1, 8)).mT[:, None]
        return self.over_time(self.two(torch.relu(self.one(maps))).flatten(1, 2))


def build():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Maps().eval()
    layers = ["one", "two", "over_time"]
    return ModuleExtractor(network, layers=layers, sample_rate=8000, padding="never")


def is_last(weight):
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_vectors_and_frames_stay_and_only_2d_convolutions_are_laid_otherwise():
    before, after = build(), build()
    after.channels_last()
    assert is_last(after.module.two.weight)
    assert after.module.over_time.weight.is_contiguous()
    signals = [
        np.random.default_rng(n).normal(size=n).astype(np.float32) for n in (7200, 8803, 7200)
    ]
    for pool in map(pooling.resolve, ("mean", "mean_std", "max")):
        expected, got = (each.extract_batch(signals, pool) for each in (before, after))
        for layer, rows in expected.items():
            np.testing.assert_allclose(got[layer], rows, rtol=1e-4, atol=1e-5)
    for layer, frames in before(signals[0]).items():
        np.testing.assert_allclose(after(signals[0])[layer], frames, rtol=1e-4, atol=1e-5)


def test_the_same_weights_have_the_same_provenance():
    before, after = build(), build()
    after.channels_last()
    assert after.provenance == before.provenance


@pytest.mark.parametrize(
    "load",
    [
        lambda device: extractors.load_byol_a(
            None, mean=-5.0, std=4.0, untrained=True, device=device
        ),
        lambda device: extractors.load_voxceleb_trainer(
            None, architecture="VGGVox", untrained=True, device=device
        ),
    ],
)
def test_loaders_lay_2d_networks_channels_last_on_a_cpu_and_nowhere_else(load):
    def weights(device):
        module = load(device).module
        convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
        return [each.weight for each in convolutions if each.weight.shape[1] > 1]

    on_cpu, elsewhere = weights("cpu"), weights("meta")
    assert on_cpu and all(map(is_last, on_cpu))
    assert not any(map(is_last, elsewhere))


def test_a_copy_of_such_an_extractor_gives_the_same_numbers():
    extractor = extractors.load_byol_a(None, mean=-5.0, std=4.0, untrained=True)
    signal = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    copied = copy.deepcopy(extractor)(signal)
    for layer, frames in extractor(signal).items():
        np.testing.assert_array_equal(copied[layer], frames)
