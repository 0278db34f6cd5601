"""A real HTTP server on loopback, with ranges, versions and faults that can be switched on."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from speechprobe.datasets import _fetch


@dataclass
class Server:
    """What the server holds, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"one"'
    modified: str | None = None
    ignore_range: bool = False
    shift: int = 0  # bytes by which a part starts too late
    status: int | None = None
    length_header: bool = True
    # Bytes after which each answer in turn is cut; None lets it through.
    cuts: list[int | None] = field(default_factory=list)
    cut_always: int | None = None
    log: list[tuple[str, str | None, int]] = field(default_factory=list)

    def add(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return self.url + path

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked, _ in self.log]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served: Server = self.server.served
        content = served.files.get(self.path)
        status = served.status or (404 if content is None else 200)
        if status != 200:
            return self.answer(status, b"", {})
        headers = {"ETag": served.etag, "Last-Modified": served.modified}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        fits = condition is None or condition in (served.etag, served.modified)
        if asked and fits and not served.ignore_range:
            start = int(asked[1])
            if start >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            start += served.shift
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.answer(206, content[start:], headers)
        return self.answer(200, content, headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str | None]) -> None:
        served: Server = self.server.served
        served.log.append((self.path, self.headers.get("Range"), status))
        cut = served.cuts.pop(0) if served.cuts else served.cut_always
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if served.length_header:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # the client may hang up
            self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """Serve `server.files` on loopback; downloads in the test wait for nothing."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_fetch, "NETWORK", _fetch.Network(tries=3, backoff=0.001, timeout=5))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as listening:
        listening.served = Server(url=f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield listening.served
        listening.shutdown()
        thread.join()
