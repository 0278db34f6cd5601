"""An extraction spread over the workers of an engine: cut into chunks, each of which is one shard.

Batches are cut here, from the whole list, so that every vector is computed in the same company as
by one process, whoever computes it. Where their size is "auto" each worker finds its own, on the
first utterances that it is given, and cuts them itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from speechprobe import engines
from speechprobe._ray import as_picklable
from speechprobe.engines import Source, batching
from speechprobe.features.cost import peak_memory
from speechprobe.features.keeping import Disk, Memory
from speechprobe.features.running import chosen_of, require_same, run_facts, widths_of
from speechprobe.store.shards import Rows, joined, write_shard

if TYPE_CHECKING:
    from speechprobe.features.cost import Progress
    from speechprobe.features.running import Run
    from speechprobe.features.units import Part, Utterances
    from speechprobe.store.places import Place

# A chunk takes a worker about so long: what the loss of the worker costs. Where that would make
# very many shards, which take long to open, it takes longer.
CHUNK_SECONDS = 60.0
MOST_SHARDS = 20_000
FIRST_SOUND = 120.0  # seconds of sound in a chunk before it is known how fast a worker is
MOST_ROWS, MOST_BYTES = 8192, 256 << 20


def chunk_sound(speed: float, bytes_per_second: float, total: float) -> float:
    """Return how many seconds of sound a worker runs and stores at a time.

    Parameters
    ----------
    speed
        Seconds of sound a second.
    bytes_per_second
        Of the features, a second of sound.
    total
        Seconds of sound in all.
    """
    room = max(CHUNK_SECONDS * speed, total / MOST_SHARDS, 1.0)
    return min(room, MOST_BYTES / bytes_per_second) if bytes_per_second else room


class Chunk(NamedTuple):
    """Utterances that one worker runs and stores together.

    `batches` are run as they are, or, if `batch_seconds` is "auto", as the worker finds best.
    """

    batches: Sequence[Sequence[Source]]
    batch_seconds: float | Literal["auto"]
    part: Part
    shard: str | None

    @property
    def sources(self) -> list[Source]:
        """All utterances."""
        return [source for batch in self.batches for source in batch]

    def __str__(self) -> str:
        sources = self.sources
        return f"{len(sources)} utterances from {sources[0].id!r} to {sources[-1].id!r}"


class Told(NamedTuple):
    """What came of a chunk: its rows, without layers where they are in the shard, and its price."""

    rows: Rows | None
    shard: str | None
    widths: dict[str, int]
    failures: list[tuple[Source, Exception]]
    sources: list[Source]
    n_bytes: int
    seconds: float
    seconds_waiting: float
    batch_seconds: float
    peak_memory: int | None
    facts: dict[str, Any]


class Work:
    """Runs chunks; each worker has one, with its own copy of the extractor.

    Parameters
    ----------
    extractor
        What is run.
    patterns
        Of the layers to keep.
    place
        Where shards are written; None to give the rows back.
    threads
        That read sound files ahead.
    on_gpu
        Whether the worker has a GPU, to which the network is moved.
    """

    def __init__(
        self,
        extractor: Any,
        patterns: Sequence[str],
        place: Place | None,
        *,
        threads: int | Literal["auto"],
        on_gpu: bool,
    ) -> None:
        self._extractor, self._patterns, self._place = extractor, patterns, place
        self._threads, self._on_gpu = threads, on_gpu
        self._size: float | str = "auto"
        self._widths: dict[str, int] = {}

    def __call__(self, chunk: Chunk) -> Told:
        """Run a chunk, and store its rows if there is a place for them."""
        started = time.perf_counter()
        self._move()
        size = self._size if chunk.batch_seconds == "auto" else chunk.batch_seconds
        threads = engines.resolve_workers(self._threads)
        serial = engines.Serial(
            self._extractor, chunk.part.pool, batch_seconds=size, workers=threads
        )
        cut = None if chunk.batch_seconds == "auto" else chunk.batches
        rows, failures = self._run(serial.run(chunk.sources, cut), chunk.part)
        self._size = serial.batch_seconds
        n_bytes = 0 if rows is None else rows.n_bytes
        if rows is not None and self._place is not None and chunk.shard is not None:
            write_shard(self._place, chunk.shard, rows)
            rows = rows._replace(layers={})
        return Told(
            rows,
            chunk.shard,
            self._widths,
            failures,
            chunk.sources,
            n_bytes,
            time.perf_counter() - started,
            serial.seconds_waiting,
            float(serial.batch_seconds),
            peak_memory(),
            run_facts(self._extractor),
        )

    def _run(
        self, batches: Iterator[engines.Done], part: Part
    ) -> tuple[Rows | None, list[tuple[Source, Exception]]]:
        found, failures = [], []
        for done in batches:
            failures += [(source, as_picklable(error)) for source, error in done.failures]
            if done.sources:
                chosen = chosen_of(done, self._patterns)
                widths = widths_of(chosen.layers)
                require_same(self._extractor.name, widths, self._widths, done.sources[0].id)
                self._widths = widths
                found.append(part.rows(chosen))
        return (joined(found) if found else None), failures

    def _move(self) -> None:
        module = getattr(self._extractor, "module", None)
        if self._on_gpu and module is not None:
            module.to("cuda")


class Spread:
    """Runs an extraction on an engine.

    Parameters
    ----------
    engine
        Spreads the work.
    work
        What a worker does.
    batch_seconds
        Most seconds of sound in a batch, or "auto".

    Attributes
    ----------
    seconds_waiting : float
        How long the workers have waited for sound files, all told.
    batch_seconds : float, str or list
        What was asked for; instead of "auto" what the workers chose, once they have.
    """

    def __init__(
        self, engine: engines.Engine, work: Work, batch_seconds: float | Literal["auto"]
    ) -> None:
        self._engine, self._work, self._wanted = engine, work, batch_seconds
        self.seconds_waiting = self._seconds = self._sound = 0.0
        self._n_bytes, self._peak = 0, 0
        self._sizes: set[float] = set()
        self._facts: dict[str, Any] = {}

    @property
    def batch_seconds(self) -> Any:
        """What the batches held."""
        sizes = sorted(self._sizes)
        return self._wanted if not sizes else sizes[0] if len(sizes) == 1 else sizes

    @property
    def facts(self) -> dict[str, Any]:
        """What the provenance tells of the workers."""
        told = {"engine": str(self._engine), "worker_peak_memory_bytes": self._peak or None}
        return told | self._facts

    def fill(
        self,
        keep: Memory | Disk,
        sources: Sequence[Source],
        run: Run,
        reserve: Callable[[], str | None],
        bar: Progress,
    ) -> None:
        """Run all utterances and keep their rows; `reserve` names the shards, if there are any."""
        for told in self._engine.map(self._work, self.chunks(sources, run.units, reserve)):
            self._note(told)
            if told.rows is not None:
                _keep(keep, told, told.rows, run)
            run.note(told.failures, bar)
            bar.update(told.sources)

    def chunks(
        self, sources: Sequence[Source], units: Utterances, reserve: Callable[[], str | None]
    ) -> Iterator[Chunk]:
        """Yield chunks, of a size that fits what is known of the speed when each is drawn."""
        auto = self._wanted == "auto"
        size = 0.0 if auto else float(self._wanted)
        waiting: list[list[Source]] = []
        sound, n_rows, n_chunks = 0.0, 0, 0
        total = sum(source.duration for source in sources)
        for batch in batching.Batches(sources, size, None) if not auto else _singly(sources):
            waiting.append(batch)
            sound += sum(source.duration for source in batch)
            n_rows += len(batch)
            if sound >= self._room(total, n_chunks) or n_rows >= MOST_ROWS:
                yield self._chunk(waiting, units, reserve)
                waiting, sound, n_rows, n_chunks = [], 0.0, 0, n_chunks + 1
        if waiting:
            yield self._chunk(waiting, units, reserve)

    def _chunk(
        self,
        batches: list[list[Source]],
        units: Utterances,
        reserve: Callable[[], str | None],
    ) -> Chunk:
        part = units.part([source for batch in batches for source in batch])
        return Chunk(batches, self._wanted, part, reserve())

    def _room(self, total: float, n_chunks: int) -> float:
        """Return how many seconds of sound, of `total`, a chunk should hold."""
        if self._sound:
            speed = self._sound / max(1e-9, self._seconds)
            return chunk_sound(speed, self._n_bytes / self._sound, total)
        n_workers = getattr(self._engine, "num_workers", None) or 8
        if self._wanted == "auto" and n_chunks < n_workers:
            # The first of each worker holds what is needed to find its size of batch.
            trial = batching.trial_sound(on_accelerator=engines.has_gpus(self._engine))
            return min(total / n_workers, trial)
        return FIRST_SOUND

    def _note(self, told: Told) -> None:
        self._sound += sum(source.duration for source in told.sources)
        self._seconds += told.seconds
        self._n_bytes += told.n_bytes
        self.seconds_waiting += told.seconds_waiting
        self._sizes.add(told.batch_seconds)
        self._peak = max(self._peak, told.peak_memory or 0)
        self._facts |= {name: fact for name, fact in told.facts.items() if fact is not None}


def _keep(keep: Memory | Disk, told: Told, rows: Rows, run: Run) -> None:
    try:
        run.require_same(told.widths, rows.ids[0])
    except ValueError:
        # Workers know their own chunks only: it is in the store, where it must not stay.
        if isinstance(keep, Disk) and told.shard is not None:
            keep.discard(told.shard)
        raise
    if isinstance(keep, Disk) and told.shard is not None:
        keep.adopt(told.shard, rows)
    else:
        keep.take(iter([rows]))


def _singly(sources: Sequence[Source]) -> Iterator[list[Source]]:
    return ([source] for source in sources)
