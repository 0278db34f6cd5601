"""Resemblyzer's encoder against formulas written out here, and against the package itself."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torch import nn

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor, ge2e
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.checkpoints import read_tensors
from speechprobe.extractors.ge2e import load_ge2e, n_partials
from speechprobe.extractors.nets.ge2e import GE2E, PartialGE2E, from_resemblyzer

SECONDS = (0.3, 5.0, 1.97, 2.4, 1.6)
WHOLE = ("lstm.0", "lstm.1", "lstm.2", "embedding")
PARTIAL = ("lstm.0", "lstm.1", "lstm.2", "partials", "embedding")


class Published(nn.Module):
    """The module that Resemblyzer's checkpoints are of, smaller, with the weights of its loss."""

    def __init__(self):
        super().__init__()
        self.similarity_weight = nn.Parameter(torch.tensor([10.0]))
        self.similarity_bias = nn.Parameter(torch.tensor([-5.0]))
        self.lstm = nn.LSTM(40, 24, 3, batch_first=True)
        self.linear = nn.Linear(24, 16)


@pytest.fixture(scope="module")
def published():
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        network = Published().eval()
        # As trained ones are: quiet powers must reach the gates.
        network.lstm.weight_ih_l0.data.mul_(5)
    return network


@pytest.fixture(scope="module")
def checkpoint(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("ge2e") / "small.pt"
    optimiser = torch.optim.Adam(published.parameters())
    held = {"step": 7, "model_state": published.state_dict()}
    torch.save(held | {"optimizer_state": optimiser.state_dict()}, path)
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "partials"])
def partials(request):
    return request.param


@pytest.fixture(scope="module")
def extractor(checkpoint, partials):
    return load_ge2e(checkpoint, partials=partials)


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("float32") for s in SECONDS]


def recurrence(x, state, number):
    """Return the outputs of one LSTM layer, (T, n_hidden), of (T, n_in), step by step."""
    weight_in, weight_back, bias_in, bias_back = (
        state[f"lstm.{name}_l{number}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = cell = torch.zeros(weight_back.shape[1], dtype=x.dtype)
    outputs = []
    for frame in x:
        gates = weight_in @ frame + bias_in + weight_back @ hidden + bias_back
        let_in, forget, new, let_out = gates.chunk(4)
        cell = forget.sigmoid() * cell + let_in.sigmoid() * new.tanh()
        hidden = let_out.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs)


def embedded(last, state):
    vector = (state["linear.weight"] @ last + state["linear.bias"]).clamp_min(0)
    return vector / vector.square().sum().sqrt()


# The network


def test_every_layer_is_the_recurrence(published):
    """In float64, where rounding hides nothing."""
    state = {name: value.double() for name, value in published.state_dict().items()}
    network = GE2E(40, 24, 3, 16).eval().double()
    network.load_state_dict(from_resemblyzer(state))
    features = torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)).double()
    with torch.inference_mode(), capture(network, WHOLE) as captured:
        network(features)
    x = features[0]
    for number in range(3):
        x = recurrence(x, state, number)
        torch.testing.assert_close(captured[f"lstm.{number}"][0], x, rtol=1e-10, atol=1e-12)
    expected = embedded(x[-1], state)
    torch.testing.assert_close(captured["embedding"][0], expected, rtol=1e-10, atol=1e-12)


def test_parameters_are_those_of_the_published_network():
    """Three LSTM layers of four gates with two biases each, and a square layer."""
    gates = 4 * (256 * 40 + 5 * 256 * 256 + 3 * 2 * 256)
    expected = gates + 256 * 256 + 256
    for network in (GE2E(), PartialGE2E()):
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("network", [GE2E, PartialGE2E])
def test_features_of_another_shape_are_refused(network):
    with pytest.raises(ValueError, match=r"expected features \(B, T, 40\)"):
        network()(torch.zeros(1, 200, 64))
    with pytest.raises(ValueError, match="of T >= 160 frames"):
        PartialGE2E()(torch.zeros(1, 159, 40))


def test_a_padded_row_is_what_it_is_alone_whatever_stands_behind_it():
    network = load_ge2e(untrained=True).module
    lengths = torch.tensor([90, 1, 31, 89])
    features = torch.rand(4, 90, 40, generator=torch.Generator().manual_seed(0))
    for row, n in zip(features, lengths, strict=True):
        row[n:] = 1e3
    with torch.inference_mode():
        with capture(network, WHOLE) as together:
            network(features, lengths)
        for row, n in enumerate(lengths.tolist()):
            with capture(network, WHOLE) as alone:
                network(features[row : row + 1, :n])
            for layer, single in alone.items():
                part = together[layer][row]
                kept = part[:n] if layer.startswith("lstm") else part
                assert relative_error(kept.numpy(), single[0].numpy()) < 1e-5, (layer, n)


# Partial utterances


def counted(n_samples):
    """Return how many windows of 25,600 samples to embed: each begins 12,320 after the last.

    A window counts if three quarters of it hold signal; the first one counts always.
    """
    count, start = 1, 12_320
    while n_samples - start >= 0.75 * 25_600:
        count, start = count + 1, start + 12_320
    return count


def test_partial_utterances_are_counted_by_what_they_cover():
    edges = [19_199, 19_200, 25_600, 25_601, 31_519, 31_520, 43_839, 43_840, 56_159, 56_160]
    lengths = [1, 160, *edges, *range(70_000, 90_000, 331)]
    assert [n_partials(n) for n in lengths] == [counted(n) for n in lengths]


def test_the_embedding_is_the_mean_of_the_partial_ones_each_of_its_own_sound(checkpoint, signals):
    """But for the mirrored edges, a partial embedding is the whole embedding of its 1.6 s."""
    together = load_ge2e(checkpoint, partials=True, target_dbfs=None)
    alone = load_ge2e(checkpoint, target_dbfs=None)
    layers = together(signals[1])
    assert len(layers["partials"]) == counted(len(signals[1])) == 5
    mean = layers["partials"].mean(0)
    np.testing.assert_allclose(layers["embedding"][0], mean / np.linalg.norm(mean), rtol=1e-5)
    filled = np.pad(signals[1], (0, 25_600))
    for number, partial in enumerate(layers["partials"]):
        # One frame more than the 160: it does not count here, so it is cut off there.
        part = filled[12_320 * number :][: 25_600 - 1]
        assert relative_error(alone(part)["embedding"], partial[None]) < 0.02


def test_lstm_layers_give_the_end_of_each_partial_utterance(checkpoint, signals):
    extractor = load_ge2e(checkpoint, partials=True)
    layers = extractor(signals[1])
    state = read_tensors(checkpoint, key="model_state")
    for end, partial in zip(layers["lstm.2"], layers["partials"], strict=True):
        expected = embedded(torch.from_numpy(end), state)
        np.testing.assert_allclose(partial, expected, rtol=1e-4, atol=1e-6)


# The front end


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_features_are_librosas_power(extractor, partials, signals):
    librosa = pytest.importorskip("librosa")
    signal = signals[1]
    features, lengths = extractor._inputs([signal])
    filled = np.pad(signal, (0, max(0, 4 * 12_320 + 25_600 - len(signal)))) if partials else signal
    expected = librosa.feature.melspectrogram(
        y=filled, sr=16_000, n_fft=400, hop_length=160, n_mels=40, pad_mode="reflect"
    )
    assert lengths.tolist() == [5 if partials else expected.shape[1]]
    np.testing.assert_allclose(features[0], expected.T, rtol=1e-4, atol=1e-5)


def test_features_are_torchaudios_power_too(checkpoint, signals):
    mel = torchaudio.transforms.MelSpectrogram(
        n_fft=400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney"
    )
    features, _ = load_ge2e(checkpoint)._inputs([signals[1]])
    expected = mel(torch.from_numpy(signals[1])[None]).transpose(1, 2)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_quiet_signals_are_brought_to_the_level_and_loud_ones_left(checkpoint, partials, signals):
    extractor = load_ge2e(checkpoint, partials=partials)
    as_given = load_ge2e(checkpoint, partials=partials, target_dbfs=None)
    signal = signals[3] / signals[3].std()
    target = 10 ** (-30 / 20)
    for level in (0.01 * target, 0.5 * target):
        at_target = as_given((target * signal).astype("float32"))
        for layer, frames in extractor((level * signal).astype("float32")).items():
            np.testing.assert_allclose(frames, at_target[layer], rtol=1e-3, atol=1e-5)
    loud = (3 * target * signal).astype("float32")
    for layer, frames in extractor(loud).items():
        np.testing.assert_array_equal(frames, as_given(loud)[layer])
        assert not np.allclose(frames, at_target[layer], rtol=1e-3)


def test_silence_stays_finite(extractor):
    layers = extractor(np.zeros(16_000, np.float32))
    assert all(np.isfinite(frames).all() for frames in layers.values())


# The extractor


def test_layers_have_the_documented_widths_and_frames(extractor, partials, signals):
    layers = extractor(signals[2])  # 1.97 s, of which 1.2 s stand behind 0.77 s
    n_frames = 2 if partials else 1 + len(signals[2]) // 160
    expected = dict.fromkeys(("lstm.0", "lstm.1", "lstm.2"), (n_frames, 24))
    expected |= {"partials": (2, 16)} if partials else {}
    assert {name: x.shape for name, x in layers.items()} == expected | {"embedding": (1, 16)}
    assert extractor.layers == tuple(layers) == (PARTIAL if partials else WHOLE)
    np.testing.assert_allclose(np.linalg.norm(layers["embedding"]), 1, rtol=1e-6)


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


def test_it_keeps_the_rules_of_extractors_and_its_weights(extractor):
    before = extractor.provenance["weights_sha256"]
    check_extractor(extractor)
    assert extractor.provenance["weights_sha256"] == before
    assert not any(part._forward_hooks for part in extractor.module.modules())


def test_what_changes_the_numbers_is_kept_in_the_provenance(checkpoint):
    told = [
        load_ge2e(checkpoint, **settings).provenance
        for settings in ({}, {"partials": True}, {"target_dbfs": None}, {"target_dbfs": -20.0})
    ]
    assert all(one != other for k, one in enumerate(told) for other in told[:k])
    assert [one["name"] for one in told] == ["small", "small-partials", "small", "small"]


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(
    checkpoint, partials, extractor, signals
):
    state = torch.random.get_rng_state()
    untrained = load_ge2e(checkpoint, partials=partials, untrained=True)
    again = load_ge2e(checkpoint, partials=partials, untrained=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained, random = extractor(signals[2]), untrained(signals[2])
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in random.items()}
    for layer, frames in again(signals[2]).items():
        np.testing.assert_array_equal(frames, random[layer])
        assert not np.allclose(frames, trained[layer], rtol=0.1)
    assert untrained.name == extractor.name + "-untrained"


def test_signals_that_are_too_short_are_refused(checkpoint, signals):
    whole, partial = load_ge2e(checkpoint), load_ge2e(checkpoint, partials=True)
    with pytest.raises(ValueError, match="of 200 samples is too short to be mirrored"):
        whole(signals[0][:200])
    assert whole(signals[0][:201])["lstm.0"].shape == (2, 24)
    assert partial(signals[0][:1])["partials"].shape == (1, 16)
    for extractor in (whole, partial):
        with pytest.raises(ValueError, match="no samples"):
            extractor(signals[0][:0])


# Checkpoints


def test_a_checkpoint_loads_whole_by_its_published_names(published, checkpoint):
    loaded = load_ge2e(checkpoint).module.state_dict()
    expected = dict(published.state_dict())
    del expected["similarity_weight"], expected["similarity_bias"]
    assert len(loaded) == len(expected) == 14
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        for number in range(3):
            found = loaded[f"lstm.{number}.{kind}_l0"]
            assert torch.equal(found, expected[f"lstm.{kind}_l{number}"])
    assert torch.equal(loaded["linear.weight"], expected["linear.weight"])


def test_missing_and_unexpected_weights_are_named(published, tmp_path):
    state = dict(published.state_dict())
    state["linear.beta"] = state.pop("linear.bias")
    torch.save({"model_state": state}, tmp_path / "changed.pt")
    with pytest.raises(
        ValueError, match=r"missing \['linear.bias'\]; not expected \['linear.beta'\]"
    ):
        load_ge2e(tmp_path / "changed.pt")


def test_a_checkpoint_of_something_else_is_refused(published, tmp_path):
    torch.save({"model_state": {"fc.weight": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"no GE2E encoder.*fc.weight"):
        load_ge2e(tmp_path / "other.pt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_ge2e("nowhere.pt")


def test_of_several_things_in_a_file_one_is_read_by_its_name(checkpoint, published, tmp_path):
    state = read_tensors(checkpoint, key="model_state")
    assert list(state) == list(published.state_dict())
    with pytest.raises(ValueError, match=r"not one mapping"):
        read_tensors(checkpoint)
    with pytest.raises(ValueError, match=r"small.pt: step is refused.*not one mapping"):
        read_tensors(checkpoint, key="step")
    with pytest.raises(ValueError, match=r"'model'; it holds \['step', 'model_state', 'opt"):
        read_tensors(checkpoint, key="model")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"'model'; it holds a list"):
        read_tensors(tmp_path / "list.pt", key="model")
    torch.save({"model": {"a": torch.zeros(1)}, "run": math.sqrt, "code": print}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="refused, because it is not plain tensors"):
        read_tensors(tmp_path / "x.pt", key="model")


def test_a_missing_package_names_the_pip_line(monkeypatch, signals):
    monkeypatch.setattr(ge2e, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"resemblyzer.*pip install 'speechprobe\[ge2e\]'"):
        load_ge2e()
    assert load_ge2e(untrained=True).name == "ge2e-untrained"


# The published weights


@pytest.fixture(scope="module")
def resemblyzer():
    """Import the package without its voice activity detector, which is not used here."""
    pytest.importorskip("librosa")
    morphology = types.ModuleType("scipy.ndimage.morphology")
    morphology.binary_dilation = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "webrtcvad", types.ModuleType("webrtcvad"))
        patch.setitem(sys.modules, "scipy.ndimage.morphology", morphology)
        yield pytest.importorskip("resemblyzer")
    for name in [name for name in sys.modules if name.split(".")[0] == "resemblyzer"]:
        del sys.modules[name]


@pytest.fixture
def shipped():
    """Skip where the package with the weights is not installed; it is not imported."""
    if ge2e.find_spec("resemblyzer") is None:
        pytest.skip("resemblyzer is not installed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seconds", [0.2, 1.0, 1.96, 1.98, 2.7, 4.0])
def test_partials_give_resemblyzers_embedding(resemblyzer, monkeypatch, seconds):
    """With the samples behind the ends mirrored, as by librosa before 0.9."""
    import librosa

    def mirrored(signal):
        return librosa.feature.melspectrogram(
            y=signal, sr=16_000, n_fft=400, hop_length=160, n_mels=40, pad_mode="reflect"
        ).T.astype(np.float32)

    monkeypatch.setattr(resemblyzer.audio, "wav_to_mel_spectrogram", mirrored)
    time = np.arange(int(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(0).normal(scale=0.003, size=len(time))
    signal = (0.01 * np.sin(2 * np.pi * 150 * time**1.5) + noise).astype("float32")
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    louder = resemblyzer.audio.normalize_volume(signal, -30, increase_only=True)
    expected, partials, _ = encoder.embed_utterance(louder, return_partials=True)
    layers = load_ge2e(partials=True)(signal)
    np.testing.assert_allclose(layers["partials"], partials, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(layers["embedding"][0], expected, rtol=1e-4, atol=2e-6)


@pytest.mark.usefixtures("shipped")
def test_the_published_weights_keep_the_rules_and_pad_exactly(partials, signals):
    extractor = load_ge2e(partials=partials)
    assert extractor.name == "ge2e" + "-partials" * partials
    check_extractor(extractor)
    extractor.extract_batch(signals, pooling.mean)
    assert max(extractor.padding_error.values()) < 1e-5


def equal_error_rate(same, scores):
    """Return where as many of the same are below a score as of the others are at or above it."""
    order = np.sort(scores)
    missed = np.array([(scores[same] < score).mean() for score in order])
    passed = np.array([(scores[~same] >= score).mean() for score in order])
    best = np.argmin(np.abs(missed - passed))
    return (missed[best] + passed[best]) / 2


@pytest.mark.shared
@pytest.mark.usefixtures("shipped")
def test_speakers_are_told_apart_and_better_by_partial_utterances(shared):
    folders = sorted((shared / "data" / "LibriSpeech" / "test-other").iterdir())
    files = [file for folder in folders for file in sorted(folder.rglob("*.flac"))[:5]]
    speakers = np.array([file.name.split("-")[0] for file in files])
    signals = [soundfile.read(file, dtype="float32")[0][:96_000] for file in files]
    pairs = np.triu_indices(len(files), 1)
    same = (speakers[:, None] == speakers)[pairs]
    rates = {}
    for partials in (False, True):
        extractor = load_ge2e(partials=partials, layers="embedding")
        vectors = extractor.extract_batch(signals, pooling.mean)["embedding"]
        cosines = (vectors @ vectors.T)[pairs]
        assert cosines[same].mean() > cosines[~same].mean() + 0.2
        rates[partials] = equal_error_rate(same, cosines)
    assert rates[True] < 0.02
    assert rates[True] < rates[False] < 0.15
