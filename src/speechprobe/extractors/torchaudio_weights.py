"""The weights of torchaudio's bundles: fetched once from download.pytorch.org, then read from disk.

They lie where torchaudio itself keeps them, in ``checkpoints`` of `torch.hub.get_dir()`, so what
it has fetched is used and the other way round. A file gets its name only after it was read whole.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from speechprobe.extractors.checkpoints import read_tensors

_HOST = "https://download.pytorch.org/torchaudio/models/"


def cached_tensors(path: str) -> dict[str, Tensor]:
    """Return the tensors of a bundle's file by name; fetch it if it is not in torch's cache.

    Parameters
    ----------
    path
        Name of the file on download.pytorch.org, or its whole address. Where the name ends in a
        hash, as in ``base-0123abcd.pth``, the content must have that SHA-256.

    Raises
    ------
    ConnectionError
        If the file is not in the cache and cannot be fetched.
    ValueError
        If it is damaged or holds more than plain tensors.
    """
    url = path if "://" in path else _HOST + path
    file = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])
    return read_tensors(file) if file.is_file() else _fetched(url, file)


def _fetched(url: str, file: Path) -> dict[str, Tensor]:
    file.parent.mkdir(parents=True, exist_ok=True)
    # On the same disk, so that the name can be given in one step.
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        part = Path(folder, file.name)
        _download(url, part, file)
        # A cut connection looks like the end of the file to torch.hub; reading tells.
        try:
            tensors = read_tensors(part)
        except (OSError, ValueError) as error:
            raise ValueError(f"what {url} gave is not kept, try again: {error}") from error
        os.replace(part, file)
    return tensors


def _download(url: str, part: Path, file: Path) -> None:
    hashed = re.search(r"-([0-9a-f]{8,64})\.\w+$", file.name)
    try:
        torch.hub.download_url_to_file(
            url, str(part), hashed[1] if hashed else None, progress=sys.stderr.isatty()
        )
    except (OSError, HTTPException) as error:
        raise ConnectionError(
            f"{url} could not be fetched: {error}. Try again, or fetch it elsewhere and put it at "
            f"{file}, or give its place as weights="
        ) from error
    except RuntimeError as error:  # torch.hub's, of another hash
        raise ValueError(f"{url} is not what its name says: {error}") from error
