"""Says what made a result: hashes of weights and of user code, for provenance and safe resuming."""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (str, int, float, bool, type(None), np.integer, np.floating)
_WEIGHTS = (nn.Module, torch.Tensor, np.ndarray)
_DEEPEST = 6
_STANDARD = sysconfig.get_paths()["stdlib"]


def of_module(module: nn.Module) -> str:
    """Return the SHA-256 of a network: its parts and their code, its parameters and buffers."""
    digest = hashlib.sha256(repr(module).encode())
    for kind in sorted({type(part) for part in module.modules()}, key=repr):
        digest.update(b"" if _is_installed(kind) else of_code(kind).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def of_object(thing: Any) -> Any:
    """Return what identifies an object of the user's, as JSON values: class, code and settings.

    Two extractors or poolings with the same name but other code, other settings, other bound or
    closed-over values, or other weights differ. Attributes whose name starts with an underscore are
    working state (caches, counters) and do not count, unless they are weights. Code of
    installed packages, and ours, is told by its settings: an update must not make a store useless.
    """
    return _of(thing, _DEEPEST)


def _of(value: Any, depth: int) -> Any:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, nn.Module):
        return of_module(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        return _of_array(value)
    return type(value).__qualname__ if depth == 0 else _of_container(value, depth)


def _of_container(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _of(part, depth - 1) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_of(part, depth - 1) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((_of(part, depth - 1) for part in value), key=str)
    if isinstance(value, functools.partial):
        return {"partial": _of([value.func, value.args, value.keywords], depth)}
    return _of_code_and_state(value, depth)


def _of_array(value: torch.Tensor | np.ndarray[Any, Any]) -> str:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{array.dtype}{array.shape}:{digest}"


def _of_code_and_state(value: Any, depth: int) -> dict[str, Any]:
    kind = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
    place = f"{getattr(kind, '__module__', None)}.{getattr(kind, '__qualname__', kind)}"
    facts: dict[str, Any] = {"class": place}
    if not _is_installed(kind):
        facts["code"] = of_code(kind, depth)
    state = _state(value)
    if state:
        facts["settings"] = {name: _of(part, depth - 1) for name, part in sorted(state.items())}
    return facts


def of_code(kind: Any, depth: int = _DEEPEST) -> str:
    """Return a hash of the byte code of a function, or of all methods of a class.

    Base classes, inner functions and the plain global values and functions that are used count.
    Code of installed packages, and ours, is told by its name alone; their versions are kept.
    """
    if inspect.isclass(kind):
        own = [base for base in kind.__mro__ if not _is_installed(base)]
        parts = [part for base in own for part in vars(base).values()]
        functions = [f for part in parts for f in _functions(part)]
    else:
        functions = _functions(kind)
    digest = hashlib.sha256()
    for function in functions:
        _add_code(digest, function.__code__, function.__doc__)
        used = inspect.getclosurevars(function).globals if depth > 0 else {}
        for name, part in sorted(used.items()):
            if isinstance(part, (*_PLAIN, tuple)) or (
                inspect.isfunction(part) and not _is_installed(part)
            ):
                told = repr(part) if not callable(part) else of_code(part, depth - 1)
                digest.update(f"{name}={told}".encode())
    return digest.hexdigest()[:16]


def _functions(part: Any) -> list[Any]:
    """Return the Python functions behind a function, method, property or class attribute."""
    if isinstance(part, property):
        return [f for f in (part.fget, part.fset) if f is not None]
    part = inspect.unwrap(getattr(part, "__func__", part))
    return [part] if inspect.isfunction(part) else []


def _add_code(digest: Any, code: CodeType, doc: str | None) -> None:
    digest.update(code.co_code + " ".join(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(digest, constant, None)
        elif constant != doc or doc is None:
            digest.update(repr(constant).encode())


def _is_installed(kind: Any) -> bool:
    """Say whether code comes from a package that has a version: any but the user's own files."""
    module = sys.modules.get(getattr(kind, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None) or ""
    ours = module.__name__.split(".")[0] == "speechprobe"
    return ours or not file or "site-packages" in file or file.startswith(_STANDARD)


def _state(value: Any) -> dict[str, Any]:
    """Return what an object or a function carries along."""
    if inspect.ismethod(value):
        return {"self": value.__self__}
    if inspect.isfunction(value):
        defaults = {"defaults": value.__defaults__} if value.__defaults__ else {}
        return dict(inspect.getclosurevars(value).nonlocals) | defaults
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return {}
    names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
    state = {name: getattr(value, name, None) for name in names if not name.startswith("__")}
    return {
        name: part
        for name, part in state.items()
        if not name.startswith("_") or isinstance(part, _WEIGHTS)
    }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("speechprobe", "torch", "torchaudio", "transformers", "numpy", "soundfile")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
