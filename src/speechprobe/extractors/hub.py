"""Fetches chosen files of a Hugging Face repository, once, and reads them from the cache after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = re.compile(r"[\w][\w.-]*/[\w.-]+")  # owner/name


def fetch(repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """Return the folder of huggingface_hub's cache with some files of a repository.

    Parameters
    ----------
    repository
        Owner/name.
    revision
        Branch, tag or commit.
    files
        Names or glob patterns; nothing else is fetched.

    Raises
    ------
    FileNotFoundError
        If the hub has no such repository or revision, or gives it to members only.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"there is no folder {repository}, and the hub gives no repository {repository!r} at "
            f"revision {revision or 'main'!r}; a private one needs `hf auth login`"
        ) from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{repository!r} at revision {revision or 'main'!r} is not in huggingface_hub's cache, "
            "and the hub cannot be reached"
        ) from error
