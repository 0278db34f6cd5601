"""Packages that may be missing or may not load: one place, one clear error each."""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """Return an optional package, or say which pip line installs it.

    Parameters
    ----------
    module
        Import name of the package.
    extra
        The extra of speechprobe that installs it.

    Raises
    ------
    ImportError
        If the package is not installed, with the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name == module.split(".", maxsplit=1)[0]
        ):
            message = f"{module} is missing; it comes with: pip install 'speechprobe[{extra}]'"
        else:
            message = f"{module} is installed but does not load: {error}"
        raise ImportError(message, name=module) from error


@functools.cache
def torchaudio() -> ModuleType:
    """Return torchaudio; the only place that imports it, because its build must match torch's.

    Raises
    ------
    ImportError
        If torchaudio does not load beside the installed torch, with the versions found and the
        pip line that mends it.
    """
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        found = ", ".join(f"{name} {_version(name)}" for name in ("torch", "torchaudio"))
        raise ImportError(
            f"torchaudio does not load beside this torch (found {found}): {error}. "
            "torchaudio 2.11 needs a torch from 2.11 to 2.14 of the same build (CPU or CUDA). "
            "Mend it with: pip install --force-reinstall "
            "'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12'",
            name="torchaudio",
        ) from error


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
