"""YAMNet against torch-vggish-yamnet, against the formula, alone and in batches."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.nets.yamnet import YAMNet
from speechprobe.extractors.yamnet import load_yamnet

SECONDS = (0.3, 20.0, 0.62, 5.0)
NAMES = [f"layer{number}" for number in range(1, 15)]


@pytest.fixture(scope="module")
def network():
    """Build a network whose batch norms shift and scale, as trained ones do."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        network = YAMNet().eval()
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_var.uniform_(0.5, 1.5)
                for value in (part.running_mean, part.bias.data):
                    value.normal_(std=0.3)
    return network


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(checkpoint):
    return load_yamnet(checkpoint)


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("float32") for s in SECONDS]


@pytest.fixture(scope="module")
def port(network):
    """Give torch-vggish-yamnet's own network with our weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("torch_vggish_yamnet.yamnet.model").YAMNet().eval()
    theirs.load_state_dict(network.state_dict())
    return theirs


def normalised(state, name, x, **settings):
    x = F.conv2d(x, state[f"{name}.conv.weight"], **settings)
    mean, var, weight, bias = (
        state[f"{name}.bn.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (var + 1e-4).sqrt() * weight + bias).clamp_min(0)


def formula(state, patches):
    """Return the maps of every layer, the embeddings and the logits of patches (n, 96, 64)."""
    x = patches[:, None]
    found = []
    for number, name in enumerate(NAMES, 1):
        step = 2 if number in (1, 3, 5, 7, 13) else 1
        # Every second place, counted from the second where the map shrinks: TensorFlow pads behind.
        x = F.pad(x, (1, 1, 1, 1))[:, :, step - 1 :, step - 1 :]
        if number == 1:
            x = normalised(state, f"{name}.fused", x, stride=step)
        else:
            x = normalised(state, f"{name}.depthwise_conv", x, stride=step, groups=x.shape[1])
            x = normalised(state, f"{name}.pointwise_conv", x)
        found.append(x)
    embedding = x.sum((2, 3)) / 6
    return [*found, embedding, embedding @ state["classifier.weight"].T + state["classifier.bias"]]


def test_every_layer_is_the_formula(network):
    """In float64, where rounding hides nothing."""
    state = {name: value.double() for name, value in network.state_dict().items()}
    twin = YAMNet().eval().double()
    twin.load_state_dict(state)
    patches = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(0)).double()
    with torch.inference_mode(), capture(twin, [*NAMES, "embedding", "classifier"]) as captured:
        twin(patches[None])
    expected = formula(state, patches)
    assert expected[-3].shape == (2, 1024, 3, 2)
    for (layer, found), known in zip(captured.items(), expected, strict=True):
        torch.testing.assert_close(found, known, rtol=1e-9, atol=1e-9, msg=layer)


def test_the_network_is_the_ports(network, port):
    patches = torch.randn(3, 1, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), capture(network, [*NAMES, "embedding"]) as ours:
        logits = network(patches)
    with torch.inference_mode(), capture(port, NAMES) as theirs:
        embedding, expected = port(patches)
    for layer in NAMES:
        torch.testing.assert_close(ours[layer], theirs[layer], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours["embedding"], embedding.flatten(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_names_and_shapes_are_the_ports(network, port):
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in port.state_dict().items()
    }


def test_a_whole_signal_gives_what_the_port_gives(extractor, port, signals):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = pytest.importorskip("torchvggish").mel_features
    filled = np.pad(signals[3], (0, 15_600 + 9 * 7680 - 80_000)).astype(np.float64)
    frames = features.log_mel_spectrogram(
        filled, audio_sample_rate=16_000, log_offset=0.001, num_mel_bins=64,
        lower_edge_hertz=125, upper_edge_hertz=7500,
    )  # fmt: skip
    patches = torch.from_numpy(np.stack([frames[48 * k : 48 * k + 96] for k in range(10)]))
    with torch.inference_mode():
        embedding, logits = port(patches[:, None].float())
    layers = extractor(signals[3])
    assert relative_error(layers["embedding"], embedding.flatten(1).numpy()) < 1e-4
    assert relative_error(layers["classifier"], logits.numpy()) < 1e-4


def test_parameters_are_as_many_as_published(network):
    """Keras counts 3,751,369: moving means and variances as well, but no scales, which are 1."""
    state = network.state_dict()
    kept = [name for name in state if not name.endswith(("bn.weight", "num_batches_tracked"))]
    assert sum(state[name].numel() for name in kept) == 3_751_369


# The extractor


def test_layers_have_the_documented_widths_and_one_frame_a_patch(extractor, signals):
    layers = extractor(signals[3])  # 5 s
    widths = {"layer1": 1024} | dict.fromkeys(NAMES[1:], 2048)
    widths |= {"embedding": 1024, "classifier": 521}
    assert {name: x.shape for name, x in layers.items()} == {k: (10, n) for k, n in widths.items()}
    assert set(extractor.describe()["stride"]) == {7680}


def test_the_embedding_is_the_last_layer_averaged_over_its_two_bands(extractor, signals):
    layers = extractor(signals[3])
    averaged = layers["layer14"].reshape(10, 1024, 2).mean(2)
    np.testing.assert_allclose(averaged, layers["embedding"], rtol=1e-4, atol=1e-6)


def test_batches_are_the_single_vectors_and_run_in_one_pass(extractor, signals):
    extractor.extract_batch(signals[:3:2], pooling.mean)  # measures the padding
    assert max(extractor.padding_error.values()) < 1e-5
    calls = []
    handle = extractor.module.register_forward_hook(lambda *_: calls.append(1))
    batch = extractor.extract_batch(signals, pooling.mean)
    handle.remove()
    assert len(calls) == 1
    for row, signal in enumerate(signals):
        for layer, frames in extractor(signal).items():
            assert relative_error(batch[layer][row], frames.mean(0)) < 1e-4, (layer, len(signal))


def test_a_smaller_step_gives_more_patches_and_the_same_ones(checkpoint, extractor, signals):
    dense = load_yamnet(checkpoint, hop_seconds=0.24, layers="embedding")(signals[3])["embedding"]
    assert len(dense) == 18  # of the last, 0.06 s lie behind the end; it takes no 19th
    usual = extractor(signals[3])["embedding"][:9]
    np.testing.assert_allclose(dense[::2], usual, rtol=1e-3, atol=1e-5)


def test_it_keeps_the_rules_of_extractors_and_its_weights(extractor):
    before = extractor.provenance["weights_sha256"]
    check_extractor(extractor)
    assert extractor.provenance["weights_sha256"] == before
    assert not any(part._forward_hooks for part in extractor.module.modules())


def test_silence_stays_finite_at_the_logarithm_of_a_thousandth(extractor):
    patches = extractor._inputs([np.zeros(4800, np.float32)])
    torch.testing.assert_close(patches, torch.full((1, 1, 96, 64), float(np.log(0.001))))
    assert all(np.isfinite(x).all() for x in extractor(np.zeros(4800, np.float32)).values())


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(
    checkpoint, extractor, signals
):
    state = torch.random.get_rng_state()
    untrained, again = load_yamnet(None, untrained=True), load_yamnet(checkpoint, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = extractor(signals[2]), untrained(signals[2])
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signals[2]).items():
        np.testing.assert_array_equal(frames, random[layer])
        assert not np.allclose(frames, trained[layer], rtol=0.1)
    assert (untrained.name, again.name) == ("yamnet-untrained", "yamnet-untrained")


def test_untrained_layers_tell_signals_apart(signals):
    """With torch's own initial weights all logits would be the classifier's biases."""
    untrained = load_yamnet(None, untrained=True)
    loud, soft = untrained(signals[2]), untrained(signals[2] * np.float32(0.1))
    for layer, frames in loud.items():
        assert relative_error(soft[layer], frames) > 0.1, layer


# Checkpoints


def test_the_weights_are_the_files(network, extractor):
    loaded = extractor.module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_missing_and_unexpected_weights_are_named(network, tmp_path):
    state = dict(network.state_dict())
    state["logits.bias"] = state.pop("classifier.bias")
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(
        ValueError, match=r"does not fit YAMNet: missing \['classifier.bias'\]; not expected"
    ):
        load_yamnet(tmp_path / "changed.pth")


def test_no_checkpoint_is_enough_only_for_an_untrained_network():
    with pytest.raises(ValueError, match="a checkpoint is needed"):
        load_yamnet(None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_yamnet("nowhere.pth")


def test_patches_of_another_shape_are_refused(network):
    for shape in ((1, 64, 96), (96, 64), (1, 96, 80)):
        with pytest.raises(ValueError, match=r"expected patches \(..., 96, 64\), got \("):
            network(torch.zeros(shape))
