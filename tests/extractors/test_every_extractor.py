"""The rules that every extractor of the library keeps, one suite for them all.

Networks have random weights, small ones where the size does not matter for the rule.
"""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from speechprobe import _fingerprint, pooling
from speechprobe import extractors as ex
from speechprobe.extractors.base import relative_error

SECONDS = (0.3, 20.0, 1.7, 5.0, 0.62)
SCALING = {"mean": -2.7, "std": 4.1}


def wespeaker(folder, model, **arguments):
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model, "model_args": arguments}))
    return ex.load_wespeaker(folder, untrained=True)


def cvt(folder):
    stages = tuple(ex.nets.CvTStage(width, n_heads=1) for width in (6, 10, 8))
    torch.save(ex.nets.CvT(stages).state_dict(), folder / "cvt.pth")
    return ex.load_byol_a(folder / "cvt.pth", untrained=True, **SCALING)


def transformer(folder, kind, **settings):
    import transformers

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [10, 8]}
    small |= {"conv_stride": [20, 16], "num_conv_pos_embeddings": 8, "vocab_size": 8}
    small |= {"num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2} | settings
    config = getattr(transformers, f"{kind}Config")(**small)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(
        return_attention_mask=config.feat_extract_norm == "layer"
    ).save_pretrained(folder)
    return ex.TransformerExtractor(folder)


def whisper(folder):
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    small = {"d_model": 16, "vocab_size": 8, "pad_token_id": 0}
    for part in ("encoder", "decoder"):
        small |= {f"{part}_layers": 2, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 16}
    WhisperModel(WhisperConfig(**small)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return ex.TransformerExtractor(folder)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.LSTM(40, 12), nn.GRU(12, 9)

    def forward(self, features):
        return self.two(self.one(features.movedim(0, 1))[0])


def recurrent():
    return ex.ModuleExtractor(
        Recurrent().eval(), layers="*", sample_rate=16_000, preprocess=ex.LogMel(n_mels=40)
    )


EXTRACTORS = {
    "LogMel": lambda _: ex.LogMel(),
    "KaldiFbank": lambda _: ex.KaldiFbank(),
    "MelSpectrogram": lambda _: ex.MelSpectrogram(),
    "MFCC": lambda _: ex.MFCC(),
    "OpenSmile": lambda _: ex.OpenSmile("eGeMAPS", ["functionals", "lld"]),
    "SimAM-ResNet34": lambda f: wespeaker(f, "SimAM_ResNet34_ASP", in_planes=4, embed_dim=16),
    "SimAM-ResNet100": lambda f: wespeaker(f, "SimAM_ResNet100_ASP", in_planes=4, embed_dim=16),
    "ResNet34": lambda f: wespeaker(f, "ResNet34", embed_dim=16),
    "ECAPA-TDNN": lambda f: wespeaker(f, "ECAPA_TDNN_c512", embed_dim=16),
    "CAM++": lambda f: wespeaker(f, "CAMPPlus", growth_rate=4, init_channels=8, embed_dim=16),
    "ResNetSE34L": lambda _: ex.load_voxceleb_trainer(
        None, architecture="ResNetSE34L", untrained=True
    ),
    "VGGVox": lambda _: ex.load_voxceleb_trainer(None, architecture="VGGVox", untrained=True),
    "BYOL-A": lambda _: ex.load_byol_a(None, untrained=True, **SCALING),
    "CvT": cvt,
    "VGGish": lambda _: ex.load_vggish(None, untrained=True),
    "YAMNet": lambda _: ex.load_yamnet(None, untrained=True),
    "CREPE": lambda _: ex.load_crepe("tiny", hop_seconds=0.1),
    "GE2E": lambda _: ex.load_ge2e(untrained=True),
    "GE2E-partials": lambda _: ex.load_ge2e(untrained=True, partials=True),
    "wav2vec2-base": lambda f: transformer(f, "Wav2Vec2"),
    "wav2vec2-large": lambda f: transformer(
        f, "Wav2Vec2", feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    "HuBERT": lambda f: transformer(f, "Hubert"),
    "WavLM": lambda f: transformer(f, "WavLM"),
    "Whisper": whisper,
    "recurrent": lambda _: recurrent(),
    "Windowed": lambda _: ex.Windowed(recurrent(), window_seconds=0.5, hop_seconds=0.25),
    "Cropped": lambda _: ex.Cropped(recurrent(), max_seconds=0.5),
    "Together": lambda _: ex.Together({"mel": ex.LogMel(), "net": recurrent()}),
}
NEEDS = {"OpenSmile": "opensmile", "CREPE": "torchcrepe"}


@pytest.fixture(scope="module", params=EXTRACTORS)
def extractor(request, tmp_path_factory):
    package = NEEDS.get(request.param)
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.random.manual_seed(0)
        warnings.filterwarnings("ignore", message=".*said once")
        yield EXTRACTORS[request.param](tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("f4") for s in SECONDS]


def networks(extractor):
    inside = getattr(extractor, "extractors", {"": getattr(extractor, "extractor", extractor)})
    return [each.module for each in inside.values() if hasattr(each, "module")]


def test_it_keeps_the_rules(extractor):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said once")
        ex.check_extractor(extractor)


def test_a_batch_of_all_lengths_gives_what_single_signals_give(extractor, signals):
    if not ex.base.takes_batches(extractor):
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said once")
        together = extractor.extract_batch(signals, pooling.mean_std)
    alone = [extractor.extract_batch([signal], pooling.mean_std) for signal in signals]
    for layer, vectors in together.items():
        expected = np.concatenate([single[layer] for single in alone])
        assert relative_error(vectors, expected) <= 1e-4, layer


def test_pooled_vectors_are_those_of_the_frames(extractor, signals):
    if not ex.base.takes_batches(extractor) or isinstance(extractor, ex.Windowed):
        return  # windows are pooled one by one
    pooled = extractor.extract_batch(signals[2:3], pooling.maximum)
    for layer, frames in extractor(signals[2]).items():
        assert relative_error(pooled[layer], frames.max(0)[None]) <= 1e-4, layer


def test_nothing_of_the_network_or_of_torch_is_changed(extractor, signals):
    before = [_fingerprint.of_module(network) for network in networks(extractor)]
    state = torch.random.get_rng_state()
    settings = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    first = extractor(signals[2])
    second = extractor(signals[2])
    for layer, frames in first.items():
        np.testing.assert_array_equal(second[layer], frames)
    assert [_fingerprint.of_module(network) for network in networks(extractor)] == before
    assert torch.equal(torch.random.get_rng_state(), state)
    now = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    assert now == settings
    for network in networks(extractor):
        parts = list(network.modules())
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
        assert not any("forward" in part.__dict__ for part in parts)


def test_what_made_the_numbers_can_be_written_down(extractor):
    told = getattr(extractor, "provenance", None) or _fingerprint.of_object(extractor)
    assert json.loads(json.dumps(told, default=str))


def test_layers_are_described_in_depth_order(extractor, signals):
    if not hasattr(extractor, "describe"):
        return
    table = extractor.describe()
    frames = extractor(signals[3])
    assert list(table.index) == list(extractor.layers) == list(frames)
    assert table["n_dims"].to_dict() == {layer: x.shape[1] for layer, x in frames.items()}
    if isinstance(extractor, ex.Windowed | ex.Cropped):
        return  # the rate is that of the windows
    for layer, rate in table["frame_rate"].dropna().items():
        assert len(frames[layer]) == pytest.approx(5 * rate, abs=max(3, 0.1 * 5 * rate))
