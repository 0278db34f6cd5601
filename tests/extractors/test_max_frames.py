"""A fixed number of feature frames, as the speaking-rate study cut and filled its files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import (
    KaldiFbank,
    MaskedExtractor,
    check_extractor,
    load_wespeaker,
    nets,
)
from speechprobe.extractors.normalise import subtract_mean

RATE = 16_000
FRAMES = 120  # 1.215 s


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return nets.SimAMResNet34(width=4, n_dims=16).eval()


@pytest.fixture
def build(network):
    def build(max_frames=FRAMES, normalise=subtract_mean):
        return MaskedExtractor(
            network,
            frontend=KaldiFbank(n_mels=80),
            normalise=normalise,
            layers=["front.relu", "front.layer2.0", "bottleneck"],
            name="small",
            max_frames=max_frames,
        )

    return build


def noise(seconds, seed=0):
    values = np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * RATE))
    return values.astype(np.float32)


@pytest.mark.parametrize("seconds", [0.3, 1.215, 2.0])
def test_features_are_normalised_over_the_signal_and_then_cut_or_filled_with_zeros(
    build, network, seconds
):
    signal = noise(seconds)
    features = KaldiFbank(n_mels=80)(torch.from_numpy(signal)[None])
    features = (features - features.mean(1, keepdim=True))[:, :FRAMES]
    filled = torch.zeros(1, FRAMES, 80)
    filled[:, : features.shape[1]] = features
    with torch.inference_mode():
        expected = network(filled, None)[0].numpy()
    found = build()(signal)
    np.testing.assert_allclose(found["bottleneck"][0], expected, rtol=1e-4, atol=1e-6)
    assert {layer: len(frames) for layer, frames in found.items()} == {
        "front.relu": FRAMES, "front.layer2.0": FRAMES // 2, "bottleneck": 1
    }  # fmt: skip


def test_all_frames_count_in_the_pooling(build):
    extractor = build()
    signals = [noise(s, seed) for seed, s in enumerate((0.3, 2.0, 1.0))]
    pooled = extractor.extract_batch(signals, pooling.mean)
    for row, signal in enumerate(signals):
        for layer, frames in extractor(signal).items():
            np.testing.assert_allclose(pooled[layer][row], frames.mean(0), rtol=1e-3, atol=1e-5)


def test_signals_of_all_lengths_run_in_one_batch(build):
    extractor = build()
    extractor.extract_batch([noise(0.3), noise(0.3)], pooling.mean)  # dry runs
    sizes = []
    handle = extractor.module.register_forward_pre_hook(lambda _m, a: sizes.append(a[0].shape))
    extractor.extract_batch([noise(0.3), noise(3.0), noise(1.0)], pooling.mean)
    handle.remove()
    assert [tuple(size) for size in sizes] == [(3, FRAMES, 80)]


def test_whole_signals_give_something_else(build):
    signal = noise(2.0)
    whole, cut = build(None), build()
    assert not np.allclose(whole(signal)["bottleneck"], cut(signal)["bottleneck"])
    assert "max_frames" not in whole.provenance
    assert cut.provenance["max_frames"] == FRAMES


def test_what_lies_behind_the_cut_changes_nothing(build):
    signal, other = noise(2.0), noise(2.0)
    other[-RATE // 4 :] = 0
    found = [build(normalise=None)(each)["bottleneck"] for each in (signal, other)]
    np.testing.assert_array_equal(*found)


def test_it_keeps_the_rules_of_extractors(build):
    check_extractor(build())


def test_frames_have_the_rate_of_whole_signals(build):
    table = build().describe()
    assert table["frame_rate"].tolist()[:2] == [100.0, 50.0]


def test_no_frame_is_refused(build):
    with pytest.raises(ValueError, match="max_frames must be at least 1, got 0"):
        build(0)


def test_wespeakers_loader_takes_it(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "model: SimAM_ResNet34_ASP\nmodel_args: {in_planes: 4, embed_dim: 16}\n"
    )
    extractor = load_wespeaker(tmp_path, untrained=True, max_frames=400)
    assert len(extractor(noise(0.5))["front.relu"]) == 400


def test_spans_that_may_lie_behind_the_cut_are_refused(build):
    pool = pooling.spans({"a": [(1.5, 1.6)]}).for_batch(["a"], [2.0])
    with pytest.raises(ValueError, match="does not see it whole"):
        build().extract_batch([noise(2.0)], pool)
