"""Poolings by name."""

from __future__ import annotations

from speechprobe.pooling.plain import (
    Pooling,
    energy_mean,
    first,
    last,
    maximum,
    mean,
    mean_std,
)
from speechprobe.pooling.ragged import frames


def resolve(pool: str | Pooling) -> Pooling:
    """Return the pooling called by a name, or the callable itself.

    Raises
    ------
    ValueError
        If no pooling has that name.

    Examples
    --------
    >>> resolve("mean") is mean
    True
    """
    if callable(pool):
        return pool
    poolings: tuple[Pooling, ...] = (mean, mean_std, maximum, first, last, energy_mean, frames)
    named = {name_of(each): each for each in poolings} | {"max": maximum}
    if pool not in named:
        raise ValueError(
            f"unknown pooling {pool!r}; use one of {', '.join(named)}, pooling.segments(k), "
            "or any callable (frames (B, T, D), lengths (B,)) -> (B, D')"
        )
    return named[pool]


def name_of(pool: Pooling) -> str:
    """Name of a pooling for provenance."""
    return getattr(pool, "__name__", type(pool).__name__)
