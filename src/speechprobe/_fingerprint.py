"""Says what made a result: hashes of weights and of user code, for provenance and safe resuming."""

from __future__ import annotations

import hashlib
import inspect
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (str, int, float, bool, type(None), np.integer, np.floating)


def of_module(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers: names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def of_object(thing: Any) -> dict[str, Any]:
    """Return what identifies an object of the user's: its class, code and attributes.

    Two extractors with the same name but other code or other settings differ; attributes that are
    neither plain values, arrays nor networks are not looked into.
    """
    kind = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    facts: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    try:
        facts["code"] = hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        facts["code"] = None
    attributes = {name: _of_value(value) for name, value in sorted(_attributes(thing).items())}
    return facts | {"settings": {name: found for name, found in attributes.items() if found}}


def _attributes(thing: Any) -> dict[str, Any]:
    names = [*getattr(thing, "__dict__", {}), *getattr(type(thing), "__slots__", ())]
    return {name: getattr(thing, name, None) for name in names if not name.startswith("__")}


def _of_value(value: Any) -> str | None:
    if isinstance(value, nn.Module):
        return of_module(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}:{hashlib.sha256(value.tobytes()).hexdigest()[:16]}"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple | list) and all(isinstance(part, _PLAIN) for part in value):
        return repr(list(value))
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
