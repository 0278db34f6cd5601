"""Extraction: runs a model over a corpus once, stored and resumable, and says what it cost.

What can be told from the headers of the sound files, from the layer names and from the store is
checked before anything runs. A run that is killed loses at most some seconds of work.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from speechprobe import engines, pooling
from speechprobe.datasets.corpus import Corpus
from speechprobe.extractors.base import Extractor, check_facts
from speechprobe.features.cost import Progress
from speechprobe.features.keeping import Disk, Memory
from speechprobe.features.planning import Plan, plan_of
from speechprobe.features.running import Run
from speechprobe.features.spreading import Spread, Work
from speechprobe.features.table import Features
from speechprobe.features.units import part_of, units_of
from speechprobe.store import Store, place_of

if TYPE_CHECKING:
    from speechprobe.pooling import Pooling


@overload
def extract(
    corpus: Corpus,
    extractor: Extractor,
    *,
    layers: str | Sequence[str] = ...,
    pool: str | Pooling = ...,
    store: str | Path | None = ...,
    batch_seconds: float | Literal["auto"] = ...,
    workers: int | Literal["auto"] = ...,
    engine: engines.Engine | None = ...,
    shard: tuple[int, int] | None = ...,
    errors: Literal["raise", "record"] = ...,
    progress: bool = ...,
    dry_run: Literal[False] = ...,
) -> Features: ...


@overload
def extract(
    corpus: Corpus,
    extractor: Extractor,
    *,
    layers: str | Sequence[str] = ...,
    pool: str | Pooling = ...,
    store: str | Path | None = ...,
    batch_seconds: float | Literal["auto"] = ...,
    workers: int | Literal["auto"] = ...,
    engine: engines.Engine | None = ...,
    shard: tuple[int, int] | None = ...,
    errors: Literal["raise", "record"] = ...,
    progress: bool = ...,
    dry_run: Literal[True],
) -> Plan: ...


def extract(  # noqa: PLR0913 the public contract names each of these
    corpus: Corpus,
    extractor: Extractor,
    *,
    layers: str | Sequence[str] = "*",
    pool: str | Pooling = "mean",
    store: str | Path | None = None,
    batch_seconds: float | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
    engine: engines.Engine | None = None,
    shard: tuple[int, int] | None = None,
    errors: Literal["raise", "record"] = "raise",
    progress: bool = True,
    dry_run: bool = False,
) -> Features | Plan:
    """Extract every layer of every utterance, pooled over time.

    Parameters
    ----------
    corpus
        The utterances, or spans of them as `Corpus.spans` gives: then each recording is run once,
        with its whole context, and each layer pooled over each span. All headers are read before
        anything runs.
    extractor
        One of `speechprobe.extractors`, or any object with `name`, `sample_rate` and a call
        ``signal -> {layer: (n_frames, n_dims)}``.
    layers
        Which of the extractor's layers to keep: names or patterns (`*` within one part of a name,
        `**` across parts); all by default.
    pool
        "mean", "mean_std", "max", or a pooling function, see `speechprobe.pooling`. "frames" keeps
        every frame: layers are then a `RaggedLayer`.
    store
        Folder for the features. If it holds some of them already, from the same extractor and
        pooling, the rest is extracted; a killed run is taken up so.
    batch_seconds
        Most seconds of audio in a batch; "auto" runs the first utterances in batches of several
        sizes and goes on with the fastest, which `provenance` tells.
    workers
        Threads that read sound files ahead, in each worker of an engine.
    engine
        `engines.Ray` to spread the utterances over a cluster; this process by default. Workers
        write the store themselves, so its folder must be one that all of them see.
    shard
        (rank, world_size): take only this part of the corpus, every world_size-th utterance, as
        one of several processes that write one store, such as those of torchrun. What is returned
        is that part; the store is whole, and `load_features` opens it, once the last has ended.
    errors
        "raise" stops with one error at the first utterance that fails, what can be seen in the
        headers before anything runs; "record" goes on and lists them in `failures`.
    progress
        Show a progress bar where the output is a terminal.
    dry_run
        Run a short trial only, print what the whole would take, and return it as a `Plan`; nothing
        is stored.

    Returns
    -------
    features
        Rows in the order of the corpus, without those that failed.

    Raises
    ------
    ValueError
        If an utterance fails, a layer pattern matches nothing, the store is of other features, or
        the rank is none.
    TypeError
        If the object is no extractor.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe as sp
    >>> from speechprobe import audio
    >>> root = tempfile.mkdtemp()
    >>> audio.write(f"{root}/a.flac", np.sin(np.arange(16_000) / 9), 16_000)
    >>> features = extract(sp.datasets.load_folder(root), sp.extractors.LogMel(n_mels=40))
    >>> features["logmel"].shape
    (1, 40)
    """
    if errors not in ("raise", "record"):
        raise ValueError(f"errors must be 'raise' or 'record', got {errors!r}")
    if not isinstance(corpus, Corpus):
        raise TypeError(
            f"extract wants a Corpus, as datasets.load_folder gives, got {type(corpus).__name__}"
        )
    check_facts(extractor)
    engines.check_engine(engine)
    if engine is not None and dry_run:
        raise ValueError(
            "dry_run measures in this process, without engine: run it on a machine like those of "
            "the workers, and divide the time by their number"
        )
    size, threads = engines.resolve_batch_seconds(batch_seconds), engines.resolve_workers(workers)
    wanted = pooling.resolve(pool)
    rank, world_size = shard or (0, 1)
    own = part_of(corpus, rank, world_size)
    units = units_of(own, wanted)
    run = Run(extractor, layers, units, strict=errors == "raise")
    identity = run.identity(wanted)
    if dry_run and store is not None and not place_of(store).names():
        store = None  # it would be made
    folder = None
    if store is not None:
        folder = Store(store, identity, rank=rank, world_size=world_size)
    keep = Memory() if folder is None else Disk(folder, own, None if shard is None else corpus)
    sources = run.usable(*units.pending(keep.done))
    serial = engines.Serial(extractor, units.pool, batch_seconds=size, workers=threads)
    with Progress(sources, extractor.name, shown=progress and not dry_run) as bar:
        if dry_run:
            rows_of = functools.partial(run.checked, bar=bar)
            plan = plan_of(extractor, serial, sources, rows_of, len(keep.done))
            print(plan)  # noqa: T201 it is what was asked for
            return plan
        if engine is None:
            keep.take(run.checked(serial.run(sources), bar))
            cost = bar.cost(serial, extractor)
        else:
            place = None if folder is None else folder.place
            on_gpu = engines.has_gpus(engine)
            work = Work(extractor, run.patterns, place, threads=workers, on_gpu=on_gpu)
            spread = Spread(engine, work, size)
            if sources:
                reserve = (lambda: None) if folder is None else folder.reserve
                spread.fill(keep, sources, run, reserve, bar)
            cost = bar.cost(spread, extractor) | spread.facts
    del sources  # of a million utterances a hundred megabytes, while the labels are written
    return keep.finish(own, run.failures, identity | run.facts(corpus.name) | cost)
