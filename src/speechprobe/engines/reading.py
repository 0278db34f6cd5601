"""Reads sound files ahead of whoever takes them, with threads and in bounded memory."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechprobe import audio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signal = NDArray[np.float32]

# What waits to be taken: 35 minutes at 16 kHz. A longer recording is read when nothing else waits.
BYTES_AHEAD = 128 << 20
FILES_AHEAD = 512


class Source(NamedTuple):
    """An utterance to be extracted: id, sound file, length in seconds."""

    id: str
    path: str
    duration: float


class Reader:
    """Reads sound files in order, ahead of whoever takes the signals.

    Parameters
    ----------
    sample_rate
        Samples per second of the signals.
    workers
        Number of threads.

    Attributes
    ----------
    seconds_waiting : float
        How long the taker has waited for signals, all told.
    """

    def __init__(self, sample_rate: int, workers: int) -> None:
        self.sample_rate, self.workers = sample_rate, workers
        self.seconds_waiting = 0.0

    def signals(self, sources: Iterable[Source]) -> Generator[Signal | Exception]:
        """Yield the signal of each source, or the error it gave."""
        waiting: deque[tuple[int, Future[Signal | Exception]]] = deque()
        rest, ahead = deque(sources), 0
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                while rest or waiting:
                    while rest and self._has_room(rest[0], len(waiting), ahead):
                        source = rest.popleft()
                        waiting.append((self._size(source), pool.submit(self._read, source)))
                        ahead += waiting[-1][0]
                    size, future = waiting.popleft()
                    ahead -= size
                    yield self._result(future)
            finally:
                for _, future in waiting:
                    future.cancel()

    def _has_room(self, source: Source, n_waiting: int, ahead: int) -> bool:
        fits = ahead + self._size(source) <= BYTES_AHEAD and n_waiting < FILES_AHEAD
        return fits or not n_waiting

    def _size(self, source: Source) -> int:
        return int(source.duration * self.sample_rate) * np.dtype(np.float32).itemsize

    def _result(self, future: Future[Signal | Exception]) -> Signal | Exception:
        started = time.perf_counter()
        try:
            return future.result()
        finally:
            self.seconds_waiting += time.perf_counter() - started

    def _read(self, source: Source) -> Signal | Exception:
        try:
            return audio.read(source.path, self.sample_rate)
        except (OSError, ValueError) as error:
            return error


def resolve_workers(wanted: int | str) -> int:
    """Return the number of reading threads; "auto" is one a core, four at most."""
    if wanted == "auto":
        return min(4, os.cpu_count() or 1)
    if not isinstance(wanted, int) or wanted < 1:
        raise ValueError(f"workers must be 'auto' or a number from 1, got {wanted!r}")
    return wanted
