"""Fetch one file over HTTP: resumed where it stopped, checked, under its name only when whole.

What has come is kept in `<name>.partial` beside the file, with the server's mark of the version
(ETag or Last-Modified) in `<name>.partial.tag`. The next try, in this run or another, asks for the
rest by `Range` and `If-Range`; where the server ignores the range or the file has changed, it
starts anew. pooch then verifies the checksum before the file gets its name. Departures from
pooch: it has no resume, and logs each download; both are mended here.

Without a published checksum the file is taken over https only, and the sha256 that came first is
kept in `<name>.sha256` for later downloads to be compared with.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError

from speechprobe._files import PARTIAL, hide_progress
from speechprobe.datasets._disk import raise_full, require_room

_CHUNK = 1 << 18  # bytes read at a time
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Network:
    """How patient a download is.

    Parameters
    ----------
    tries
        Connections in a row that may bring nothing before a download gives up.
    backoff
        Seconds before the second try; doubled before each further one.
    timeout
        Seconds without an answer or a byte that count as a cut connection.
    """

    tries: int = 5
    backoff: float = 1.0
    timeout: float = 30.0


NETWORK = Network()


class _CutError(Exception):
    """A connection that ended before the file did; holds the file's length where it is known."""

    def __init__(self, reason: object, total: int | None = None) -> None:
        super().__init__(str(reason))
        self.total = total


def fetch(
    url: str,
    path: Path,
    *,
    checksum: str | None,
    progress: bool = True,
    network: Network | None = None,
) -> Path:
    """Return the path of a file that is whole and has the right checksum, fetching what is missing.

    Parameters
    ----------
    url
        Address of the file.
    path
        Where it goes; its folder is made.
    checksum
        "md5:..." or "sha256:..." as published; None where there is none.
    progress
        Show a bar where somebody looks.
    network
        Tries and waits; `NETWORK` by default.

    Raises
    ------
    ValueError
        If the checksum is wrong (what came is removed), or there is none and the address is not
        https.
    ConnectionError
        If the server refuses, or the connection is cut again and again (what came is kept).
    OSError
        If the disk is full (what came is kept).
    """
    path = path.absolute()
    record = _record(path)
    known = checksum or (f"sha256:{record.read_text().split()[0]}" if record.is_file() else None)
    whole = False
    _require_web(url, secure=checksum is None)

    def download(url: str, output_file: str, _: object) -> None:
        nonlocal whole
        partial = path.with_name(path.name + PARTIAL)
        transfer(url, partial, checked=known is not None, progress=progress, network=network)
        partial.replace(output_file)
        whole = True

    try:
        with _quiet():
            pooch.retrieve(url, known, path.name, path.parent, downloader=download)
    except ValueError as error:
        if not whole:
            raise
        raise ValueError(
            _wrong(url, known, record, published=checksum is not None, why=error)
        ) from error
    if checksum is None and not record.is_file():
        record.write_text(f"{pooch.file_hash(str(path))}  {path.name}\n")
    return path


def discard(path: Path) -> None:
    """Remove a fetched file that proved unfit, and the record of its checksum."""
    path.unlink(missing_ok=True)
    _record(path).unlink(missing_ok=True)


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _wrong(url: str, known: str | None, record: Path, *, published: bool, why: Exception) -> str:
    if published:
        remedy = (
            "Call again to fetch it anew; if it happens twice, the publisher has changed the file "
            "or the mirror holds another one"
        )
    else:
        remedy = f"The file is not the one that came first; remove {record} to accept the new one"
    return f"{url}: expected the checksum {known}; what came is removed. {why} {remedy}"


@contextmanager
def _quiet() -> Iterator[None]:
    def warns(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    logger = pooch.get_logger()
    logger.addFilter(warns)
    try:
        yield
    finally:
        logger.removeFilter(warns)


def _require_web(url: str, *, secure: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url}: expected an address that starts with https:// or http://")
    if secure and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ValueError(f"{url}: without a published checksum a file is taken over https only")


def transfer(
    url: str,
    partial: Path,
    *,
    checked: bool,
    progress: bool = True,
    network: Network | None = None,
) -> None:
    """Bring a partial file to its full length, over as many connections as that takes.

    `checked` says that a checksum is verified afterwards, so that a file of a server that marks no
    versions may be resumed too. Raises as `fetch` does.
    """
    network = network or NETWORK
    partial.parent.mkdir(parents=True, exist_ok=True)
    vain, furthest = 0, _size(partial)
    while True:
        try:
            with requests.Session() as session:
                _receive(session, url, partial, checked, progress, network.timeout)
            _tag(partial).unlink(missing_ok=True)
            return
        except _CutError as cut:
            vain = 1 if _size(partial) > furthest else vain + 1
            furthest = max(furthest, _size(partial))
            if vain >= network.tries:
                raise ConnectionError(_given_up(url, partial, cut)) from cut
        time.sleep(network.backoff * 2 ** (vain - 1))


def _given_up(url: str, partial: Path, cut: _CutError) -> str:
    size, of = _size(partial), "" if cut.total is None else f" of {cut.total:,}"
    kept = f" and are kept in {partial}; call again to continue" if size else "; try later"
    return f"{url}: no connection lasts ({cut}); {size:,}{of} bytes came{kept}"


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.is_file() else 0


def _tag(partial: Path) -> Path:
    return partial.with_name(partial.name + ".tag")


def _receive(
    session: requests.Session,
    url: str,
    partial: Path,
    checked: bool,
    progress: bool,
    timeout: float,
) -> None:
    start, headers = _ask(partial, checked)
    try:
        response = session.get(url, headers=headers, stream=True, timeout=timeout)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _CutError(error) from error
    with response:
        _require_web(response.url, secure=not checked)
        if start and response.status_code == requests.codes.requested_range_not_satisfiable:
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return  # the whole file had come before
            partial.unlink()
            raise _CutError("the server refused to continue")
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise ConnectionError(
                f"{url}: the server answered HTTP {response.status_code} {response.reason}; "
                "look whether the address still holds, try later or name another mirror"
            )
        _write(response, partial, _offset(response, partial, start), progress)


def _ask(partial: Path, checked: bool) -> tuple[int, dict[str, str]]:
    """Return the byte to start at and the headers that ask for the rest from there."""
    start = _size(partial)
    mark = _tag(partial).read_text() if _tag(partial).is_file() else ""
    headers = {"Accept-Encoding": "identity"}
    if not start or not (mark or checked):
        return 0, headers
    headers["Range"] = f"bytes={start}-"
    if mark:
        headers["If-Range"] = mark
    return start, headers


def _offset(response: requests.Response, partial: Path, start: int) -> int:
    if response.status_code == requests.codes.ok:
        return 0  # the server ignores ranges, or holds another version
    sent = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if sent is None or int(sent[1]) != start:
        partial.unlink(missing_ok=True)
        raise _CutError("the server sent another part than the one asked for")
    return start


def _write(response: requests.Response, partial: Path, start: int, progress: bool) -> None:
    length = response.headers.get("Content-Length", "")
    rest = int(length) if length.isdigit() else None
    total = None if rest is None else start + rest
    require_room(partial, rest or 0)
    etag = response.headers.get("ETag", "")
    # A weak ETag must not be used in If-Range (RFC 9110, section 13.1.5).
    mark = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    try:
        with (
            partial.open("r+b" if start else "wb") as file,
            _bar(partial, start, total, progress) as bar,
        ):
            file.seek(start)
            _tag(partial).write_text(mark)
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    except HTTPError as error:
        raise _CutError(error, total) from error
    except OSError as error:
        raise_full(error, partial, None if total is None else total - _size(partial))
        raise
    if total is not None and _size(partial) != total:  # urllib3 before 2 does not tell
        raise _CutError("the server closed the connection", total)


def _bar(partial: Path, start: int, total: int | None, progress: bool) -> Any:
    return tqdm(
        desc=partial.name.removesuffix(PARTIAL),
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
        disable=hide_progress(progress),
    )
