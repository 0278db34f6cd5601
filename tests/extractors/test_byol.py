"""BYOL-A and BYOL-S: AudioNTT2020 against its formula, real weights on emotions."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.byol import LAYERS, load_byol_a
from speechprobe.extractors.nets.byol import AudioNTT2020

EMODB = {"mean": -2.6927330, "std": 4.1030712}
SECONDS = (0.3, 5.0, 0.9, 0.62)


@pytest.fixture(scope="module")
def network():
    """Build a network whose batch norms shift and scale, as trained ones do."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        network = AudioNTT2020(32).eval()
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_var.uniform_(0.01, 0.1)
                part.running_mean.normal_(std=0.1)
                part.bias.data.normal_(std=0.5)
    return network


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("byol") / "small.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(checkpoint):
    return load_byol_a(checkpoint, **EMODB)


@pytest.fixture(scope="module")
def byol_s(shared):
    return load_byol_a(shared / "models" / "byol-s-512.pth", **EMODB)


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("float32") for s in SECONDS]


def formula(state, features):
    """Return the embeddings (B, D) of features (B, T, n_mels) from PyTorch's functions alone."""
    x = features.transpose(1, 2)[:, None]
    for k in (0, 4, 8):
        x = F.conv2d(x, state[f"features.{k}.weight"], state[f"features.{k}.bias"], padding=1)
        parts = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(state[f"features.{k + 1}.{part}"] for part in parts)).clamp_min(0)
        # Halving by the maximum: an odd frame at the end is dropped.
        x = x[..., : x.shape[-1] // 2 * 2]
        x = torch.maximum(x[..., ::2], x[..., 1::2])
        x = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    x = torch.stack([x[:, :, :, t].transpose(1, 2).reshape(len(x), -1) for t in range(x.shape[3])])
    for k in (0, 3):
        x = (x @ state[f"fc.{k}.weight"].T + state[f"fc.{k}.bias"]).clamp_min(0)
    return x.amax(0) + x.mean(0)


def test_the_network_is_the_formula():
    """In float64, where rounding hides nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        network = AudioNTT2020(24, n_mels=16).eval().double()
        features = torch.randn(2, 45, 16).double()
    with torch.inference_mode():
        expected = formula(network.state_dict(), features)
        torch.testing.assert_close(network(features), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("n_dims", "expected"), [(512, 600_192), (1024, 1_649_792), (2048, 5_321_856)]
)
def test_parameters_are_those_of_the_layers(n_dims, expected):
    """5.3 million is what is published for 2048 dims."""
    count = sum(parameter.numel() for parameter in AudioNTT2020(n_dims).parameters())
    convolutions = 64 * 9 + 64 + 2 * (64 * 64 * 9 + 64) + 3 * 2 * 64
    assert count == convolutions + 512 * n_dims + n_dims + n_dims**2 + n_dims == expected


def test_names_and_shapes_are_the_checkpoints():
    state = AudioNTT2020().state_dict()
    expected = {
        "features.0.weight": (64, 1, 3, 3),
        "features.1.running_mean": (64,),
        "features.4.weight": (64, 64, 3, 3),
        "features.9.bias": (64,),
        "fc.0.weight": (512, 512),
        "fc.3.bias": (512,),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert len(state) == 25


# Padding


def test_a_padded_row_is_what_it_is_alone_whatever_stands_behind_it(network):
    lengths = torch.tensor([100, 8, 31, 33])
    features = torch.randn(4, 100, 64, generator=torch.Generator().manual_seed(0))
    for row, n in zip(features, lengths, strict=True):
        row[n:] = 1e3
    with torch.inference_mode():
        with capture(network, LAYERS) as together:
            network(features, lengths)
        for row, n in enumerate(lengths.tolist()):
            with capture(network, LAYERS) as alone:
                network(features[row : row + 1, :n])
            for layer, single in alone.items():
                # Time is last behind the poolings, and first in the layers of a frame.
                part = together[layer][row]
                kept = part[..., : single.shape[-1]] if single.ndim == 4 else part
                kept = kept[: single.shape[1]] if layer.startswith("fc") else kept
                error = relative_error(kept.ravel().numpy(), single.ravel().numpy())
                assert error < 1e-5, (layer, n, error)


def test_full_rows_cost_no_mask(network, monkeypatch):
    features = torch.ones(2, 80, 64)
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


def test_less_than_eight_frames_are_refused_with_the_reason(network, extractor, signals):
    with pytest.raises(ValueError, match="of 7 frames is too short: three poolings by 2 need 8"):
        extractor(signals[0][:1119])
    assert extractor(signals[0][:1120])["features.11"].shape == (1, 512)
    with pytest.raises(ValueError, match="of 5 frames is too short"):
        network(torch.zeros(2, 80, 64), torch.tensor([80, 5]))


# The extractor


def test_features_are_the_logarithm_of_torchaudios_minus_the_corpus(extractor, signals):
    mel = torchaudio.transforms.MelSpectrogram(
        n_fft=1024, win_length=400, hop_length=160, f_min=60, f_max=7800, n_mels=64
    )
    power = mel(torch.from_numpy(signals[2])[None])
    expected = ((power + torch.finfo(torch.float32).eps).log() - EMODB["mean"]) / EMODB["std"]
    features, lengths = extractor._inputs([signals[2]])
    assert lengths.tolist() == [1 + len(signals[2]) // 160]
    torch.testing.assert_close(features, expected.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_layers_have_the_documented_widths_and_frames(extractor, signals):
    layers = extractor(signals[2])  # 0.9 s, 91 frames
    assert {name: frames.shape for name, frames in layers.items()} == {
        "features.3": (45, 64 * 32),
        "features.7": (22, 64 * 16),
        "features.11": (11, 64 * 8),
        "fc.1": (11, 32),
        "fc.4": (11, 32),
        "embedding": (1, 32),
    }
    np.testing.assert_allclose(
        layers["embedding"][0], layers["fc.4"].max(0) + layers["fc.4"].mean(0), rtol=1e-5, atol=1e-6
    )


def test_it_keeps_the_rules_of_extractors_and_its_weights(extractor):
    before = extractor.provenance["weights_sha256"]
    check_extractor(extractor)
    assert extractor.provenance["weights_sha256"] == before
    assert not any(part._forward_hooks for part in extractor.module.modules())


def test_constants_and_window_are_kept_in_the_provenance(checkpoint, extractor):
    told = [
        load_byol_a(checkpoint, **settings).provenance
        for settings in (
            EMODB,
            EMODB | {"mean": 0.0},
            EMODB | {"std": 1.0},
            EMODB | {"win_length": 1024},
        )
    ]
    assert told[0] == extractor.provenance
    assert all(other != told[0] for other in told[1:])


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(
    checkpoint, extractor, signals
):
    state = torch.random.get_rng_state()
    untrained = load_byol_a(checkpoint, **EMODB, untrained=True)
    again = load_byol_a(checkpoint, **EMODB, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = extractor(signals[2]), untrained(signals[2])
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signals[2]).items():
        np.testing.assert_array_equal(frames, random[layer])
        assert not np.allclose(frames, trained[layer], rtol=0.1)
    assert untrained.name == "small-untrained"


# Checkpoints


@pytest.mark.parametrize("n_dims", [512, 1024, 2048])
def test_every_published_size_is_read_from_the_tensors(tmp_path, signals, n_dims):
    torch.save(AudioNTT2020(n_dims).state_dict(), tmp_path / f"default{n_dims}.pth")
    layers = load_byol_a(tmp_path / f"default{n_dims}.pth", **EMODB)(signals[0])
    assert layers["fc.1"].shape == (3, n_dims)
    assert layers["embedding"].shape == (1, n_dims)


def test_missing_and_unexpected_weights_are_named(network, tmp_path):
    state = dict(network.state_dict())
    state["fc.3.beta"] = state.pop("fc.3.bias")
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(ValueError, match=r"missing \['fc.3.bias'\]; not expected \['fc.3.beta'\]"):
        load_byol_a(tmp_path / "changed.pth", **EMODB)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save({"encoder.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"neither an AudioNTT2020.*nor a CvT.*encoder.weight"):
        load_byol_a(tmp_path / "other.pt", **EMODB)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_byol_a("nowhere.pth", **EMODB)
    with pytest.raises(ValueError, match="a checkpoint is needed"):
        load_byol_a(None, **EMODB)


def test_settings_that_cannot_be_are_refused(checkpoint):
    with pytest.raises(ValueError, match="trained with n_mels=64, not 80"):
        load_byol_a(checkpoint, **EMODB, n_mels=80)
    with pytest.raises(ValueError, match="std must be positive"):
        load_byol_a(checkpoint, mean=0.0, std=0.0)
    with pytest.raises(ValueError, match="n_mels must be a multiple of 8"):
        AudioNTT2020(n_mels=20)
    with pytest.raises(ValueError, match=r"expected features \(B, T, 64\)"):
        AudioNTT2020()(torch.zeros(1, 20, 40))


# The published network


@pytest.mark.shared
def test_the_published_network_loads_strictly_and_is_the_formula(shared, byol_s, signals):
    weights = torch.load(shared / "models" / "byol-s-512.pth", weights_only=True)
    loaded = byol_s.module.state_dict()
    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    features, _ = byol_s._inputs([signals[2]])
    with torch.inference_mode():
        found = byol_s(signals[2])["embedding"]
        np.testing.assert_allclose(found, formula(weights, features), rtol=1e-4, atol=1e-4)


@pytest.mark.shared
def test_the_published_network_keeps_the_rules_and_pads_exactly(byol_s, signals):
    check_extractor(byol_s)
    byol_s.extract_batch(signals, pooling.mean)
    assert max(byol_s.padding_error.values()) < 1e-5


def by_speaker(vectors, speakers):
    """Bring each dimension of each speaker to mean 0 and standard deviation 1."""
    result = np.empty_like(vectors)
    for speaker in np.unique(speakers):
        rows = speakers == speaker
        deviation = vectors[rows].std(0)
        centred = vectors[rows] - vectors[rows].mean(0)
        result[rows] = centred / np.where(deviation > 0, deviation, 1)
    return result


@pytest.mark.shared
def test_emotions_are_told_as_with_the_authors_own_code(shared, byol_s):
    """Their code gives 88.5 % with C = 10^5, the first of the grid that validates best (95.2 %)."""
    files = sorted((shared / "data" / "emodb" / "wav").glob("*.wav"))
    speakers = np.array([file.name[:2] for file in files])
    emotions = np.array([file.name[5] for file in files])
    signals = (soundfile.read(file, dtype="float32")[0] for file in files)
    vectors = by_speaker(np.stack([byol_s(one)["embedding"][0] for one in signals]), speakers)
    validation, test = np.isin(speakers, ["10", "14"]), np.isin(speakers, ["03", "12"])
    train = ~validation & ~test
    grid = [
        LogisticRegression(C=10.0**power, max_iter=10_000, class_weight=weight)
        for power in range(5, -6, -1)
        for weight in ("balanced", None)
    ]
    scores = [
        model.fit(vectors[train], emotions[train]).score(vectors[validation], emotions[validation])
        for model in grid
    ]
    best = grid[int(np.argmax(scores))].fit(vectors[~test], emotions[~test])
    assert max(scores) == pytest.approx(0.952, abs=0.02)
    assert best.score(vectors[test], emotions[test]) == pytest.approx(0.885, abs=0.05)
