"""voxceleb_trainer's networks against formulas written out here, alone and in padded batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from torch.nn import functional as F

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.nets.vggvox import SHORTEST, VGGVox
from speechprobe.extractors.nets.voxceleb import ResNetSE34L, ResNetSE34V2
from speechprobe.extractors.voxceleb import ARCHITECTURES, load_voxceleb_trainer

BANDS = {"ResNetSE34L": 40, "ResNetSE34V2": 64, "VGGVox": 40}
SECONDS = (0.3, 5.0, 0.9, 0.62)


@pytest.fixture(scope="module", params=BANDS)
def architecture(request):
    return request.param


def lived_in(architecture):
    """Build a network whose batch norms shift and scale, as trained ones do."""
    torch.random.manual_seed(1)
    network = ARCHITECTURES[architecture].network().eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            # In place, also on parameters: no gradient is wanted here.
            for value in (part.weight.data, part.running_var):
                value.uniform_(0.5, 1.5)
            for value in (part.bias.data, part.running_mean):
                value.normal_(std=0.3)
    return network


@pytest.fixture(scope="module", autouse=True)
def _generator_as_before():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(scope="module")
def network(architecture):
    return lived_in(architecture)


def tables_of(architecture):
    window = "hann" if architecture == "VGGVox" else "hamming"
    inner = {
        "spectrogram.window": getattr(torch, f"{window}_window")(400),
        "mel_scale.fb": torch.zeros(257, BANDS[architecture]),
    }
    if architecture != "ResNetSE34V2":
        return {f"torchfb.{name}": table for name, table in inner.items()}
    tables = {f"torchfb.1.{name}": table for name, table in inner.items()}
    return tables | {"torchfb.0.flipped_filter": torch.tensor([[[-0.97, 1.0]]])}


@pytest.fixture(scope="module")
def checkpoint(architecture, network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("voxceleb") / f"{architecture}.model"
    state = network.state_dict() | tables_of(architecture)
    loss = {"__L__.w": torch.tensor(10.0), "__L__.b": torch.tensor(-5.0)}
    torch.save({f"__S__.{name}": value for name, value in state.items()} | loss, path)
    return path


@pytest.fixture(scope="module")
def extractor(checkpoint):
    return load_voxceleb_trainer(checkpoint)


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("float32") for s in SECONDS]


def resaved(checkpoint, folder, change):
    state = dict(torch.load(checkpoint, weights_only=True))
    path = folder / "changed.model"
    torch.save(change(state) or state, path)
    return path


# The formulas, from the tables of PyTorch's functions and a state dict alone.


def norm(state, name, x):
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts)


def block(state, name, x, stride):
    y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
    y = norm(state, f"{name}.bn1", y.clamp_min(0))
    y = norm(state, f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
    gate = y.mean((2, 3)) @ state[f"{name}.se.fc.0.weight"].T + state[f"{name}.se.fc.0.bias"]
    gate = gate.clamp_min(0) @ state[f"{name}.se.fc.2.weight"].T + state[f"{name}.se.fc.2.bias"]
    y = y / (1 + (-gate).exp())[:, :, None, None]
    if f"{name}.downsample.0.weight" in state:
        x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
        x = norm(state, f"{name}.downsample.1", x)
    return (x + y).clamp_min(0)


def blocks(state, x, strides):
    for stage, (n, stride) in enumerate(zip((3, 4, 6, 3), strides, strict=True), start=1):
        for k in range(n):
            x = block(state, f"layer{stage}.{k}", x, 1 if k else stride)
    return x


def self_attentive(state, x):
    """Pool (B, D, T)."""
    hidden = torch.einsum("ed,bdt->bet", state["sap_linear.weight"], x)
    scores = (hidden + state["sap_linear.bias"][:, None]).tanh()
    scores = torch.einsum("bet,e->bt", scores, state["attention"][:, 0]).exp()
    return torch.einsum("bdt,bt->bd", x, scores) / scores.sum(1, keepdim=True)


def attentive_statistics(state, x):
    """Pool (B, D, T)."""
    y = F.conv1d(x, state["attention.0.weight"], state["attention.0.bias"]).clamp_min(0)
    y = norm(state, "attention.2", y)
    scores = F.conv1d(y, state["attention.3.weight"], state["attention.3.bias"]).exp()
    weights = scores / scores.sum(-1, keepdim=True)
    mean = (weights * x).sum(-1)
    # The same as E[x²] - mean², and exact where that cancels.
    variance = (weights * (x - mean[..., None]) ** 2).sum(-1)
    return torch.cat([mean, variance.clamp_min(1e-5).sqrt()], 1)


def resnet_l(state, image):
    x = norm(state, "bn1", F.conv2d(image, state["conv1.weight"], stride=(2, 1), padding=3))
    return self_attentive(state, blocks(state, x.clamp_min(0), (1, 2, 2, 1)).mean(2))


def resnet_v2(state, image):
    x = F.conv2d(image, state["conv1.weight"], state["conv1.bias"], padding=1).clamp_min(0)
    x = blocks(state, norm(state, "bn1", x), (1, 2, 2, 2))
    return attentive_statistics(state, x.reshape(len(x), -1, x.shape[-1]))


def vggvox(state, image):
    def part(x, k, stride=1, padding=0):
        weight, bias = state[f"netcnn.{k}.weight"], state[f"netcnn.{k}.bias"]
        x = F.conv2d(x, weight, bias, stride=stride, padding=padding)
        return norm(state, f"netcnn.{k + 1}", x).clamp_min(0)

    x = F.max_pool2d(part(image, 0, (1, 2), 2), (1, 3), (1, 2))
    x = F.max_pool2d(part(x, 4, 2, 1), 3, 2)
    x = part(part(part(x, 8, 1, 1), 11, 1, 1), 14, 1, 1)
    return self_attentive(state, part(F.max_pool2d(x, 3, 2), 18)[:, :, 0])


FORMULAS = {"ResNetSE34L": resnet_l, "ResNetSE34V2": resnet_v2, "VGGVox": vggvox}


def test_the_network_is_the_formula(architecture):
    """In float64, where rounding hides nothing."""
    network = lived_in(architecture).double()
    state = network.state_dict()
    features = torch.randn(2, 100, BANDS[architecture]).double()
    with torch.inference_mode():
        pooled = FORMULAS[architecture](state, features.transpose(1, 2)[:, None])
        expected = pooled @ state["fc.weight"].T + state["fc.bias"]
        torch.testing.assert_close(network(features), expected, rtol=1e-9, atol=1e-9)
        assert (expected[0] - expected[1]).norm() > 1e-3 * expected.norm()


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_as_many_as_published():
    assert size(ResNetSE34L()) == 1_437_078
    assert size(ResNetSE34V2()) == 8_028_492
    assert size(VGGVox()) == 4_032_448


def test_with_the_losses_they_are_the_totals_that_the_trainer_prints():
    prototypes = 2
    assert size(ResNetSE34L()) + prototypes == 1_437_080
    assert size(ResNetSE34V2()) + 512 * 5994 + 5994 + prototypes == 11_103_416


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (
            ResNetSE34L,
            {
                "conv1.weight": (16, 1, 7, 7),
                "bn1.running_mean": (16,),
                "layer1.0.se.fc.0.weight": (2, 16),
                "layer2.0.downsample.0.weight": (32, 16, 1, 1),
                "layer4.0.downsample.1.weight": (128,),
                "layer4.2.conv2.weight": (128, 128, 3, 3),
                "sap_linear.weight": (128, 128),
                "attention": (128, 1),
                "fc.weight": (512, 128),
            },
        ),
        (
            ResNetSE34V2,
            {
                "conv1.bias": (32,),
                "layer3.5.se.fc.2.bias": (128,),
                "attention.0.weight": (128, 2048, 1),
                "attention.2.running_var": (128,),
                "attention.3.weight": (2048, 128, 1),
                "fc.weight": (512, 4096),
            },
        ),
        (
            VGGVox,
            {
                "netcnn.0.weight": (96, 1, 5, 7),
                "netcnn.4.weight": (256, 96, 5, 5),
                "netcnn.9.running_mean": (384,),
                "netcnn.14.bias": (256,),
                "netcnn.18.weight": (512, 256, 4, 1),
                "attention": (512, 1),
                "fc.bias": (512,),
            },
        ),
    ],
)
def test_names_and_shapes_are_the_checkpoints(kind, shapes):
    state = kind().state_dict()
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_the_trainers_speaker_networks_of_other_widths_of_embedding_load(tmp_path):
    state = {f"__S__.{name}": value for name, value in VGGVox(256).state_dict().items()}
    torch.save(state, tmp_path / "small.model")
    extractor = load_voxceleb_trainer(tmp_path / "small.model")
    assert extractor(np.zeros(16_000, np.float32))["fc"].shape == (1, 256)


# Padding


def test_a_padded_row_is_what_it_is_alone_whatever_stands_behind_it(architecture, network):
    lengths = torch.tensor([300, 64, 127, 65])
    features = torch.randn(4, 300, BANDS[architecture])
    for row, n in zip(features, lengths, strict=True):
        row[n:] = 1e3
    layers = ARCHITECTURES[architecture].layers
    with torch.inference_mode():
        with capture(network, layers) as together:
            network(features, lengths)
        for row, n in enumerate(lengths.tolist()):
            with capture(network, layers) as alone:
                network(features[row : row + 1, :n])
            for layer, single in alone.items():
                kept = together[layer][row][..., : single.shape[-1]]
                error = relative_error(kept.ravel().numpy(), single.ravel().numpy())
                assert error < 1e-5, (layer, n, error)


def test_full_rows_cost_no_mask(architecture, network, monkeypatch):
    features = torch.randn(2, 80, BANDS[architecture])
    with torch.inference_mode():
        expected = network(features)
        monkeypatch.setattr(torch.Tensor, "masked_fill", None)
        torch.testing.assert_close(
            network(features, torch.tensor([80, 80])), expected, rtol=0, atol=0
        )


def test_batches_are_the_single_vectors_and_run_in_one_pass(extractor, signals):
    extractor.extract_batch(signals[2:], pooling.mean)  # measures the padding
    assert max(extractor.padding_error.values()) < 1e-5
    calls = []
    handle = extractor.module.register_forward_hook(lambda *_: calls.append(1))
    batch = extractor.extract_batch(signals, pooling.mean)
    handle.remove()
    assert len(calls) == 1
    for row, signal in enumerate(signals):
        for layer, frames in extractor(signal).items():
            error = relative_error(batch[layer][row], frames.mean(0))
            assert error < 1e-5, (layer, len(signal), error)


def test_vggvox_needs_63_frames_and_no_more():
    network = VGGVox().eval()
    assert SHORTEST == 63
    with torch.inference_mode():
        assert network(torch.randn(1, 63, 40)).shape == (1, 512)
        with pytest.raises(ValueError, match="at least 63 frames a row, got 62"):
            network(torch.randn(1, 62, 40))
        with pytest.raises(ValueError, match="at least 63 frames a row, got 40"):
            network(torch.randn(2, 80, 40), torch.tensor([80, 40]))


def test_only_vggvox_repeats_short_signals_and_only_below_062_seconds(signals):
    short = signals[0]
    vgg, resnet = (
        load_voxceleb_trainer(None, architecture=name, untrained=True)
        for name in ("VGGVox", "ResNetSE34L")
    )
    repeated = np.tile(short, 3)[:9920]
    np.testing.assert_array_equal(vgg(short)["fc"], vgg(repeated)["fc"])
    assert not np.allclose(resnet(short)["fc"], resnet(repeated)["fc"], rtol=1e-3)
    assert vgg.provenance["repeated_to"] == 9920


def test_other_bands_than_the_networks_are_refused(architecture, network):
    with pytest.raises(ValueError, match=rf"expected features \(B, T, {BANDS[architecture]}\)"):
        network(torch.zeros(1, 100, 13))


# The extractor


def test_features_are_those_of_torchaudio_behind_an_instance_norm(architecture, extractor, signals):
    wave = torch.from_numpy(signals[2])[None].double()
    if architecture == "ResNetSE34V2":
        padded = torch.cat([wave[:, 1:2], wave], 1)
        wave = padded[:, 1:] - 0.97 * padded[:, :-1]
    window = torch.hann_window if architecture == "VGGVox" else torch.hamming_window
    mel = torchaudio.transforms.MelSpectrogram(
        n_fft=512, win_length=400, hop_length=160, window_fn=window, n_mels=BANDS[architecture]
    ).double()
    expected = F.instance_norm((mel(wave) + 1e-6).log())[0].T
    features, lengths = extractor._inputs([signals[2]])
    assert lengths.tolist() == [len(expected)] == [1 + len(signals[2]) // 160]
    torch.testing.assert_close(features[0].double(), expected, rtol=1e-3, atol=1e-3)


def test_layers_come_in_depth_order(architecture, extractor):
    blocks = [f"layer{k}.{b}" for k, n in enumerate((3, 4, 6, 3), 1) for b in range(n)]
    vgg = [f"netcnn.{k}" for k in (2, 6, 10, 13, 16, 20)]
    expected = {
        "ResNetSE34L": ["relu", *blocks, "pool", "fc"],
        "ResNetSE34V2": ["bn1", *blocks, "pool", "fc"],
        "VGGVox": [*vgg, "pool", "fc"],
    }
    assert list(extractor.layers) == expected[architecture]


def test_it_keeps_the_rules_of_extractors_and_its_weights(extractor, signals):
    before = extractor.provenance["weights_sha256"]
    check_extractor(extractor)
    assert extractor.provenance["weights_sha256"] == before
    assert not any(part._forward_hooks for part in extractor.module.modules())


def test_silence_stays_finite(extractor):
    layers = extractor(np.zeros(16_000, np.float32))
    assert all(np.isfinite(frames).all() for frames in layers.values())


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(
    checkpoint, extractor, signals
):
    state = torch.random.get_rng_state()
    untrained = load_voxceleb_trainer(checkpoint, untrained=True)
    again = load_voxceleb_trainer(checkpoint, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = extractor(signals[2]), untrained(signals[2])
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signals[2]).items():
        np.testing.assert_array_equal(frames, random[layer])
    assert not np.allclose(trained["fc"], random["fc"], rtol=0.1)
    assert untrained.name == f"{extractor.name}-untrained"


# Checkpoints


def test_the_architecture_is_found_and_the_weights_are_the_files(architecture, network, extractor):
    assert type(extractor.module).__name__ == architecture
    for name, value in network.state_dict().items():
        assert torch.equal(extractor.module.state_dict()[name], value)


def test_older_checkpoints_have_module_in_front(checkpoint, extractor, tmp_path, signals):
    older = resaved(
        checkpoint, tmp_path, lambda state: {f"module.{name}": v for name, v in state.items()}
    )
    loaded = load_voxceleb_trainer(older, layers="fc")
    np.testing.assert_array_equal(loaded(signals[2])["fc"], extractor(signals[2])["fc"])


def test_missing_and_unexpected_weights_are_named(checkpoint, tmp_path):
    def change(state):
        state["__S__.fc.wide"] = state.pop("__S__.fc.bias")

    path = resaved(checkpoint, tmp_path, change)
    with pytest.raises(ValueError, match=r"missing \['fc.bias'\]; not expected \['fc.wide'\]"):
        load_voxceleb_trainer(path)


def test_a_weight_of_another_shape_is_named(checkpoint, tmp_path):
    def change(state):
        state["__S__.fc.weight"] = state["__S__.fc.weight"][:, :7]

    with pytest.raises(ValueError, match=r"of another shape .*fc.weight \(512, 7\) instead of"):
        load_voxceleb_trainer(resaved(checkpoint, tmp_path, change))


def test_another_front_end_than_the_networks_is_refused(architecture, checkpoint, tmp_path):
    part = "__S__.torchfb.1." if architecture == "ResNetSE34V2" else "__S__.torchfb."

    def other_window(state):
        state[f"{part}spectrogram.window"] = torch.ones(400)

    def other_bands(state):
        state[f"{part}mel_scale.fb"] = torch.zeros(257, 80)

    with pytest.raises(ValueError, match=r"spectrogram.window is no ha.* window of 400 samples"):
        load_voxceleb_trainer(resaved(checkpoint, tmp_path, other_window))
    with pytest.raises(ValueError, match=r"mel_scale.fb has shape \(257, 80\)"):
        load_voxceleb_trainer(resaved(checkpoint, tmp_path, other_bands))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"encoder.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"no name starts with '__S__.'.*encoder.weight"):
        load_voxceleb_trainer(path)
    torch.save({"__S__.encoder.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"none of \['ResNetSE34L'.*encoder.weight \(1,\)"):
        load_voxceleb_trainer(path)
    torch.save({"__S__.conv1.weight": Path("run me")}, path)
    with pytest.raises(ValueError, match="not plain tensors"):
        load_voxceleb_trainer(path)


def test_the_wrong_architecture_is_told_by_its_weights(tmp_path):
    path = tmp_path / "l.model"
    torch.save({f"__S__.{k}": v for k, v in ResNetSE34L().state_dict().items()}, path)
    with pytest.raises(ValueError, match="does not fit ResNetSE34V2: missing"):
        load_voxceleb_trainer(path, architecture="ResNetSE34V2")
    with pytest.raises(ValueError, match="architecture must be one of"):
        load_voxceleb_trainer(path, architecture="ResNetSE34")


def test_no_checkpoint_is_enough_only_for_a_named_untrained_network():
    with pytest.raises(ValueError, match="a checkpoint is needed"):
        load_voxceleb_trainer(None, architecture="VGGVox")
    with pytest.raises(ValueError, match="a checkpoint is needed"):
        load_voxceleb_trainer(None, untrained=True)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_voxceleb_trainer("nowhere.model")
