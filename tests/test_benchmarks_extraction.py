"""What extraction must not do to cost no more than the forward pass, and that its peers agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile, record_function

import speechprobe as sp
from speechprobe import pooling
from speechprobe.extractors import ModuleExtractor, hooks, running
from speechprobe.pooling import plain

RATE = 8000
LENGTHS = (9000, 9000, 8000, 7000)


class Causal(nn.Module):
    """Causal convolutions with many channels: padding on the right is exact."""

    def __init__(self, n_layers=3, n_channels=64):
        super().__init__()
        self.frame = nn.Conv1d(1, n_channels, 20, stride=8)
        self.blocks = nn.ModuleList(nn.Conv1d(n_channels, n_channels, 3) for _ in range(n_layers))

    def forward(self, waveforms):
        x = self.frame(waveforms[:, None])
        for block in self.blocks:
            x = torch.tanh(block(nn.functional.pad(x, (2, 0))))
        return x


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return ModuleExtractor(Causal().eval(), layers=["frame", "blocks.*"], sample_rate=RATE)


@pytest.fixture(scope="module")
def signals(extractor):
    rng = np.random.default_rng(0)
    signals = [rng.normal(scale=0.1, size=n).astype(np.float32) for n in LENGTHS]
    extractor.extract_batch(signals, pooling.mean)  # whether padding is exact is measured first
    return signals


def profiled(extractor, signals):
    """Return the events of a batch, those inside the pooling, and the bytes of what it pooled."""
    pooled = []

    def pool(frames, lengths):
        pooled.append(frames.numel() * frames.element_size())
        with record_function("hook"):
            return pooling.mean(frames, lengths)

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        extractor.extract_batch(signals, pool)
    events = profiler.events()
    waiting = [event for event in events if event.name == "hook"]
    inside = []
    while waiting:
        children = waiting.pop().cpu_children
        inside += children
        waiting += children
    return events, inside, pooled


def test_hooks_copy_no_activation(extractor, signals):
    _, inside, pooled = profiled(extractor, signals)
    assert len(pooled) == len(extractor.layers)
    allocated = [event.self_cpu_memory_usage for event in inside if event.self_cpu_memory_usage > 0]
    assert 0 < sum(allocated) < 0.01 * sum(pooled)
    assert not {"aten::masked_fill", "aten::clone"} & {event.name for event in inside}


def test_what_a_batch_allocates_is_the_network_s_own_work(extractor, signals):
    _, _, pooled = profiled(extractor, signals)
    events, _, _ = profiled(extractor, signals)
    largest = max(event.self_cpu_memory_usage for event in events)
    assert largest <= max(pooled) * 1.1  # the padded input of a block is two frames longer


class Transfers(TorchFunctionMode):
    """Counts what brings floating-point tensors to the host."""

    names = ("cpu", "item", "tolist", "__float__", "__bool__")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in self.names and args[0].is_floating_point():
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def test_a_batch_asks_the_device_once(extractor, signals):
    with Transfers() as transfers:
        extractor.extract_batch(signals, pooling.mean)
    assert transfers.seen == ["cpu"]


def test_layers_that_arrive_together_are_those_that_arrive_one_by_one():
    generator = torch.Generator().manual_seed(0)
    groups = [
        {"a": torch.randn(n, 3, generator=generator), "b": torch.randn(n, 5, generator=generator)}
        for n in (2, 1)
    ]
    together = pooling.join_layers(groups, [2, 0, 1])
    for layer, rows in together.items():
        alone = pooling.join([group[layer] for group in groups], [2, 0, 1])
        assert np.array_equal(rows, alone)
        assert rows.base is None or rows.base.nbytes == rows.nbytes  # nothing else is kept alive


def test_ragged_layers_are_joined_too():
    rows = [torch.ones(2, 3), torch.zeros(1, 3)]
    joined = pooling.join_layers([{"a": rows[:1]}, {"a": rows[1:]}], [1, 0])
    assert [each.tolist() for each in joined["a"]] == [rows[1].tolist(), rows[0].tolist()]


def test_names_are_matched_once(extractor, signals, monkeypatch):
    def refuse(*_):
        raise AssertionError("matched again")

    monkeypatch.setattr(hooks, "select_layers", refuse)
    extractor.extract_batch(signals, pooling.mean)
    assert not any(part._forward_hooks for part in extractor.module.modules())


def test_a_small_network_needs_no_symbolic_shapes(monkeypatch):
    asked = []
    monkeypatch.setattr(running, "fake_shapes", lambda *_: asked.append(1))
    extractor = ModuleExtractor(Causal(1, 4).eval(), layers=["frame", "blocks.*"], sample_rate=RATE)
    monkeypatch.setattr(running, "_SLOW_SECONDS", 60.0)
    assert extractor.layers == ("frame", "blocks.0")
    assert not asked


@pytest.mark.parametrize("padding", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("pool", "reference"),
    [(pooling.mean, lambda x: x.mean(0)), (pooling.maximum, lambda x: x.amax(0))],
    ids=["mean", "maximum"],
)
def test_frames_pooled_where_they_lie_are_those_of_each_row(
    monkeypatch, pool, reference, dtype, padding
):
    monkeypatch.setattr(plain, "_WORTH_A_CALL", {"cpu": 0})
    frames = torch.randn(5, 9, 3, generator=torch.manual_seed(0)).to(dtype)
    lengths = [9, 4, 4, 1, 9]
    for row, length in zip(frames, lengths, strict=True):
        row[length:] = padding
    vectors = pool(frames, torch.tensor(lengths))
    expected = [reference(row[:n].double()) for row, n in zip(frames, lengths, strict=True)]
    assert vectors.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(vectors.double(), torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_neighbours_of_equal_length_are_one_view(monkeypatch):
    monkeypatch.setattr(plain, "_WORTH_A_CALL", {"cpu": 0})
    frames = torch.zeros(5, 9, 3)
    views = plain._stretches(frames, torch.tensor([9, 4, 4, 1, 9]))
    assert [tuple(view.shape) for view in views] == [(1, 9, 3), (2, 4, 3), (1, 1, 3), (1, 9, 3)]
    assert {view.untyped_storage().data_ptr() for view in views} == {
        frames.untyped_storage().data_ptr()
    }


def test_the_one_file_script_gives_our_vectors(tmp_path):
    peer = pytest.importorskip("benchmarks.one_by_one")
    config = "model: SimAM_ResNet34_ASP\nmodel_args:\n  in_planes: 2\n"
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    extractor = sp.extractors.load_wespeaker(tmp_path, untrained=True, max_frames=400)
    for number, seconds in enumerate((0.9, 4.6)):
        noise = np.random.default_rng(number).normal(scale=0.05, size=round(seconds * 16_000))
        sp.audio.write(tmp_path / f"{number}.wav", noise, 16_000)
    corpus = sp.datasets.load_folder(tmp_path)
    paths = [str(path) for path in corpus.column("path")]
    theirs = peer.one_by_one(extractor.module, extractor.layers, paths)
    features = sp.extract(corpus, extractor, progress=False)
    assert list(theirs) == list(features.layers)
    assert peer.difference(features, theirs) < 1e-4
    at_the_end = peer.one_by_one(extractor.module, extractor.layers, paths, at_the_end=True)
    assert peer.difference(features, at_the_end) < 1e-4


def test_serab_s_way_gives_our_vectors(tmp_path):
    pytest.importorskip("resampy")
    peer = pytest.importorskip("benchmarks.serab_way")
    for number, seconds in enumerate((0.4, 1.1)):
        noise = np.random.default_rng(number).normal(scale=0.05, size=round(seconds * 48_000))
        sp.audio.write(tmp_path / f"{number}.wav", noise, 48_000)
    corpus = sp.datasets.load_folder(tmp_path)
    extractor = peer.byol(None)
    theirs = peer.serab_way(extractor.module, [str(path) for path in corpus.column("path")])
    assert peer.difference(peer.ours(corpus, extractor, as_in_2021=True), theirs) < 1e-4
