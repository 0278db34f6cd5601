"""Where an extraction puts what it has: in memory, or in a store that survives a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.spans import END, START, UTTERANCE, holds_spans
from speechprobe.engines import Source
from speechprobe.features.table import Failure, Features
from speechprobe.store import RaggedLayer, Store, as_json, as_stored, read_items
from speechprobe.store.shards import Rows, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What a kill can cost at most, besides the batch under way: so many seconds, or, that a long run on
# a slow device does not end in very many shards, this share of it. Bytes bound the memory of
# frames.
FLUSH_ROWS, FLUSH_SECONDS, FLUSH_SHARE, FLUSH_BYTES = 1024, 20.0, 0.01, 128 << 20


class Memory:
    """Keeps features in memory."""

    def __init__(self) -> None:
        self.done: dict[str, float] = {}
        self._blocks: dict[str, list[Any]] = {}

    def take(self, parts: Iterator[Rows]) -> None:
        """Keep all rows."""
        for part in parts:
            self.done.update(zip(part.ids, part.durations, strict=True))
            for layer, block in part.layers.items():
                self._blocks.setdefault(layer, []).append(block)

    def finish(
        self,
        corpus: Corpus,
        failures: Sequence[tuple[Source, Exception]],
        provenance: Mapping[str, Any],
    ) -> Features:
        """Return what was kept, in the order of the corpus."""
        items, listed = _outcome(corpus, self.done, failures)
        order = pd.Index(list(self.done)).get_indexer(items.index)
        # One layer after another is let go, so that frames are not there twice.
        layers = {name: _ordered(self._blocks.pop(name), order) for name in list(self._blocks)}
        return Features(layers, items, provenance, listed)


class Disk:
    """Keeps features in a store.

    Parameters
    ----------
    store
        The store.
    corpus
        What this process extracts.
    whole
        What all processes extract that write the store; None: the same.
    """

    def __init__(self, store: Store, corpus: Corpus, whole: Corpus | None = None) -> None:
        self._store = store
        self._whole = None if whole is None or len(whole) == len(corpus) else whole
        self.done = store.done
        self._require_unchanged(corpus)

    def _require_unchanged(self, corpus: Corpus) -> None:
        if "duration" in corpus.table:
            for key, now in corpus.table["duration"].items():
                before = self.done.get(str(key), now)
                if abs(before - now) > 1e-3:
                    raise ValueError(
                        f"{self._store.place}: utterance {key!r} lasted {before:.3f} s when it "
                        f"was extracted and lasts {now:.3f} s now; give another store folder"
                    )
        if holds_spans(corpus.table):
            for key, *now in corpus.table[[START, END]].itertuples():
                before = self._store.spans.get(key, now)
                if not np.allclose(before, now, rtol=0, atol=1e-6):
                    raise ValueError(
                        f"{self._store.place}: span {key!r} was {_seconds(before)} when it was "
                        f"extracted and is {_seconds(now)} now; give another store folder"
                    )

    def take(self, parts: Iterator[Rows]) -> None:
        """Keep all rows."""
        waiting: list[Rows] = []
        begun = since = time.monotonic()
        n_rows = n_bytes = 0  # waiting
        try:
            for part in parts:
                waiting.append(part)
                n_rows, n_bytes = n_rows + len(part.ids), n_bytes + part.n_bytes
                now = time.monotonic()
                late = now - since > max(FLUSH_SECONDS, FLUSH_SHARE * (now - begun))
                if late or n_rows >= FLUSH_ROWS or n_bytes >= FLUSH_BYTES:
                    self._flush(waiting)
                    since, n_rows, n_bytes = time.monotonic(), 0, 0
        finally:
            self._flush(waiting)

    def _flush(self, waiting: list[Rows]) -> None:
        if waiting:
            self._store.write(joined(waiting))
            waiting.clear()

    def adopt(self, shard: str, rows: Rows) -> None:
        """Note a shard that a worker has written; `rows` need no layers."""
        self._store.adopt(shard, rows.ids, rows.durations, rows.spans)

    def discard(self, shard: str) -> None:
        """Delete a shard that a worker has written and nobody has noted."""
        self._store.place.remove(shard)

    def finish(
        self,
        corpus: Corpus,
        failures: Sequence[tuple[Source, Exception]],
        provenance: Mapping[str, Any],
    ) -> Features:
        """Return what was kept, in the order of the corpus.

        The record is written by the process that finds everything settled: done, or failed.
        """
        noted = [
            {"id": source.id, "path": source.path, "error": str(error)}
            for source, error in failures
        ]
        if self._whole is None:
            items, listed = _outcome(corpus, self.done, failures)
            record = self._store.finish(items, provenance, noted)
            items = read_items(self._store.place, record["columns"])
        else:
            self._store.note_failures(noted)
            self._store.refresh()
            self._finish_whole(self._whole, provenance)
            items, listed = _outcome(corpus, self.done, failures)
            items = as_stored(items)
        layers = self._store.layers(list(items.index))
        return Features(layers, items, as_json(provenance), listed)

    def _finish_whole(self, whole: Corpus, provenance: Mapping[str, Any]) -> None:
        table = whole.table
        # What fails is an utterance, with all of its spans.
        sources = table[UTTERANCE].astype(str) if holds_spans(table) else table.index
        done = table.index.isin(list(self.done))
        left = set(sources[~done])
        failures = [each for each in self._store.failures() if each["id"] in left]
        if done.any() and len(left) == len(failures):
            self._store.finish(table[done], provenance, failures)


def _outcome(
    corpus: Corpus, done: Mapping[str, float], failures: Sequence[tuple[Source, Exception]]
) -> tuple[pd.DataFrame, tuple[Failure, ...]]:
    listed = tuple(Failure(source.path, str(error)) for source, error in failures)
    table = corpus.table
    is_done = np.fromiter((key in done for key in table.index), dtype=bool, count=len(table))
    items = table[is_done]
    if items.empty:
        first = f", first: {listed[0].error}" if listed else ""
        raise ValueError(
            f"none of the {len(corpus)} utterances of {corpus.name!r} could be used{first}"
        )
    return items, listed


def _ordered(blocks: list[Any], order: NDArray[np.intp]) -> NDArray[np.float32] | RaggedLayer:
    if isinstance(blocks[0], list):
        rows = [row for block in blocks for row in block]
        return RaggedLayer.of([rows[place] for place in order])
    ordered: NDArray[np.float32] = np.concatenate(blocks)[order]
    return ordered


def _seconds(span: Sequence[float]) -> str:
    return f"{span[0]:.3f} to {span[1]:.3f} s"
