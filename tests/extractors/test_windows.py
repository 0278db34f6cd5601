"""Long recordings, and several models at once: wrappers that any extractor fits into."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import speechprobe as sp
from speechprobe import pooling
from speechprobe.extractors import LogMel, ModuleExtractor, check_extractor
from speechprobe.extractors.together import Together
from speechprobe.extractors.windows import Cropped, Windowed

RATE = 16_000


class Envelope:
    name, sample_rate = "envelope", RATE

    def __call__(self, signal):
        frames = np.abs(signal[: len(signal) // 160 * 160]).reshape(-1, 160)
        return {"envelope": frames.mean(1, keepdims=True)}


class GroupNormed(nn.Module):
    """Inexact under padding, so only windows of one length may be batched."""

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
    return ModuleExtractor(GroupNormed().eval(), layers="*", sample_rate=RATE)


def noise(seconds, seed=0):
    values = np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * RATE))
    return values.astype(np.float32)


class TestWindowed:
    def test_a_long_signal_is_the_average_of_its_windows(self, network):
        signal = noise(3.3)
        windows = [signal[k * RATE : (k + 1) * RATE] for k in range(3)] + [signal[-RATE:]]
        alone = network.extract_batch(windows, pooling.mean)
        found = Windowed(network, window_seconds=1).extract_batch([signal], pooling.mean)
        for layer in alone:
            np.testing.assert_allclose(found[layer][0], alone[layer].mean(0), rtol=1e-5, atol=1e-7)

    def test_windows_overlap_by_the_hop(self, network):
        signal = noise(2.0)
        starts = (0, RATE // 2, RATE)
        alone = network.extract_batch([signal[s : s + RATE] for s in starts], pooling.maximum)
        windowed = Windowed(network, window_seconds=1, hop_seconds=0.5)
        found = windowed.extract_batch([signal], pooling.maximum)
        for layer in alone:
            np.testing.assert_allclose(found[layer][0], alone[layer].mean(0), rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("seconds", [0.4, 1.0])
    def test_a_signal_of_one_window_or_less_is_seen_as_it_is(self, network, seconds):
        signal = noise(seconds)
        found = Windowed(network, window_seconds=1)(signal)
        for layer, frames in network(signal).items():
            np.testing.assert_array_equal(found[layer], frames)

    def test_rows_keep_the_order_of_long_and_short_signals(self, network):
        signals = [noise(s, seed) for seed, s in enumerate((2.5, 0.5, 1.0, 4.2, 0.7))]
        windowed = Windowed(network, window_seconds=1)
        with pytest.warns(UserWarning, match="said once"):
            together = windowed.extract_batch(signals, pooling.mean)
        for row, signal in enumerate(signals):
            alone = windowed.extract_batch([signal], pooling.mean)
            for layer in alone:
                np.testing.assert_allclose(together[layer][row], alone[layer][0], rtol=1e-4)

    def test_frames_follow_each_other_without_gap_where_windows_do(self):
        signal = noise(3.0)
        found = Windowed(Envelope(), window_seconds=1)(signal)["envelope"]
        np.testing.assert_array_equal(found, Envelope()(signal)["envelope"])

    @pytest.mark.parametrize("inside", [Envelope, LogMel])
    def test_it_keeps_the_rules_of_extractors(self, inside):
        check_extractor(Windowed(inside(), window_seconds=0.7))

    def test_windows_run_in_batches_of_one_length(self, network):
        shapes = []
        network.module.register_forward_pre_hook(lambda _m, args: shapes.append(args[0].shape))
        network.extract_batch([noise(1), noise(1)], pooling.mean)  # dry runs and measurement
        shapes.clear()
        Windowed(network, window_seconds=1).extract_batch([noise(40.5)], pooling.mean)
        assert [tuple(shape) for shape in shapes] == [(30, RATE), (11, RATE)]

    def test_an_hour_takes_little_more_memory_than_its_samples(self):
        code = """if True:
            import resource
            import numpy as np
            from speechprobe import pooling
            from speechprobe.extractors import LogMel
            from speechprobe.extractors.windows import Windowed
            windowed = Windowed(LogMel(), window_seconds=30)
            signal = np.full(3600 * 16_000, 0.1, np.float32)
            windowed.extract_batch([signal[:960_000]], pooling.mean)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert np.isfinite(windowed.extract_batch([signal], pooling.mean)["logmel"]).all()
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert int(run.stdout) < 400_000  # kB; whole, its windows would take 1.5 GB, twice

    @pytest.mark.parametrize(("window", "hop"), [(0, None), (1, 0), (1, 2), (-1, -1)])
    def test_a_window_that_makes_no_sense_is_refused(self, window, hop):
        with pytest.raises(ValueError, match="positive length"):
            Windowed(LogMel(), window_seconds=window, hop_seconds=hop)

    def test_a_window_longer_than_the_network_takes_is_refused(self, network):
        network.max_seconds = 30.0
        with pytest.raises(ValueError, match="takes 30 s"):
            Windowed(network, window_seconds=31)

    def test_it_lifts_the_limit_of_the_network_inside(self, network, tmp_path):
        network.max_seconds = 1.0
        sp.audio.write(tmp_path / "long.wav", noise(2.5), RATE)
        corpus = sp.datasets.load_folder(tmp_path)
        with pytest.raises(ValueError, match="takes 1 s"):
            sp.extract(corpus, network)
        assert len(sp.extract(corpus, Windowed(network, window_seconds=1))) == 1

    def test_the_store_tells_windows_apart(self, network):
        plain = Windowed(network, window_seconds=1).provenance
        assert plain["window_seconds"] == plain["hop_seconds"] == 1.0
        assert plain != Windowed(network, window_seconds=1, hop_seconds=0.5).provenance
        assert plain["weights_sha256"] == network.provenance["weights_sha256"]

    def test_a_class_in_place_of_an_extractor_is_refused(self):
        with pytest.raises(TypeError, match="did you forget the brackets"):
            Windowed(Envelope, window_seconds=1)


class TestCropped:
    def test_only_the_beginning_counts(self, network):
        signal = noise(2.0)
        cropped = Cropped(network, max_seconds=0.5)
        for layer, frames in network(signal[: RATE // 2]).items():
            np.testing.assert_array_equal(cropped(signal)[layer], frames)
            pooled = cropped.extract_batch([signal], pooling.mean)[layer][0]
            np.testing.assert_allclose(pooled, frames.mean(0), rtol=1e-5, atol=1e-7)

    def test_it_keeps_the_rules_of_extractors(self):
        check_extractor(Cropped(LogMel(n_mels=8), max_seconds=0.6))

    def test_extract_takes_recordings_that_are_longer(self, tmp_path):
        sp.audio.write(tmp_path / "long.wav", noise(2.5), RATE)
        features = sp.extract(sp.datasets.load_folder(tmp_path), Cropped(LogMel(), max_seconds=1))
        assert len(features) == 1
        assert features.provenance["extractor"]["max_seconds"] == 1.0

    def test_nothing_left_is_refused(self):
        with pytest.raises(ValueError, match="must be positive"):
            Cropped(LogMel(), max_seconds=0)


class TestTogether:
    def test_every_layer_of_every_model_is_what_the_model_alone_gives(self, network):
        both = Together({"mel": LogMel(n_mels=8), "net": network, "own": Envelope()})
        signals = [noise(1.0), noise(1.0, seed=1)]
        found = both.extract_batch(signals, pooling.mean)
        assert list(found) == ["mel/logmel", "net/frame", "net/norm", "own/envelope"]
        expected = network.extract_batch(signals, pooling.mean)["norm"]
        np.testing.assert_array_equal(found["net/norm"], expected)
        for row, signal in enumerate(signals):
            mean = Envelope()(signal)["envelope"].mean(0)
            np.testing.assert_allclose(found["own/envelope"][row], mean, rtol=1e-6)

    def test_it_keeps_the_rules_of_extractors(self, network):
        check_extractor(Together({"mel": LogMel(n_mels=8), "own": Envelope()}))
        assert Together({"net": network}).layers == ("net/frame", "net/norm")

    def test_a_store_takes_layers_of_several_models(self, tmp_path):
        sp.audio.write(tmp_path / "a.wav", noise(1.0), RATE)
        corpus = sp.datasets.load_folder(tmp_path, pattern="*.wav")
        both = Together({"a": LogMel(n_mels=8), "b": LogMel(n_mels=12)})
        features = sp.extract(corpus, both, store=tmp_path / "store")
        assert {name: rows.shape for name, rows in features.layers.items()} == {
            "a/logmel": (1, 8), "b/logmel": (1, 12)
        }  # fmt: skip

    def test_the_shortest_limit_is_the_limit_of_all(self, network):
        network.max_seconds = 30.0
        assert Together({"mel": LogMel(), "net": network}).max_seconds == 30.0
        assert Together({"mel": LogMel()}).max_seconds is None

    def test_two_sample_rates_are_refused_and_named(self):
        with pytest.raises(ValueError, match="'b': 8000"):
            Together({"a": LogMel(), "b": LogMel(sample_rate=8000)})
