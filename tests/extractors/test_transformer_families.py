"""Tiny networks of every family: layers are the library's own numbers, alone and in batches."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import TransformerExtractor, check_extractor
from speechprobe.extractors.transformer_layers import named_layers

transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*padding would change"),
    # WavLM gives torch a mask and a bias of two types.
    pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask"),
]

RATE = 16_000
BLOCKS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
WAVEFORM = BLOCKS | {
    "conv_dim": (8, 8, 8),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 9, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
}
NORM_FIRST = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
CONFORMER = {"conv_depthwise_kernel_size": 5}


@dataclass(frozen=True)
class Family:
    """A kind of network and what is known of it."""

    model: str
    settings: dict = field(default_factory=dict)
    features: str = "Wav2Vec2"
    front: dict = field(default_factory=lambda: {"return_attention_mask": False})
    exact: bool = False  # whether padded batches give what single signals give
    blocks: str = "encoder.layers"
    final_norm: str | None = None
    order: str = "post"  # where the norms of a block are
    frames: str = "waveform"  # which frames are those of a signal


MASK = {"return_attention_mask": True}
FAMILIES = {
    "wav2vec2 base": Family("Wav2Vec2", WAVEFORM),
    "wav2vec2 large": Family(
        "Wav2Vec2", WAVEFORM | NORM_FIRST, front=MASK, exact=True,
        final_norm="encoder.layer_norm", order="pre",
    ),
    "mms": Family(
        "Wav2Vec2", WAVEFORM | NORM_FIRST | {"adapter_attn_dim": 4}, front=MASK, exact=True,
        final_norm="encoder.layer_norm", order="pre",
    ),
    "hubert base": Family("Hubert", WAVEFORM),
    "hubert large": Family(
        "Hubert", WAVEFORM | NORM_FIRST, front=MASK, exact=True,
        final_norm="encoder.layer_norm", order="pre",
    ),
    "wavlm base": Family(
        "WavLM", WAVEFORM | {"num_buckets": 20, "max_bucket_distance": 40},
        front={"do_normalize": False, "return_attention_mask": False},
    ),
    "wavlm large": Family(
        "WavLM", WAVEFORM | NORM_FIRST | {"num_buckets": 20, "max_bucket_distance": 40},
        front=MASK, exact=True, final_norm="encoder.layer_norm", order="pre",
    ),
    "data2vec": Family(
        "Data2VecAudio", WAVEFORM | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5},
        front=MASK,
    ),
    "unispeech": Family("UniSpeech", WAVEFORM),
    "unispeech-sat": Family(
        "UniSpeechSat", WAVEFORM | NORM_FIRST,
        front={"do_normalize": False, "return_attention_mask": True}, exact=True,
        final_norm="encoder.layer_norm", order="pre",
    ),
    "conformer": Family(
        "Wav2Vec2Conformer",
        WAVEFORM | CONFORMER | {"feat_extract_norm": "layer", "conv_bias": True},
        front=MASK, final_norm="encoder.layer_norm", order="conformer",
    ),
    "conformer, rotary": Family(
        "Wav2Vec2Conformer", WAVEFORM | CONFORMER | {"position_embeddings_type": "rotary"},
        final_norm="encoder.layer_norm", order="conformer",
    ),
    "sew": Family("SEW", WAVEFORM | {"squeeze_factor": 2}, frames="squeezed"),
    "sew-d": Family(
        "SEWD", WAVEFORM | {"squeeze_factor": 2}, blocks="encoder.encoder.layer",
        order="post, in the attention", frames="squeezed",
    ),
    "w2v-bert": Family(
        "Wav2Vec2Bert",
        BLOCKS | CONFORMER | {"feature_projection_input_dim": 16, "mask_time_length": 2,
                              "left_max_position_embeddings": 8},
        features="SeamlessM4T", front={"feature_size": 8, "num_mel_bins": 8, "padding_value": 1.0},
        exact=True, order="conformer", frames="pairs",
    ),
    "whisper": Family(
        "Whisper",
        {"d_model": 16, "num_mel_bins": 8, "max_source_positions": 300, "vocab_size": 8,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
        | {f"{part}_{what}": n for part in ("encoder", "decoder")
           for what, n in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))},
        features="Whisper", front={"feature_size": 8, "chunk_length": 6}, exact=True,
        blocks="layers", final_norm="layer_norm", order="pre", frames="ceil",
    ),
    "ast": Family(
        "AST", BLOCKS | {"max_length": 600, "num_mel_bins": 32}, features="AST",
        front={"max_length": 600, "num_mel_bins": 32}, exact=True,
        blocks="layers", final_norm="layernorm", order="pre", frames="patches",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    """A folder with a tiny random network of the family, as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp(family.model)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = getattr(transformers, f"{family.model}Config")(**family.settings)
        network = getattr(transformers, f"{family.model}Model")(config)
        for name, weights in network.named_parameters():
            # Norms and biases as they are built would hide that one is missed or done twice.
            if weights.ndim == 1:
                weights.data += 0.2 * torch.randn(weights.shape)
            elif "embed" not in name and "conv" not in name:
                weights.data *= 5
        network.save_pretrained(folder)
    front = getattr(transformers, f"{family.features}FeatureExtractor")
    front(**family.front).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def extractor(folder):
    return TransformerExtractor(folder, name="tiny")


def only(*names):
    return pytest.mark.parametrize("family", names, indirect=True, scope="module")


def sound(seconds, seed=0):
    generator = np.random.default_rng(seed)
    n = int(RATE * seconds)
    loudness = np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / RATE)) ** 3 + 0.01
    return (0.2 * loudness * generator.normal(size=n)).astype(np.float32)


def library(folder, signal):
    """What the library gives for one signal, without any of our code."""
    network = transformers.AutoModel.from_pretrained(folder).eval()
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    front = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = front([signal], sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        return network(**inputs, output_hidden_states=True)


def n_frames(kind, n_samples):
    """Frames of a signal of n samples, written down from the papers' sizes."""
    stem = n_samples
    for kernel, stride in zip((20, 9, 4), (10, 8, 4), strict=True):
        stem = (stem - kernel) // stride + 1
    n_mels = (n_samples - 400) // 160 + 1
    return {
        "waveform": stem,
        "squeezed": stem // 2,
        "pairs": n_mels // 2,
        "ceil": math.ceil(n_samples / 320),
        "patches": (n_mels - 16) // 10 + 1,
    }[kind]


def own_frames(state, kind, n_samples):
    """The frames of the signal itself in a hidden state of the library, (n_frames, n_dims)."""
    state = state[0].numpy()
    if kind == "patches":  # two special tokens, then the times of each of two bands
        state = state[2:].reshape(2, 59, -1).mean(0)
    return state[: n_frames(kind, n_samples)]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def error_of(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("n_samples", [16_000, 16_160])  # 98 and 99 mel frames
def test_layers_are_the_librarys_hidden_states(family, folder, extractor, n_samples):
    signal = sound(2)[:n_samples]
    output, layers = library(folder, signal), extractor(signal)
    names = [f"{family.blocks}.0:input", f"{family.blocks}.0", f"{family.blocks}.1"]
    for name, state in zip(names[:-1], output.hidden_states[:-1], strict=True):
        close(layers[name], own_frames(state, family.frames, n_samples))
    if family.frames != "squeezed":
        last = own_frames(output.last_hidden_state, family.frames, n_samples)
        close(layers[family.final_norm or names[-1]], last)
    if family.frames == "patches":
        close(layers[names[-1]], own_frames(output.hidden_states[-1], "patches", n_samples))


@only("sew", "sew-d")
def test_the_last_state_of_squeezed_networks_is_the_upsampled_one(family, folder):
    signal = sound(1)
    extractor = TransformerExtractor(folder, layers=["blocks", "encoder.upsample"])
    last = library(folder, signal).last_hidden_state[0].numpy()
    layers = extractor(signal)
    assert len(last) == n_frames("waveform", len(signal))
    close(layers["encoder.upsample"], last[: len(layers["encoder.upsample"])])
    assert len(layers["encoder.upsample"]) == 2 * len(layers[f"{family.blocks}.1"])


def test_default_layers_are_the_input_the_blocks_and_a_norm_that_comes_last(family, extractor):
    blocks = (f"{family.blocks}.0:input", f"{family.blocks}.0", f"{family.blocks}.1")
    assert extractor.layers == (*blocks, *([family.final_norm] if family.final_norm else []))
    table = extractor.describe()
    before = [None if family.final_norm is None else "before"] * 3
    assert [*table["final_norm"]] == [*before, *(["after"] if family.final_norm else [])]
    assert set(table["n_dims"]) == {16}
    rate = {"squeezed": 25, "patches": 10}.get(family.frames, 50)
    assert set(table["frame_rate"]) == {rate} and set(table["stride"]) == {RATE // rate}


def test_it_keeps_the_rules_of_extractors(extractor):
    check_extractor(extractor)


@pytest.fixture(scope="module")
def signals():
    return [sound(t, k) for k, t in enumerate((0.3, 5, 1.234, 0.90001, 2.1, 0.77, 0.3, 0.78))]


def test_batches_of_mixed_lengths_give_the_single_vectors(family, folder, signals):
    # Another object than the other tests': padding is measured here.
    extractor = TransformerExtractor(folder)
    extractor.extract_batch(signals[-2:], pooling.mean)
    assert (max(extractor.padding_error.values()) <= 1e-4) == family.exact
    calls = []
    handle = extractor.module.register_forward_hook(lambda *_: calls.append(1))
    batch = extractor.extract_batch(signals, pooling.mean)
    handle.remove()
    assert len(calls) == (1 if family.exact else 7)  # two signals are of one length
    for row, signal in enumerate(signals):
        for layer, frames in extractor(signal).items():
            assert error_of(batch[layer][row], frames.mean(0)) <= 1e-4, (layer, row)


@only("whisper", "ast")
def test_of_a_window_no_padding_is_measured(folder, signals, monkeypatch):
    def measure(*_):
        raise AssertionError("measured")

    monkeypatch.setattr("speechprobe.extractors.batching.measure_padding", measure)
    extractor = TransformerExtractor(folder)
    extractor.extract_batch(signals[-2:], pooling.mean)
    assert set(extractor.padding_error.values()) == {0.0}
    assert TransformerExtractor(folder, padding="never")._groups([5000, 6000]) == [[0], [1]]


def test_frames_are_counted_by_the_true_arithmetic(family, extractor):
    for n_samples in (4960, 5199, 5200, 5359, 5360, 7600, 8019, 8020, 8079, 8080, 8720, 8820):
        expected = n_frames(family.frames, n_samples)
        for layer, frames in extractor(sound(1)[:n_samples]).items():
            assert len(frames) == expected, (layer, n_samples)


def test_weights_hooks_and_the_callers_generator_are_left_alone(folder):
    state = torch.random.get_rng_state()
    extractor = TransformerExtractor(folder)
    before = {name: value.clone() for name, value in extractor.module.state_dict().items()}
    extractor.extract_batch([sound(0.5), sound(0.7)], pooling.mean)
    extractor(sound(0.5))
    for name, value in extractor.module.state_dict().items():
        assert torch.equal(value, before[name])
    for part in extractor.module.modules():
        assert not part._forward_hooks and not part._forward_pre_hooks
    assert torch.equal(torch.random.get_rng_state(), state)


def test_layer_drop_and_collected_states_of_the_config_change_nothing(folder, extractor, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    asked = {"layerdrop": 1.0, "encoder_layerdrop": 1.0, "output_hidden_states": True}
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | asked))
    other = TransformerExtractor(tmp_path)
    for layer, frames in other(sound(0.6)).items():
        np.testing.assert_array_equal(frames, extractor(sound(0.6))[layer])
    assert not any(part._forward_hooks for part in other.module.modules())


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(folder, extractor):
    untrained, again = (TransformerExtractor(folder, untrained=True) for _ in range(2))
    signal = sound(0.7)
    trained, random, repeated = extractor(signal), untrained(signal), again(signal)
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in random.items():
        np.testing.assert_array_equal(frames, repeated[layer])
        assert error_of(frames, trained[layer]) > 0.05
    assert untrained.name.endswith("-untrained")


def test_loudness_matters_only_where_the_model_was_trained_with_it(family, extractor):
    signal = sound(0.7)
    normalised = family.front.get("do_normalize", True)
    grouped = "feat_extract_norm" not in family.settings  # which undoes loudness as well
    invariant = family.features in ("Wav2Vec2", "SeamlessM4T") and (normalised or grouped)
    louder, layers = extractor(10 * signal), extractor(signal)
    for layer, frames in layers.items():
        error = error_of(louder[layer], frames)
        assert (error < 1e-3) == invariant, (layer, error)


@only(*(name for name, family in FAMILIES.items() if family.features == "Wav2Vec2"))
def test_a_signal_is_normalised_over_itself_in_any_batch(family, extractor):
    signals = [0.1 * sound(0.5), sound(1.5, 1)]
    both, alone = extractor._front(signals), extractor._front(signals[:1])
    assert torch.equal(both["input_values"][:1, :8000], alone["input_values"])
    assert not both["input_values"][0, 8000:].any()
    assert ("attention_mask" in both) == family.front["return_attention_mask"]
    mean = 0 if family.front.get("do_normalize", True) else signals[0].mean()
    assert alone["input_values"].mean() == pytest.approx(mean, abs=1e-6)


def test_lengths_that_the_network_cannot_take_are_refused(family, extractor):
    shortest = {"waveform": 340, "squeezed": 660, "pairs": 560, "ceil": 1, "patches": 2800}
    signal = sound(7)[: shortest[family.frames]]
    assert {len(frames) for frames in extractor(signal).values()} == {1}
    n = len(signal) - 1
    with pytest.raises(
        ValueError, match=f"{n} samples is too short for tiny" if n else "no samples"
    ):
        extractor(signal[:-1])
    if family.frames not in ("ceil", "patches"):
        assert extractor.max_seconds is None
        return
    assert extractor.max_seconds == 6
    assert {len(frames) for frames in extractor(sound(6)).values()} <= {300, 59}
    with pytest.raises(ValueError, match=r"sees 6 s, a signal has 7\.0 s; wrap it in .*Windowed"):
        extractor.extract_batch([sound(1), sound(7)], pooling.mean)


@only("wav2vec2 base", "wav2vec2 large")
def test_20_seconds_beside_short_signals_change_nothing(extractor):
    signals = [sound(0.3), sound(20, 1), sound(4.4, 2)]
    batch = extractor.extract_batch(signals, pooling.mean_std)
    for row, signal in enumerate(signals):
        single = extractor.extract_batch([signal], pooling.mean_std)
        for layer, vectors in single.items():
            assert error_of(batch[layer][row], vectors[0]) <= 1e-4


# What is inside a block.


def recompose(order, block, x, attention, feed_forward, convolved):
    """The output of a block from its input and what its parts add, by the paper's formula."""
    if order == "pre":
        x = x + attention + feed_forward[0]
        adapter = getattr(block, "adapter_layer", None)
        return x if adapter is None else x + adapter(x)
    if order == "conformer":
        x = x + 0.5 * feed_forward[0] + attention + convolved
        return block.final_layer_norm(x + 0.5 * feed_forward[1])
    if order == "post":
        return block.final_layer_norm(block.layer_norm(x + attention) + feed_forward[0])
    return block.output.LayerNorm(block.attention.output.LayerNorm(x + attention) + feed_forward[0])


def test_attention_and_feed_forward_are_what_a_block_adds_to_its_input(family, folder, extractor):
    convolution = ["**.conv_module"] if family.order == "conformer" else []
    wanted = ["blocks", "attention", "feed_forward", *convolution]
    found = TransformerExtractor(folder, layers=wanted)(sound(0.8))
    layers = {name: torch.from_numpy(x) for name, x in found.items()}
    attention, feed_forward = (
        named_layers(extractor.module, part, final_norm=None)
        for part in ("attention", "feed_forward")
    )
    assert len(attention) == 2
    for k, x in enumerate((layers[f"{family.blocks}.0:input"], layers[f"{family.blocks}.0"])):
        path = f"{family.blocks}.{k}"
        parts = [layers[name] for name in feed_forward if name.startswith(f"{path}.")]
        with torch.inference_mode():
            expected = recompose(
                family.order, extractor.module.get_submodule(path), x, layers[attention[k]],
                parts, layers.get(f"{path}.conv_module"),
            )  # fmt: skip
        close(layers[path].numpy(), expected.numpy())


def test_conv_is_every_layer_of_the_stem(family, folder):
    if family.frames == "pairs":
        with pytest.raises(ValueError, match="Wav2Vec2BertModel has no part 'conv'"):
            TransformerExtractor(folder, layers="conv")
        return
    extractor = TransformerExtractor(folder, layers=["conv", "blocks"])
    signal, network = sound(0.8), extractor.module
    layers = extractor(signal)
    stem = {
        "ceil": ("conv1", "conv2"),
        "patches": ("embeddings.patch_embeddings.projection",),
    }.get(family.frames, tuple(f"feature_extractor.conv_layers.{k}" for k in range(3)))
    assert extractor.layers[: len(stem)] == stem
    x = next(iter(extractor._front([signal]).values()))
    x = x.mT[:, None] if family.frames == "patches" else x[:, None] if x.ndim == 2 else x
    for name in stem:
        with torch.inference_mode():
            x = network.get_submodule(name)(x)
        frames = x[0].mean(1).T if family.frames == "patches" else x[0].T
        close(layers[name], frames[: len(layers[name])].numpy())
        x = torch.nn.functional.gelu(x) if family.frames == "ceil" else x
