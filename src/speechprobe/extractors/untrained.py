"""The untrained twin: the same network with fresh random weights, the control of every claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and give the caller's state back after it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def reinitialised(module: Module, *, seed: int) -> Module:
    """Draw every weight of a network anew, in place, with each module's own initialisation.

    Parameters
    ----------
    module
        The network, on the CPU. Modules with `reset_parameters` are drawn by it.
    seed
        Seed; the caller's generators are left as they were.

    Raises
    ------
    ValueError
        If a module holds parameters of its own but does not say how to draw them.
    """
    with local_seed(seed):
        for name, part in module.named_modules():
            reset: Callable[[], None] | None = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()
            elif next(part.parameters(recurse=False), None) is not None:
                raise ValueError(f"{name!r} ({type(part).__name__}) has no reset_parameters")
    return module
