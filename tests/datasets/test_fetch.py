from __future__ import annotations

import hashlib
import logging.handlers
import subprocess
import sys
from pathlib import Path

import pooch
import pytest

from speechprobe.datasets import _disk
from speechprobe.datasets._fetch import Network, fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [MD5, SHA256])
def test_file_comes_whole_and_alone(server, tmp_path, checksum):
    url = server.add("/a.bin", CONTENT)
    path = fetch(url, tmp_path / "new" / "a.bin", checksum=checksum)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["a.bin"]
    (tmp_path / "own").touch()
    assert path.stat().st_mode == (tmp_path / "own").stat().st_mode  # not private to its maker


def test_file_that_is_there_is_not_asked_for(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch(server.url + "/a.bin", tmp_path / "a.bin", checksum=MD5)
    assert server.log == []


def test_file_that_was_damaged_is_fetched_again(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1] + b"x")
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT


def test_nothing_is_printed_or_logged(server, tmp_path, capfd, monkeypatch):
    told = logging.handlers.BufferingHandler(100)
    monkeypatch.setattr(pooch.get_logger(), "handlers", [told])
    fetch(server.add("/a.bin", CONTENT), tmp_path / "a.bin", checksum=MD5)
    assert capfd.readouterr() == ("", "")
    assert told.buffer == []
    pooch.get_logger().info("others' downloads are told of as before")
    assert len(told.buffer) == 1


def test_cut_connection_is_resumed_within_one_call(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    server.cuts = [300_000, 1000]
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=301000-"]
    assert [status for *_, status in server.log] == [200, 206, 206]


def test_next_call_asks_for_the_rest_only(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    server.cuts, server.cut_always = [500_000], 0
    with pytest.raises(
        ConnectionError, match=r"500,000 of 1,048,576 bytes came and are kept in .*call again"
    ):
        fetch(url, tmp_path / "a.bin", checksum=MD5)
    assert names(tmp_path) == ["a.bin.partial", "a.bin.partial.tag"]
    server.cut_always = None
    server.log.clear()
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert server.ranges == ["bytes=500000-"]
    assert names(tmp_path) == ["a.bin"]


def test_as_long_as_bytes_come_a_download_goes_on(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    server.cut_always = 200_000  # five cuts, with three vain tries allowed
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert len(server.log) == 6


def test_server_that_ignores_ranges_sends_all_anew(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    server.ignore_range, server.cuts = True, [700_000, 300_000]
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert [status for *_, status in server.log] == [200, 200, 200]


def test_server_that_ignores_ranges_and_always_cuts_is_given_up(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    server.ignore_range, server.cut_always = True, 1000
    with pytest.raises(ConnectionError, match="1,000 of 1,048,576"):
        fetch(url, tmp_path / "a.bin", checksum=MD5)
    assert len(server.log) == 3


@pytest.mark.parametrize(("etag", "modified"), [("etag", None), (None, "date"), ("weak", "date")])
def test_file_that_changed_between_two_tries_starts_anew(server, tmp_path, etag, modified):
    marks = {"etag": '"{}"', "weak": 'W/"same"', "date": "Mon, 0{} Jan 2024 00:00:00 GMT", None: ""}

    def version(number):
        server.etag = marks[etag].format(number) or None
        server.modified = marks[modified].format(number) or None

    version(1)
    url = server.add("/a.bin", b"old" * 100_000)
    server.cuts, server.cut_always = [1000], 0
    with pytest.raises(ConnectionError):
        fetch(url, tmp_path / "a.bin", checksum=MD5)
    version(2)
    server.add("/a.bin", CONTENT)
    server.cut_always = None
    server.log.clear()
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert server.log == [("/a.bin", "bytes=1000-", 200)]


@pytest.mark.parametrize(("checksum", "asked"), [(MD5, "bytes=1000-"), (None, None)])
def test_without_a_version_only_a_checksum_allows_to_resume(server, tmp_path, checksum, asked):
    server.etag = None
    url = server.add("/a.bin", CONTENT)
    server.cuts = [1000]
    assert fetch(url, tmp_path / "a.bin", checksum=checksum).read_bytes() == CONTENT
    assert server.ranges == [None, asked]


def test_answer_with_another_part_is_not_appended(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    server.cuts, server.shift = [1000], 7
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert [status for *_, status in server.log] == [200, 206, 200]


def test_partial_that_is_whole_needs_no_byte(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    (tmp_path / "a.bin.partial").write_bytes(CONTENT)
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert server.log == [("/a.bin", "bytes=1048576-", 416)]


def test_partial_that_is_too_long_starts_anew(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    (tmp_path / "a.bin.partial").write_bytes(CONTENT + b"more")
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert [status for *_, status in server.log] == [416, 200]


def test_wrong_checksum_names_both_and_leaves_nothing(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    wrong = "md5:" + "0" * 32
    with pytest.raises(ValueError, match="Call again") as caught:
        fetch(url, tmp_path / "a.bin", checksum=wrong)
    assert url in str(caught.value)
    assert wrong in str(caught.value)
    assert MD5.removeprefix("md5:") in str(caught.value)
    assert names(tmp_path) == []


def test_spoilt_partial_is_found_by_the_checksum_and_removed(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    (tmp_path / "a.bin.partial").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="expected the checksum"):
        fetch(url, tmp_path / "a.bin", checksum=MD5)
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_refusal_names_url_and_status_at_once(server, tmp_path, status):
    url = server.add("/a.bin", CONTENT)
    server.status = status
    with pytest.raises(ConnectionError, match=f"{url}: the server answered HTTP {status}"):
        fetch(url, tmp_path / "a.bin", checksum=MD5)
    assert len(server.log) == 1
    assert names(tmp_path) == []


def test_server_that_is_not_there_is_a_connection_error(tmp_path):
    network = Network(tries=2, backoff=0.001, timeout=1)
    with pytest.raises(ConnectionError, match="127.0.0.1:9/a.bin: .*0 bytes came; try later"):
        fetch("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", checksum=MD5, network=network)


def test_file_without_a_stated_length_comes_whole(server, tmp_path):
    server.length_header = False
    url = server.add("/a.bin", CONTENT)
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["openslr.elda.org/a.bin", "ftp://host/a.bin", "https:///a.bin"])
def test_what_is_no_web_address_is_told(tmp_path, url):
    with pytest.raises(ValueError, match="expected an address that starts with https://"):
        fetch(url, tmp_path / "a.bin", checksum=MD5)


def test_without_checksum_only_https_is_taken(tmp_path):
    with pytest.raises(ValueError, match="https only"):
        fetch("http://example.org/a.bin", tmp_path / "a.bin", checksum=None)


def test_without_checksum_the_first_file_is_the_measure(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    path = fetch(url, tmp_path / "a.bin", checksum=None)
    record = tmp_path / "a.bin.sha256"
    assert record.read_text() == f"{SHA256.removeprefix('sha256:')}  a.bin\n"
    path.unlink()
    fetch(url, path, checksum=None)
    path.unlink()
    server.add("/a.bin", b"another file")
    with pytest.raises(ValueError, match="not the one that came first; remove .*sha256"):
        fetch(url, path, checksum=None)
    assert names(tmp_path) == ["a.bin.sha256"]


def test_full_disk_is_told_before_a_byte_is_written(server, tmp_path, monkeypatch):
    url = server.add("/a.bin", CONTENT)
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(_disk.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"1,048,576 more bytes are needed, 1,000 are free"):
        fetch(url, tmp_path / "a.bin", checksum=MD5)
    assert names(tmp_path) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from speechprobe.datasets._fetch import fetch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    fetch(sys.argv[1], Path(sys.argv[2]), checksum=sys.argv[3], progress=False)
except OSError as error:
    sys.exit(str(error))
"""


def test_limit_reached_while_writing_keeps_what_came(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    command = [sys.executable, "-c", LIMITED, url, str(tmp_path / "a.bin"), MD5]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "a limit on files is reached: 648,576 more bytes are needed" in run.stderr
    assert (tmp_path / "a.bin.partial").stat().st_size == 400_000
    server.log.clear()
    assert fetch(url, tmp_path / "a.bin", checksum=MD5).read_bytes() == CONTENT
    assert server.ranges == ["bytes=400000-"]


@pytest.fixture
def small_disk(tmp_path):
    """Give a disk of 256 KiB, or None where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    yield place if mounted else None
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_full_disk_while_writing_keeps_what_came(server, tmp_path, small_disk):
    url = server.add("/a.bin", CONTENT)
    server.length_header = False  # so that it cannot be known before
    if small_disk is None:
        # /dev/full refuses every byte as a full disk does.
        small_disk = tmp_path
        (tmp_path / "a.bin.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="the disk is full: more bytes are needed") as caught:
        fetch(url, small_disk / "a.bin", checksum=MD5)
    assert "free; make room" in str(caught.value)
    assert not (small_disk / "a.bin").exists()
    assert (small_disk / "a.bin.partial").exists()
