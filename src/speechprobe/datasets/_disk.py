"""Room on the disk: asked for before writing, and told where it runs out while writing."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def require_room(path: Path, need: int) -> None:
    """Raise OSError if the disk that holds a path has fewer than `need` bytes free."""
    if need > shutil.disk_usage(path.parent).free:
        raise_full(OSError(errno.ENOSPC, ""), path, need)


def raise_full(error: OSError, path: Path, need: int | None) -> None:
    """Raise an error of a full disk anew with what is needed and free; pass over any other."""
    if error.errno not in _FULL:
        return
    wanted = "more" if need is None else f"{need:,} more"
    free = shutil.disk_usage(path.parent).free
    limit = "the disk is full" if error.errno == errno.ENOSPC else "a limit on files is reached"
    raise OSError(
        error.errno,
        f"{path}: {limit}: {wanted} bytes are needed, {free:,} are free; "
        "make room and call again to continue",
    ) from error
