"""Files that a GitHub repository keeps in Git LFS, checked against the repository's own tree.

Git holds, in place of such a file, a pointer: three lines with the sha256 and the size of the
content. Its blob id in the tree is the SHA-1 of those lines, so that the id a received file would
have there says whether it is the one that was committed. An archive of the repository, as GitHub
packs it, holds the pointers only.
"""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from speechprobe._files import PARTIAL, hide_progress
from speechprobe.datasets._fetch import transfer

_CONNECTIONS = 8
_SOUND = re.compile(r"[A-Za-z0-9_-]+\.wav")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit, and the addresses of its tree and its LFS content."""

    name: str
    commit: str
    api: str = "https://api.github.com/repos"
    media: str = "https://media.githubusercontent.com/media"

    def media_url(self, path: str) -> str:
        """Return the address of a file's content in Git LFS."""
        return f"{self.media}/{self.name}/{self.commit}/{path}"


def fetch_folder(repository: Repository, folder: Path, *, progress: bool = True) -> None:
    """Fetch the WAV files that a folder of the same name in the repository's root keeps in Git LFS.

    They come into `<folder>.partial`, which is renamed once all are there; those that came before
    are not asked for again. Raises as `speechprobe.datasets._fetch.fetch` does.
    """
    if folder.is_dir():
        return
    top = _read_tree(repository, repository.commit, folder.parent)
    blobs = _read_tree(repository, top[folder.name], folder.parent)
    sounds = {name: blob for name, blob in blobs.items() if _SOUND.fullmatch(name)}
    staging = folder.with_name(folder.name + PARTIAL)
    _fetch_all(repository, folder.name, sounds, staging, progress)
    staging.replace(folder)


def _read_tree(repository: Repository, tree: str, scratch: Path) -> dict[str, str]:
    """Return the names in a folder of the repository, by tree or commit id, with their git ids."""
    url = f"{repository.api}/{repository.name}/git/trees/{tree}"
    partial = scratch / (tree + PARTIAL)
    transfer(url, partial, checked=False, progress=False)
    answer = json.loads(partial.read_text(encoding="utf-8"))
    partial.unlink()
    if answer.get("truncated"):
        raise ValueError(f"{url}: the list of files came cut short; try later")
    return {entry["path"]: entry["sha"] for entry in answer["tree"]}


def _fetch_all(
    repository: Repository, under: str, blobs: dict[str, str], staging: Path, progress: bool
) -> None:
    staging.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> None:
        if not (staging / name).is_file():
            url = repository.media_url(f"{under}/{name}")
            partial = staging / (name + PARTIAL)
            transfer(url, partial, checked=True, progress=False)
            _accept(url, partial, staging / name, blobs[name], pointer_id(partial.read_bytes()))

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        done = pool.map(one, blobs)
        try:
            hide = hide_progress(progress)
            for _ in tqdm(done, under, len(blobs), unit="file", disable=hide):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _accept(url: str, partial: Path, path: Path, expected: str, found: str) -> None:
    if found != expected:
        partial.unlink()
        raise ValueError(
            f"{url}: expected the git id {expected}, what came has {found} and is removed; call "
            "again to fetch it anew"
        )
    partial.replace(path)


def blob_id(content: bytes) -> str:
    """Return the id git gives to a file.

    Examples
    --------
    >>> blob_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    # SHA-1 names content in git; it is no protection of ours.
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pointer_id(content: bytes) -> str:
    r"""Return the git id of the pointer that stands for a file kept in Git LFS.

    The text of a pointer is fixed by https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md.

    Examples
    --------
    >>> pointer_id(b"RIFF") == blob_id(
    ...     b"version https://git-lfs.github.com/spec/v1\n"
    ...     b"oid sha256:a40ff3d5900fb7698b8c865041347cb49eccedc8f93945f89629ad104aaecce4\n"
    ...     b"size 4\n"
    ... )
    True
    """
    lines = (
        "version https://git-lfs.github.com/spec/v1",
        f"oid sha256:{hashlib.sha256(content).hexdigest()}",
        f"size {len(content)}\n",
    )
    return blob_id("\n".join(lines).encode())
