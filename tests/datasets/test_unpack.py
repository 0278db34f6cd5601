from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from speechprobe.datasets import _unpack
from speechprobe.datasets._unpack import unpack

PLAIN = {"corpus/README": b"read", "corpus/set/1/a.wav": b"RIFF", "corpus/set/1/a.txt": b""}


def tar(path: Path, files: dict[str, bytes], *odd: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in odd:
            archive.addfile(info)
    return path


def zipped(path: Path, files: dict[str, bytes], kind: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = kind << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(archive: Path, root: Path, brings: str = "corpus/set", **changed) -> None:
    options = {"bare": False, "max_bytes": 10_000, "progress": False}
    unpack(archive, root, brings, **(options | changed))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar.gz", "w:gz"), ("a.tar", "w"), ("a.tbz", "w:bz2")]
)
def test_tar_is_unpacked(tmp_path, root, name, mode):
    run(tar(tmp_path / name, PLAIN, mode=mode), root)
    assert tree(root) == PLAIN


def test_zip_is_unpacked(tmp_path, root):
    run(zipped(tmp_path / "a.zip", {"corpus/": b"", **PLAIN}), root)
    assert tree(root) == PLAIN
    assert [path.name for path in root.iterdir()] == ["corpus"]


def test_bare_archive_goes_into_its_folder(tmp_path, root):
    run(zipped(tmp_path / "a.zip", {"Actor_01/a.wav": b"RIFF"}), root, "x/speech", bare=True)
    assert tree(root) == {"x/speech/Actor_01/a.wav": b"RIFF"}


def test_two_archives_merge_and_what_is_there_stays(tmp_path, root):
    run(tar(tmp_path / "1.tar.gz", PLAIN), root)
    (root / "corpus" / "mine.txt").write_bytes(b"mine")
    other = {"corpus/README": b"newer", "corpus/more/b.wav": b"RIFF2"}
    run(tar(tmp_path / "2.tar.gz", other), root, "corpus/more")
    assert tree(root) == PLAIN | other | {"corpus/mine.txt": b"mine"}


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize(
    "name", ["../out.txt", "corpus/../../out.txt", "/out.txt", "C:/out.txt", "..\\out.txt"]
)
def test_path_that_leads_outside_is_refused(tmp_path, root, make, name):
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar"), {**PLAIN, name: b"x"})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"a\.(zip|tar).*out.txt' may lead outside"):
        run(archive, root)
    assert set(tmp_path.rglob("*")) - before == {root}
    assert not Path("/out.txt").exists()


@pytest.mark.parametrize(
    "odd",
    [
        entry("corpus/link", tarfile.SYMTYPE, "../../out.txt"),
        entry("corpus/link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("corpus/link", tarfile.LNKTYPE, "../out.txt"),
        entry("corpus/link", tarfile.LNKTYPE, "/etc/passwd"),
        entry("corpus/link", tarfile.CHRTYPE),
        entry("corpus/link", tarfile.BLKTYPE),
        entry("corpus/link", tarfile.FIFOTYPE),
    ],
)
def test_links_and_devices_are_refused(tmp_path, root, odd):
    archive = tar(tmp_path / "a.tar.gz", PLAIN, odd)
    with pytest.raises(ValueError, match=r"a.tar.gz: 'corpus/link' is a link or a device"):
        run(archive, root)
    assert list(root.iterdir()) == []


def test_file_cannot_be_written_through_a_link(tmp_path, root):
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as opened:
        opened.addfile(entry("corpus", tarfile.SYMTYPE, str(outside)))
        info = tarfile.TarInfo("corpus/x")
        info.size = 1
        opened.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="'corpus' is a link"):
        run(archive, root)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", [0o120777, 0o020666, 0o060666, 0o010666])
def test_zip_links_and_devices_are_refused(tmp_path, root, kind):
    archive = zipped(tmp_path / "a.zip", {"corpus/link": b"/etc/passwd"}, kind)
    with pytest.raises(ValueError, match="'corpus/link' is a link or a device"):
        run(archive, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("make", [tar, zipped])
def test_bomb_is_stopped_where_it_goes_over(tmp_path, root, make, monkeypatch):
    zeros = {**PLAIN, "corpus/set/bomb": bytes(50_000_000)}
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar.gz"), zeros)
    assert archive.stat().st_size < 100_000
    written = []
    real = _unpack._write
    monkeypatch.setattr(_unpack, "_write", lambda *a: written.append(real(*a)) or written[-1])
    with pytest.raises(ValueError, match="'corpus/set/bomb' goes over the 2,000,000 bytes"):
        run(archive, root, max_bytes=2_000_000)
    assert max(written) < 4_000_000
    assert list(root.iterdir()) == []


def test_header_that_understates_the_size_is_not_believed(tmp_path, root):
    archive = zipped(tmp_path / "a.zip", {"corpus/set/bomb": bytes(5_000_000)})
    lie = archive.read_bytes().replace(
        (5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    )
    archive.write_bytes(lie)
    with pytest.raises(ValueError, match="a.zip"):
        run(archive, root)
    assert list(root.iterdir()) == []


def test_number_of_entries_is_bounded(tmp_path, root):
    archive = tar(tmp_path / "a.tar", {f"corpus/set/{i}": b"" for i in range(11)})
    with pytest.raises(ValueError, match="more than the 10 entries"):
        run(archive, root, max_members=10)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_broken_archive_names_itself_and_leaves_nothing(tmp_path, root, name):
    make = zipped if name == "a.zip" else tar
    archive = make(tmp_path / name, PLAIN | {"corpus/set/big": bytes(range(256)) * 20})
    content = bytearray(archive.read_bytes())
    if name == "a.zip":
        start = content.index(b"corpus/set/big") + len(b"corpus/set/big")
        content[start + 5 : start + 25] = b"x" * 20
        archive.write_bytes(content)
    else:
        archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{name}: broken after"):
        run(archive, root)
    assert list(root.iterdir()) == []


def test_what_is_no_archive_is_told(tmp_path, root):
    (tmp_path / "a.zip").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="a.zip: broken from the start"):
        run(tmp_path / "a.zip", root)


def test_archive_of_something_else_is_refused(tmp_path, root):
    with pytest.raises(ValueError, match="brings no 'corpus/other'"):
        run(tar(tmp_path / "a.tar", PLAIN), root, "corpus/other")
    assert list(root.iterdir()) == []


def test_full_disk_is_told_before(tmp_path, root, monkeypatch):
    usage = type("usage", (), {"free": 3})
    monkeypatch.setattr("speechprobe.datasets._disk.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="8 more bytes are needed, 3 are free"):
        run(zipped(tmp_path / "a.zip", PLAIN), root)
    assert list(root.iterdir()) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from speechprobe.datasets._unpack import unpack
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]), "corpus", bare=False, max_bytes=9999)
except OSError as error:
    sys.exit(str(error))
"""


def test_limit_reached_while_writing_leaves_nothing(tmp_path, root):
    archive = tar(tmp_path / "a.tar.gz", {"corpus/a": bytes(5000)})
    command = [sys.executable, "-c", LIMITED, str(archive), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "a limit on files is reached" in done.stderr
    assert list(root.iterdir()) == []


def test_remains_of_an_interrupted_unpacking_do_not_pass_for_the_corpus(tmp_path, root):
    remains = root / "set.partial" / "corpus" / "set"
    remains.mkdir(parents=True)
    (remains / "half.wav").write_bytes(b"RI")
    assert not (root / "corpus").exists()
    run(tar(tmp_path / "a.tar.gz", PLAIN), root)
    assert tree(root) == PLAIN
