"""The guide's examples with SpeechBrain, NeMo and TRILL: with stand-ins, and with what is there."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe import pooling
from speechprobe.extractors import LogMel, check_extractor

GUIDE = Path(__file__).parents[2] / "docs" / "guide"


def run_example(marker):
    """Run the one block of the guide that holds the marker, and return its names."""
    found = [
        block
        for page in sorted(GUIDE.glob("*.md"))
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if marker in block
    ]
    (code,) = found
    names = {"__name__": "guide"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(code, "guide", "exec"), names)
    return names


def noise(n_samples):
    return np.random.default_rng(n_samples).normal(scale=0.1, size=n_samples).astype(np.float32)


def assert_batch_is_exact(extractor):
    signals = [noise(n) for n in (16_000, 5000, 20_161, 9999)]
    batch = extractor.extract_batch(signals, pooling.mean_std)
    for row, signal in enumerate(signals):
        alone = extractor.extract_batch([signal], pooling.mean_std)
        for layer in extractor.layers:
            error = np.linalg.norm(batch[layer][row] - alone[layer][0])
            assert error < 1e-4 * np.linalg.norm(alone[layer][0]), layer


# SpeechBrain: features (B, T, bands), blocks (B, dims, T), the embedding (B, dims, 1).


class StandInFbank(nn.Module):
    def __init__(self, n_mels=40):
        super().__init__()
        self.mel = LogMel(n_mels=n_mels)

    def forward(self, waveforms):
        return self.mel(nn.functional.pad(waveforms, (200, 200)))


class StandInEcapa(nn.Module):
    def __init__(self, input_size, lin_neurons=192, channels=(512, 512, 512, 512, 1536)):
        super().__init__()
        sizes = [input_size, *(size // 64 for size in channels[:-1])]
        self.blocks = nn.ModuleList(
            nn.Conv1d(a, b, 3, padding="same", padding_mode="reflect")
            for a, b in itertools.pairwise(sizes)
        )
        self.mfa = nn.Conv1d(sum(sizes[1:]), channels[-1] // 64, 1)
        self.fc = nn.Conv1d(channels[-1] // 64, lin_neurons, 1)

    def forward(self, x, lengths=None):
        x, outputs = x.transpose(1, 2), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        x = self.mfa(torch.cat(outputs, 1))
        return self.fc(x.mean(2, keepdim=True))


# NeMo: everything by name, features (B, bands, T) one longer than valid, outputs with lengths.


class StandInFeaturizer:
    def get_seq_len(self, n_samples):
        return torch.div(n_samples, 160, rounding_mode="floor")


class StandInPreprocessor(nn.Module):
    def __init__(self, *, features):
        super().__init__()
        self.featurizer = StandInFeaturizer()
        self.mel = LogMel(n_mels=features)

    def forward(self, *, input_signal, length):
        n_frames = self.featurizer.get_seq_len(length)
        features = self.mel(nn.functional.pad(input_signal, (200, 360)))
        features = features[:, : 1 + input_signal.shape[1] // 160].mT
        inside = torch.arange(features.shape[2]) < n_frames[:, None]
        return features * inside[:, None], n_frames


class StandInBlock(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.linear = nn.Linear(d_model, d_model)

    def forward(self, x, *, mask):
        weights = mask[..., None] / mask.sum(1)[:, None, None]
        return x + torch.tanh(self.linear(x) + (x * weights).sum(1, keepdim=True))


class StandInSubsampling(nn.Module):
    def __init__(self, feat_in, d_model):
        super().__init__()
        self.out = nn.Linear(4 * feat_in, d_model)

    def forward(self, *, x, lengths):
        rows, n_frames, _ = x.shape
        x = nn.functional.pad(x, (0, 0, 0, -n_frames % 4))
        return self.out(x.reshape(rows, -1, 4 * x.shape[2])), -(-lengths // 4)


class StandInConformer(nn.Module):
    def __init__(self, *, feat_in, n_layers, d_model):
        super().__init__()
        self.pre_encode = StandInSubsampling(feat_in, d_model)
        self.layers = nn.ModuleList(StandInBlock(d_model) for _ in range(n_layers))

    def forward(self, *, audio_signal, length):
        x, length = self.pre_encode(x=audio_signal.mT, lengths=length)
        mask = torch.arange(x.shape[1]) < length[:, None]
        for layer in self.layers:
            x = layer(x, mask=mask)
        return x.mT, length


STAND_INS = {
    "speechbrain": {
        "speechbrain.lobes.features": {"Fbank": StandInFbank},
        "speechbrain.lobes.models.ECAPA_TDNN": {"ECAPA_TDNN": StandInEcapa},
    },
    "nemo": {
        "nemo.collections.asr.modules": {
            "AudioToMelSpectrogramPreprocessor": StandInPreprocessor,
            "ConformerEncoder": StandInConformer,
        }
    },
}
EXAMPLES = {"speechbrain": "from speechbrain", "nemo": "from nemo"}


@pytest.fixture(params=["stand-in", "installed"])
def example(request, monkeypatch):
    """Give a function that runs the example of a toolkit: with a stand-in, or with the package."""

    def run(toolkit):
        if request.param == "installed":
            if importlib.util.find_spec(toolkit) is None:
                pytest.skip(f"{toolkit} is not installed")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the toolkit's own imports
                return run_example(EXAMPLES[toolkit])["model"]
        for path, parts in STAND_INS[toolkit].items():
            names = path.split(".")
            for n in range(1, len(names) + 1):
                name = ".".join(names[:n])
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
            for name, part in parts.items():
                setattr(sys.modules[path], name, part)
        return run_example(EXAMPLES[toolkit])["model"]

    return run


def test_speechbrains_network_gives_its_blocks_and_one_embedding(example):
    model = example("speechbrain")
    blocks = tuple(f"network.blocks.{k}" for k in range(4))
    assert model.layers == (*blocks, "network.mfa", "embedding")
    shapes = {layer: frames.shape for layer, frames in model(noise(16_000)).items()}
    assert {shapes[layer][0] for layer in (*blocks, "network.mfa")} == {101}
    assert shapes["embedding"] == (1, 192)


def test_speechbrains_signals_of_unequal_length_run_one_by_one(example):
    model = example("speechbrain")
    with pytest.warns(UserWarning, match="speechbrain-ecapa: padding would change.*one by one"):
        assert_batch_is_exact(model)
    check_extractor(model)


def test_nemos_network_gives_its_blocks_and_exact_padded_batches(example):
    model = example("nemo")
    assert model.layers == ("encoder.pre_encode", *(f"encoder.layers.{k}" for k in range(4)))
    for layer, frames in model(noise(16_000)).items():
        assert frames.shape == (25, 64), layer
    assert_batch_is_exact(model)
    assert max(model.padding_error.values()) < 1e-5
    check_extractor(model)


# TRILL: the class as the guide shows it.


def trill_class():
    page = next(
        text for page in sorted(GUIDE.glob("*.md")) if "class Trill" in (text := page.read_text())
    )
    lines = re.search(r">>> (class Trill.*?\n)(?!\.\.\.)", page, re.DOTALL)[1].splitlines()
    code = [lines[0], *(line.removeprefix("... ").removeprefix("...") for line in lines[1:])]
    assert len([line for line in code if line.strip()]) <= 8
    names = {"np": np}
    exec("\n".join(code), names)
    return names["Trill"]


def test_trills_layers_are_what_the_model_gives_at_its_rate():
    asked = []

    def model(*, samples, sample_rate):
        asked.append((samples.dtype, sample_rate))
        frames = samples[: len(samples) // 2672 * 2672].reshape(-1, 2672)
        return {"embedding": frames[:, :512], "layer19": frames[:, :1024], "layer3": frames}

    trill = trill_class()(model)
    layers = trill(noise(16_000))
    assert list(layers) == ["layer19", "embedding"]
    assert {layer: frames.shape for layer, frames in layers.items()} == {
        "layer19": (5, 1024),
        "embedding": (5, 512),
    }
    assert asked == [(np.float32, 16_000)]
    check_extractor(trill)


def test_trills_tensors_of_tensorflow_become_arrays():
    tensorflow = pytest.importorskip("tensorflow")

    def model(*, samples, sample_rate):
        frames = tensorflow.reshape(samples[: len(samples) // 1600 * 1600], (-1, 1600))
        return {"embedding": frames[:, :512], "layer19": frames}

    layers = trill_class()(model)(noise(16_000))
    assert isinstance(layers["layer19"], np.ndarray)
    assert layers["layer19"].dtype == np.float32
