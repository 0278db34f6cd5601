"""Runs an extractor over utterances: reads ahead with threads, batches by length, names culprits.

Utterances are taken in windows of some hundred in the order of the corpus, sorted by length
inside a window and packed into batches, so that what is finished is always close to a prefix of
the corpus and a batch wastes little padding.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechprobe import audio
from speechprobe.extractors.base import (
    Extractor,
    check_frames,
    pool_frames,
    takes_batches,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling

    Signal = NDArray[np.float32]
    Layers = Mapping[str, NDArray[np.float32]]

WINDOW = 256
GPU_BATCH_SECONDS = 120.0


class Source(NamedTuple):
    """An utterance to be extracted: id, sound file, length in seconds."""

    id: str
    path: str
    duration: float


@dataclass(frozen=True)
class Done:
    """What came of a batch: the utterances with their pooled layers, and those that failed."""

    sources: tuple[Source, ...]
    layers: Layers
    failures: tuple[tuple[Source, Exception], ...]


def run_serial(
    sources: Sequence[Source],
    extractor: Extractor,
    pool: Pooling,
    *,
    batch_seconds: float,
    workers: int,
) -> Iterator[Done]:
    """Extract in this process.

    Parameters
    ----------
    sources
        The utterances.
    extractor
        Called with one signal, or with batches if it takes them.
    pool
        A pooling.
    batch_seconds
        Most seconds of audio, padding included, in a batch; one utterance may exceed it.
    workers
        Threads that read sound files ahead.

    Yields
    ------
    done
        One a batch, or one an utterance of a batch that fails; `layers` holds one row for each of
        `sources`.
    """
    batches = [
        batch
        for start in range(0, len(sources), WINDOW)
        for batch in pack(sources[start : start + WINDOW], batch_seconds)
    ]

    def read(source: Source) -> Signal | Exception:
        try:
            return audio.read(source.path, extractor.sample_rate)
        except (OSError, ValueError) as error:
            return error

    flat = (source for batch in batches for source in batch)
    signals = _read_ahead(flat, read, workers)
    for batch in batches:
        yield from _extract(batch, [next(signals) for _ in batch], extractor, pool)


def pack(sources: Sequence[Source], batch_seconds: float) -> list[list[Source]]:
    """Sort by length and pack into batches of at most `batch_seconds`, padding included."""
    batches: list[list[Source]] = []
    for source in sorted(sources, key=lambda source: source.duration):
        # In ascending order the newest is the longest, so it sets the padded length.
        if batches and (len(batches[-1]) + 1) * source.duration <= batch_seconds:
            batches[-1].append(source)
        else:
            batches.append([source])
    return batches


def resolve_batch_seconds(wanted: float | str, extractor: Extractor) -> float:
    """Return seconds a batch; "auto" is one utterance on a CPU, 120 s on an accelerator."""
    if wanted == "auto":
        device = getattr(extractor, "device", None)
        on_cpu = device is None or getattr(device, "type", "cpu") == "cpu"
        return 0.0 if on_cpu else GPU_BATCH_SECONDS
    if isinstance(wanted, str) or not wanted >= 0:
        raise ValueError(f"batch_seconds must be 'auto' or seconds, got {wanted!r}")
    return float(wanted)


def resolve_workers(wanted: int | str) -> int:
    """Return the number of reading threads; "auto" is one a core, four at most."""
    if wanted == "auto":
        return min(4, os.cpu_count() or 1)
    if not isinstance(wanted, int) or wanted < 1:
        raise ValueError(f"workers must be 'auto' or a number from 1, got {wanted!r}")
    return wanted


def _read_ahead(
    sources: Iterable[Source], read: Callable[[Source], Signal | Exception], workers: int
) -> Iterator[Signal | Exception]:
    waiting: deque[Future[Signal | Exception]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(read, source))
                if len(waiting) > 8 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _extract(
    batch: Sequence[Source],
    signals: Sequence[Signal | Exception],
    extractor: Extractor,
    pool: Pooling,
) -> Iterator[Done]:
    read = list(zip(batch, signals, strict=True))
    good = [(source, signal) for source, signal in read if isinstance(signal, np.ndarray)]
    failed = tuple((source, error) for source, error in read if isinstance(error, Exception))
    try:
        layers = _pooled([signal for _, signal in good], extractor, pool) if good else {}
        yield Done(tuple(source for source, _ in good), layers, failed)
    except Exception as error:
        if len(good) == 1:
            yield Done((), {}, (*failed, (good[0][0], error)))
            return
        # One of them breaks the batch: alone, each shows whether it is the one.
        yield Done((), {}, failed)
        for source, signal in good:
            yield from _extract([source], [signal], extractor, pool)


def _pooled(signals: Sequence[Signal], extractor: Extractor, pool: Pooling) -> Layers:
    if takes_batches(extractor):
        layers = extractor.extract_batch(signals, pool)
    else:
        single = [check_frames(extractor(signal), extractor.name) for signal in signals]
        for frames in single[1:]:
            if list(frames) != list(single[0]):
                raise ValueError(
                    f"{extractor.name!r} gave layers {list(frames)} for one utterance and "
                    f"{list(single[0])} for another"
                )
        layers = {
            name: np.stack([pool_frames(frames[name], pool) for frames in single])
            for name in single[0]
        }
    for name, rows in layers.items():
        if not np.isfinite(rows).all():
            raise ValueError(f"layer {name!r} of {extractor.name!r} is NaN or infinite")
    return layers
