"""Runs an extractor in this process, and finds which utterance of a batch is to blame."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe import pooling
from speechprobe.engines.batching import Batches, Given, device_type
from speechprobe.engines.reading import Reader, Source
from speechprobe.engines.stopwatch import Stopwatch
from speechprobe.extractors.base import Extractor, pool_signals

if TYPE_CHECKING:
    from speechprobe.engines.reading import Signal
    from speechprobe.pooling import Pooled, Pooling


@dataclass(frozen=True)
class Done:
    """What came of a batch: the utterances with their pooled layers, and those that failed."""

    sources: tuple[Source, ...]
    layers: Mapping[str, Pooled]
    failures: tuple[tuple[Source, Exception], ...]


class Serial:
    """Extracts in this process.

    Parameters
    ----------
    extractor
        Called with one signal, or with batches if it takes them.
    pool
        A pooling.
    batch_seconds
        Most seconds of sound, padding included, in a batch; one utterance may exceed it. "auto"
        measures which is fastest.
    workers
        Threads that read sound files ahead.

    Attributes
    ----------
    batch_seconds : float or str
        What was asked for; instead of "auto" what was chosen, once it is.
    """

    def __init__(
        self, extractor: Extractor, pool: Pooling, *, batch_seconds: float | str, workers: int
    ) -> None:
        self._extractor, self._pool = extractor, pool
        self.batch_seconds = batch_seconds
        self._reader = Reader(extractor.sample_rate, workers)

    @property
    def seconds_waiting(self) -> float:
        """How long the extractor has waited for sound files."""
        return self._reader.seconds_waiting

    def run(
        self, sources: Sequence[Source], cut: Sequence[Sequence[Source]] | None = None
    ) -> Generator[Done]:
        """Yield what comes of each batch, or of each utterance of a batch that fails.

        `layers` holds one row, or one array of rows, for each of `sources`. Batches that are `cut`
        already are run as they are.
        """
        batches: Batches | Given
        if cut is None:
            batches = Batches(sources, self.batch_seconds, self._extractor)
        else:
            batches = Given(cut, float(self.batch_seconds))
        with contextlib.closing(self._reader.signals(batches.order)) as signals:
            for batch in batches:
                self.batch_seconds = batches.settled
                taken = [next(signals) for _ in batch]
                watch = Stopwatch(on_cpu=device_type(self._extractor) == "cpu")
                for done in self._extract(batch, taken):
                    whole = len(done.sources) == len(batch)
                    batches.tell(watch.seconds() if whole else math.inf)
                    yield done
        self.batch_seconds = batches.seconds

    def _extract(
        self, batch: Sequence[Source], signals: Sequence[Signal | Exception]
    ) -> Iterator[Done]:
        read = list(zip(batch, signals, strict=True))
        good = [(source, signal) for source, signal in read if isinstance(signal, np.ndarray)]
        failed = tuple((source, error) for source, error in read if isinstance(error, Exception))
        try:
            layers = self._pooled(good) if good else {}
            bad = _not_finite(layers)
            if bad and len(good) == 1:
                self._refuse(next(iter(bad.values())))
        except Exception as error:
            if len(good) == 1:
                yield Done((), {}, (*failed, (good[0][0], error)))
                return
            layers, bad = {}, dict.fromkeys(range(len(good)), "")
        kept = [row for row in range(len(good)) if row not in bad]
        yield Done(tuple(good[row][0] for row in kept), _rows(layers, kept), failed)
        # One of them breaks the batch: alone, each shows whether it is the one.
        for row in bad:
            yield from self._extract([good[row][0]], [good[row][1]])

    def _pooled(self, good: Sequence[tuple[Source, Signal]]) -> dict[str, Pooled]:
        signals = [signal for _, signal in good]
        seconds = [len(signal) / self._extractor.sample_rate for signal in signals]
        pool = pooling.for_batch(self._pool, [source.id for source, _ in good], seconds)
        return pool_signals(self._extractor, signals, pool)

    def _refuse(self, layer: str) -> None:
        raise ValueError(f"layer {layer!r} of {self._extractor.name!r} is NaN or infinite")


def _not_finite(layers: Mapping[str, Any]) -> dict[int, str]:
    """Return the first layer with NaN or infinity of each row that has any."""
    found: dict[int, str] = {}
    for layer, rows in layers.items():
        for row in np.flatnonzero([not np.isfinite(each).all() for each in rows]).tolist():
            found.setdefault(row, layer)
    return found


def _rows(layers: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Pooled]:
    return {
        layer: [block[row] for row in rows] if isinstance(block, list)
        else block if len(rows) == len(block) else block[list(rows)]
        for layer, block in layers.items()
    }  # fmt: skip
