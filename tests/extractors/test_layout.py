"""Where time and batch lie in a layer, and how many frames n samples give: exact or unclaimed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from speechprobe import pooling
from speechprobe.extractors import ModuleExtractor, capture
from speechprobe.extractors.layout import Layout, find_axes, with_arithmetic

START = 6000  # more than any of the chains below needs for its first frame


def solve(count, start=START):
    return with_arithmetic({"layer": Layout(0, 1)}, lambda _, n: {"layer": (1, count(n))}, start)


@st.composite
def convolutions(draw):
    """Kernel, stride, dilation and padding of a Conv1d that gives out something."""
    kernel = draw(st.integers(1, 9))
    return {
        "kernel_size": kernel,
        "stride": draw(st.integers(1, 5)),
        "dilation": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, 2 * kernel)),
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(convolutions(), min_size=1, max_size=4), st.data())
def test_any_chain_of_convolutions_has_the_frames_that_are_found(chain, data):
    network = nn.Sequential(*(nn.Conv1d(1, 1, **conv) for conv in chain)).to("meta")

    def count(n):
        return network(torch.empty(1, 1, n, device="meta")).shape[-1]

    layout = solve(count)["layer"]
    assert layout.stride == np.prod([conv["stride"] for conv in chain])
    lengths = data.draw(st.lists(st.integers(4000, 60_000), min_size=20, max_size=20))
    for n in [*lengths, *range(START, START + 60)]:
        assert layout.n_frames(n) == count(n)


@pytest.mark.parametrize(
    ("count", "stride"),
    [
        (lambda n: 1 + n // 160, 160),  # frames centred on hops
        (lambda n: 1 + (n - 400) // 160, 160),  # frames inside the signal
        (lambda n: -(-n // 320), 320),  # rounded up
        (lambda n: n, 1),
        (lambda n: n // 7 - 30, 7),
    ],
)
def test_usual_framings_are_found(count, stride):
    layout = solve(count)["layer"]
    assert layout.stride == stride
    assert [layout.n_frames(n) for n in range(3000, 9000)] == [count(n) for n in range(3000, 9000)]


@pytest.mark.parametrize(
    "count",
    [
        lambda n: -(-(n // 160) // 7) * 7,  # padded to whole windows of 7 frames
        lambda n: 2 * n,
        lambda n: 1 + int((n / 160) ** 0.5),
        lambda n: min(n // 160, 30),  # cut off
        lambda n: n // 160 if n < 9000 else n // 80,
    ],
    ids=["windows", "upsampled", "root", "cut", "switch"],
)
def test_another_rule_is_not_mistaken_for_a_framing(count):
    solved = solve(count)
    if solved is not None:  # then it must hold
        layout = solved["layer"]
        assert [layout.n_frames(n) for n in range(2000, 12_000)] == [
            count(n) for n in range(2000, 12_000)
        ]


AXES = {
    "time in the middle": (lambda b, n: (b, n // 10, 8), 0, 1),
    "time last": (lambda b, n: (b, 8, n // 10), 0, 2),
    "spectrogram": (lambda b, n: (b, 4, 20, n // 10), 0, 3),
    "time first": (lambda b, n: (n // 10, b, 8), 1, 0),
    "folded": (lambda b, n: (b * (n // 10), 8), 0, 0),
    "folded with positions": (lambda b, n: (b * (n // 10), 8, 5), 0, 0),
    "no time": (lambda b, _: (b, 8), 0, None),
    "no time, a map": (lambda b, _: (b, 8, 3), 0, None),
    "one dimension": (lambda b, n: (b, n // 10), 0, 1),
}


@pytest.mark.filterwarnings("ignore:.*no time axis was found")
@pytest.mark.parametrize(("shape", "batch", "time"), AXES.values(), ids=AXES)
def test_axes_are_found(shape, batch, time):
    found = find_axes(lambda b, n: {"layer": shape(b, n)}, START)["layer"]
    assert (found.batch_axis, found.time_axis) == (batch, time)


def test_a_map_that_never_grows_is_told_of():
    with pytest.warns(UserWarning, match=r"'layer' has shape \(8, 3\).*no time axis was found"):
        find_axes(lambda b, _: {"layer": (b, 8, 3)}, START)


def test_frames_longer_than_the_first_dry_runs_are_found():
    found = find_axes(lambda b, n: {"layer": (b, max(1, n // (START - 1)), 4)}, START)["layer"]
    assert (found.batch_axis, found.time_axis) == (0, 1)


@pytest.mark.filterwarnings("ignore:.*no time axis was found")
@pytest.mark.parametrize(("shape", "batch", "time"), AXES.values(), ids=AXES)
def test_frames_of_each_signal_are_kept_apart_and_in_order(shape, batch, time):
    """Every value carries its signal and frame; after reshaping each row must hold its own."""
    n_signals, n = 3, 70
    sizes = shape(n_signals, n)
    n_frames = n // 10 if time is not None else 1
    signal, frame = torch.meshgrid(torch.arange(3.0), torch.arange(float(n_frames)), indexing="ij")
    code = 100 * signal + frame
    if time in (batch, None):
        output = code.reshape(-1, *[1] * (len(sizes) - 1)).expand(sizes)
    else:
        view = [1] * len(sizes)
        view[batch], view[time] = 3, n_frames
        output = (code if batch < time else code.T).reshape(view).expand(sizes)
    frames = Layout(batch, time).frames(output, n_signals)
    assert frames.shape[:2] == (3, n_frames)
    assert frames.numel() == output.numel()
    torch.testing.assert_close(frames, code[..., None].expand_as(frames))


def test_attention_maps_are_refused_with_a_reason():
    with pytest.raises(ValueError, match="'maps': 2 axes grow.*attention maps"):
        find_axes(lambda b, n: {"maps": (b, 4, n // 10, n // 10)}, START)


def test_a_layer_without_batch_axis_is_refused():
    with pytest.raises(ValueError, match="'bank': expected one axis that grows with the batch"):
        find_axes(lambda _, n: {"bank": (n // 10, 8)}, START)


def test_a_layer_that_changes_its_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="'odd' changes its number of axes"):
        find_axes(lambda b, n: {"odd": (b, n) if n == START else (b, n, 1)}, START)


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def framed(x):
    return x[:, : x.shape[1] // HOP * HOP].reshape(len(x), -1, HOP)


HOP = 400
NETWORKS = {
    "batch, time, dims": [],
    "batch, dims, time": [Lambda(lambda x: x.transpose(1, 2))],
    "batch, channels, frequency, time": [
        Lambda(lambda x: x.transpose(1, 2).reshape(len(x), 4, HOP // 4, -1))
    ],
    "time, batch, dims": [Lambda(lambda x: x.transpose(0, 1))],
    "LSTM": [nn.LSTM(HOP, 6, batch_first=True)],
    "LSTM, time first": [Lambda(lambda x: x.transpose(0, 1)), nn.LSTM(HOP, 6)],
    "no time": [Lambda(lambda x: x.mean(1))],
    "folded": [Lambda(lambda x: x.flatten(0, 1))],
}


@pytest.mark.filterwarnings("ignore:.*padding would change")
@pytest.mark.parametrize("parts", NETWORKS.values(), ids=NETWORKS)
def test_every_layout_gives_the_frames_of_the_single_signal_in_a_batch(parts):
    torch.manual_seed(0)
    network = nn.Sequential(Lambda(framed), *parts).eval()
    layer = str(len(network) - 1)
    extractor = ModuleExtractor(network, layers=layer, sample_rate=16_000)
    rng = np.random.default_rng(0)
    signals = [rng.normal(size=n).astype(np.float32) for n in (9000, 9000, 16_400, 8100)]
    batch = extractor.extract_batch(signals, pooling.mean)[layer]
    for row, signal in zip(batch, signals, strict=True):
        frames = extractor(signal)[layer]
        assert len(frames) == (1 if parts == NETWORKS["no time"] else len(signal) // HOP)
        np.testing.assert_allclose(row, frames.mean(0), rtol=1e-4, atol=1e-6)


def test_frames_are_the_networks_own_values():
    torch.manual_seed(0)
    network = nn.Sequential(Lambda(framed), nn.Linear(HOP, 3), Lambda(lambda x: x.transpose(1, 2)))
    network.eval()
    signal = np.random.default_rng(0).normal(size=9000).astype(np.float32)
    with torch.inference_mode(), capture(network, "1") as captured:
        network(torch.from_numpy(signal)[None])
    found = ModuleExtractor(network, layers="*", sample_rate=16_000)(signal)
    np.testing.assert_array_equal(found["1"], captured["1"][0].numpy())
    np.testing.assert_array_equal(found["2"], found["1"])


def test_frames_folded_time_first_are_not_given_to_the_wrong_signal():
    """Equal lengths: (time, batch) folded into one axis looks like (batch, time) folded."""
    network = nn.Sequential(Lambda(framed), Lambda(lambda x: x.transpose(0, 1).flatten(0, 1)))
    extractor = ModuleExtractor(network.eval(), layers="1", sample_rate=16_000)
    with pytest.raises(ValueError, match="'1': frames and signals share one axis, but not signal"):
        extractor.extract_batch([np.ones(8000, np.float32)] * 2, pooling.mean)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps = nn.Softmax(-1)

    def forward(self, x):
        frames = framed(x)
        return self.maps(frames @ frames.transpose(1, 2)) @ frames


def test_an_attention_map_of_a_network_is_refused_and_named():
    extractor = ModuleExtractor(Attention().eval(), layers="maps", sample_rate=16_000)
    with pytest.raises(ValueError, match="'maps': 2 axes grow"):
        extractor(np.ones(16_000, np.float32))
