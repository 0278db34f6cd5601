"""The untrained twin: the same network with fresh random weights, the control of every claim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and give the caller's state back after it.

    A network built in the block has weights that depend on the seed alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
