"""torch.compile for the parts of a network between its captured layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from speechprobe.extractors.hooks import INPUT


def compiled_forwards(
    module: nn.Module, layers: Sequence[str], *, backend: str
) -> dict[str, Callable[..., Any]]:
    """Return the compiled forward of each captured module that holds no other captured one.

    A hook inside a compiled module would not fire, so modules around captured ones stay as they
    are.
    """
    paths = {layer.removesuffix(INPUT) for layer in layers}
    innermost = [
        path
        for path in sorted(paths)
        if path in layers and not any(other.startswith(f"{path}.") for other in paths)
    ]
    return {
        path: torch.compile(module.get_submodule(path).forward, dynamic=True, backend=backend)
        for path in innermost
    }


@contextmanager
def using(module: nn.Module, forwards: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Let modules run these forwards inside the block, and their own again after it."""
    parts = {path: module.get_submodule(path) for path in forwards}
    own = {path: part.__dict__.get("forward") for path, part in parts.items()}
    try:
        for path, part in parts.items():
            part.forward = forwards[path]
        yield
    finally:
        for path, part in parts.items():
            before = own[path]
            if before is None:
                part.__dict__.pop("forward", None)
            else:
                part.forward = before
