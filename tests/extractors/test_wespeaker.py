"""WeSpeaker's networks against the package's own, alone and in padded batches, and from folders."""

from __future__ import annotations

import functools
import http.server
import importlib
import importlib.util
import json
import sys
import threading
import types
import urllib.parse
from collections import OrderedDict

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml

from speechprobe import pooling
from speechprobe.extractors import capture, check_extractor, wespeaker
from speechprobe.extractors.nets.campplus import CAMPPlus, segment_means
from speechprobe.extractors.nets.ecapa import ECAPATDNN
from speechprobe.extractors.nets.resnet import ResNet34, ResNet152, ResNet221, ResNet293
from speechprobe.extractors.nets.simam import SimAMResNet34, SimAMResNet100, simam
from speechprobe.extractors.nets.statistics import AttentivePooling, StatisticsPooling
from speechprobe.extractors.wespeaker import load_wespeaker

SIMAM = ["front.layer*.*", "pooling", "bottleneck"]
RESNET = ["layer*.*", "pool", "seg_1"]
ECAPA = ["layer?", "conv", "pool", "linear"]
CAM = ["head.layer*.*", "head", "xvector.tdnn", "xvector.*.tdnnd*", "xvector.transit?:input",
       "xvector.transit?", "xvector.stats", "xvector.dense"]  # fmt: skip

# Ours, the package's module, class and arguments, layers, frames.
PAIRS = {
    "simam34": (SimAMResNet34, "samresnet", "SimAM_ResNet34_ASP", {}, SIMAM, 42),
    "simam100": (SimAMResNet100, "samresnet", "SimAM_ResNet100_ASP", {}, SIMAM, 42),
    "resnet34": (ResNet34, "resnet", "ResNet34", {"feat_dim": 80, "embed_dim": 256}, RESNET, 42),
    "resnet152": (ResNet152, "resnet", "ResNet152", {"feat_dim": 80, "embed_dim": 256}, RESNET, 18),
    "resnet221": (ResNet221, "resnet", "ResNet221", {"feat_dim": 80, "embed_dim": 256}, RESNET, 18),
    "resnet293": (ResNet293, "resnet", "ResNet293", {"feat_dim": 80, "embed_dim": 256}, RESNET, 18),
    "resnet34 attentive, two layers": (
        lambda: ResNet34(n_mels=40, n_dims=99, pooling="attentive", two_layers=True),
        "resnet",
        "ResNet34",
        {"feat_dim": 40, "embed_dim": 99, "pooling_func": "ASTP", "two_emb_layer": True},
        [*RESNET, "seg_2"],
        42,
    ),
    "ecapa512": (
        ECAPATDNN, "ecapa_tdnn", "ECAPA_TDNN_c512", {"feat_dim": 80, "embed_dim": 192}, ECAPA, 42
    ),
    "ecapa1024 context, norm": (
        lambda: ECAPATDNN(n_channels=1024, context=True, norm=True),
        "ecapa_tdnn",
        "ECAPA_TDNN_GLOB_c1024",
        {"feat_dim": 80, "embed_dim": 192, "emb_bn": True},
        [*ECAPA, "bn2"],
        42,
    ),
    "cam++": (CAMPPlus, "campplus", "CAMPPlus", {"feat_dim": 80, "embed_dim": 512}, CAM, 251),
}  # fmt: skip
SIZES = {
    "simam34": 25_213_760,
    "simam100": 50_232_896,
    "resnet34": 6_634_336,
    "resnet152": 19_814_880,
    "resnet221": 23_792_224,
    "resnet293": 28_626_016,
    "ecapa512": 5_797_504,
    "cam++": 7_176_224,
}

SMALL = {
    "SimAM_ResNet34_ASP": {"in_planes": 4, "embed_dim": 12, "acoustic_dim": 16, "dropout": 0},
    "ResNet34": {"feat_dim": 16, "embed_dim": 12, "pooling_func": "TSTP", "two_emb_layer": True},
    "ECAPA_TDNN_GLOB_c512": {"feat_dim": 16, "embed_dim": 12, "pooling_func": "ASTP"},
    "CAMPPlus": {"feat_dim": 16, "embed_dim": 12, "growth_rate": 4, "init_channels": 16},
}
FBANK = {"num_mel_bins": 16, "frame_length": 25, "frame_shift": 10, "dither": 1.0}


@pytest.fixture(scope="module")
def package():
    """Import one module of the package, whose own __init__ needs s3prl."""
    spec = importlib.util.find_spec("wespeaker")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("wespeaker-unofficial is not installed")
    (root,) = spec.submodule_search_locations
    before = set(sys.modules)
    for name, folder in (("wespeaker", root), ("wespeaker.models", f"{root}/models")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [folder]
    yield lambda module: importlib.import_module(f"wespeaker.models.{module}")
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "wespeaker":
            del sys.modules[name]


def randomise(network, seed=0):
    """Give norms and biases values that a mistake would show in."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif value.is_floating_point() and value.ndim == 1:
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network.eval()


def difference(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def speech_like(seconds, seed=0):
    generator = np.random.default_rng(seed)
    n = int(16_000 * seconds)
    loudness = np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / 16_000)) ** 3
    return (0.2 * loudness * generator.normal(size=n)).astype(np.float32)


# The networks.


@pytest.mark.parametrize("pair", PAIRS)
def test_every_layer_is_the_packages_to_1e_5(package, pair):
    make, module, name, arguments, layers, n_frames = PAIRS[pair]
    torch.manual_seed(0)
    theirs = randomise(getattr(package(module), name)(**arguments))
    with torch.device("meta"):
        ours = make().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), assign=True)
    features = torch.randn(2, n_frames, arguments.get("feat_dim", 80))
    with torch.inference_mode(), capture(theirs, layers) as expected:
        embedding = theirs(features)
    with torch.inference_mode(), capture(ours, layers) as found:
        output = ours(features)
    assert list(found) == list(expected)
    assert max(difference(found[layer], expected[layer]) for layer in expected) < 1e-5
    assert difference(output, embedding[-1] if isinstance(embedding, tuple) else embedding) < 1e-5


@pytest.mark.parametrize("pair", SIZES)
def test_networks_have_the_published_sizes_by_default(pair):
    with torch.device("meta"):
        network = PAIRS[pair][0]()
    assert sum(weights.numel() for weights in network.parameters()) == SIZES[pair]


NETWORKS = {
    "simam34": (lambda: SimAMResNet34(n_mels=16, n_dims=8, width=4), SIMAM),
    "resnet34": (lambda: ResNet34(n_mels=16, n_dims=8, width=4, pooling="attentive"), RESNET),
    "resnet152": (lambda: ResNet152(n_mels=16, n_dims=8, width=2), RESNET),
    "ecapa": (lambda: ECAPATDNN(n_mels=16, n_dims=8, n_channels=32), ECAPA),
    "ecapa context": (lambda: ECAPATDNN(n_mels=16, n_dims=8, n_channels=32, context=True), ECAPA),
    "cam++": (lambda: CAMPPlus(n_mels=16, n_dims=8, growth=4, width=8), CAM),
}


def captured(network, layers, *inputs):
    with torch.inference_mode(), capture(network, layers) as outputs:
        outputs["embedding"] = network(*inputs)
    return outputs


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_padded_row_is_that_row_alone_in_every_layer(kind):
    torch.manual_seed(0)
    make, layers = NETWORKS[kind]
    network = randomise(make())
    lengths = torch.tensor([498, 28, 121, 250])
    features = torch.randn(4, 498, 16)
    for row, n in enumerate(lengths.tolist()):
        features[row, n:] = torch.nan  # must not matter, whatever it is
    together = captured(network, layers, features, lengths)
    for row, n in enumerate(lengths.tolist()):
        alone = captured(network, layers, features[row : row + 1, :n])
        for layer, expected in alone.items():
            valid = together[layer][row : row + 1][..., : expected.shape[-1]]
            assert difference(valid, expected) < 1e-5, (layer, n)


def test_full_lengths_change_nothing():
    network = NETWORKS["simam34"][0]().eval()
    features = torch.randn(2, 50, 16)
    assert torch.equal(network(features, torch.tensor([50, 50])), network(features))


@pytest.mark.parametrize("lengths", [[5], [5, 0], [5, 9]])
def test_wrong_lengths_are_refused(lengths):
    network = NETWORKS["simam34"][0]().eval()
    with pytest.raises(ValueError, match="length"):
        network(torch.zeros(2, 8, 16), torch.tensor(lengths))


def test_simam_is_the_papers_formula():
    x = torch.randn(2, 3, 4, 5)
    expected = torch.empty_like(x)
    for row in range(2):
        for channel in range(3):
            plane = x[row, channel].numpy().astype(float)
            distance = (plane - plane.mean()) ** 2
            energy = distance / (4 * (plane.var(ddof=1) + 1e-4)) + 0.5
            expected[row, channel] = torch.from_numpy(plane / (1 + np.exp(-energy)))
    torch.testing.assert_close(simam(x), expected)


def test_statistics_of_one_frame_are_finite():
    assert torch.isfinite(StatisticsPooling()(torch.ones(1, 2, 1))).all()
    assert torch.isfinite(AttentivePooling(2, context=True)(torch.ones(1, 2, 1))).all()


def test_segment_means_divide_by_what_is_there():
    x = torch.arange(10.0)[None, None]
    means = segment_means(x, torch.tensor([8]), size=3)[0, 0, :8]
    assert means.tolist() == [1, 1, 1, 4, 4, 4, 6.5, 6.5]


@pytest.mark.parametrize("network", [SimAMResNet34, ResNet34, CAMPPlus])
def test_bands_that_cannot_be_halved_three_times_are_refused(network):
    with pytest.raises(ValueError, match="n_mels=20 must divide by 8"):
        network(n_mels=20)


# The extractors.


def write_config(folder, model, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model": model,
        "model_args": SMALL.get(model, {}),
        "dataset_args": {"fbank_args": FBANK, "resample_rate": 16_000},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | settings))
    return folder


def write_model(folder, model, **settings):
    """Write a folder as WeSpeaker does, with the training's projection."""
    write_config(folder, model, **settings)
    network = randomise(load_wespeaker(folder, untrained=True).module)
    state = OrderedDict(network.state_dict())
    state["projection.weight"] = torch.randn(99, 12)
    torch.save(state, folder / "avg_model.pt")
    return folder


@pytest.fixture(scope="module", params=SMALL)
def extractor(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    return load_wespeaker(write_model(folder, request.param))


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "small", "SimAM_ResNet34_ASP")


def test_an_extractor_keeps_the_rules(extractor):
    check_extractor(extractor)
    assert extractor.padding_error is not None
    assert max(extractor.padding_error.values()) < 1e-5


def test_batches_of_mixed_lengths_run_in_one_pass_and_give_the_single_vectors(extractor):
    signals = [
        speech_like(seconds, seed) for seed, seconds in enumerate((0.3, 5.0, 1.3, 0.31, 2.7))
    ]
    extractor.extract_batch(signals[2:], pooling.mean)  # measures the padding
    calls = []
    handle = extractor.module.register_forward_hook(lambda *_: calls.append(1))
    batch = extractor.extract_batch(signals, pooling.mean_std)
    assert len(calls) == 1
    handle.remove()
    for row, signal in enumerate(signals):
        single = extractor.extract_batch([signal], pooling.mean_std)
        for layer in extractor.layers:
            expected = single[layer][0]
            error = np.linalg.norm(batch[layer][row] - expected) / np.linalg.norm(expected)
            assert error < 1e-5, (layer, row)


def test_frames_of_every_length_follow_the_known_rule(extractor):
    """The strides are told, not found; networks agree with them at lengths around each step."""
    for n_samples in (4800, 4999, 8079, 8080, 16_239, 16_240):
        signal = speech_like(2)[:n_samples]
        for layer, frames in extractor(signal).items():
            assert len(frames) == extractor._layouts[layer].n_frames(n_samples), layer


def test_weights_stay_and_no_hook_is_left(extractor):
    before = {name: value.clone() for name, value in extractor.module.state_dict().items()}
    extractor.extract_batch([speech_like(0.5), speech_like(0.7)], pooling.mean)
    for name, value in extractor.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(
        part._forward_hooks or part._forward_pre_hooks for part in extractor.module.modules()
    )


def test_layers_are_the_stem_every_block_the_pooling_and_the_embedding(folder):
    extractor = load_wespeaker(folder)
    blocks = [
        f"front.layer{k}.{n}" for k, count in enumerate((3, 4, 6, 3), 1) for n in range(count)
    ]
    assert extractor.layers == ("front.relu", *blocks, "pooling", "bottleneck")
    layers = extractor(speech_like(1))
    # Channels double where the bands halve.
    assert {layer: frames.shape for layer, frames in layers.items()} == (
        {"front.relu": (98, 64), "pooling": (1, 128), "bottleneck": (1, 12)}
        | {layer: (-(-98 // 2 ** (int(layer[11]) - 1)), 64) for layer in blocks}
    )


def test_the_embedding_is_the_networks_of_the_mean_subtracted_filter_bank(folder):
    extractor = load_wespeaker(folder, layers="bottleneck")
    signal = speech_like(1.2)
    features = extractor.frontend(torch.from_numpy(signal)[None])
    with torch.inference_mode():
        expected = extractor.module(features - features.mean(1, keepdim=True))
    np.testing.assert_allclose(extractor(signal)["bottleneck"], expected, rtol=1e-4, atol=1e-5)


def test_a_second_embedding_layer_and_its_norm_are_layers(tmp_path):
    two = load_wespeaker(write_config(tmp_path / "a", "ResNet34"), untrained=True)
    assert two.layers[-2:] == ("seg_1", "seg_2")
    arguments = SMALL["ECAPA_TDNN_GLOB_c512"] | {"emb_bn": True}
    settings = write_config(tmp_path / "b", "ECAPA_TDNN_GLOB_c512", model_args=arguments)
    assert load_wespeaker(settings, untrained=True).layers[-2:] == ("linear", "bn2")


def test_layers_of_another_rule_are_found_by_dry_runs(tmp_path):
    folder = write_config(tmp_path, "CAMPPlus")
    extractor = load_wespeaker(folder, layers=["xvector.dense.linear"], untrained=True)
    with pytest.warns(UserWarning, match="no time axis was found"):
        frames = extractor(speech_like(1))["xvector.dense.linear"]
    assert frames.shape == (1, 12)


def test_untrained_is_another_network_of_the_same_shapes_and_always_the_same(folder):
    state = torch.random.get_rng_state()
    trained, fresh, again = (load_wespeaker(folder, untrained=flag) for flag in (False, True, True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert fresh.name == "small-untrained"
    signal = speech_like(0.5)
    for layer, frames in trained(signal).items():
        np.testing.assert_array_equal(fresh(signal)[layer], again(signal)[layer])
        assert fresh(signal)[layer].shape == frames.shape
        assert not np.allclose(fresh(signal)[layer], frames, rtol=0.1)
    assert trained.provenance["weights_sha256"] != fresh.provenance["weights_sha256"]


def test_the_window_is_hamming_or_what_the_config_or_the_caller_says(tmp_path):
    plain = write_config(tmp_path / "plain", "CAMPPlus")
    povey = {"fbank_args": FBANK | {"window_type": "povey"}}
    told = write_config(tmp_path / "told", "CAMPPlus", dataset_args=povey)
    assert load_wespeaker(plain, untrained=True).frontend.window == "hamming"
    assert load_wespeaker(told, untrained=True).frontend.window == "povey"
    assert load_wespeaker(plain, untrained=True, window="povey").frontend.window == "povey"


def test_without_cmvn_no_mean_is_subtracted(tmp_path):
    settings = {"fbank_args": FBANK, "cmvn": False}
    folder = write_config(tmp_path, "SimAM_ResNet34_ASP", dataset_args=settings)
    extractor = load_wespeaker(folder, untrained=True)
    signal = speech_like(0.5)
    with torch.inference_mode():
        expected = extractor.module(extractor.frontend(torch.from_numpy(signal)[None]))
    np.testing.assert_allclose(extractor(signal)["bottleneck"], expected, rtol=1e-4, atol=1e-5)


# Mistakes.


@pytest.mark.parametrize("missing", ["config.yaml", "avg_model.pt"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing}: no such file"):
        load_wespeaker(folder)


def test_a_name_that_is_neither_folder_nor_repository_lists_the_published_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder.*voxblink2_samresnet34"):
        load_wespeaker(tmp_path / "nowhere")


def test_a_revision_of_a_folder_is_refused(folder):
    with pytest.raises(ValueError, match="revision='main'.*is a folder"):
        load_wespeaker(folder, revision="main")


def change(state, how):
    if how == "missing":
        del state["front.conv1.weight"]
    elif how == "renamed":
        state["front.stem.weight"] = state.pop("front.conv1.weight")
    elif how == "extra":
        state["front.conv9.weight"] = torch.zeros(1)
    else:
        state["bottleneck.weight"] = state["bottleneck.weight"][:, :-1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"missing \['front.conv1.weight'\]$"),
        ("renamed", r"missing \['front.conv1.weight'\]; not expected \['front.stem.weight'\]$"),
        ("extra", r"not expected \['front.conv9.weight'\]$"),
        ("shape", r"bottleneck.weight \(12, 127\) instead of \(12, 128\)"),
    ],
)
def test_other_weights_are_refused_by_name(folder, how, message):
    state = torch.load(folder / "avg_model.pt")
    change(state, how)
    torch.save(state, folder / "avg_model.pt")
    with pytest.raises(ValueError, match=message):
        load_wespeaker(folder)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the pickle ran')",)


def test_a_pickle_that_runs_code_is_refused(folder):
    torch.save({"front.conv1.weight": Malicious()}, folder / "avg_model.pt")
    with pytest.raises(ValueError, match="refused.*would run.*exec") as caught:
        load_wespeaker(folder)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"model": {"a": torch.zeros(1)}}])
def test_weights_that_are_no_mapping_of_tensors_are_refused(folder, content):
    torch.save(content, folder / "avg_model.pt")
    with pytest.raises(ValueError, match="not one mapping of names to tensors"):
        load_wespeaker(folder)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", b"PK\3\4"])
def test_a_broken_checkpoint_is_refused(folder, content):
    (folder / "avg_model.pt").write_bytes(content)
    with pytest.raises(ValueError, match="avg_model.pt is"):
        load_wespeaker(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "Conformer"}, "'Conformer' is none of the known .*SimAM_ResNet34_ASP.*CAMPPlus"),
        ({"model": None}, "name of an architecture under `model`"),
        ({"model_args": {"colour": 3}}, "colour=3 is not known; there are .*'embed_dim'"),
        ({"model_args": {"acoustic_dim": 80}}, "takes 80 bands.*num_mel_bins=16"),
        ({"dataset_args": {"frontend": "whisper_encoder"}}, "'whisper_encoder' is not known"),
        ({"dataset_args": {"cmvn_args": {"norm_var": True}}}, "norm_var=True is not known"),
    ],
)
def test_configs_that_ask_for_the_unknown_are_refused(tmp_path, settings, message):
    folder = write_config(tmp_path, **({"model": "SimAM_ResNet34_ASP"} | settings))
    with pytest.raises(ValueError, match=message):
        load_wespeaker(folder, untrained=True)


@pytest.mark.parametrize(("model", "pool"), [("ResNet34", "MQMHASTP"), ("CAMPPlus", "ASTP")])
def test_poolings_that_are_not_known_are_refused(tmp_path, model, pool):
    folder = write_config(tmp_path, model, model_args=SMALL[model] | {"pooling_func": pool})
    with pytest.raises(ValueError, match=f"pooling_func.*{pool}"):
        load_wespeaker(folder, untrained=True)


@pytest.mark.parametrize("text", ["model: !!python/object/apply:os.getcwd []", "a: [", "- 1"])
def test_a_config_that_is_not_plain_yaml_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml: (not plain YAML|expected the name)"):
        load_wespeaker(tmp_path)


# The hub: a server on loopback that speaks its API.

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path.removeprefix("/api/models")
        self.server.asked.append(path.rsplit("/", 1)[1])
        files = self.server.files
        listing = [
            {"type": "file", "path": name, "size": len(data), "oid": name}
            for name, data in files.items()
        ]
        info = {"id": "owner/model", "sha": COMMIT, "siblings": []}
        known = {
            "/owner/model/revision/main": json.dumps(info).encode(),
            f"/owner/model/revision/{COMMIT}": json.dumps(info).encode(),
            f"/owner/model/tree/{COMMIT}": json.dumps(listing).encode(),
        } | {f"/owner/model/resolve/{COMMIT}/{name}": data for name, data in files.items()}
        if path in known:
            self.answer(200, known[path], {"ETag": f'"{path.rsplit("/", 1)[1]}"'})
        elif path.startswith("/private/"):
            self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        else:
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})

    def answer(self, status, data, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.files["model.onnx"] = b"not wanted"
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
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


def test_a_repository_is_fetched_once_and_then_read_without_the_hub(hub, folder):
    signal = speech_like(0.5)
    expected = load_wespeaker(folder)(signal)["bottleneck"]
    for revision in (None, "main", COMMIT):
        extractor = load_wespeaker("owner/model", revision=revision)
        assert extractor.name == "model"
        np.testing.assert_array_equal(extractor(signal)["bottleneck"], expected)
    assert "model.onnx" not in hub.asked
    hub.shutdown()
    hub.server_close()
    offline = load_wespeaker("owner/model")
    np.testing.assert_array_equal(offline(signal)["bottleneck"], expected)


def test_an_untrained_twin_needs_the_config_alone(hub):
    load_wespeaker("owner/model", untrained=True)
    assert "config.yaml" in hub.asked
    assert "avg_model.pt" not in hub.asked


def test_a_short_name_is_a_repository(hub, monkeypatch):
    monkeypatch.setitem(wespeaker.PUBLISHED, "short", "owner/model")
    assert load_wespeaker("short").name == "short"


@pytest.mark.parametrize(("name", "revision"), [("private/model", None), ("owner/model", "v9")])
def test_what_the_hub_does_not_give_is_named(hub, name, revision):
    with pytest.raises(FileNotFoundError, match=f"no repository '{name}' at revision"):
        load_wespeaker(name, revision=revision)
