"""A hub that cuts connections or holds what would run code: a server on loopback plays it."""

from __future__ import annotations

import functools
import http.server
import json
import threading
import time
import urllib.parse

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants

from speechprobe.extractors.wespeaker import load_wespeaker

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = {"in_planes": 4, "embed_dim": 12, "acoustic_dim": 16}


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the pickle ran')",)


class Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path.removeprefix("/api/models")
        files = self.server.files
        listing = [
            {"type": "file", "path": name, "size": len(data), "oid": name}
            for name, data in files.items()
        ]
        info = {"id": "owner/model", "sha": COMMIT, "siblings": []}
        known = {
            "/owner/model/revision/main": json.dumps(info).encode(),
            f"/owner/model/tree/{COMMIT}": json.dumps(listing).encode(),
        } | {f"/owner/model/resolve/{COMMIT}/{name}": data for name, data in files.items()}
        name = path.rsplit("/", 1)[1]
        self.answer(known[path], name)

    def answer(self, data, name):
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            whole = data[start:]
            if name == "avg_model.pt":
                self.server.starts.append(start)
                cut = self.server.cuts.pop(0) if self.server.cuts else None
                whole = whole[:cut]
            self.wfile.write(whole)

    def log_message(self, *_):
        pass


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    config = {
        "model": "SimAM_ResNet34_ASP",
        "model_args": SMALL,
        "dataset_args": {"fbank_args": {"num_mel_bins": 16}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    network = load_wespeaker(folder, untrained=True).module
    state = {name: value + 0.01 for name, value in network.state_dict().items()}
    torch.save(state, folder / "avg_model.pt")
    return folder


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.starts, server.cuts = [], []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    # The client keeps whole chunks only, of 10 MB, which is more than this network has.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
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


def assert_loads(folder):
    signal = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
    expected = load_wespeaker(folder)(signal)["bottleneck"]
    np.testing.assert_array_equal(load_wespeaker("owner/model")(signal)["bottleneck"], expected)


def test_a_download_cut_half_way_is_resumed_where_it_stopped(hub, folder):
    half = len(hub.files["avg_model.pt"]) // 2
    hub.cuts = [half]
    assert_loads(folder)
    assert hub.starts == [0, half // 4096 * 4096]


def test_a_download_given_up_leaves_no_half_file_to_be_read(hub, folder):
    hub.cuts = [50_000, *[0] * 6]
    with pytest.raises(Exception, match="closed connection"):
        load_wespeaker("owner/model")
    assert len(hub.starts) > 1
    hub.cuts = []
    assert_loads(folder)


def test_a_repository_of_weights_that_would_run_code_is_refused_with_the_reason(hub, tmp_path):
    torch.save({"front.conv1.weight": Malicious()}, tmp_path / "bad.pt")
    hub.files["avg_model.pt"] = (tmp_path / "bad.pt").read_bytes()
    with pytest.raises(ValueError, match="refused, because it is not plain tensors.*would run.*ex"):
        load_wespeaker("owner/model")


def test_a_config_of_a_repository_that_would_run_code_is_refused(hub):
    hub.files["config.yaml"] = b"model: !!python/object/apply:os.getcwd []"
    with pytest.raises(ValueError, match="not plain YAML"):
        load_wespeaker("owner/model", untrained=True)
