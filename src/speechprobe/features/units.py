"""What is run and what becomes a row: an utterance, or each span of an utterance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe import engines
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.spans import END, START, UTTERANCE, holds_spans
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

    def pending(self, done: Mapping[str, float]) -> list[tuple[str, str]]:
        """Return id and path of what is still to be run."""
        paths = map(str, self._corpus.column("path"))
        pairs = zip(self._corpus.table.index, paths, strict=True)
        return [(key, path) for key, path in pairs if key not in done]

    def check(self, utterance: str, duration: float) -> None:
        """Raise ValueError if an utterance of some seconds cannot be pooled."""
        if isinstance(self.pool, Spans):
            self.pool.require(utterance, duration)

    def rows(self, done: engines.Done) -> Rows:
        """Return the rows of utterances that have been run."""
        sources = done.sources
        return Rows([each.id for each in sources], [each.duration for each in sources], done.layers)


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

    def pending(self, done: Mapping[str, float]) -> list[tuple[str, str]]:
        """Return id and path of the utterances that have a span still to be pooled."""
        ids, paths = self._corpus.table.index.tolist(), self._corpus.column("path")
        left = {
            utterance: [row for row in rows if ids[row] not in done]
            for utterance, rows in self._rows.items()
        }
        self._rows = {utterance: rows for utterance, rows in left.items() if rows}
        self._set_pool()
        return [(utterance, str(paths[rows[0]])) for utterance, rows in self._rows.items()]

    def rows(self, done: engines.Done) -> Rows:
        """Return the rows of the spans of utterances that have been run."""
        ids = self._corpus.table.index
        places = [self._rows[source.id] for source in done.sources]
        flat = np.concatenate(places)
        durations = [
            source.duration for source, rows in zip(done.sources, places, strict=True) for _ in rows
        ]
        layers = {layer: np.concatenate(blocks) for layer, blocks in done.layers.items()}
        spans = [(float(start), float(end)) for start, end in self._seconds[flat]]
        return Rows(ids[flat].tolist(), durations, layers, spans)

    def _set_pool(self) -> None:
        seconds = {utterance: self._seconds[rows] for utterance, rows in self._rows.items()}
        self.pool = Spans(seconds, self._inner)


def units_of(corpus: Corpus, pool: Pooling) -> Utterances:
    """Return what an extraction of a corpus runs."""
    return (SpansOfUtterances if holds_spans(corpus.table) else Utterances)(corpus, pool)
