"""Architectures of the `wespeaker` package: loaded without its __init__, and run as ours are."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
import yaml

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor
from speechprobe.extractors.wespeaker import load_wespeaker
from speechprobe.extractors.wespeaker_package import build

INSTALLED = importlib.util.find_spec("wespeaker") is not None
needs_package = pytest.mark.skipif(not INSTALLED, reason="wespeaker-unofficial is not installed")

# Architecture: its module, its bands, a layer and its frames and dims for one second.
FAMILIES = {
    "ERes2Net34_Base": ("eres2net", 16, "layer2.0", (49, 128 * 8)),
    "Res2Net34_Base": ("res2net", 16, "layer1.2", (98, 64 * 16)),
    "REPVGG_TINY_A0": ("repvgg", 16, "stage1.0", (98, 32 * 16)),
    "XVEC": ("tdnn", 16, "frame_3", (84, 512)),
    "XI_VEC_XVEC": ("xi_vector", 16, "frame_1", (94, 512)),
    "Gemini_DF_ResNet60": ("gemini_dfresnet", 16, "stages.0.0", (98, 32 * 8)),
    "ReDimNetB0": ("redimnet", 60, "backbone.stem", (98, 10 * 60)),
    "ResNet18": ("resnet", 16, "layer1.0", (98, 32 * 16)),
}


def write_config(folder, model, *, model_args=None, n_mels=16, **dataset_args):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model": model,
        "model_args": {"feat_dim": n_mels, "embed_dim": 12} if model_args is None else model_args,
        "dataset_args": {"fbank_args": {"num_mel_bins": n_mels}} | dataset_args,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)


def loaded_modules():
    return {name: part for name, part in sys.modules.items() if name.startswith("wespeaker")}


# A package like the real one, so that the loading is tested without it.

TDNN = """
import torch
import wespeaker.models.pooling_layers as pooling_layers
from .pooling_layers import Mean
from torch import nn

class XVEC(nn.Module):
    def __init__(self, feat_dim=40, embed_dim=8, pooling_func="Mean"):
        super().__init__()
        self.frame_1 = nn.Linear(feat_dim, 8)
        self.twice = nn.ReLU()
        self.never = nn.Identity()
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(2)])
        self.pool = getattr(pooling_layers, pooling_func)()
        self.seg_1 = nn.Linear(8, embed_dim)

    def forward(self, x):
        x = self.blocks(self.twice(self.twice(self.frame_1(x))))
        return torch.tensor(0.0), self.seg_1(self.pool(x))

def XVEC_small(feat_dim, embed_dim, **settings):
    return XVEC(feat_dim, embed_dim, **settings)

def helper():
    raise SystemExit("not an architecture")
"""
POOLING = """
from torch import nn

class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)
"""


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """Put a package first on the path whose own __init__ cannot be imported."""
    models = tmp_path / "path" / "wespeaker" / "models"
    models.mkdir(parents=True)
    for folder in (models.parent, models):
        (folder / "__init__.py").write_text("raise ImportError('the toolkit cannot be loaded')")
    (models / "tdnn.py").write_text(TDNN)
    (models / "pooling_layers.py").write_text(POOLING)
    (models / "repvgg.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path / "path")
    for name in loaded_modules():
        monkeypatch.delitem(sys.modules, name)
    return models


@pytest.fixture
def folder(tmp_path, standin):
    """Write a folder as WeSpeaker does, with the training's projection."""
    folder = write_config(tmp_path / "xvector", "XVEC")
    state = OrderedDict(load_wespeaker(folder, untrained=True).module.state_dict())
    for value in state.values():
        value.add_(0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    torch.save(state | {"projection.weight": torch.zeros(99, 12)}, folder / "avg_model.pt")
    return folder


@pytest.mark.filterwarnings("ignore:.*run one by one")
def test_the_module_is_loaded_without_the_packages_init(folder):
    extractor = load_wespeaker(folder)
    check_extractor(extractor)
    assert extractor.name == "xvector"
    assert type(extractor.module).__module__ == "wespeaker.models.tdnn"


def test_nothing_of_the_package_stays_imported_and_what_was_there_comes_back(standin, monkeypatch):
    load = ("XVEC", {"feat_dim": 16}, 16)
    build(*load)
    assert loaded_modules() == {}
    ours = {"wespeaker": types.ModuleType("wespeaker"), "wespeaker.cli": types.ModuleType("cli")}
    ours["wespeaker"].__path__ = [str(standin.parent)]
    for name, part in ours.items():
        monkeypatch.setitem(sys.modules, name, part)
    path = list(sys.path)
    build(*load)
    with pytest.raises(ValueError, match="bands"):
        build("XVEC", {"feat_dim": 16}, 80)
    with pytest.raises(ImportError):
        build("REPVGG_A0", {}, 80)
    assert loaded_modules() == ours
    assert sys.path == path


def test_layers_are_what_fires_once_the_blocks_of_a_stack_each_by_itself(folder):
    layers = load_wespeaker(folder)(noise(16_000))
    shapes = {layer: frames.shape for layer, frames in layers.items()}
    assert shapes == {
        "frame_1": (98, 8),
        "blocks.0": (98, 8),
        "blocks.1": (98, 8),
        "pool": (1, 8),
        "seg_1": (1, 12),
    }
    assert load_wespeaker(folder, layers="frame_*").layers == ("frame_1",)


def test_the_embedding_is_the_networks_of_the_mean_subtracted_filter_bank(folder):
    extractor = load_wespeaker(folder)
    signal = noise(19_000)
    features = extractor.frontend(torch.from_numpy(signal)[None])
    with torch.inference_mode():
        _, expected = extractor.module(features - features.mean(1, keepdim=True))
    np.testing.assert_allclose(extractor(signal)["seg_1"], expected, rtol=1e-4, atol=1e-5)


def test_padding_is_measured_and_a_batch_gives_the_single_vectors(folder):
    extractor = load_wespeaker(folder)
    signals = [noise(n, n) for n in (16_000, 5000, 9001, 5000)]
    with pytest.warns(UserWarning, match="xvector: padding would change layer 'pool'.*one by one"):
        batch = extractor.extract_batch(signals, pooling.mean_std)
    for row, signal in enumerate(signals):
        alone = extractor.extract_batch([signal], pooling.mean_std)
        for layer in extractor.layers:
            np.testing.assert_allclose(batch[layer][row], alone[layer][0], rtol=1e-4, atol=1e-6)


def test_it_says_which_module_of_which_package_it_uses(folder, standin):
    extractor = load_wespeaker(folder)
    assert repr(extractor).startswith("_PackagedExtractor('xvector', 5 layers, ")
    assert "wespeaker.models.tdnn of wespeaker" in repr(extractor)
    assert extractor.provenance["package"] == "wespeaker.models.tdnn"
    assert extractor.provenance == load_wespeaker(folder).provenance


def test_other_code_under_the_same_name_is_another_network(folder, standin):
    before = load_wespeaker(folder).provenance
    (standin / "tdnn.py").write_text(TDNN.replace("self.pool(x)", "2 * self.pool(x)"))
    assert load_wespeaker(folder).provenance["weights_sha256"] != before["weights_sha256"]


def test_untrained_is_another_network_and_always_the_same(folder):
    state = torch.random.get_rng_state()
    trained, fresh, again = (load_wespeaker(folder, untrained=flag) for flag in (False, True, True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert fresh.name == "xvector-untrained"
    found = [extractor(noise(8000))["seg_1"] for extractor in (trained, fresh, again)]
    np.testing.assert_array_equal(found[1], found[2])
    assert not np.allclose(found[0], found[1], rtol=0.1)


def test_weights_of_another_network_are_refused(folder):
    state = torch.load(folder / "avg_model.pt")
    state["frame_9.weight"] = state.pop("frame_1.weight")
    torch.save(state, folder / "avg_model.pt")
    with pytest.raises(ValueError, match=r"missing \['frame_1.weight'\]; not expected"):
        load_wespeaker(folder)


@pytest.mark.parametrize(
    ("model", "model_args", "message"),
    [
        ("XVEC_huge", None, r"wespeaker\.models\.tdnn .*no 'XVEC_huge'; it has \['XVEC', 'XVEC_s"),
        ("XVEC", {"colour": 3}, r"XVEC of wespeaker.* takes \(feat_dim=40,.*'colour': 3"),
        ("XVEC_small", {"feat_dim": 16}, "missing a required argument: 'embed_dim'"),
        ("XVEC", {}, "takes 40 bands.*num_mel_bins=16"),
    ],
)
def test_what_the_package_does_not_have_is_told_with_what_it_has(
    tmp_path, standin, model, model_args, message
):
    with pytest.raises(ValueError, match=message):
        load_wespeaker(write_config(tmp_path, model, model_args=model_args), untrained=True)


def test_a_module_that_does_not_load_is_named(tmp_path, standin):
    with pytest.raises(ImportError, match=r"models\.repvgg of wesp.*does not load.*not_there_at"):
        load_wespeaker(write_config(tmp_path, "REPVGG_A0"), untrained=True)


def test_without_the_package_the_pip_line_names_the_architecture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wespeaker", None)
    with pytest.raises(ImportError, match=r"'ERes2Net34_Base'.*pip install 'speechprobe\[wespeak"):
        load_wespeaker(write_config(tmp_path, "ERes2Net34_Base"), untrained=True)


@pytest.mark.parametrize("model", ["Conformer", "ReDimNet2B0", "helper"])
def test_an_architecture_of_nobody_is_refused_before_anything_is_loaded(tmp_path, standin, model):
    with pytest.raises(ValueError, match=f"'{model}' is none of the known.*package's begin with"):
        load_wespeaker(write_config(tmp_path, model), untrained=True)


# The real package.


@needs_package
@pytest.mark.filterwarnings("ignore:.*run one by one")
@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_of_the_real_package_runs(tmp_path, model):
    module, n_mels, layer, shape = FAMILIES[model]
    before = loaded_modules()
    folder = write_config(tmp_path / "m", model, n_mels=n_mels)
    extractor = load_wespeaker(folder, untrained=True)
    assert loaded_modules() == before
    assert extractor.provenance["package"] == f"wespeaker.models.{module}"
    signal = noise(16_000)
    found = extractor(signal)
    assert found[layer].shape == shape
    features = extractor.frontend(torch.from_numpy(signal)[None])
    features = features - features.mean(1, keepdim=True)
    with torch.inference_mode(), capture(extractor.module, layer) as captured:
        embedding = extractor.module(features)
    last = embedding[-1] if isinstance(embedding, tuple) else embedding
    np.testing.assert_allclose(found[extractor.layers[-1]], last, rtol=1e-3, atol=1e-4)
    expected = captured[layer].flatten(1, -2)[0].T
    np.testing.assert_allclose(found[layer], expected, rtol=1e-3, atol=1e-4)


@needs_package
def test_an_eres2net_has_the_povey_window_by_default(tmp_path):
    plain = write_config(tmp_path / "plain", "ERes2Net34_Base")
    bank = {"num_mel_bins": 16, "window_type": "hamming"}
    told = write_config(tmp_path / "told", "ERes2Net34_Base", fbank_args=bank)
    assert load_wespeaker(plain, untrained=True).frontend.window == "povey"
    assert load_wespeaker(told, untrained=True).frontend.window == "hamming"
    chosen = load_wespeaker(plain, untrained=True, window="hamming")
    assert chosen.frontend.window == "hamming"
    other = load_wespeaker(write_config(tmp_path / "other", "Res2Net34_Base"), untrained=True)
    assert other.frontend.window == "hamming"
