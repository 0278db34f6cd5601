"""What may happen while a network runs: memory runs out, numbers overflow, it is compiled."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import speechprobe as sp
from speechprobe import pooling
from speechprobe.extractors import (
    LogMel,
    ModuleExtractor,
    capture,
    check_extractor,
    standardise,
)
from speechprobe.extractors.dryrun import fake_shapes
from speechprobe.extractors.memory import Fitting, is_out_of_memory

RATE = 8000


class Framed(nn.Module):
    """Frames, then a point-wise layer: padding is exact."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.point = nn.Conv1d(6, 4, 1)
        self.gain = gain

    def forward(self, waveforms):
        return self.point(torch.tanh(self.frame(waveforms[:, None])) * self.gain)


class Recurrent(nn.Module):
    """Two LSTMs over frames, time first or batch first, whose outputs are tuples."""

    def __init__(self, *, batch_first, bidirectional=False):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.one = nn.LSTM(6, 5, batch_first=batch_first, bidirectional=bidirectional)
        self.two = nn.GRU(5 * (1 + bidirectional), 3, num_layers=2, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, waveforms):
        x = self.frame(waveforms[:, None])
        x = x.movedim(1, 2) if self.batch_first else x.movedim(2, 0)
        return self.two(self.one(x)[0])[0]


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.lstm = nn.LSTM(6, 5, batch_first=True)

    def forward(self, waveforms):
        x = self.frame(waveforms[:, None]).mT
        lengths = torch.full((len(x),), x.shape[1])
        return self.lstm(pack_padded_sequence(x, lengths, batch_first=True))[0]


@pytest.fixture
def build():
    def build(network, **settings):
        torch.manual_seed(0)
        settings = {"layers": "*", "sample_rate": RATE} | settings
        return ModuleExtractor(network().eval(), **settings)

    return build


@pytest.fixture(scope="module")
def signals():
    rng = np.random.default_rng(0)
    return [rng.normal(scale=0.1, size=n).astype(np.float32) for n in (4000, 9000, 4000, 5333)]


def sizes_of_batches(extractor):
    sizes = []
    extractor.module.register_forward_pre_hook(lambda _m, args: sizes.append(len(args[0])))
    return sizes


def limited(extractor, most):
    """Let a network fail on more samples than `most`, as a small device does."""

    def refuse(_module, args):
        if args[0].numel() > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    extractor.module.register_forward_pre_hook(refuse)


class TestMemory:
    def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_vectors(self, build, signals):
        expected = build(Framed).extract_batch(signals, pooling.mean)
        extractor = build(Framed)
        extractor.extract_batch(signals[:2], pooling.mean)  # dry runs and measurement
        limited(extractor, 9000)
        found = extractor.extract_batch(signals, pooling.mean)
        for layer in expected:
            np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-5, atol=1e-7)

    def test_what_did_not_fit_is_not_tried_again(self, build, signals):
        extractor = build(Framed)
        extractor.extract_batch(signals[:2], pooling.mean)
        sizes = sizes_of_batches(extractor)
        limited(extractor, 18_000)
        extractor.extract_batch(signals, pooling.mean)
        assert sizes == [4, 2, 2]
        sizes.clear()
        extractor.extract_batch(signals, pooling.mean)
        assert sizes == [2, 2]

    def test_a_signal_that_does_not_fit_alone_is_an_error_with_the_remedy(self, build, signals):
        extractor = build(Framed)
        extractor.extract_batch(signals[:2], pooling.mean)
        limited(extractor, 5000)
        with pytest.raises(MemoryError, match=r"9000 samples.*Windowed"):
            extractor.extract_batch(signals, pooling.mean)

    def test_other_errors_pass(self):
        def attempt(_rows):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        with pytest.raises(RuntimeError, match="mat1"):
            Fitting().run([0, 1], [5, 5], attempt)

    def test_nothing_of_the_failed_batch_is_held(self):
        seen = []

        def attempt(rows):
            big = np.zeros(1000)
            seen.append(__import__("weakref").ref(big))
            if len(rows) > 1:
                raise MemoryError
            assert seen[0]() is None
            return rows

        Fitting().run([0, 1], [5, 5], attempt)

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (MemoryError(), True),
            (torch.OutOfMemoryError("CUDA out of memory."), True),
            (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
            (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True),
            (RuntimeError("expected scalar type Float"), False),
            (ValueError("too short"), False),
        ],
    )
    def test_only_a_lack_of_memory_is_a_lack_of_memory(self, error, expected):
        assert is_out_of_memory(error) is expected


class TestAutocast:
    @pytest.mark.parametrize("pool", [pooling.mean, pooling.first])
    def test_a_layer_that_overflows_names_itself_the_signal_and_the_remedy(
        self, build, signals, pool
    ):
        # The last frames of the second signal only: a pooling need not look at them.
        loud = signals[1].copy()
        loud[-400:] = 100.0
        extractor = build(lambda: Framed(gain=60_000.0), dtype=torch.float16)
        nn.init.constant_(extractor.module.point.weight, 2.0)
        nn.init.constant_(extractor.module.frame.weight, 0.01)
        quiet = np.zeros(9000, np.float32)
        with pytest.raises(ValueError, match=r"'point'.*torch.float16.*9000 samples.*bfloat16"):
            extractor.extract_batch([quiet, loud], pool)

    def test_extract_names_the_utterance(self, build, tmp_path):
        for name, level in (("quiet", 0.0001), ("loud", 0.9)):
            sp.audio.write(tmp_path / f"{name}.wav", np.full(9000, level), RATE)
        extractor = build(lambda: Framed(gain=60_000.0), dtype=torch.float16)
        nn.init.constant_(extractor.module.point.weight, 2.0)
        nn.init.zeros_(extractor.module.frame.bias)
        nn.init.constant_(extractor.module.frame.weight, 0.01)
        with pytest.raises(ValueError, match=r"'loud'.*'point'"):
            sp.extract(sp.datasets.load_folder(tmp_path), extractor, batch_seconds=10)

    def test_padding_is_judged_in_float32(self, build, signals):
        extractor = build(Framed, dtype=torch.bfloat16)
        sizes = sizes_of_batches(extractor)
        extractor.extract_batch(signals, pooling.mean)
        assert sizes[-1] == len(signals)
        assert max(extractor.padding_error.values()) <= 1e-5

    def test_vectors_agree_to_the_rounding_of_the_type(self, build, signals):
        expected = build(Framed).extract_batch(signals, pooling.mean)
        found = build(Framed, dtype=torch.bfloat16).extract_batch(signals, pooling.mean)
        for layer in expected:
            assert found[layer].dtype == np.float32
            np.testing.assert_allclose(found[layer], expected[layer], atol=0.01)


class TestRecurrent:
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_recurrent_layers_keep_the_rules_of_extractors(self, build, signals, batch_first):
        extractor = build(lambda: Recurrent(batch_first=batch_first))
        check_extractor(extractor)
        shapes = {layer: frames.shape for layer, frames in extractor(signals[0]).items()}
        assert shapes == {"frame": (48, 6), "one": (48, 5), "two": (48, 3)}
        assert max(extractor.padding_error.values()) <= 1e-4  # they look back only

    def test_one_that_looks_ahead_is_not_padded(self, build, signals):
        extractor = build(lambda: Recurrent(batch_first=True, bidirectional=True))
        with pytest.warns(UserWarning, match="said once"):
            extractor.extract_batch(signals, pooling.mean)

    def test_packed_sequences_are_unpacked(self, build, signals):
        extractor = build(Packed)
        frames = extractor(signals[0])["lstm"]
        with torch.inference_mode():
            x = extractor.module.frame(torch.from_numpy(signals[0])[None, None]).mT
            expected = extractor.module.lstm(x)[0][0].numpy()
        np.testing.assert_allclose(frames, expected, rtol=1e-5, atol=1e-7)

    def test_the_last_valid_frame_of_a_padded_row_is_its_own(self, build, signals):
        extractor = build(lambda: Recurrent(batch_first=True))
        batch = extractor.extract_batch(signals, pooling.last)
        for row, signal in enumerate(signals):
            np.testing.assert_allclose(batch["two"][row], extractor(signal)["two"][-1], rtol=1e-4)


class TestDryRuns:
    def test_shapes_without_values_are_those_of_a_real_run(self):
        network = Recurrent(batch_first=False).eval()
        waveforms = torch.randn(3, 4000)
        with torch.no_grad(), capture(network, "*", lambda _l, x: tuple(x.shape)) as real:
            network(waveforms)
        assert fake_shapes(network, ["frame", "one", "two"], waveforms, network) == real

    def test_a_slow_network_computes_in_the_first_dry_run_only(self, build):
        computed = []

        class Slow(Framed):
            def forward(self, waveforms):
                computed.append(type(waveforms) is torch.Tensor)
                time.sleep(0.5 * computed[-1])
                return super().forward(waveforms)

        extractor = build(Slow)
        assert extractor._arithmetic["point"].n_frames(RATE) == 1 + (RATE - 200) // 80
        assert sum(computed) == 1
        assert len(computed) > 10

    def test_a_network_that_branches_on_values_runs_for_real(self, build, signals):
        class Branching(Framed):
            def forward(self, waveforms):
                return super().forward(waveforms * (2 if float(waveforms.abs().max()) > 0 else 1))

        check_extractor(build(Branching))

    def test_what_a_network_keeps_for_later_holds_values(self, build, signals):
        class Keeping(Framed):
            """Keeps positions from call to call, as relative encodings do."""

            positions = None

            def forward(self, waveforms):
                x = super().forward(waveforms)
                if self.positions is None or len(self.positions) < x.shape[-1]:
                    self.positions = torch.arange(float(x.shape[-1]))
                    self.register_buffer("scale", torch.ones(()), persistent=False)
                return x + self.positions[: x.shape[-1]] * self.scale

        extractor = build(Keeping)
        assert all(np.isfinite(x).all() for x in extractor(signals[0]).values())
        assert type(extractor.module.positions) is torch.Tensor


class TestCompiled:
    @pytest.fixture(autouse=True)
    def fresh(self):
        torch.compiler.reset()
        yield
        torch.compiler.reset()

    def test_compiled_modules_run_only_inside_the_extractor(self, build, signals):
        expected = build(Framed).extract_batch(signals, pooling.mean)
        extractor = build(Framed)
        extractor.compile(backend="eager")
        forward = extractor.module.frame.forward
        found = extractor.extract_batch(signals, pooling.mean)
        for layer in expected:
            np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-5, atol=1e-7)
        assert "forward" not in extractor.module.frame.__dict__
        assert extractor.module.frame.forward == forward

    def test_a_module_around_a_captured_one_is_left_alone_so_that_hooks_fire(self, build):
        extractor = build(
            lambda: nn.Sequential(nn.Sequential(nn.Conv1d(1, 4, 200, stride=80), nn.ReLU())),
            layers="**",
            preprocess=lambda waveforms: waveforms[:, None],
        )
        extractor.compile(backend="eager")
        assert sorted(extractor._compiled) == ["0.0", "0.1"]
        assert list(extractor(np.ones(RATE, np.float32))) == ["0.0", "0.1", "0"]

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler of torch needs g++")
    def test_the_real_compiler_gives_the_same_vectors(self, build, signals):
        expected = build(Framed).extract_batch(signals, pooling.mean)
        extractor = build(Framed)
        extractor.compile()
        found = extractor.extract_batch(signals, pooling.mean)
        for layer in expected:
            np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-4, atol=1e-6)


def test_a_pooling_that_gives_a_part_of_the_layer_is_not_written_into(build, signals):
    class InPlace(Framed):
        def forward(self, waveforms):
            return super().forward(waveforms).mul_(0)

    extractor = build(InPlace)
    frames = extractor(signals[0])["point"]
    first = extractor.extract_batch(signals[:1], pooling.first)["point"][0]
    np.testing.assert_allclose(first, frames[0], rtol=1e-6)
    assert np.abs(first).max() > 0


def test_two_networks_are_captured_in_one_block():
    one, two = Framed().eval(), Recurrent(batch_first=True).eval()
    waveforms = torch.randn(2, 4000)
    with capture(one, "*") as first, capture(two, "*") as second:
        one(waveforms)
        two(waveforms)
    assert (list(first), list(second)) == (["frame", "point"], ["frame", "one", "two"])


def test_a_part_in_data_parallel_is_refused_and_named():
    network = nn.Sequential(nn.DataParallel(nn.Linear(2, 2))).eval()
    with pytest.raises(ValueError, match=r"^0 is in DataParallel"):
        ModuleExtractor(network, layers="*", sample_rate=RATE)


def test_memory_stays_flat_over_a_long_run(build, signals):
    import gc
    import tracemalloc

    extractor = build(Framed)
    extractor.extract_batch(signals, pooling.mean)
    tracemalloc.start()
    try:
        levels = []
        for _ in range(4):
            for _ in range(25):
                extractor.extract_batch(signals, pooling.mean)
            gc.collect()
            levels.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    tensors = sum(type(each) is torch.Tensor for each in gc.get_objects())
    extractor.extract_batch(signals, pooling.mean)
    gc.collect()
    assert levels[-1] - levels[1] < 50_000
    assert sum(type(each) is torch.Tensor for each in gc.get_objects()) <= tensors


def test_a_front_end_that_normalises_knows_where_each_row_ends(signals):
    torch.manual_seed(0)
    extractor = ModuleExtractor(
        nn.Sequential(nn.Linear(40, 8), nn.ReLU()).eval(),
        layers="*",
        sample_rate=RATE,
        preprocess=LogMel(n_mels=40, sample_rate=RATE, normalise=standardise),
    )
    sizes = sizes_of_batches(extractor)
    together = extractor.extract_batch(signals, pooling.mean)
    assert sizes[-1] == len(signals)
    for row, signal in enumerate(signals):
        np.testing.assert_allclose(together["1"][row], extractor(signal)["1"].mean(0), rtol=1e-4)


def test_a_layer_whose_mean_is_zero_keeps_the_rules():
    check_extractor(LogMel(normalise=standardise))
