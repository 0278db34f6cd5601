"""Says what made a result: hashes of weights and of user code, for provenance and safe resuming."""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (str, int, float, bool, type(None), np.integer, np.floating)
_WEIGHTS = (nn.Module, torch.Tensor, np.ndarray)
_DEEPEST = 6


def of_module(module: nn.Module) -> str:
    """Return the SHA-256 of a network: its parts as printed, its parameters and buffers."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def of_object(thing: Any) -> Any:
    """Return what identifies an object of the user's, as JSON values: class, code and settings.

    Two extractors or poolings with the same name but other code, other settings, other bound or
    closed-over values, or other weights differ. Attributes whose name starts with an underscore are
    working state (caches, counters) and do not count, unless they are weights. Our own code is
    told by its settings alone: a new docstring must not make a store useless.
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
    if not place.startswith("speechprobe."):
        facts["code"] = _of_code(kind)
    state = _state(value)
    if state:
        facts["settings"] = {name: _of(part, depth - 1) for name, part in sorted(state.items())}
    return facts


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


def _of_code(kind: Any) -> str | None:
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return None


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
