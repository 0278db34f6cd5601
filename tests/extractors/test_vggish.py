"""VGGish against torchvggish and torch-vggish-yamnet, against the formula, alone and in batches."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.nets.vggish import Postprocess, VGGish
from speechprobe.extractors.vggish import LAYERS, _read_pca, load_vggish

SECONDS = (0.3, 20.0, 0.62, 5.0)


@pytest.fixture(scope="module")
def pca():
    """Give a whitening of the kind that is published: not symmetric, means not zero."""
    generator = np.random.default_rng(0)
    return {
        "pca_eigen_vectors": generator.normal(scale=0.05, size=(128, 128)),
        "pca_means": generator.normal(scale=0.1, size=128),
    }


@pytest.fixture(scope="module")
def network():
    """Build a network whose biases count, as trained ones do; the tests share its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        network = VGGish(postprocess=True).eval()
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.data.normal_(std=0.1)
    return network


@pytest.fixture(scope="module")
def weights(network):
    state = network.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("postprocess.")}


@pytest.fixture(scope="module")
def checkpoint(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("vggish") / "vggish-10086976.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def pca_file(pca, tmp_path_factory):
    """Save as in 2019: arrays, pickled by NumPy 1, in torch's format of then."""
    path = tmp_path_factory.mktemp("pca") / "vggish_pca_params.pth"
    torch.save(pca, path, _use_new_zipfile_serialization=False, pickle_protocol=2)
    older = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in older
    path.write_bytes(older)
    return path


@pytest.fixture(scope="module")
def extractor(checkpoint, pca_file):
    return load_vggish(checkpoint, pca=pca_file)


@pytest.fixture(scope="module")
def untrained():
    return load_vggish(None, untrained=True)


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("float32") for s in SECONDS]


@pytest.fixture(scope="module")
def patches():
    return torch.randn(3, 1, 96, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["torchvggish.torchvggish", "torch_vggish_yamnet.vggish"])
def port(request, weights):
    """Give another's network with our weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(request.param.split(".")[0])
        module = importlib.import_module(request.param)
    theirs = module._vgg() if hasattr(module, "_vgg") else module.get_vggish(pretrained=False)
    theirs.load_state_dict(weights)
    return theirs.eval()


def formula(state, patches):
    """Return what every layer gives, of patches (n, 1, 96, 64), from PyTorch's functions alone."""
    x, found = patches, {}
    for number in (0, 3, 6, 8, 11, 13):
        weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
        x = F.conv2d(x, weight, bias, padding=1).clamp_min(0)
        found[f"features.{number + 1}"] = x
        if number not in (6, 11):
            x = torch.maximum(x[..., ::2], x[..., 1::2])
            x = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    # Time outside, then bands, then channels.
    x = torch.stack([x[:, :, t, f] for t in range(6) for f in range(4)], 1).flatten(1)
    for number in (0, 2, 4):
        x = x @ state[f"embeddings.{number}.weight"].T + state[f"embeddings.{number}.bias"]
        if number == 4:
            found["embeddings.4"] = x
        x = x.clamp_min(0)
        found[f"embeddings.{number + 1}"] = x
    return found


def test_every_layer_is_the_formula(network, weights, patches):
    with torch.inference_mode(), capture(network, LAYERS) as captured:
        network(patches)
    expected = formula(weights, patches)
    assert list(captured) == list(LAYERS)
    for layer, found in captured.items():
        torch.testing.assert_close(found, expected[layer], rtol=1e-4, atol=1e-4, msg=layer)


def test_the_network_is_the_ports(network, port, patches):
    numbers = (2, 5, 10, 15)  # the ReLUs there write into what the convolutions gave
    names = [f"features.{number}" for number in numbers]
    with torch.inference_mode(), capture(network, [*names, "embeddings.5"]) as ours:
        network(patches)
    with torch.inference_mode(), capture(port, names) as theirs:
        expected = port(patches)
    for layer in names:
        torch.testing.assert_close(ours[layer], theirs[layer], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours["embeddings.5"], expected, rtol=1e-5, atol=1e-5)


def test_a_whole_signal_gives_what_torchvggish_gives(extractor, port, signals):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchvggish = pytest.importorskip("torchvggish")
    examples = torchvggish.waveform_to_examples(signals[3].astype(np.float64), 16_000)
    with torch.inference_mode():
        expected = port(examples).numpy()
    found = extractor(signals[3])["embeddings.5"]
    assert found.shape == (5, 128)
    assert relative_error(found, expected) < 1e-4


def test_parameters_are_those_of_the_layers(network):
    """In float32 they are the 288.6 MB of torchvggish's file."""
    widths = ((1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512))
    count = sum(parameter.numel() for parameter in network.parameters())
    linear = 12_288 * 4096 + 4096 + 4096**2 + 4096 + 4096 * 128 + 128
    assert count == sum(9 * a * b + b for a, b in widths) + linear == 72_141_184


def test_names_and_shapes_are_the_checkpoints(weights):
    expected = [
        f"{place}.{number}.{kind}"
        for place, numbers in (("features", (0, 3, 6, 8, 11, 13)), ("embeddings", (0, 2, 4)))
        for number in numbers
        for kind in ("weight", "bias")
    ]
    assert list(weights) == expected
    assert weights["embeddings.0.weight"].shape == (4096, 12_288)
    assert weights["features.6.weight"].shape == (256, 128, 3, 3)


# Post-processing


def test_the_postprocessing_is_torchvggishs_before_rounding(network, extractor, pca, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torchvggish")
        module = importlib.import_module("torchvggish.torchvggish")
    monkeypatch.setattr(module.hub, "load_state_dict_from_url", lambda _url: pca)
    embeddings = torch.randn(40, 128, generator=torch.Generator().manual_seed(0)) * 3
    expected = module.Postprocessor().postprocess(embeddings)
    found = extractor.module.postprocess(embeddings)
    assert (found.round() - expected).abs().max() <= 1  # a step, where the last digit decides
    assert (found.round() == expected).float().mean() > 0.999
    assert (expected == 0).any()
    assert (expected == 255).any()


def test_the_postprocessing_whitens_the_embedding_before_its_relu(extractor, pca, signals):
    layers = extractor(signals[3])
    whitened = (layers["embeddings.4"] - pca["pca_means"]) @ pca["pca_eigen_vectors"].T
    expected = (np.clip(whitened, -2, 2) + 2) / 4 * 255
    np.testing.assert_allclose(layers["postprocess"], expected, rtol=1e-3, atol=1e-2)
    assert 0 < expected.min() + 1 < expected.max() - 1 < 255


def test_the_means_and_vectors_of_a_population_whiten_it():
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(2000, 128)) @ generator.normal(size=(128, 128)) + 5
    values, vectors = np.linalg.eigh(np.cov(mixed.T, ddof=0))
    part = Postprocess().double()
    part.pca_eigen_vectors[:] = torch.from_numpy((vectors / np.sqrt(values)).T)
    part.pca_means[:] = torch.from_numpy(mixed.mean(0))
    found = part(torch.from_numpy(mixed)).numpy() / 63.75 - 2
    # Cut off at two deviations, a normal distribution keeps a variance of 0.92.
    np.testing.assert_allclose(np.cov(found.T), 0.92 * np.eye(128), atol=0.1)


def test_the_pca_is_read_from_every_published_form(pca, pca_file, extractor, tmp_path):
    np.savez(tmp_path / "pca.npz", **pca)
    column = {name: torch.from_numpy(value) for name, value in pca.items()}
    column["pca_means"] = column["pca_means"][:, None]
    torch.save(column, tmp_path / "pca.pth")
    for file in (tmp_path / "pca.npz", tmp_path / "pca.pth", pca_file):
        for name, value in _read_pca(file).items():
            assert torch.equal(extractor.module.state_dict()[name], value)


def test_a_pca_of_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*PCA"):
        _read_pca("nowhere.pth")
    file = tmp_path / "pca.pth"
    torch.save({"vectors": torch.zeros(1)}, file)
    with pytest.raises(
        ValueError, match=r"hold pca_eigen_vectors and pca_means; it holds \['vectors'\]"
    ):
        _read_pca(file)
    torch.save(torch.zeros(1), file)
    with pytest.raises(ValueError, match="it holds Tensor"):
        _read_pca(file)
    torch.save({"pca_eigen_vectors": Path("run me"), "pca_means": 0}, file)
    with pytest.raises(ValueError, match="refused, because it is not plain numbers"):
        _read_pca(file)
    for other in (file, tmp_path / "pca.npz"):
        other.write_text("nothing")
        with pytest.raises(ValueError, match=r"pca.\w+ is (refused|no)"):
            _read_pca(other)


def test_a_pca_of_another_size_is_refused(checkpoint, pca, tmp_path):
    file = tmp_path / "pca.npz"
    np.savez(file, **{name: value[:7] for name, value in pca.items()})
    with pytest.raises(ValueError, match=r"with .*pca.npz does not fit VGGish: of another shape"):
        load_vggish(checkpoint, pca=file)


def test_reading_a_pca_leaves_torchs_list_of_safe_classes_alone(pca_file):
    before = set(torch.serialization.get_safe_globals())
    _read_pca(pca_file)
    assert set(torch.serialization.get_safe_globals()) == before
    with torch.serialization.safe_globals([np.ndarray]):
        _read_pca(pca_file)
        assert set(torch.serialization.get_safe_globals()) == before | {np.ndarray}


# The extractor


def test_layers_have_the_documented_widths_and_one_frame_a_patch(extractor, signals):
    layers = extractor(signals[3])  # 5 s
    widths = dict.fromkeys(LAYERS[:8], 4096) | dict.fromkeys([*LAYERS[8:], "postprocess"], 128)
    assert {name: x.shape for name, x in layers.items()} == {k: (5, n) for k, n in widths.items()}
    assert list(extractor.layers) == list(widths)
    assert set(extractor.describe()["stride"]) == {15_360}
    np.testing.assert_array_equal(layers["embeddings.5"], layers["embeddings.4"].clip(0))


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


def test_it_keeps_the_rules_of_extractors_and_its_weights(extractor):
    before = extractor.provenance["weights_sha256"]
    check_extractor(extractor)
    assert extractor.provenance["weights_sha256"] == before
    assert not any(part._forward_hooks for part in extractor.module.modules())


def test_silence_stays_finite_at_the_logarithm_of_a_hundredth(extractor):
    patches = extractor._inputs([np.zeros(4800, np.float32)])
    torch.testing.assert_close(patches, torch.full((1, 1, 96, 64), float(np.log(0.01))))
    assert all(np.isfinite(x).all() for x in extractor(np.zeros(4800, np.float32)).values())


def test_all_children_can_be_captured(network, patches):
    with torch.inference_mode(), capture(network, "*") as captured:
        result = network(patches)
    assert list(captured) == ["features", "embeddings", "postprocess"]
    assert result.shape == (3, 1, 128)
    torch.testing.assert_close(captured["postprocess"], result[:, 0], rtol=0, atol=0)


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(
    checkpoint, extractor, untrained, signals
):
    state = torch.random.get_rng_state()
    again = load_vggish(checkpoint, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = extractor(signals[2]), untrained(signals[2])
    trained.pop("postprocess")
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signals[2]).items():
        np.testing.assert_array_equal(frames, random[layer])
        assert not np.allclose(frames, trained[layer], rtol=0.1)
    assert (untrained.name, again.name) == ("vggish-untrained", "vggish-10086976-untrained")


def test_untrained_layers_tell_signals_apart(untrained, signals):
    """With torch's own initial weights the last ones would be nearly all bias."""
    loud, soft = untrained(signals[2]), untrained(signals[2] * np.float32(0.1))
    for layer, frames in loud.items():
        assert relative_error(soft[layer], frames) > 0.1, layer


# Checkpoints


def test_the_weights_are_the_files(weights, extractor):
    loaded = extractor.module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_missing_and_unexpected_weights_are_named(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError,
        match=r"fit VGGish: missing \['features.0.weight'.* not expected \['conv1.weight'\]",
    ):
        load_vggish(tmp_path / "other.pth")


def test_no_checkpoint_and_no_pca_go_with_trained_and_untrained(pca_file):
    with pytest.raises(ValueError, match="a checkpoint is needed"):
        load_vggish(None)
    with pytest.raises(ValueError, match="an untrained network has none"):
        load_vggish(None, pca=pca_file, untrained=True)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_vggish("nowhere.pth")


def test_patches_of_another_shape_are_refused(network):
    for shape in ((1, 64, 96), (96, 64), (1, 96, 80)):
        with pytest.raises(ValueError, match=r"expected patches \(..., 96, 64\), got \("):
            network(torch.zeros(shape))
