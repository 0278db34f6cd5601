"""What an engine is: something that does work elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol


class Engine(Protocol):
    """What spreads an extraction or a probing over workers, as `Ray` does.

    Any object with such a method serves. It is given work that can be pickled (with cloudpickle,
    where classes of a notebook or lambdas are in it).

    Attributes
    ----------
    num_workers, num_gpus_per_worker : optional
        Number of workers, and whether each has a GPU; both as of `Ray`.

    Examples
    --------
    >>> class Here:
    ...     def map(self, work, items):
    ...         return map(work, items)
    >>> engine: Engine = Here()
    """

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """Yield ``work(item)`` of each item once, in any order.

        Items are drawn when a worker is free, so that later ones can be cut to fit the speed.
        """
        ...


def check_engine(engine: Any) -> None:
    """Raise TypeError if something is neither None nor an engine."""
    if engine is not None and (isinstance(engine, type) or not callable(getattr(engine, "map", 0))):
        raise TypeError(
            f"engine must be None or engines.Ray(...), or have map(work, items); got {engine!r}"
        )


def has_gpus(engine: Engine) -> bool:
    """Say whether the workers of an engine have GPUs of their own."""
    return getattr(engine, "num_gpus_per_worker", 0) > 0
