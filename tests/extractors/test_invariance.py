from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe.extractors import (
    KaldiFbank,
    LogMel,
    ModuleExtractor,
    TransformerExtractor,
    subtract_mean,
)
from speechprobe.extractors.invariance import check_batch_invariance


class Noise:
    def __init__(self, seconds):
        self.duration = seconds

    def signal(self, sample_rate=None):
        generator = np.random.default_rng(int(self.duration * 1000))
        return generator.normal(size=int(self.duration * sample_rate)).astype(np.float32)


CORPUS = [Noise(seconds) for seconds in (0.4, 2.0, 0.9, 1.3)]


class Loudest(nn.Module):
    """Divides by the largest value of the whole batch, so that a neighbour changes a signal."""

    def forward(self, waveforms):
        frames = waveforms.unfold(-1, 400, 160)
        return frames / frames.abs().amax()


def test_a_front_end_whose_frames_lie_inside_the_signal_is_exact():
    table = check_batch_invariance(LogMel(n_mels=12), CORPUS)
    assert table.index.tolist() == ["logmel"]
    assert table["exact"].all()


def test_padding_that_changes_a_layer_is_found():
    net = nn.Sequential(Loudest(), nn.Linear(400, 3)).eval()
    extractor = ModuleExtractor(net, layers="*", sample_rate=16_000, padding="allow")
    table = check_batch_invariance(extractor, CORPUS)
    assert not table["exact"].any()
    assert (table["error"] > 1e-3).all()


def test_the_shortest_and_the_longest_are_in_the_batch():
    seen = []

    class Spy(LogMel):
        def extract_batch(self, signals, pool):
            seen.append([len(signal) for signal in signals])
            return super().extract_batch(signals, pool)

    check_batch_invariance(Spy(n_mels=12), CORPUS, n=2)
    assert seen[0] == [6400, 32_000]


def test_one_at_a_time_and_one_utterance_are_refused():
    class Single:
        name, sample_rate = "single", 16_000

        def __call__(self, signal):
            return {"x": signal[:, None]}

    with pytest.raises(TypeError, match="one signal at a time"):
        check_batch_invariance(Single(), CORPUS)
    with pytest.raises(ValueError, match="needs two utterances, got 1"):
        check_batch_invariance(LogMel(), CORPUS[:1])


class TestDescribe:
    def test_each_layer_has_its_class_width_and_pace(self):
        net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.Conv1d(4, 6, 3, stride=2)).eval()
        extractor = ModuleExtractor(
            net, layers="*", sample_rate=16_000, preprocess=lambda waveforms: waveforms[:, None]
        )
        table = extractor.describe()
        assert table["module"].tolist() == ["Conv1d", "Conv1d"]
        assert table["n_dims"].tolist() == [4, 6]
        assert table["frame_rate"].tolist() == [100.0, 50.0]
        assert table["stride"].tolist() == [160, 320]
        assert table["final_norm"].isna().all()

    def test_a_layer_without_time_has_no_pace(self):
        class Mean(nn.Module):
            def forward(self, x):
                return x.mean(-1)

        net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), Mean()).eval()
        extractor = ModuleExtractor(
            net, layers="*", sample_rate=16_000, preprocess=lambda waveforms: waveforms[:, None]
        )
        assert np.isnan(extractor.describe()["frame_rate"]["1"])

    @pytest.mark.shared
    def test_a_transformer_tells_what_lies_before_the_final_norm(self, shared):
        extractor = TransformerExtractor(shared / "models/whisper-tiny-encoder")
        table = extractor.describe()
        assert table["final_norm"].tolist() == ["before"] * 5 + ["after"]
        assert table["module"].iloc[0] == "WhisperEncoderLayer (input)"
        assert (table["frame_rate"] == 50).all()
        assert (table["n_dims"] == 384).all()


def test_describing_leaves_the_weights_alone():
    net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160)).eval()
    before = net[0].weight.clone()
    ModuleExtractor(net, layers="*", sample_rate=16_000, preprocess=lambda x: x[:, None]).describe()
    assert torch.equal(net[0].weight, before)
    assert not net[0]._forward_hooks


def test_a_layer_whose_mean_is_zero_is_exact():
    front = KaldiFbank(n_mels=8, normalise=subtract_mean)
    assert check_batch_invariance(front, CORPUS)["exact"].all()
