"""Where a store lies: a folder of this machine, or one that fsspec reaches by its address.

`place_of("features/wavlm")` and `place_of("s3://bucket/features/wavlm")` give the same methods.
A file is whole or not there: on this machine it is written under a temporary name, flushed to the
disk and renamed; in an object store (s3://, gs://, az://, hf://, memory://) it is one put, which
such stores take as a whole or not at all. What has to be mapped into memory is copied to the cache
folder of this machine first; the copy is known by fsspec's key of the file, which changes with it.

A `Place` can be pickled: a process elsewhere opens the same folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from speechprobe import _cache
from speechprobe._files import PARTIAL, replacing

_LOCAL = ("file://", "local://")
_MANGLED = re.compile(r"[a-z][a-z0-9+]+:/")  # two letters at least: C:/ is a disk
# They have no folders to be made; asked for one, some would make a bucket of a misspelt name.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"}
_THREADS = 32  # requests under way; each waits for the network nearly all of its time
_Found = TypeVar("_Found")


class Place:
    """A folder of this machine.

    Parameters
    ----------
    folder
        Path, or an address that begins with ``file://``.
    """

    def __init__(self, folder: str | Path) -> None:
        self._told = str(folder)
        plain = self._told
        for protocol in _LOCAL:
            plain = plain.removeprefix(protocol)
        # Another process may run in another folder.
        self._path = Path(plain).absolute()

    def entries(self) -> dict[str, bool]:
        """Return what lies in the folder: names, and whether each is a file; sorted."""
        try:
            with os.scandir(self._path) as found:
                return dict(sorted((entry.name, entry.is_file()) for entry in found))
        except FileNotFoundError:
            return {}

    def names(self) -> list[str]:
        """Return the names of the files in the folder, sorted; none if it does not exist."""
        return [name for name, is_file in self.entries().items() if is_file]

    def read(self, name: str) -> bytes:
        """Return a file."""
        return (self._path / name).read_bytes()

    def read_start(self, name: str, n_bytes: int) -> bytes:
        """Return the first bytes of a file, fewer if it is shorter."""
        return self.read_part(name, 0, n_bytes)

    def read_part(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop` of a file, fewer if it is shorter."""
        with open(f"{self._path}{os.sep}{name}", "rb", buffering=0) as opened:
            opened.seek(start)
            return opened.read(stop - start)

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of what was there; it is whole or not there."""
        with self.writing(name) as path:
            path.write_bytes(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a path of this machine to write; it becomes the file when the block ends."""
        with replacing(self._path / name) as partial:
            yield partial

    def remove(self, name: str) -> None:
        """Delete a file; another process may have done so before."""
        (self._path / name).unlink(missing_ok=True)

    def local(self, name: str) -> Path:
        """Return the path of a file on this machine that has the bytes that the file has now."""
        return self._path / name

    def make(self) -> None:
        """Make the folder, and those above it, if they do not exist."""
        self._path.mkdir(parents=True, exist_ok=True)

    def each(self, function: Callable[[str], _Found], names: Sequence[str]) -> Iterator[_Found]:
        """Give what a function says of each name; of a remote folder in several threads."""
        return map(function, names)

    def __str__(self) -> str:
        return self._told

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._told!r})"


class RemotePlace(Place):
    """A folder that fsspec reaches.

    Parameters
    ----------
    address
        Such as ``s3://bucket/folder``.

    Raises
    ------
    ImportError
        If the package of the protocol is missing, with the pip command.
    ValueError
        If there is no such protocol.
    """

    def __init__(self, address: str) -> None:
        self._told = address
        self._files, self._root = _open(address)

    def __reduce__(self) -> tuple[Any, ...]:
        # Connections stay where they are.
        return RemotePlace, (self._told,)

    def entries(self) -> dict[str, bool]:
        """Return what lies in the folder: names, and whether each is a file; sorted."""
        self._forget()
        try:
            found = self._files.ls(self._root, detail=True)
        except FileNotFoundError:
            return {}
        own = self._root.rstrip("/")
        pairs = [(each["name"].rstrip("/"), each["type"] == "file") for each in found]
        # Some list the folder itself, as an empty object.
        return dict(sorted((name.rsplit("/")[-1], kind) for name, kind in pairs if name != own))

    def read(self, name: str) -> bytes:
        """Return a file."""
        found: bytes = self._files.cat_file(self._at(name))
        return found

    def read_part(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop` of a file, fewer if it is shorter."""
        found: bytes = self._files.cat_file(self._at(name), start=start, end=stop)
        return found

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of what was there; it is whole or not there."""
        self._files.pipe_file(self._at(name), data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a path of this machine to write; it becomes the file when the block ends."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            yield path
            self._files.put_file(str(path), self._at(name))

    def remove(self, name: str) -> None:
        """Delete a file; another process may have done so before."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    def local(self, name: str) -> Path:
        """Return the path of a file on this machine that has the bytes that the file has now."""
        self._forget()
        at = self._at(name)
        copies = _cache.folder() / "shards" / _digest(self._files.unstrip_protocol(at))
        copy = copies / (_digest(str(self._files.ukey(at))) + Path(name).suffix)
        if not copy.is_file():
            copies.mkdir(parents=True, exist_ok=True)
            with replacing(copy) as partial:
                self._files.get_file(at, str(partial))
            for old in copies.iterdir():
                if old != copy and not old.name.endswith(PARTIAL):
                    old.unlink(missing_ok=True)
        return copy

    def make(self) -> None:
        """Make the folder, where the protocol has folders."""
        if _protocol(self._told) not in _OBJECT_STORES:
            self._files.makedirs(self._root, exist_ok=True)

    def each(self, function: Callable[[str], _Found], names: Sequence[str]) -> Iterator[_Found]:
        """Give what a function says of each name, found in several threads."""
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from pool.map(function, names)

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _forget(self) -> None:
        # Listings are kept by some file systems, and others write here meanwhile.
        self._files.invalidate_cache(self._root)


def place_of(folder: str | Path | Place) -> Place:
    """Return the folder of a path, or of an address such as ``s3://bucket/folder``.

    Raises
    ------
    ImportError
        If the package of the protocol is missing, with the pip command.
    ValueError
        If there is no such protocol, or an address was made a `Path`, which drops a slash.
    """
    if isinstance(folder, Place):
        return folder
    if isinstance(folder, Path):
        if _MANGLED.match(folder.as_posix()):
            raise ValueError(f"an address is no Path, it became {folder}; give it as text")
        return Place(folder)
    if "://" not in folder or folder.startswith(_LOCAL):
        return Place(folder)
    return RemotePlace(folder)


def _open(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    import fsspec.core
    from fsspec.registry import known_implementations

    try:
        files, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        protocol = _protocol(address)
        package = known_implementations[protocol]["class"].split(".")[0]
        raise ImportError(
            f"{address}: {protocol}:// needs {package}, which is missing or does not load "
            f"({error}); it comes with: pip install {package}",
            name=package,
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{address}: {error}; expected a path, or an address of s3://, gs://, "
            "hf:// or another protocol of fsspec"
        ) from error
    return files, str(root)


def _protocol(address: str) -> str:
    return address.split("://", maxsplit=1)[0].rsplit("::", maxsplit=1)[-1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
