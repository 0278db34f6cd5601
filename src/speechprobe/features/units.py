"""What is run and what becomes a row: an utterance, or each span of an utterance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe import engines
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.spans import END, START, UTTERANCE, holds_spans
from speechprobe.engines import Source
from speechprobe.pooling import Spans
from speechprobe.store.shards import Rows

if TYPE_CHECKING:
    from speechprobe.pooling import Pooling


class Utterances:
    """Every utterance is run, and is one row.

    Parameters
    ----------
    corpus
        The utterances.
    pool
        A pooling.

    Attributes
    ----------
    pool : Pooling
        What an extractor is given.
    identity : dict
        What tells such rows from others in a store.
    """

    def __init__(self, corpus: Corpus, pool: Pooling) -> None:
        self.pool = pool
        self.identity: dict[str, Any] = {}
        self._corpus = corpus

    def pending(self, done: Mapping[str, float]) -> tuple[list[str], list[str]]:
        """Return ids and paths of what is still to be run."""
        ids = self._corpus.table.index.tolist()
        is_left = np.fromiter((key not in done for key in ids), dtype=bool, count=len(ids))
        paths = self._corpus.column("path")[is_left]
        return list(itertools.compress(ids, is_left)), [str(path) for path in paths]

    def check(self, utterance: str, duration: float) -> None:
        """Raise ValueError if an utterance of some seconds cannot be pooled."""
        if isinstance(self.pool, Spans):
            self.pool.require(utterance, duration)

    def part(self, sources: Sequence[Source]) -> Part:
        """Return what is needed to make rows of some utterances, wherever they are run."""
        pool = self.pool
        if isinstance(pool, Spans):
            pool = Spans({each.id: pool.seconds[each.id] for each in sources}, pool.pool)
        return Part(pool)

    def rows(self, done: engines.Done) -> Rows:
        """Return the rows of utterances that have been run."""
        return self.part(done.sources).rows(done)


@dataclass(frozen=True)
class Part:
    """What makes rows of some utterances; small enough to travel to a worker.

    Parameters
    ----------
    pool
        What an extractor is given.
    spans
        {utterance: ids of its spans}, where spans are rows, and `pool` has their seconds.
    """

    pool: Pooling
    spans: Mapping[str, list[str]] | None = None

    def rows(self, done: engines.Done) -> Rows:
        """Return the rows of utterances that have been run."""
        sources = done.sources
        if self.spans is None or not isinstance(self.pool, Spans):
            ids, durations = [each.id for each in sources], [each.duration for each in sources]
            return Rows(ids, durations, done.layers)
        listed = [(source, key) for source in sources for key in self.spans[source.id]]
        seconds = np.concatenate([self.pool.seconds[source.id] for source in sources])
        return Rows(
            [key for _, key in listed],
            [source.duration for source, _ in listed],
            {layer: np.concatenate(blocks) for layer, blocks in done.layers.items()},
            [(float(start), float(end)) for start, end in seconds],
        )


class SpansOfUtterances(Utterances):
    """Every utterance is run once, and each of its spans is one row.

    Raises
    ------
    ValueError
        If an utterance has two sound files, or the pooling does not give one vector.
    """

    def __init__(self, corpus: Corpus, pool: Pooling) -> None:
        super().__init__(corpus, pool)
        self.identity = {"rows": "spans"}
        self._inner = pool
        table = corpus.table
        self._seconds = table[[START, END]].to_numpy(dtype=np.float64)
        self._rows: dict[str, list[int]] = {}
        for row, utterance in enumerate(table[UTTERANCE].astype(str)):
            self._rows.setdefault(utterance, []).append(row)
        paths = table["path"].to_numpy()
        for utterance, rows in self._rows.items():
            if len(set(paths[rows])) > 1:
                raise ValueError(
                    f"the spans of utterance {utterance!r} lie in several sound files: "
                    f"{sorted(set(paths[rows]))}"
                )
        self._set_pool()

    def pending(self, done: Mapping[str, float]) -> tuple[list[str], list[str]]:
        """Return ids and paths of the utterances that have a span still to be pooled."""
        ids, paths = self._corpus.table.index.tolist(), self._corpus.column("path")
        left = {
            utterance: [row for row in rows if ids[row] not in done]
            for utterance, rows in self._rows.items()
        }
        self._rows = {utterance: rows for utterance, rows in left.items() if rows}
        self._set_pool()
        return list(self._rows), [str(paths[rows[0]]) for rows in self._rows.values()]

    def part(self, sources: Sequence[Source]) -> Part:
        """Return what is needed to make rows of the spans of some utterances."""
        ids = self._corpus.table.index
        spans = {each.id: ids[self._rows[each.id]].tolist() for each in sources}
        return Part(super().part(sources).pool, spans)

    def _set_pool(self) -> None:
        seconds = {utterance: self._seconds[rows] for utterance, rows in self._rows.items()}
        self.pool = Spans(seconds, self._inner)


def units_of(corpus: Corpus, pool: Pooling) -> Utterances:
    """Return what an extraction of a corpus runs."""
    return (SpansOfUtterances if holds_spans(corpus.table) else Utterances)(corpus, pool)


def part_of(corpus: Corpus, rank: int, world_size: int) -> Corpus:
    """Return every `world_size`-th utterance from `rank` on, with all of its spans.

    Raises
    ------
    ValueError
        If there is no such rank, or it has no utterance.
    """
    if not 0 <= rank < world_size:
        raise ValueError(
            "shard must be (rank, world_size) with 0 <= rank < world_size, got "
            f"{(rank, world_size)}"
        )
    if world_size == 1:
        return corpus
    table = corpus.table
    utterances = table[UTTERANCE] if holds_spans(table) else table.index
    number, _ = pd.factorize(utterances)
    own = number % world_size == rank
    if not own.any():
        raise ValueError(
            f"shard {(rank, world_size)} is empty: {corpus.name!r} has {number.max() + 1} "
            f"utterances; take at most so many processes"
        )
    return corpus.select(own)
