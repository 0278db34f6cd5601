"""Loading of Hugging Face transformers, whole and safe, and the real Whisper."""

from __future__ import annotations

import collections
import contextlib
import functools
import http.server
import json
import math
import shutil
import threading
import urllib.parse

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechprobe import pooling
from speechprobe.extractors import TransformerExtractor
from speechprobe.extractors.transformer_layers import frame_rules

transformers = pytest.importorskip("transformers")

RATE = 16_000
BLOCKS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
TINY = BLOCKS | {
    "conv_dim": (8, 8, 8),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 9, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
    "vocab_size": 8,
    "classifier_proj_size": 8,
    "xvector_output_dim": 8,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "tdnn_dim": (8, 8, 8, 8, 8),
}
WHISPER = {
    "d_model": 16,
    "num_mel_bins": 8,
    "max_source_positions": 100,
    "vocab_size": 8,
    "classifier_proj_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
} | {
    f"{part}_{what}": n
    for part in ("encoder", "decoder")
    for what, n in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))
}
MELS = {
    "feature_projection_input_dim": 16,
    "mask_time_length": 2,
    "conv_depthwise_kernel_size": 5,
    "vocab_size": 8,
}
# Class that was saved: its configuration and feature extractor.
HEADS = {
    "Wav2Vec2ForCTC": (TINY, "Wav2Vec2", {}),
    "Wav2Vec2ForPreTraining": (TINY, "Wav2Vec2", {}),
    "HubertForSequenceClassification": (TINY, "Wav2Vec2", {}),
    "WavLMForXVector": (TINY | {"num_buckets": 20}, "Wav2Vec2", {}),
    "Data2VecAudioForCTC": (TINY | {"num_conv_pos_embeddings": 2}, "Wav2Vec2", {}),
    "UniSpeechSatForPreTraining": (TINY | {"num_clusters": 4}, "Wav2Vec2", {}),
    "SEWDForCTC": (TINY, "Wav2Vec2", {}),
    "Wav2Vec2BertForCTC": (
        BLOCKS | MELS, "SeamlessM4T", {"feature_size": 8, "num_mel_bins": 8}
    ),
    "WhisperForConditionalGeneration": (
        WHISPER, "Whisper", {"feature_size": 8, "chunk_length": 2}
    ),
    "WhisperForAudioClassification": (WHISPER, "Whisper", {"feature_size": 8, "chunk_length": 2}),
    "ASTForAudioClassification": (
        BLOCKS | {"max_length": 200, "num_mel_bins": 16}, "AST",
        {"max_length": 200, "num_mel_bins": 16},
    ),
}  # fmt: skip


def save(folder, kind, settings, features="Wav2Vec2", front=None):
    """Write a tiny random network of a class and its feature extractor; return the network."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = getattr(transformers, kind)
        network = network(network.config_class(**settings)).eval()
    network.save_pretrained(folder)
    getattr(transformers, f"{features}FeatureExtractor")(**(front or {})).save_pretrained(folder)
    return network


def sound(seconds, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(scale=0.1, size=int(RATE * seconds)).astype(np.float32)


@pytest.fixture(scope="module")
def signals():
    return [sound(n / RATE, k) for k, n in enumerate((9000, 20_001, 9000, 4321))]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(folder, "Wav2Vec2Model", TINY)
    return folder


@pytest.fixture(scope="module")
def expected(original):
    return TransformerExtractor(original)(sound(0.5))


@pytest.fixture
def saved(original, tmp_path):
    """A folder of its own for each test, to be spoilt."""
    return shutil.copytree(original, tmp_path / "tiny")


def same(extractor, expected):
    layers = extractor(sound(0.5))
    assert layers.keys() == expected.keys()
    for layer, frames in expected.items():
        np.testing.assert_array_equal(layers[layer], frames)
    return True


def edit(folder, name="config.json", **settings):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.fixture(scope="module")
def whisper(shared):
    return TransformerExtractor(shared / "models" / "whisper-tiny-encoder")


# Layers.


def test_layers_and_name_may_be_chosen(original, signals):
    attention = [f"encoder.layers.{k}.attention" for k in range(2)]
    for chosen in ("encoder.layers.*.attention", "attention", ["attention", attention[0]]):
        extractor = TransformerExtractor(original, layers=chosen, name="mine")
        assert extractor.name == "mine"
        assert list(extractor(signals[0])) == attention


def test_parts_and_patterns_mix_and_come_in_depth_order(original, signals):
    wanted = ["feed_forward", "blocks", "feature_projection", "conv"]
    extractor = TransformerExtractor(original, layers=wanted)
    blocks = [f"encoder.layers.{k}{what}" for k in range(2)
              for what in (".feed_forward.output_dense", "")]  # fmt: skip
    assert list(extractor(signals[0])) == [
        *(f"feature_extractor.conv_layers.{k}" for k in range(3)),
        "feature_projection",
        "encoder.layers.0:input",
        *blocks,
    ]


def test_unknown_layers_are_named_with_near_ones(original):
    with pytest.raises(ValueError, match=r"no layer matches 'encoder\.layer\.0'.*layers\.0"):
        TransformerExtractor(original, layers="encoder.layer.0")


def test_the_published_stem_gives_the_librarys_number_of_frames():
    kind, config = transformers.Wav2Vec2Model, transformers.Wav2Vec2Config()
    with torch.device("meta"):
        network = kind(config)
    stride, offset = frame_rules(network)[-1]
    assert (stride, stride - offset) == (320, 400)  # 50 Hz, and the first frame after 25 ms
    lengths = torch.arange(400, 3000)
    assert torch.equal(
        (lengths + offset) // stride, network._get_feat_extract_output_lengths(lengths)
    )


def test_a_handful_of_dry_runs_tells_every_layers_arithmetic(original, monkeypatch):
    """Each is a forward pass of the whole network, of which large ones need seconds."""
    runs = []
    dry_run = TransformerExtractor._dry_run

    def counted(extractor, *given):
        runs.append(given)
        return dry_run(extractor, *given)

    monkeypatch.setattr(TransformerExtractor, "_dry_run", counted)
    extractor = TransformerExtractor(original, layers=["conv", "blocks"])
    strides = extractor.describe()["stride"]
    assert [*strides] == [10, 80, *[320] * 4]
    assert len(runs) <= 6


def test_the_published_spectrogram_transformer_sees_101_times_in_10_24_seconds(tmp_path):
    save(tmp_path, "ASTModel", BLOCKS, "AST")
    extractor = TransformerExtractor(tmp_path)
    assert extractor.max_seconds == 10.24
    assert {x.shape for x in extractor(sound(10.24)).values()} == {(101, 16)}
    assert {x.shape for x in extractor(sound(1)).values()} == {(9, 16)}
    with pytest.raises(ValueError, match=r"sees 10\.24 s, .* window_seconds=10\.24\)"):
        extractor(sound(10.25))


# Weights.


@pytest.mark.parametrize("kind", HEADS)
def test_networks_saved_with_a_head_are_loaded_without_it(kind, tmp_path):
    network = save(tmp_path, kind, *HEADS[kind])
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [kind]
    base = getattr(network, network.base_model_prefix, network)
    base = base.encoder if kind.startswith("Whisper") else base
    loaded = TransformerExtractor(tmp_path).module.state_dict()
    assert loaded.keys() == base.state_dict().keys()
    for name, weights in base.state_dict().items():
        assert torch.equal(loaded[name], weights), name


def test_half_precision_weights_run_in_float32(tmp_path):
    save(tmp_path, "Wav2Vec2Model", TINY)
    state = load_file(tmp_path / "model.safetensors")
    half = {name: weights.half() for name, weights in state.items()}
    save_file(half, tmp_path / "model.safetensors", {"format": "pt"})
    edit(tmp_path, dtype="float16", torch_dtype="float16")
    for untrained in (False, True):
        network = TransformerExtractor(tmp_path, untrained=untrained).module
        assert {weights.dtype for weights in network.parameters()} == {torch.float32}


# How names were before today's library: torch's old weight norm, the library's old blocks.
OLD = {
    "Wav2Vec2ForCTC": [
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ],
    "ASTForAudioClassification": [
        (".layers.", ".encoder.layer."),
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ],
}


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("kind", OLD)
def test_weights_under_their_old_names_are_loaded(kind, pickled, tmp_path):
    save(tmp_path, kind, *HEADS[kind])
    expected = TransformerExtractor(tmp_path)(sound(0.5))
    file = tmp_path / "model.safetensors"
    state = {}
    for name, weights in load_file(file).items():
        older = functools.reduce(lambda text, pair: text.replace(*pair), OLD[kind], name)
        state[older] = weights
    assert any(OLD[kind][-1][1] in name for name in state)
    assert not any(OLD[kind][-1][0] in name for name in state)
    file.unlink()
    if pickled:
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        save_file(state, file, {"format": "pt"})
    assert same(TransformerExtractor(tmp_path), expected)


def test_a_missing_mask_embedding_is_no_matter(saved, expected):
    state = load_file(saved / "model.safetensors")
    del state["masked_spec_embed"]
    save_file(state, saved / "model.safetensors", {"format": "pt"})
    assert same(TransformerExtractor(saved), expected)


def test_weights_that_are_not_in_the_files_are_refused(saved):
    edit(saved, num_hidden_layers=3)
    with pytest.raises(ValueError, match=r"weights.*encoder\.layers\.2.*would be random"):
        TransformerExtractor(saved)


def test_an_encoder_without_a_decoder_is_enough_but_not_the_reverse(tmp_path):
    save(tmp_path, "WhisperModel", WHISPER, "Whisper", {"feature_size": 8, "chunk_length": 2})
    state = load_file(tmp_path / "model.safetensors")
    for part in ("encoder", "decoder"):
        kept = {name: value for name, value in state.items() if name.startswith(part)}
        save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
        if part == "encoder":
            assert TransformerExtractor(tmp_path).layers[-1] == "layer_norm"
    with pytest.raises(ValueError, match=r"of the network are not in the files, first 'encoder\."):
        TransformerExtractor(tmp_path)


def to_pickles(folder, n_files=1):
    """Turn the weights of a folder into what PyTorch pickles."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    for k in range(n_files):
        file = f"-{k + 1:05}-of-{n_files:05}" if n_files > 1 else ""
        part = collections.OrderedDict((name, state[name]) for name in names[k::n_files])
        torch.save(part, folder / f"pytorch_model{file}.bin")


@pytest.mark.parametrize("n_files", [1, 2])
def test_pickled_tensors_are_loaded(saved, expected, n_files):
    to_pickles(saved, n_files)
    assert same(TransformerExtractor(saved), expected)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the pickle ran')",)


def test_a_pickle_that_runs_code_is_refused(saved):
    to_pickles(saved)
    torch.save({"masked_spec_embed": Malicious()}, saved / "pytorch_model.bin")
    with pytest.raises(ValueError, match="refused.*would run.*exec") as caught:
        TransformerExtractor(saved)
    assert "weights_only" not in str(caught.value)


def test_safetensors_are_preferred_to_pickles(saved, expected):
    torch.save({"masked_spec_embed": Malicious()}, saved / "pytorch_model.bin")
    assert same(TransformerExtractor(saved), expected)


def test_code_of_a_folder_is_never_run(saved, expected):
    (saved / "code.py").write_text("raise SystemExit('code of the folder ran')")
    theirs = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    edit(saved, auto_map=theirs)
    edit(saved, "preprocessor_config.json", auto_map={"AutoFeatureExtractor": "code.Features"})
    assert same(TransformerExtractor(saved), expected)
    edit(saved, model_type="theirs")
    with pytest.raises(ValueError, match="refused.*never run here.*ModuleExtractor") as caught:
        TransformerExtractor(saved)
    assert "trust_remote_code" not in str(caught.value)
    edit(saved, model_type="wav2vec2")
    edit(saved, "preprocessor_config.json", feature_extractor_type="Theirs")
    with pytest.raises(ValueError, match="refused.*never run here"):
        TransformerExtractor(saved)


@pytest.mark.parametrize("named", ["NoEncoder", "os.system('ls')Encoder"])
def test_a_class_that_the_library_does_not_know_is_refused(saved, named):
    edit(saved, architectures=[named])
    with pytest.raises(ValueError, match="the library knows no bare network of"):
        TransformerExtractor(saved)


def test_a_network_of_another_kind_is_refused(saved):
    (saved / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": None}))
    with pytest.raises(ValueError, match="weights of the network are not in the files"):
        TransformerExtractor(saved)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", r"holds no config\.json"),
        ("preprocessor_config.json", r"holds no preprocessor_config\.json or processor_config"),
        ("model.safetensors", r"holds no model\.safetensors .* or pytorch_model\.bin"),
    ],
)
def test_files_that_are_not_there_are_named(saved, file, message):
    (saved / file).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        TransformerExtractor(saved)


def test_an_untrained_twin_needs_no_weights(saved):
    twin = TransformerExtractor(saved, untrained=True)
    (saved / "model.safetensors").unlink()
    assert same(TransformerExtractor(saved, untrained=True), twin(sound(0.5)))
    assert twin.name == "tiny-untrained"


@pytest.mark.parametrize("path", ["no/such/folder", "nothing", "../there"])
def test_what_is_neither_folder_nor_repository_is_refused(path):
    with pytest.raises(FileNotFoundError, match="no such folder.*owner|no such folder.*openai"):
        TransformerExtractor(path)


def test_a_folder_has_no_revisions(saved):
    with pytest.raises(ValueError, match="revision='v1' is of a hub repository"):
        TransformerExtractor(saved, revision="v1")


def test_a_missing_transformers_names_the_pip_line(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match="transformers"):
        TransformerExtractor(tmp_path)


# The hub: a server on loopback that speaks its API.

COMMIT, OLDER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
CUT = 8192  # bytes that come through before the connection breaks
REVISIONS = {"main": COMMIT, COMMIT: COMMIT, "v1": OLDER, OLDER: OLDER}


class Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path.removeprefix("/api/models")
        _, owner, _, verb, revision, *rest = [*path.split("/"), "", ""]
        name = "".join(rest)
        if owner == "private":
            return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        if revision not in REVISIONS:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        commit = REVISIONS[revision]
        files = self.server.files[commit]
        if verb == "revision":
            info = {"id": "owner/model", "sha": commit, "siblings": []}
            return self.answer(200, json.dumps(info).encode(), {})
        if verb == "tree":
            listing = [
                {"type": "file", "path": each, "size": len(data), "oid": commit + each}
                for each, data in files.items()
            ]
            return self.answer(200, json.dumps(listing).encode(), {})
        return self.give(commit, name, files[name])

    def give(self, commit, name, data):
        headers = {"ETag": f'"{commit}{name}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            return self.answer(200, data, headers)
        asked = self.headers.get("Range")
        self.server.asked.append((name, asked))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        status = 206 if start else 200
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if name == "model.safetensors" and self.server.trouble:
            if self.server.trouble.pop(0) == "down":
                return self.answer(500, b"", {})
            self.close_connection = True
            return self.answer(status, data[start:], headers, given=CUT)
        return self.answer(status, data[start:], headers)

    def answer(self, status, data, headers, given=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[:given])

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    unwanted = dict.fromkeys(("tf_model.h5", "pytorch_model.bin", "code.py"), b"not wanted")
    save(tmp_path / "older", "Wav2Vec2Model", TINY | {"num_hidden_layers": 1})
    older = {path.name: path.read_bytes() for path in (tmp_path / "older").iterdir()}
    server.files = {COMMIT: files | unwanted, OLDER: older}
    server.asked, server.trouble = [], []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    # What is kept of a broken download are whole chunks, of 10 MB; these files are smaller.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        functools.partial(
            huggingface_hub.snapshot_download,
            endpoint=f"http://127.0.0.1:{server.server_port}",
            cache_dir=tmp_path / "cache",
        ),
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_repository_is_fetched_once_and_then_read_without_the_hub(hub, expected):
    for revision in (None, "main", COMMIT):
        extractor = TransformerExtractor("owner/model", revision=revision)
        assert extractor.name == "model"
        assert same(extractor, expected)
    fetched = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(name for name, _ in hub.asked) == fetched
    hub.shutdown()
    hub.server_close()
    assert same(TransformerExtractor("owner/model"), expected)
    with pytest.raises(FileNotFoundError):
        TransformerExtractor("owner/model", revision="v1")


def test_a_revision_is_fetched_as_it_was(hub):
    assert len(TransformerExtractor("owner/model", revision="v1").layers) == 2
    assert len(TransformerExtractor("owner/model").layers) == 3


def test_an_untrained_twin_needs_the_settings_alone(hub):
    assert TransformerExtractor("owner/model", untrained=True).name == "model-untrained"
    assert not any("model" in name for name, _ in hub.asked)


def test_a_repository_of_pickles_is_fetched_and_read_as_tensors(hub, saved, expected):
    to_pickles(saved)
    files = hub.files[COMMIT]
    del files["model.safetensors"]
    files["pytorch_model.bin"] = (saved / "pytorch_model.bin").read_bytes()
    assert same(TransformerExtractor("owner/model"), expected)
    assert "code.py" not in [name for name, _ in hub.asked]


@pytest.mark.parametrize(("name", "revision"), [("private/model", None), ("owner/model", "v9")])
def test_what_the_hub_does_not_give_is_named(hub, name, revision):
    with pytest.raises(FileNotFoundError, match=f"no repository '{name}' at revision"):
        TransformerExtractor(name, revision=revision)


def test_a_cut_download_goes_on_where_it_was_cut(hub, expected):
    hub.trouble = ["cut"]
    # Versions of huggingface_hub differ in whether they go on in the same call or the next one.
    with contextlib.suppress(OSError):
        TransformerExtractor("owner/model")
    assert same(TransformerExtractor("owner/model"), expected)
    ranges = [asked for name, asked in hub.asked if name == "model.safetensors"]
    assert ranges == [None, f"bytes={CUT}-"]


def test_a_download_that_failed_is_completed_by_the_next_call(hub, expected):
    hub.trouble = ["down"]
    with contextlib.suppress(OSError):
        TransformerExtractor("owner/model")
    assert same(TransformerExtractor("owner/model"), expected)
    names = collections.Counter(name for name, _ in hub.asked)
    assert names == {"config.json": 1, "preprocessor_config.json": 1, "model.safetensors": 2}


# The real Whisper.


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


class TestNetworkObjects:
    """A network of the library may be given as it is."""

    @pytest.fixture
    def network(self):
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(1)
            return transformers.WavLMModel(transformers.WavLMConfig(**TINY)).eval()

    def test_it_gives_what_its_folder_gives(self, network, tmp_path):
        network.save_pretrained(tmp_path)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
        signal = np.random.default_rng(0).normal(scale=0.1, size=16_000).astype(np.float32)
        expected = TransformerExtractor(tmp_path)(signal)
        found = TransformerExtractor(network)(signal)
        assert list(found) == list(expected)
        for layer, frames in expected.items():
            np.testing.assert_allclose(found[layer], frames, rtol=1e-5, atol=1e-6)

    def test_the_feature_extractor_is_that_of_the_folder_it_was_loaded_from(
        self, network, tmp_path
    ):
        network.save_pretrained(tmp_path)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
        loaded = transformers.WavLMModel.from_pretrained(tmp_path).eval()
        extractor = TransformerExtractor(loaded)
        assert extractor.provenance["preprocess"]["do_normalize"] is False
        assert extractor.name == tmp_path.name

    def test_the_network_itself_is_used_and_left_as_it_is(self, network):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        extractor = TransformerExtractor(network, name="own")
        extractor(np.zeros(16_000, np.float32) + 0.1)
        assert extractor.module is network
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert extractor.name == "own"

    def test_a_head_is_left_out_and_of_an_encoder_decoder_the_encoder_is_used(self):
        ctc = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**TINY))
        assert TransformerExtractor(ctc.eval()).module is ctc.wav2vec2
        small = {"d_model": 16, "vocab_size": 8, "pad_token_id": 0, "num_mel_bins": 40}
        for part in ("encoder", "decoder"):
            small |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 16}
        whisper = transformers.WhisperModel(transformers.WhisperConfig(**small)).eval()
        assert TransformerExtractor(whisper).module is whisper.encoder

    def test_untrained_is_the_same_architecture_with_other_weights(self, network):
        twin = TransformerExtractor(network, untrained=True)
        assert twin.layers == TransformerExtractor(network).layers
        shapes = {name: value.shape for name, value in network.state_dict().items()}
        assert {name: value.shape for name, value in twin.module.state_dict().items()} == shapes
        assert not torch.equal(
            twin.module.encoder.layers[0].feed_forward.output_dense.weight,
            network.encoder.layers[0].feed_forward.output_dense.weight,
        )

    def test_train_mode_other_types_and_networks_are_refused(self, network):
        # Layer drop leaves out every block, and must not be met before train mode is refused.
        config = transformers.WavLMConfig(**TINY | {"layerdrop": 1.0})
        training = transformers.WavLMModel(config).train()
        with pytest.raises(ValueError, match="train mode"):
            TransformerExtractor(training)
        with pytest.raises(ValueError, match=r"torch.bfloat16.*\.float\(\)"):
            TransformerExtractor(training.eval().to(torch.bfloat16))
        with pytest.raises(TypeError, match=r"got Linear; ModuleExtractor"):
            TransformerExtractor(torch.nn.Linear(2, 2))
        with pytest.raises(ValueError, match="revision"):
            TransformerExtractor(network, revision="main")
