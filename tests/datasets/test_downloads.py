from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from speechprobe.datasets import _archives, _lfs, downloads
from speechprobe.datasets._libri import SUBSETS
from speechprobe.datasets.downloads import (
    download_cafe,
    download_cremad,
    download_emodb,
    download_librispeech,
    download_libritts,
    download_ravdess,
)
from speechprobe.datasets.emodb import load_emodb
from speechprobe.datasets.librispeech import load_librispeech


def packed(folder: Path, *names: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in names:
            archive.add(folder / name, name)
    return content.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


def point(archive: _archives.Archive, content: bytes, server=None) -> _archives.Archive:
    """Give the table's entry with the checksum of a miniature, at the test's server."""
    url = archive.url if server is None else server.add("/" + archive.url.split("/")[-1], content)
    checksum = archive.checksum and md5(content)
    return dataclasses.replace(archive, url=url, checksum=checksum)


@pytest.fixture
def librispeech(server, tmp_path, librispeech_tree, monkeypatch):
    """Serve two miniature archives of LibriSpeech where OpenSLR has them."""
    librispeech_tree(tmp_path / "made")
    table = dict(_archives.LIBRISPEECH)
    for subset in ("dev-clean", "train-clean-100"):
        made = packed(tmp_path / "made", f"LibriSpeech/{subset}", "LibriSpeech/SPEAKERS.TXT")
        server.add(f"/resources/12/{subset}.tar.gz", made)
        table[subset] = point(table[subset], made)
    monkeypatch.setattr(_archives, "LIBRISPEECH", table)
    return server


def test_librispeech_is_downloaded_and_loads(librispeech, tmp_path):
    root = tmp_path / "corpora"
    folder = download_librispeech(["dev-clean"], root, mirror=librispeech.url)
    corpus = load_librispeech(folder)
    assert sorted(corpus.table.index) == ["174-50561-0000", "84-121123-0000", "84-121123-0001"]
    assert [path.name for path in root.iterdir()] == ["LibriSpeech"]


def test_further_subset_is_added_and_what_is_there_is_not_asked_for(librispeech, tmp_path):
    download_librispeech("dev-clean", tmp_path, mirror=librispeech.url)
    librispeech.log.clear()
    folder = download_librispeech(
        ["dev-clean", "train-clean-100"], tmp_path, mirror=librispeech.url + "/"
    )
    assert [path for path, *_ in librispeech.log] == ["/resources/12/train-clean-100.tar.gz"]
    assert set(load_librispeech(folder).table["subset"]) == {"dev-clean", "train-clean-100"}
    librispeech.log.clear()
    download_librispeech("train-clean-100", tmp_path, mirror=librispeech.url)
    assert librispeech.log == []


def test_interrupted_download_is_continued_by_the_next_call(librispeech, tmp_path):
    librispeech.cuts, librispeech.cut_always = [1000], 0
    with pytest.raises(ConnectionError, match="call again"):
        download_librispeech("dev-clean", tmp_path, mirror=librispeech.url)
    assert not (tmp_path / "LibriSpeech").exists()
    librispeech.cut_always = None
    librispeech.log.clear()
    load_librispeech(download_librispeech("dev-clean", tmp_path, mirror=librispeech.url))
    assert librispeech.ranges == ["bytes=1000-"]


def test_archives_are_kept_on_demand_and_used_again(librispeech, tmp_path):
    folder = download_librispeech("dev-clean", tmp_path, mirror=librispeech.url, keep_archives=True)
    assert (tmp_path / "archives" / "LibriSpeech" / "dev-clean.tar.gz").is_file()
    (folder / "dev-clean").rename(tmp_path / "elsewhere")
    librispeech.log.clear()
    load_librispeech(download_librispeech("dev-clean", tmp_path, mirror=librispeech.url))
    assert librispeech.log == []


@pytest.mark.parametrize("download", [download_librispeech, download_libritts])
@pytest.mark.parametrize("subsets", ["dev", ["dev-clean", "dev"], []])
def test_unknown_subset_lists_the_known(tmp_path, download, subsets):
    with pytest.raises(ValueError, match=r"some of \['train-clean-100', .*'test-other'\]"):
        download(subsets, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_restored_libritts_comes_with_its_lists(server, tmp_path, monkeypatch):
    made = tmp_path / "made" / "LibriTTS_R"
    (made / "dev-clean" / "84").mkdir(parents=True)
    (made / "speakers.tsv").write_text("READER\tGENDER\n84\tF\n")
    sound = packed(made.parent, "LibriTTS_R/dev-clean")
    server.add("/resources/141/dev_clean.tar.gz", sound)
    server.add("/resources/141/doc.tar.gz", packed(made.parent, "LibriTTS_R/speakers.tsv"))
    table = {"dev-clean": point(_archives.LIBRITTS_R["dev-clean"], sound)}
    monkeypatch.setattr(_archives, "LIBRITTS_R", table)
    folder = download_libritts("dev-clean", tmp_path / "root", restored=True, mirror=server.url)
    assert folder == tmp_path / "root" / "LibriTTS_R"
    assert sorted(path.name for path in folder.iterdir()) == ["dev-clean", "speakers.tsv"]


def test_libritts_is_downloaded(server, tmp_path, monkeypatch):
    (tmp_path / "made" / "LibriTTS" / "dev-other").mkdir(parents=True)
    content = packed(tmp_path / "made", "LibriTTS/dev-other")
    server.add("/resources/60/dev-other.tar.gz", content)
    table = {"dev-other": point(_archives.LIBRITTS["dev-other"], content)}
    monkeypatch.setattr(_archives, "LIBRITTS", table)
    folder = download_libritts("dev-other", tmp_path / "root", mirror=server.url)
    assert (folder / "dev-other").is_dir()


def test_emodb_is_downloaded_and_loads(server, tmp_path, monkeypatch, write_sound):
    sound = write_sound(tmp_path / "03a01Fa.wav").read_bytes()
    content = zipped({"emodb/wav/03a01Fa.wav": sound, "emodb/db.yaml": b"name: emodb\n"})
    monkeypatch.setattr(_archives, "EMODB", point(_archives.EMODB, content, server))
    corpus = load_emodb(download_emodb(tmp_path / "root"))
    assert list(corpus.table.index) == ["03a01Fa"]


@pytest.mark.parametrize(("channel", "count"), [("speech", 1), ("song", 1), ("both", 2)])
def test_ravdess_brings_the_channels_asked_for(server, tmp_path, monkeypatch, channel, count):
    content = zipped({"Actor_01/03-01-01-01-01-01-01.wav": b"RIFF"})
    table = {key: point(value, content, server) for key, value in _archives.RAVDESS.items()}
    monkeypatch.setattr(_archives, "RAVDESS", table)
    folder = download_ravdess(tmp_path, channel)
    assert len(list(folder.glob("Audio_*_Actors_01-24/Actor_01/*.wav"))) == count


def test_unknown_channel_is_told(tmp_path):
    with pytest.raises(ValueError, match="'speech', 'song' or 'both', got 'video'"):
        download_ravdess(tmp_path, "video")


def test_cafe_is_compared_with_what_came_first(server, tmp_path, monkeypatch):
    archive = point(_archives.CAFE, zipped({"Colère/01-C-1-1.wav": b"RIFF"}), server)
    monkeypatch.setattr(_archives, "CAFE", archive)
    folder = download_cafe(tmp_path)
    assert (folder / "Colère" / "01-C-1-1.wav").read_bytes() == b"RIFF"
    assert (tmp_path / "archives" / "cafe" / "CaFE_48k.zip.sha256").is_file()
    folder.rename(tmp_path / "elsewhere")
    server.add("/CaFE_48k.zip", zipped({"Colère/01-C-1-1.wav": b"other"}))
    with pytest.raises(ValueError, match="came first"):
        download_cafe(tmp_path)


def test_broken_archive_without_a_checksum_does_not_stay_in_the_way(server, tmp_path, monkeypatch):
    archive = point(_archives.CAFE, b"<html>busy</html>", server)
    monkeypatch.setattr(_archives, "CAFE", archive)
    with pytest.raises(ValueError, match="broken"):
        download_cafe(tmp_path)
    server.add("/CaFE_48k.zip", zipped({"Joie/01-J-1-1.wav": b"RIFF"}))
    assert (download_cafe(tmp_path) / "Joie").is_dir()


SOUNDS = {f"100{i}_DFA_ANG_XX.wav": b"RIFF" + bytes([i]) * 500 for i in range(1, 6)}


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


def pointer(content: bytes) -> bytes:
    oid = hashlib.sha256(content).hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    return text.encode()


@pytest.fixture
def cremad(server, monkeypatch):
    """Serve a miniature CREMA-D as GitHub does: trees, and content in LFS."""
    url = server.url
    name, commit = downloads.CREMAD.name, downloads.CREMAD.commit
    repository = _lfs.Repository(name, commit, api=url + "/api", media=url + "/media")
    monkeypatch.setattr(downloads, "CREMAD", repository)
    top = {"AudioWAV": "a" * 40}
    sounds = {key: git_blob(pointer(value)) for key, value in SOUNDS.items()}
    trees = {commit: top, "a" * 40: sounds | {"../evil.wav": "0" * 40, "README": "0" * 40}}
    for tree, entries in trees.items():
        listed = [{"path": path, "sha": sha} for path, sha in entries.items()]
        answer = json.dumps({"tree": listed, "truncated": False}).encode()
        server.add(f"/api/{name}/git/trees/{tree}", answer)
    for key, value in SOUNDS.items():
        server.add(f"/media/{name}/{commit}/AudioWAV/{key}", value)
    return server


def test_cremad_comes_whole_and_is_not_asked_for_again(cremad, tmp_path):
    folder = download_cremad(tmp_path)
    assert {path.name: path.read_bytes() for path in (folder / "AudioWAV").iterdir()} == SOUNDS
    assert sorted(path.name for path in folder.iterdir()) == ["AudioWAV"]
    cremad.log.clear()
    download_cremad(tmp_path)
    assert cremad.log == []


def test_cremad_continues_with_the_files_that_are_missing(cremad, tmp_path):
    last = f"/media/{downloads.CREMAD.name}/{downloads.CREMAD.commit}/AudioWAV/{max(SOUNDS)}"
    content = cremad.files.pop(last)
    with pytest.raises(ConnectionError, match="HTTP 404"):
        download_cremad(tmp_path)
    assert not (tmp_path / "cremad" / "AudioWAV").exists()
    came = {path.name for path in (tmp_path / "cremad" / "AudioWAV.partial").glob("*.wav")}
    cremad.files[last] = content
    cremad.log.clear()
    folder = download_cremad(tmp_path)
    assert {path.name: path.read_bytes() for path in (folder / "AudioWAV").iterdir()} == SOUNDS
    asked = {path.rsplit("/", 1)[1] for path, *_ in cremad.log if "/media/" in path}
    assert asked == set(SOUNDS) - came


def test_cremad_file_that_differs_from_the_repository_is_refused(cremad, tmp_path):
    name = f"/media/{downloads.CREMAD.name}/{downloads.CREMAD.commit}/AudioWAV/{min(SOUNDS)}"
    cremad.files[name] = pointer(SOUNDS[min(SOUNDS)])  # what a server without LFS would send
    with pytest.raises(ValueError, match=re.escape(name) + ": expected the git id"):
        download_cremad(tmp_path)
    assert not (tmp_path / "cremad" / "AudioWAV").exists()


def test_cremad_list_cut_short_is_refused(cremad, tmp_path):
    tree = f"/api/{downloads.CREMAD.name}/git/trees/{'a' * 40}"
    cremad.files[tree] = cremad.files[tree].replace(b"false", b"true")
    with pytest.raises(ValueError, match="cut short"):
        download_cremad(tmp_path)


def test_pointer_of_a_published_file_has_its_known_form():
    # AudioWAV/1063_IEO_FEA_HI.wav of CREMA-D, as the repository holds it.
    known = (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:94c05724b2fba99bdd3cfbe2eaec1176872e29084834080233521c8b107703ee\n"
        b"size 48092\n"
    )
    assert len(known) == 130
    assert pointer(b"RIFF").split(b"oid")[0] == known.split(b"oid")[0]
    assert _lfs.pointer_id(b"RIFF") == git_blob(pointer(b"RIFF"))


@pytest.mark.parametrize("name", ["LIBRISPEECH", "LIBRITTS", "LIBRITTS_R"])
def test_every_subset_has_its_archive(name):
    table = getattr(_archives, name)
    assert set(table) == set(SUBSETS)
    assert len({archive.checksum for archive in table.values()}) == len(SUBSETS)
    for subset, archive in table.items():
        assert archive.brings.endswith(f"/{subset}")
        assert re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", archive.checksum)
