"""Any network as an extractor: a vector from a batch is the vector of the signal alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe import pooling
from speechprobe.extractors import LogMel, ModuleExtractor, check_extractor

RATE = 8000
LENGTHS = (4000, 9000, 4000, 5333, 1601)


class Causal(nn.Module):
    """Strided framing, pointwise layers and a causal convolution: padding on the right is exact."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.causal = nn.Conv1d(6, 5, 3)
        self.point = nn.Conv1d(5, 4, 1)

    def forward(self, waveforms):
        x = torch.relu(self.frame(waveforms[:, None]))
        x = torch.tanh(self.causal(nn.functional.pad(x, (2, 0))))
        return self.point(x)


class GroupNormed(nn.Module):
    """A norm over time sees the padding, as in wav2vec 2.0 base."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.norm = nn.GroupNorm(6, 6)
        nn.init.normal_(self.norm.bias)  # else every mean over time is zero

    def forward(self, waveforms):
        return self.norm(self.frame(waveforms[:, None]))


class Bordered(nn.Module):
    """Two centred convolutions with bias: the second sees the bias of padding at the border."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(1, 6, 200, stride=80)
        self.two = nn.Conv1d(6, 6, 5, padding=2)

    def forward(self, waveforms):
        return self.two(self.one(waveforms[:, None]))


class Windowed(nn.Module):
    """Pads its frames to whole windows of seven, so the output length follows no simple rule."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.out = nn.Identity()

    def forward(self, waveforms):
        frames = self.frame(waveforms[:, None])
        return self.out(nn.functional.pad(frames, (0, -frames.shape[-1] % 7)))


class InPlace(nn.Module):
    """Layers that later ones write into, as residual networks do."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.Identity()

    def forward(self, waveforms):
        x = self.norm(self.relu(self.frame(waveforms[:, None])))
        x += 1
        return x


@pytest.fixture(scope="module")
def signals():
    rng = np.random.default_rng(0)
    return [rng.normal(scale=0.1, size=n).astype(np.float32) for n in LENGTHS]


@pytest.fixture
def build():
    def build(kind, **settings):
        torch.manual_seed(0)
        settings = {"layers": "*", "sample_rate": RATE} | settings
        return ModuleExtractor(kind().eval(), **settings)

    return build


@pytest.fixture
def count_calls():
    def attach(extractor):
        sizes = []
        extractor.module.register_forward_pre_hook(lambda _m, args: sizes.append(len(args[0])))
        return sizes

    return attach


def assert_equals_alone(extractor, signals, pool=pooling.mean):
    batch = extractor.extract_batch(signals, pool)
    for row, signal in enumerate(signals):
        alone = extractor.extract_batch([signal], pool)
        for layer in batch:
            error = np.linalg.norm(batch[layer][row] - alone[layer][0])
            assert error <= 1e-4 * np.linalg.norm(alone[layer][0])


@pytest.mark.parametrize("pool", [pooling.mean, pooling.mean_std, pooling.maximum])
def test_an_exact_network_is_batched_and_gives_the_single_vectors(
    build, signals, count_calls, pool
):
    extractor = build(Causal)
    assert_equals_alone(extractor, signals, pool)
    sizes = count_calls(extractor)
    extractor.extract_batch(signals, pool)
    assert sizes == [len(signals)]
    assert max(extractor.padding_error.values()) <= 1e-4


@pytest.mark.parametrize("kind", [GroupNormed, Bordered])
def test_an_inexact_network_warns_once_and_runs_unequal_lengths_alone(
    build, signals, count_calls, kind
):
    extractor = build(kind)
    worst = "norm" if kind is GroupNormed else "two"
    with pytest.warns(UserWarning, match=rf"{kind.__name__}.*layer '{worst}'.*one by one"):
        extractor.extract_batch(signals, pooling.mean)
    assert extractor.padding_error[worst] > 1e-4
    assert_equals_alone(extractor, signals)  # warnings are errors: no second one
    sizes = count_calls(extractor)
    extractor.extract_batch(signals, pooling.mean)
    assert sorted(sizes) == [1, 1, 1, 2]  # the two of equal length go together


def test_equal_lengths_are_batched_without_measuring_padding(build, signals, count_calls):
    extractor = build(GroupNormed)
    equal = [signals[0], signals[2]]
    extractor.extract_batch(equal, pooling.mean)
    assert extractor.padding_error is None
    sizes = count_calls(extractor)
    extractor.extract_batch(equal, pooling.mean)
    assert sizes == [2]
    assert_equals_alone(extractor, equal)


def test_padding_never_does_not_pad_even_where_it_is_exact(build, signals, count_calls):
    extractor = build(Causal, padding="never")
    extractor.extract_batch(signals, pooling.mean)  # dry runs and measurement
    sizes = count_calls(extractor)
    extractor.extract_batch(signals, pooling.mean)
    assert sorted(sizes) == [1, 1, 1, 2]
    assert_equals_alone(extractor, signals)


def test_padding_allow_pads_without_a_word_and_keeps_the_error(build, signals, count_calls):
    extractor = build(GroupNormed, padding="allow")
    batch = extractor.extract_batch(signals, pooling.mean)
    sizes = count_calls(extractor)
    extractor.extract_batch(signals, pooling.mean)
    assert sizes == [len(signals)]
    assert extractor.padding_error["norm"] > 1e-4
    assert extractor.padding_error["frame"] <= 1e-4
    assert not np.allclose(batch["norm"][0], extractor(signals[0])["norm"].mean(0), rtol=1e-3)


@pytest.mark.parametrize("padding", ["measure", "allow"])
def test_a_network_whose_length_follows_no_rule_is_never_padded(
    build, signals, count_calls, padding
):
    extractor = build(Windowed, padding=padding)
    with pytest.warns(UserWarning, match="Windowed: the number of frames follows no rule"):
        extractor.extract_batch(signals, pooling.mean)
    sizes = count_calls(extractor)
    extractor.extract_batch(signals, pooling.mean)
    assert sorted(sizes) == [1, 1, 1, 2]
    assert_equals_alone(extractor, signals)


def test_an_unknown_padding_is_refused(build):
    with pytest.raises(ValueError, match="'measure', 'never' or 'allow', got 'always'"):
        build(Causal, padding="always")


def test_layers_are_what_the_module_gave_even_if_a_later_one_writes_into_them(build, signals):
    extractor = build(InPlace)
    found = extractor(signals[0])
    with torch.inference_mode():
        frame = extractor.module.frame(torch.from_numpy(signals[0])[None, None])[0].T
    np.testing.assert_allclose(found["frame"], frame.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["norm"], frame.relu().numpy(), rtol=1e-5, atol=1e-6)


def test_in_place_layers_pool_to_the_mean_of_their_frames(build, signals):
    extractor = build(InPlace)
    pooled, frames = extractor.extract_batch(signals[:1], pooling.mean), extractor(signals[0])
    for layer, vectors in pooled.items():
        np.testing.assert_allclose(vectors[0], frames[layer].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*padding would change")
@pytest.mark.filterwarnings("ignore:.*run one by one")
@pytest.mark.parametrize("kind", [Causal, GroupNormed, Bordered, Windowed])
def test_it_keeps_the_rules_of_extractors(build, kind):
    check_extractor(build(kind))


def test_weights_are_untouched_no_hook_is_left_and_the_numbers_repeat(build, signals):
    extractor = build(Causal)
    before = {name: value.clone() for name, value in extractor.module.state_dict().items()}
    state = torch.random.get_rng_state()
    first = extractor.extract_batch(signals, pooling.mean)
    second = extractor.extract_batch(signals, pooling.mean)
    assert torch.equal(torch.random.get_rng_state(), state)
    for layer in first:
        np.testing.assert_array_equal(first[layer], second[layer])
    for name, value in extractor.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in extractor.module.modules())
    assert not any(parameter.grad is not None for parameter in extractor.module.parameters())


def test_rows_keep_the_order_of_the_signals(build, signals):
    for padding in ("measure", "never"):
        extractor = build(Causal, padding=padding)
        forward = extractor.extract_batch(signals, pooling.mean)
        backward = extractor.extract_batch(signals[::-1], pooling.mean)
        for layer in forward:
            np.testing.assert_allclose(forward[layer], backward[layer][::-1], rtol=1e-4, atol=1e-6)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20, 3)

    def forward(self, features, scale):
        return self.layer(features * scale)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda features: (features, 2.0),
        lambda features: {"scale": 2.0, "features": features},
    ],
    ids=["tuple", "mapping"],
)
def test_preprocess_gives_arguments_by_position_or_name(build, signals, wrap):
    front = LogMel(n_mels=20, sample_rate=RATE)
    extractor = build(Named, preprocess=lambda waveforms: wrap(front(waveforms)))
    weight, bias = (value.detach().numpy() for value in extractor.module.layer.parameters())
    expected = 2 * front(signals[0])["logmel"] @ weight.T + bias
    np.testing.assert_allclose(extractor(signals[0])["layer"], expected, rtol=1e-4, atol=1e-4)
    assert_equals_alone(extractor, signals)


def test_autocast_gives_float32_near_the_full_precision(build, signals):
    full, half = build(Causal), build(Causal, dtype=torch.bfloat16, padding="never")
    exact, found = (e.extract_batch(signals, pooling.mean_std) for e in (full, half))
    for layer, vectors in found.items():
        assert vectors.dtype == np.float32
        assert not np.array_equal(vectors, exact[layer])
        np.testing.assert_allclose(vectors, exact[layer], rtol=0.05, atol=0.01)
    assert all(frames.dtype == np.float32 for frames in half(signals[0]).values())


def test_layers_come_in_depth_order_and_patterns_choose(build, signals):
    extractor = build(Causal, layers=["point", "frame"])
    assert extractor.layers == ("frame", "point")
    assert list(extractor(signals[0])) == ["frame", "point"]


def test_a_network_in_train_mode_is_refused():
    with pytest.raises(ValueError, match="train mode"):
        ModuleExtractor(Causal(), layers="*", sample_rate=RATE)


def test_an_unknown_layer_is_refused_before_anything_runs(build):
    with pytest.raises(ValueError, match=r"'fram'.*'frame'"):
        build(Causal, layers="fram")


def test_no_layer_is_refused(build):
    with pytest.raises(ValueError, match="no layer"):
        build(Causal, layers=[])


def test_provenance_tells_weights_names_and_front_ends_apart(build):
    base = build(Causal).provenance
    assert build(Causal).provenance == base
    other = build(Causal)
    with torch.no_grad():
        other.module.point.bias[0] += 1e-6
    changed = [
        other,
        build(Causal, name="mine"),
        build(Causal, dtype=torch.bfloat16),
        build(Causal, padding="never"),
        build(Causal, preprocess=lambda waveforms: waveforms * 2),
        build(Causal, layers=["frame"]),
    ]
    for extractor in changed:
        assert extractor.provenance != base


def test_the_measured_error_is_of_the_frames_that_count(build, signals):
    """The vector is exact, so all frames that count are: the padded ones may hold anything."""
    extractor = build(Causal)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.extract_batch(signals, pooling.mean)
    assert set(extractor.padding_error) == {"frame", "causal", "point"}


def test_wildcards_pass_over_containers_that_never_run_and_a_wrong_shape_is_explained(build):
    network = nn.ModuleDict({"stack": nn.ModuleList([nn.Linear(1, 2)])})
    network.forward = lambda waveforms: network["stack"][0](waveforms[..., None])
    extractor = ModuleExtractor(network.eval(), layers="**", sample_rate=8000)
    assert extractor.layers == ("stack.0",)
    convolution = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160)).eval()
    with pytest.raises(ValueError, match="dry run on noise failed.*lambda waveforms"):
        ModuleExtractor(convolution, layers="*", sample_rate=8000)(np.zeros(8000, np.float32))


class Squeezing(nn.Module):
    """Drops every axis of length 1, as of a batch of one signal."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(1, 8, 200, stride=80)
        self.sq = nn.Identity()

    def forward(self, waveforms):
        return self.sq(self.stem(waveforms[:, None]).movedim(1, 2).squeeze())


class BatchNormalised(nn.Module):
    """Normalises the whole batch, as a feature extractor given one tensor does."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)

    def forward(self, waveforms):
        return self.frame(((waveforms - waveforms.mean()) / waveforms.std())[:, None])


class FillingUp(nn.Module):
    """Fills signals under half a second up with zeros."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)

    def forward(self, waveforms):
        missing = max(0, RATE // 2 - waveforms.shape[1])
        return self.frame(nn.functional.pad(waveforms, (0, missing))[:, None])


class Keeping(nn.Module):
    """Keeps positions for later calls, as encodings of positions do."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Conv1d(1, 6, 200, stride=80)
        self.scale = nn.Linear(1, 1)
        self.positions = None

    def forward(self, waveforms):
        x = self.frame(waveforms[:, None])
        if self.positions is None or len(self.positions) != x.shape[-1]:
            self.positions = torch.linspace(0, 1, x.shape[-1])
        return x + self.scale(self.positions[:, None])[:, 0]


def test_a_layer_that_loses_the_axis_of_one_signal_is_refused(build):
    with pytest.raises(ValueError, match=r"'sq' has shape .* of one signal .*squeeze"):
        _ = build(Squeezing).layers


def test_signals_that_change_each_other_in_a_batch_run_one_by_one(build, signals, count_calls):
    extractor = build(BatchNormalised)
    same = [signals[0], 9 * signals[2]]
    with pytest.warns(UserWarning, match=r"change each other.*said once"):
        extractor.extract_batch(same, pooling.mean)
    sizes = count_calls(extractor)
    assert_equals_alone(extractor, same)
    assert sizes[:2] == [1, 1]


def test_a_network_that_fills_up_short_signals_is_not_padded(build):
    rng = np.random.default_rng(0)
    mixed = [rng.normal(size=n).astype(np.float32) for n in (8000, 1000, 2400)]
    extractor = build(FillingUp)
    with pytest.warns(UserWarning, match="said once"):
        extractor.extract_batch(mixed, pooling.mean)
    assert_equals_alone(extractor, mixed)


def test_what_a_network_keeps_can_still_be_trained_through(build, signals):
    extractor = build(Keeping, layers=["frame"])
    extractor(signals[0])
    extractor.module(torch.from_numpy(signals[0])[None]).sum().backward()
    assert extractor.module.scale.weight.grad is not None


def test_the_callers_default_type_changes_nothing(build, signals):
    expected = build(Causal)(signals[0])
    extractor = build(Causal)
    torch.set_default_dtype(torch.float64)
    try:
        found = extractor(signals[0])
    finally:
        torch.set_default_dtype(torch.float32)
    for layer in expected:
        np.testing.assert_array_equal(found[layer], expected[layer])


def test_complex_layers_are_refused():
    class Transform(nn.Module):
        def forward(self, waveforms):
            return torch.stft(waveforms, 256, window=torch.hann_window(256), return_complex=True)

    network = nn.Sequential(Transform()).eval()
    with pytest.raises(ValueError, match="'0' is complex"):
        ModuleExtractor(network, layers="*", sample_rate=RATE)(np.zeros(RATE, np.float32))


@pytest.mark.parametrize(
    ("signal", "error", "message"),
    [
        (np.zeros(8000, np.int16), TypeError, "int16"),
        (np.zeros((8000, 2), np.float32), TypeError, r"shape \(8000, 2\); average channels"),
        (np.zeros(0, np.float32), ValueError, "no samples"),
        (np.full(8000, np.nan, np.float32), ValueError, "NaN"),
        (np.zeros(100, np.float32), RuntimeError, "100 samples, which may be too few"),
    ],
)
def test_signals_that_are_none_are_refused(build, signal, error, message):
    extractor = build(Causal)
    with pytest.raises(error, match=message):
        extractor(signal)
    with pytest.raises(error, match=message):
        extractor.extract_batch([signal], pooling.mean)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sample_rate": 0}, ValueError, "whole Hz, got 0"),
        ({"sample_rate": 8000.5}, ValueError, "whole Hz, got 8000.5"),
        ({"preprocess": LogMel(sample_rate=16_000)}, ValueError, "takes 16000 Hz and .* 8000 Hz"),
        ({"dtype": "bfloat16"}, ValueError, "got 'bfloat16'"),
        ({"dtype": torch.float64}, ValueError, "got torch.float64"),
        ({"layers": 3}, TypeError, "names or patterns, got 3"),
        ({"layers": [1, 2]}, TypeError, r"got \[1, 2\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, settings, error, message):
    with pytest.raises(error, match=message):
        build(Causal, **settings)


def test_a_name_in_place_of_a_network_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, got str"):
        ModuleExtractor("net", layers="*", sample_rate=RATE)


@pytest.mark.parametrize("pool", [lambda f, _n: f.mean(1).numpy(), lambda f, _n: f.mean()])
def test_a_pooling_that_gives_no_vectors_is_refused(build, signals, pool):
    with pytest.raises(TypeError, match="a pooling must give a tensor"):
        build(Causal).extract_batch(signals[:1], pool)
