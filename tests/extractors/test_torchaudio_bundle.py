"""torchaudio's bundles: its own numbers alone and in padded batches, and the weights' ways."""

from __future__ import annotations

import copy
import hashlib
import http.server
import threading
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from torchaudio.pipelines import Wav2Vec2ASRBundle, Wav2Vec2Bundle

from speechprobe import pooling
from speechprobe.extractors import check_extractor, torchaudio_weights
from speechprobe.extractors.torchaudio_bundle import load_torchaudio

BASE = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 24,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 32,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.5,
    "aux_num_out": None,
}
LARGE = BASE | {
    "extractor_mode": "layer_norm",
    "extractor_conv_bias": True,
    "encoder_layer_norm_first": True,
}
WAVLM = {"encoder_num_buckets": 32, "encoder_max_distance": 80}
# Settings, whether the waveform is normalised, type.
SMALL = {
    "base": (BASE, False, "Wav2Vec2"),
    "large": (LARGE, True, "Wav2Vec2"),
    "wavlm base": (BASE | WAVLM, False, "WavLM"),
    "wavlm large": (LARGE | WAVLM, True, "WavLM"),
}
CONVOLUTIONS, BLOCKS = "feature_extractor.conv_layers", "encoder.transformer.layers"
EVERYTHING = [
    f"{CONVOLUTIONS}.*",
    f"{BLOCKS}.0:input",
    f"{BLOCKS}.*",
    "encoder.transformer.layer_norm",
]


def bundle_of(kind, path="small.pth"):
    params, normalise, model_type = SMALL[kind]
    return Wav2Vec2Bundle(path, copy.deepcopy(params), 16_000, normalise, model_type)


def randomise(network):
    """Give attention, norms and biases values that a mistake would show in."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def small(kind, **settings):
    extractor = load_torchaudio(bundle_of(kind), untrained=True, **settings)
    randomise(extractor.module)
    return extractor


def sounds(*lengths):
    # Off zero and of unequal loudness, so that a normalisation over the batch would show.
    rng = np.random.default_rng(0)
    return [
        (0.1 + 0.1 * (k + 1) * rng.normal(size=n)).astype(np.float32) for k, n in enumerate(lengths)
    ]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("kind", SMALL)
def test_blocks_are_what_torchaudios_bundle_gives(kind):
    extractor = small(kind)
    theirs = torchaudio.pipelines._wav2vec2.utils._extend_model(
        extractor.module, normalize_waveform=SMALL[kind][1]
    )
    (signal,) = sounds(9000)
    with torch.inference_mode():
        expected, _ = theirs.extract_features(torch.from_numpy(signal)[None])
    found = extractor(signal)
    assert len(expected) == 3
    for k, frames in enumerate(expected):
        assert relative(found[f"{BLOCKS}.{k}"], frames[0].numpy()) < 1e-5


@pytest.mark.parametrize("kind", SMALL)
def test_a_padded_batch_is_exact_in_every_layer_and_runs_in_one_pass(kind):
    extractor = small(kind, layers=EVERYTHING)
    signals = sounds(16_000, 4800, 27_001, 4800, 9999)
    extractor.extract_batch(signals[:2], pooling.mean)  # measures; a warning would be an error
    assert max(extractor.padding_error.values()) < 1e-5
    calls = []
    handle = extractor.module.register_forward_hook(lambda *_: calls.append(1))
    batch = extractor.extract_batch(signals, pooling.mean_std)
    handle.remove()
    assert len(calls) == 1
    for row, signal in enumerate(signals):
        alone = extractor.extract_batch([signal], pooling.mean_std)
        for layer in extractor.layers:
            assert relative(batch[layer][row], alone[layer][0]) < 1e-5, layer


@pytest.mark.parametrize("kind", SMALL)
def test_it_keeps_the_rules_and_leaves_no_hook(kind):
    extractor = small(kind)
    check_extractor(extractor)
    extractor.extract_batch(sounds(6000, 9000), pooling.mean)
    assert not any(
        part._forward_hooks or part._forward_pre_hooks for part in extractor.module.modules()
    )


def test_hooks_are_removed_when_the_network_fails():
    extractor = small("base")
    extractor.extract_batch(sounds(6000, 9000), pooling.mean)
    with pytest.raises(ValueError, match="300 samples is too short"):
        extractor.extract_batch(sounds(300, 9000), pooling.mean)
    assert not any(
        part._forward_hooks or part._forward_pre_hooks for part in extractor.module.modules()
    )


def test_the_waveform_is_normalised_once_and_over_its_own_samples():
    extractor = small("large")
    short, long = sounds(6000, 16_000)
    rows, n_samples = extractor._inputs([short, long])
    assert n_samples.tolist() == [6000, 16_000]
    assert not rows[0, 6000:].any()
    for row, signal in zip(rows, (short, long), strict=True):
        expected = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-5)
        np.testing.assert_allclose(row[: len(signal)], expected, atol=1e-5)
    plain, _ = small("base")._inputs([short])
    np.testing.assert_array_equal(plain[0], short)


def test_layers_are_the_first_input_the_blocks_and_the_norm_where_it_comes_last():
    blocks = (f"{BLOCKS}.0:input", *(f"{BLOCKS}.{k}" for k in range(3)))
    assert small("base").layers == blocks
    assert small("large").layers == (*blocks, "encoder.transformer.layer_norm")
    table = small("large").describe()
    assert table["final_norm"].tolist() == ["before"] * 4 + ["after"]
    assert table["frame_rate"].tolist() == [50] * 5
    assert small("base").describe()["final_norm"].isna().all()


def test_autocast_of_a_padded_batch_stays_near_full_precision():
    signals = sounds(6000, 9000)
    for kind in ("base", "wavlm base"):
        exact = small(kind).extract_batch(signals, pooling.mean)
        found = small(kind, dtype=torch.bfloat16).extract_batch(signals, pooling.mean)
        for layer, vectors in found.items():
            assert 0 < relative(vectors, exact[layer]) < 0.05


def test_untrained_is_always_the_same_and_leaves_the_generator_alone():
    state = torch.random.get_rng_state()
    one, two = (load_torchaudio(bundle_of("wavlm base"), untrained=True) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.name == "small-untrained"
    assert one.provenance == two.provenance
    assert one.provenance != load_torchaudio(bundle_of("base"), untrained=True).provenance


def test_provenance_tells_the_normalisation():
    normalised, plain = bundle_of("large"), bundle_of("large")
    plain._normalize_waveform = False
    one, two = (load_torchaudio(each, untrained=True).provenance for each in (normalised, plain))
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one != two


# Weights.


def old_names(network):
    """Return the state under the names that the published files have."""
    return {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in network.state_dict().items()
    }


@pytest.fixture
def checkpoint(tmp_path):
    extractor = small("base")
    file = tmp_path / "weights" / "small.pth"
    file.parent.mkdir()
    torch.save(old_names(extractor.module), file)
    return file, extractor(sounds(9000)[0])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home" / "hub" / "checkpoints"


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.rsplit("/", 1)[1]
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.cut_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def host(checkpoint, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.files = {"small.pth": checkpoint[0].read_bytes()}
    server.asked, server.cut_at = [], None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/torchaudio/models/"
    monkeypatch.setattr(torchaudio_weights, "_HOST", address)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def assert_gives(extractor, expected):
    for layer, frames in extractor(sounds(9000)[0]).items():
        np.testing.assert_array_equal(frames, expected[layer])


def test_weights_are_fetched_once_and_then_read_without_the_host(cache, host, checkpoint, capsys):
    extractor = load_torchaudio(bundle_of("base"))
    assert extractor.name == "small"
    assert_gives(extractor, checkpoint[1])
    assert host.asked == ["/torchaudio/models/small.pth"]
    assert [file.name for file in cache.iterdir()] == ["small.pth"]
    host.shutdown()
    host.server_close()
    assert_gives(load_torchaudio(bundle_of("base")), checkpoint[1])
    assert capsys.readouterr() == ("", "")


def test_the_cache_is_torchaudios_own(cache, checkpoint):
    cache.mkdir(parents=True)
    (cache / "small.pth").write_bytes(checkpoint[0].read_bytes())
    bundle = bundle_of("base")
    assert_gives(load_torchaudio(bundle), checkpoint[1])
    theirs = bundle.get_model()  # reads the same file, without a host
    ours = load_torchaudio(bundle).module
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name])


def test_weights_may_be_a_file(cache, checkpoint):
    assert_gives(load_torchaudio(bundle_of("base"), weights=checkpoint[0]), checkpoint[1])
    assert not cache.exists()


def test_untrained_asks_for_nothing(cache, host):
    load_torchaudio(bundle_of("base"), untrained=True)
    assert host.asked == []
    assert not cache.exists()


def test_a_cut_download_leaves_nothing_and_the_next_one_gets_through(cache, host, checkpoint):
    host.cut_at = 5000
    with pytest.raises(ValueError, match=r"small\.pth gave is not kept, try again"):
        load_torchaudio(bundle_of("base"))
    assert list(cache.iterdir()) == []
    host.cut_at = None
    assert_gives(load_torchaudio(bundle_of("base")), checkpoint[1])


@pytest.mark.parametrize("error", [HTTPException("cut"), ConnectionResetError("reset")])
def test_a_lost_connection_says_what_to_do(cache, monkeypatch, error):
    def fail(*_args, **_settings):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ConnectionError, match="hubert_fairseq_base.*weights="):
        load_torchaudio("HUBERT_BASE")


def test_what_the_host_does_not_have_is_named(cache, host):
    with pytest.raises(ConnectionError, match=r"other\.pth could not be fetched.*404.*weights="):
        load_torchaudio(bundle_of("base", "other.pth"))


def test_a_hash_in_the_name_is_checked(cache, host, checkpoint):
    content = checkpoint[0].read_bytes()
    right = hashlib.sha256(content).hexdigest()[:10]
    host.files |= {f"small-{right}.pth": content, "small-0123456789.pth": content}
    assert_gives(load_torchaudio(bundle_of("base", f"small-{right}.pth")), checkpoint[1])
    with pytest.raises(ValueError, match="not what its name says.*0123456789"):
        load_torchaudio(bundle_of("base", "small-0123456789.pth"))
    assert [file.name for file in cache.iterdir()] == [f"small-{right}.pth"]


def test_a_whole_address_is_taken_as_it_is(cache, host, checkpoint):
    address = f"http://127.0.0.1:{host.server_port}/elsewhere/small.pth"
    assert_gives(load_torchaudio(bundle_of("base", address)), checkpoint[1])
    assert host.asked == ["/elsewhere/small.pth"]


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the pickle ran')",)


def test_a_pickle_that_runs_code_is_refused_and_not_kept(cache, host, tmp_path):
    torch.save({"weight": Malicious()}, tmp_path / "bad.pth")
    host.files["small.pth"] = (tmp_path / "bad.pth").read_bytes()
    with pytest.raises(ValueError, match="refused.*would run.*exec"):
        load_torchaudio(bundle_of("base"))
    assert list(cache.iterdir()) == []


def test_weights_of_another_network_are_refused_by_name(checkpoint):
    with pytest.raises(ValueError, match=r"small\.pth does not fit.*missing.*conv\.bias"):
        load_torchaudio(bundle_of("large"), weights=checkpoint[0])


def test_a_recognisers_unused_symbols_are_left_out(tmp_path):
    """The published files of fine-tuned networks hold three rows that no label stands for."""
    params = BASE | {"aux_num_out": 29}
    bundle = Wav2Vec2ASRBundle("a.pth", params, 16_000, False, "Wav2Vec2", _labels=("|",) * 28)
    network = load_torchaudio(bundle, untrained=True).module
    state = network.state_dict()
    weight, bias = (torch.arange(32.0)[:, None].expand(32, 24), torch.arange(32.0))
    torch.save(state | {"aux.weight": weight.clone(), "aux.bias": bias}, tmp_path / "a.pth")
    loaded = load_torchaudio(bundle, weights=tmp_path / "a.pth").module.state_dict()
    assert loaded["aux.bias"].tolist() == [0, *range(4, 32)]
    assert loaded["aux.weight"][:, 0].tolist() == [0, *range(4, 32)]


# Names.


def test_every_speech_transformer_of_torchaudio_builds():
    names = [
        name
        for name, bundle in vars(torchaudio.pipelines).items()
        if name.startswith(("WAV2VEC2", "HUBERT", "WAVLM", "VOXPOPULI", "MMS"))
        and isinstance(bundle, Wav2Vec2Bundle)
    ]
    assert len(names) == 30
    sizes = {}
    for name in names:
        with torch.device("meta"):
            extractor = load_torchaudio(name, untrained=True)
        assert extractor.name == f"{name}-untrained"
        assert extractor.sample_rate == 16_000
        sizes[name] = sum(weights.numel() for weights in extractor.module.parameters())
    # wav2vec 2.0's table 1 and HuBERT's: 95 and 317 million; XLS-R: 300 million, 1 and 2 billion.
    assert {name: round(sizes[name] / 1e6) for name in ("WAV2VEC2_BASE", "HUBERT_LARGE")} == {
        "WAV2VEC2_BASE": 94,
        "HUBERT_LARGE": 315,
    }
    assert round(sizes["WAV2VEC2_XLSR_2B"] / 1e9, 1) == 2.2


@pytest.mark.parametrize("wrong", ["HUBERT_SMALL", "SQUIM_OBJECTIVE", 3])
def test_an_unknown_bundle_lists_the_known_ones(wrong):
    with pytest.raises(ValueError, match="no bundle.*HUBERT_BASE.*WAVLM_LARGE"):
        load_torchaudio(wrong)


def test_an_unknown_type_of_bundle_is_refused():
    bundle = bundle_of("base")
    bundle._model_type = "Conformer"
    with pytest.raises(ValueError, match="'Conformer'; known are"):
        load_torchaudio(bundle, untrained=True)


def test_weights_for_an_untrained_network_are_refused(tmp_path):
    with pytest.raises(ValueError, match="untrained network takes no weights"):
        load_torchaudio("HUBERT_BASE", untrained=True, weights=tmp_path / "a.pth")


def test_a_missing_file_of_weights_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_torchaudio(bundle_of("base"), weights=Path("nowhere.pth"))


@pytest.mark.slow
def test_the_real_architecture_is_exact_in_a_padded_batch():
    extractor = load_torchaudio("WAVLM_BASE", untrained=True)
    signals = sounds(8000, 12_345)
    batch = extractor.extract_batch(signals, pooling.mean)
    assert max(extractor.padding_error.values()) < 1e-4
    assert extractor.layers[-1] == f"{BLOCKS}.11"
    alone = extractor.extract_batch(signals[:1], pooling.mean)
    for layer, vectors in batch.items():
        assert vectors.shape == (2, 768)
        assert relative(vectors[0], alone[layer][0]) < 1e-4
