"""Hugging Face transformers: our layers are the library's own hidden states."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import TransformerExtractor, check_extractor

transformers = pytest.importorskip("transformers")

RATE = 16_000
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8, 8),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 9, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
}
FAMILIES = {
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2, norm first": (
        "Wav2Vec2",
        {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True},
    ),
    "hubert": ("Hubert", {}),
    "hubert, norm first": ("Hubert", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "wavlm": ("WavLM", {"num_buckets": 20, "max_bucket_distance": 40}),
}


@pytest.fixture(scope="module")
def signals():
    rng = np.random.default_rng(0)
    return [rng.normal(scale=0.1, size=n).astype(np.float32) for n in (9000, 20_001, 9000, 4321)]


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=FAMILIES)
def saved(request, tmp_path_factory):
    """A folder with a tiny random network of a family, as `save_pretrained` writes it."""
    family, settings = request.param
    folder = tmp_path_factory.mktemp(family)
    stable = settings.get("do_stable_layer_norm", False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = getattr(transformers, f"{family}Config")(**TINY, **settings)
        getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(
        do_normalize=True, return_attention_mask=stable
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(shared):
    return TransformerExtractor(shared / "models" / "whisper-tiny-encoder")


def hidden_states(folder, signal):
    """What the library gives for one signal, without any of our code."""
    network = transformers.AutoModel.from_pretrained(folder).eval()
    front = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = front([signal], sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs, output_hidden_states=True)
    # Whether the last of the hidden states is normed depends on the version; this one always is.
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    return [state[0].numpy() for state in states], network.encoder


def test_layers_are_the_librarys_hidden_states(saved, signals):
    states, encoder = hidden_states(saved, signals[0])
    layers = TransformerExtractor(saved)(signals[0])
    norm_last = encoder.config.do_stable_layer_norm
    last = "encoder.layer_norm" if norm_last else "encoder.layers.1"
    names = ["encoder.layers.0:input", "encoder.layers.0", last]
    for name, state in zip(names, states, strict=True):
        np.testing.assert_allclose(layers[name], state, rtol=1e-4, atol=1e-5)
    if norm_last:
        with torch.inference_mode():
            normed = encoder.layer_norm(torch.from_numpy(layers["encoder.layers.1"]))
        np.testing.assert_allclose(normed.numpy(), states[-1], rtol=1e-4, atol=1e-5)


def test_default_layers_are_the_input_the_blocks_and_a_norm_that_comes_last(saved):
    extractor = TransformerExtractor(saved)
    blocks = ("encoder.layers.0:input", "encoder.layers.0", "encoder.layers.1")
    stable = getattr(extractor.module.config, "do_stable_layer_norm", False)
    assert extractor.layers == blocks + (("encoder.layer_norm",) if stable else ())
    assert extractor.sample_rate == RATE
    assert extractor.max_seconds is None


@pytest.mark.filterwarnings("ignore:.*padding would change")
def test_batches_of_mixed_lengths_give_the_single_vectors(saved, signals):
    extractor = TransformerExtractor(saved)
    batch = extractor.extract_batch(signals, pooling.mean)
    for row, signal in enumerate(signals):
        for layer, frames in extractor(signal).items():
            expected = frames.mean(0)
            error = np.linalg.norm(batch[layer][row] - expected) / np.linalg.norm(expected)
            assert error <= 1e-4


@pytest.mark.filterwarnings("ignore:.*padding would change")
def test_it_keeps_the_rules_of_extractors(saved):
    check_extractor(TransformerExtractor(saved))


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(saved, signals):
    state = torch.random.get_rng_state()
    untrained = TransformerExtractor(saved, untrained=True)
    again = TransformerExtractor(saved, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = TransformerExtractor(saved)(signals[0]), untrained(signals[0])
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signals[0]).items():
        np.testing.assert_array_equal(frames, random[layer])
        assert not np.allclose(frames, trained[layer], rtol=0.01, atol=0.01)
    assert untrained.name.endswith("-untrained")
    assert not untrained.module.training


def test_loading_leaves_the_callers_generator_alone(saved):
    state = torch.random.get_rng_state()
    TransformerExtractor(saved)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_layers_and_name_may_be_chosen(saved, signals):
    extractor = TransformerExtractor(saved, layers="encoder.layers.*.attention", name="mine")
    assert extractor.name == "mine"
    assert list(extractor(signals[0])) == [f"encoder.layers.{k}.attention" for k in range(2)]


def test_weights_that_are_not_in_the_files_are_refused(saved, tmp_path):
    (tmp_path / "preprocessor_config.json").symlink_to(saved / "preprocessor_config.json")
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"weights.*encoder\.layers\.2.*would be random"):
        TransformerExtractor(tmp_path)


def test_a_missing_transformers_names_the_pip_line(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match="transformers"):
        TransformerExtractor(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize("n_samples", [16_000, 16_001])
def test_whispers_layers_are_the_librarys_hidden_states_of_the_signal_itself(
    shared, whisper, n_samples
):
    signal = np.random.default_rng(n_samples).normal(scale=0.1, size=n_samples).astype(np.float32)
    folder = shared / "models" / "whisper-tiny-encoder"
    encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder
    network = encoder.from_pretrained(folder).eval()
    front = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = front(signal, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        states = network(**inputs, output_hidden_states=True).hidden_states
    names = ["layers.0:input", "layers.0", "layers.1", "layers.2", "layer_norm"]
    n_frames = math.ceil(50 * n_samples / RATE)
    pooled, frames = whisper.extract_batch([signal], pooling.mean), whisper(signal)
    for name, state in zip(names, states, strict=True):
        expected = state[0, :n_frames].mean(0).numpy()
        np.testing.assert_allclose(pooled[name][0], expected, rtol=1e-4, atol=1e-4)
        assert frames[name].shape == (n_frames, 384)
    assert whisper.layers == (*names[:4], "layers.3", "layer_norm")


@pytest.mark.shared
def test_whisper_batches_give_the_single_vectors(whisper, signals):
    batch = whisper.extract_batch(signals[:2], pooling.mean)
    for row, signal in enumerate(signals[:2]):
        for layer, frames in whisper(signal).items():
            expected = frames.mean(0)
            error = np.linalg.norm(batch[layer][row] - expected) / np.linalg.norm(expected)
            assert error <= 1e-4
    assert max(whisper.padding_error.values()) <= 1e-4


@pytest.mark.shared
def test_whisper_sees_30_seconds_and_says_so_of_a_longer_signal(whisper):
    assert whisper.max_seconds == 30
    with pytest.raises(ValueError, match=r"sees 30 s, a signal has 31\.0 s"):
        whisper(np.zeros(31 * RATE, np.float32))


@pytest.mark.shared
def test_an_encoder_folder_that_claims_to_be_a_whole_model_is_refused(shared, tmp_path):
    source = shared / "models" / "whisper-tiny-encoder"
    for name in ("preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(source / name)
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["WhisperModel"]}))
    with pytest.raises(ValueError, match="would be random.*architectures"):
        TransformerExtractor(tmp_path)


@pytest.mark.shared
def test_untrained_whisper_differs_in_every_layer(shared, whisper, signals):
    untrained = TransformerExtractor(shared / "models" / "whisper-tiny-encoder", untrained=True)
    random = untrained.extract_batch(signals[:1], pooling.mean)
    trained = whisper.extract_batch(signals[:1], pooling.mean)
    assert random.keys() == trained.keys()
    for layer, vectors in trained.items():
        assert vectors.shape == random[layer].shape
        assert not np.allclose(vectors, random[layer], rtol=0.1)
