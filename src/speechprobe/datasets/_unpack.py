"""Unpack an archive that came from elsewhere: nothing outside its folder, nothing endless.

An archive holds plain files and folders. Links, devices, absolute paths and `..` are refused,
whether they lead outside or not: no corpus needs them, and tar's "data" filter, which allows links
inside, is missing from the first releases of Python 3.11. Bytes are counted as they are written,
not read from headers. Everything goes to `<folder>.partial` first and is renamed once all of it
is there, so that a folder under its own name is whole.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm.auto import tqdm

from speechprobe._files import PARTIAL, hide_progress
from speechprobe.datasets._disk import raise_full, require_room

_CHUNK = 1 << 20  # bytes copied at a time
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class _Member:
    """One entry of an archive; `content` is None for a folder."""

    name: str
    content: IO[bytes] | None


def unpack(
    archive: Path,
    root: Path,
    brings: str,
    *,
    bare: bool,
    max_bytes: int,
    max_members: int = 2_000_000,
    progress: bool = True,
) -> None:
    """Unpack a tar or zip archive below a folder, so that `root / brings` is whole or not there.

    Parameters
    ----------
    archive
        The archive; .zip, .tar or any compressed tar.
    root
        Folder to unpack below. What is there already stays: entries are merged into it.
    brings
        The folder or file below `root` that the archive brings, "LibriSpeech/dev-clean".
    bare
        The archive's entries have no such folder in front and go into it directly.
    max_bytes, max_members
        More than this in all is refused.
    progress
        Show a bar where somebody looks.

    Raises
    ------
    ValueError
        If the archive is broken, reaches outside, holds links or devices, is too large, or does
        not bring what it should; the message names archive and member, and nothing is left.
    OSError
        If the disk is full.
    """
    staging = root / (PurePosixPath(brings).name + PARTIAL)
    shutil.rmtree(staging, ignore_errors=True)
    inside = staging / brings if bare else staging
    inside.mkdir(parents=True)
    try:
        require_room(staging, _at_least(archive))
        _write_all(archive, inside, max_bytes, max_members, progress)
        if not (staging / brings).exists():
            raise ValueError(f"{archive}: brings no {brings!r}, so it is not the one expected")
        _merge(staging, root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _at_least(archive: Path) -> int:
    """Return the bytes that will be written at least."""
    if archive.suffix != ".zip":
        return archive.stat().st_size
    try:
        with zipfile.ZipFile(archive) as opened:
            return sum(info.file_size for info in opened.infolist())
    except zipfile.BadZipFile:
        return 0  # told where it is read


def _write_all(
    archive: Path, inside: Path, max_bytes: int, max_members: int, progress: bool
) -> None:
    name, left = "", max_bytes
    bar = tqdm(
        desc=f"unpack {archive.name}", unit="B", unit_scale=True, disable=hide_progress(progress)
    )
    try:
        with bar:
            for count, member in enumerate(_members(archive), start=1):
                name = member.name
                if count > max_members:
                    raise ValueError(f"{archive}: more than the {max_members:,} entries expected")
                written = _write(member, _place(archive, inside, name), left)
                if written > left:
                    raise ValueError(
                        f"{archive}: {name!r} goes over the {max_bytes:,} bytes expected in all"
                    )
                left -= written
                bar.update(written)
    except _BROKEN as error:
        place = f"after {name!r}" if name else "from the start"
        raise ValueError(f"{archive}: broken {place} ({error}); fetch it again") from error
    except OSError as error:
        raise_full(error, inside, None)
        raise


def _place(archive: Path, inside: Path, name: str) -> Path:
    path = PurePosixPath(name)
    # A backslash or colon is a separator or a drive on Windows.
    if not name or path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
        raise ValueError(f"{archive}: {name!r} may lead outside the folder; nothing is unpacked")
    return inside.joinpath(*path.parts)


def _write(member: _Member, place: Path, left: int) -> int:
    """Write a member and return its bytes; stop at the first chunk that goes over `left`."""
    if member.content is None:
        place.mkdir(parents=True, exist_ok=True)
        return 0
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.content as source, place.open("wb") as target:
        while written <= left and (chunk := source.read(_CHUNK)):
            written += len(chunk)
            if written <= left:
                target.write(chunk)
    return written


def _members(archive: Path) -> Iterator[_Member]:
    return _zip_members(archive) if archive.suffix == ".zip" else _tar_members(archive)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        while (info := opened.next()) is not None:
            opened.members.clear()  # type: ignore[attr-defined]  # 600,000 entries would pile up
            if not (info.isreg() or info.isdir()):
                raise ValueError(_refused(archive, info.name))
            yield _Member(info.name, None if info.isdir() else opened.extractfile(info))


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(_refused(archive, info.filename))
            yield _Member(info.filename, None if info.is_dir() else opened.open(info))


def _refused(archive: Path, name: str) -> str:
    return (
        f"{archive}: {name!r} is a link or a device, and a corpus holds files and folders only; "
        "nothing is unpacked"
    )


def _merge(source: Path, target: Path) -> None:
    if not target.is_dir():
        source.replace(target)
        return
    # Files before folders: once the corpus folder has its name, what belongs to it is there.
    for child in sorted(source.iterdir(), key=Path.is_dir):
        _merge(child, target / child.name)
