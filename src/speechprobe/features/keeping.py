"""Where an extraction puts what it has: in memory, or in a store that survives a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe import engines
from speechprobe.datasets.corpus import Corpus
from speechprobe.engines import Source
from speechprobe.features.table import Failure, Features, load_features
from speechprobe.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What a kill can cost at most, besides the batch under way.
FLUSH_ROWS, FLUSH_SECONDS = 1024, 20.0


class Memory:
    """Keeps features in memory."""

    def __init__(self) -> None:
        self.done: dict[str, float] = {}
        self._parts: list[Mapping[str, NDArray[np.float32]]] = []

    def take(self, batches: Iterator[engines.Done]) -> None:
        """Keep every batch."""
        for batch in batches:
            self.done.update({source.id: source.duration for source in batch.sources})
            self._parts.append(batch.layers)

    def finish(
        self,
        corpus: Corpus,
        failures: Sequence[tuple[Source, Exception]],
        provenance: Mapping[str, Any],
    ) -> Features:
        """Return what was kept, in the order of the corpus."""
        items, listed = _outcome(corpus, self.done, failures)
        order = pd.Index(list(self.done)).get_indexer(items.index)
        layers = {
            name: np.concatenate([part[name] for part in self._parts])[order]
            for name in self._parts[0]
        }
        return Features(layers, items, provenance, listed)


class Disk:
    """Keeps features in a store."""

    def __init__(self, store: Store, corpus: Corpus) -> None:
        self._store = store
        self.done = store.done
        self._require_unchanged(corpus)

    def _require_unchanged(self, corpus: Corpus) -> None:
        if "duration" not in corpus.table:
            return
        for key, now in corpus.table["duration"].items():
            before = self.done.get(str(key), now)
            if abs(before - now) > 1e-3:
                raise ValueError(
                    f"{self._store.folder}: utterance {key!r} lasted {before:.3f} s when it was "
                    f"extracted and lasts {now:.3f} s now; give another store folder"
                )

    def take(self, batches: Iterator[engines.Done]) -> None:
        """Keep every batch."""
        waiting: list[engines.Done] = []
        since = time.monotonic()
        try:
            for batch in batches:
                waiting.append(batch)
                full = sum(len(done.sources) for done in waiting) >= FLUSH_ROWS
                if full or time.monotonic() - since > FLUSH_SECONDS:
                    self._flush(waiting)
                    since = time.monotonic()
        finally:
            self._flush(waiting)

    def _flush(self, waiting: list[engines.Done]) -> None:
        if waiting:
            sources = [source for done in waiting for source in done.sources]
            names = list(waiting[0].layers)
            self._store.write(
                [source.id for source in sources],
                [source.duration for source in sources],
                {name: np.concatenate([done.layers[name] for done in waiting]) for name in names},
            )
            waiting.clear()

    def finish(
        self,
        corpus: Corpus,
        failures: Sequence[tuple[Source, Exception]],
        provenance: Mapping[str, Any],
    ) -> Features:
        """Return what was kept, in the order of the corpus."""
        items, listed = _outcome(corpus, self.done, failures)
        self._store.finish(items, provenance, [failure._asdict() for failure in listed])
        return load_features(self._store.folder)


def _outcome(
    corpus: Corpus, done: Mapping[str, float], failures: Sequence[tuple[Source, Exception]]
) -> tuple[pd.DataFrame, tuple[Failure, ...]]:
    listed = tuple(Failure(source.path, str(error)) for source, error in failures)
    items = corpus.table[corpus.table.index.isin(list(done))]
    if items.empty:
        raise ValueError(
            f"none of the {len(corpus)} utterances of {corpus.name!r} could be used, first: "
            f"{listed[0].error}"
        )
    return items, listed
