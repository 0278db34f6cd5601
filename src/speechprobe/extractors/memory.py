"""A batch that does not fit into memory is halved, and so are those after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
# What torch says where it has no class of its own for it: the CPU's allocator, MPS.
_SAYINGS = ("not enough memory", "out of memory", "can't allocate memory")


class Fitting:
    """Runs groups of signals, in halves where a group does not fit into memory.

    What did not fit once is not tried again: later groups are cut to half of it from the start.
    """

    def __init__(self) -> None:
        self._most: float = float("inf")  # samples in a batch, padding included

    def run(
        self, rows: Sequence[int], lengths: Sequence[int], attempt: Callable[[list[int]], Result]
    ) -> list[tuple[list[int], Result]]:
        """Return the parts that were run, each with its rows.

        Parameters
        ----------
        rows
            Positions of the signals that run together.
        lengths
            Samples of every signal, by position.
        attempt
            Runs some of the rows.

        Raises
        ------
        MemoryError
            If one signal alone does not fit.

        Examples
        --------
        >>> def attempt(rows):
        ...     if len(rows) > 1:
        ...         raise MemoryError
        ...     return "done"
        >>> Fitting().run([0, 1], [9, 9], attempt)
        [([0], 'done'), ([1], 'done')]
        """
        waiting, done = [list(rows)], []
        while waiting:
            part = waiting.pop()
            size = len(part) * max(lengths[row] for row in part)
            fits = size <= self._most or len(part) == 1
            result = _unless_out_of_memory(attempt, part) if fits else None
            if result is not None:
                done.append((part, result))
                continue
            if len(part) == 1:
                raise MemoryError(
                    f"a signal of {size} samples does not fit into memory; cut it into windows by "
                    "speechprobe.extractors.Windowed(extractor, window_seconds=30)"
                )
            if fits:
                self._most = size / 2
                _empty_caches()
            half = len(part) // 2
            waiting += [part[half:], part[:half]]
        return done


def _unless_out_of_memory(attempt: Callable[[list[int]], Result], part: list[int]) -> Result | None:
    # The error is dropped here, and with it the tensors that its frames hold.
    try:
        return attempt(part)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return None
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("shapes do not fit"))
    False
    """
    known: tuple[Any, ...] = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, known) or any(saying in str(error).lower() for saying in _SAYINGS)


def _empty_caches() -> None:
    # What was reserved for the batch that failed is free, but in pieces.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
