"""Says what made a result: hashes of weights and of user code, for provenance and safe resuming."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
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


def of_code(kind: Any, depth: int = _DEEPEST, seen: frozenset[int] = frozenset()) -> str:
    """Return a hash of the byte code of a function, or of all methods of a class.

    Base classes, inner functions and the global values and functions that are used count, and so
    do those of the user's own modules. Code of installed packages, and ours, is told by its name
    alone; their versions are kept.
    """
    if inspect.isclass(kind):
        own = [base for base in kind.__mro__ if not _is_installed(base)]
        functions = [f for base in own for part in vars(base).values() for f in _functions(part)]
    else:
        functions = _functions(kind)
    seen = seen | {id(function) for function in functions}
    digest = hashlib.sha256()
    for function in functions:
        _add_code(digest, function.__code__, function.__doc__)
        for name, part in _used(function) if depth > 0 else ():
            told = _told(part, depth - 1, seen)
            if told is not None:
                digest.update(f"{name}={told}".encode())
    return digest.hexdigest()[:16]


def _used(function: Any) -> list[tuple[str, Any]]:
    """Return the global values that a function or one inside it names, modules' parts included."""
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [part for part in code.co_consts if isinstance(part, CodeType)]
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for place, module in list(found.items()):
        if inspect.ismodule(module):
            del found[place]
            if not _is_installed(module):
                parts = {f"{place}.{name}": vars(module).get(name) for name in names}
                found |= {name: part for name, part in parts.items() if part is not None}
    return sorted(found.items())


def _told(part: Any, depth: int, seen: frozenset[int]) -> str | None:
    """Return what identifies a global value; None where its name alone does."""
    if inspect.ismodule(part):
        return None
    if inspect.isroutine(part) or inspect.isclass(part):
        known = _is_installed(part) or not all(id(f) not in seen for f in _functions(part))
        return None if known else of_code(part, depth, seen)
    return json.dumps(_of(part, depth), default=str, sort_keys=True)


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
            digest.update(_in_order(constant).encode())


def _in_order(constant: Any) -> str:
    """Return the repr of a constant; the order of a set's own differs from session to session."""
    if isinstance(constant, frozenset):
        return f"{{{', '.join(sorted(map(_in_order, constant)))}}}"
    if isinstance(constant, tuple):
        return f"({', '.join(map(_in_order, constant))})"
    return repr(constant)


def _is_installed(kind: Any) -> bool:
    """Say whether code comes from a package that has a version: any but the user's own files."""
    place = kind.__name__ if inspect.ismodule(kind) else getattr(kind, "__module__", None)
    module = sys.modules.get(place or "")
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
        given = {"defaults": value.__defaults__, "kwdefaults": value.__kwdefaults__}
        defaults = {name: part for name, part in given.items() if part}
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
