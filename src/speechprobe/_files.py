"""Files that are whole or not there, and progress that shows only where somebody looks."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; put it in place of `path` once it is on the disk.

    The temporary name is another each time, so that several processes may write one file: the last
    one's stays. Where the block raises, what it wrote is deleted.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def hide_progress(progress: bool) -> bool | None:
    """Return tqdm's `disable`, so that a bar shows in a terminal or a notebook only."""
    if not progress:
        return True
    return False if "ipykernel" in sys.modules else None
