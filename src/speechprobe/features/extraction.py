"""Extraction: runs a model over a corpus once, stored and resumable, and says what it cost.

What can be told from the headers of the sound files, from the layer names and from the store is
checked before anything runs. A run that is killed loses at most some seconds of work.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from speechprobe import _fingerprint, audio, engines, pooling
from speechprobe._headers import read_headers
from speechprobe.datasets.corpus import Corpus
from speechprobe.engines import Source
from speechprobe.extractors.base import Extractor, check_facts, select_layers
from speechprobe.features.cost import Progress
from speechprobe.features.keeping import Disk, Memory
from speechprobe.features.planning import Plan, plan_of
from speechprobe.features.table import Features
from speechprobe.features.units import Utterances, units_of
from speechprobe.store import Store
from speechprobe.store.shards import Rows

if TYPE_CHECKING:
    from speechprobe.pooling import Pooling

# So many failures and no success: the extractor is broken, not the files.
HOPELESS = 20


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
    errors: Literal["raise", "record"] = ...,
    progress: bool = ...,
    dry_run: Literal[True],
) -> Plan: ...


def extract(
    corpus: Corpus,
    extractor: Extractor,
    *,
    layers: str | Sequence[str] = "*",
    pool: str | Pooling = "mean",
    store: str | Path | None = None,
    batch_seconds: float | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
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
        Threads that read sound files ahead.
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
        If an utterance fails, a layer pattern matches nothing, or the store is of other features.
    TypeError
        If the object is no extractor.

    Examples
    --------
    >>> import tempfile, speechprobe as sp
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
    wanted = pooling.resolve(pool)
    units = units_of(corpus, wanted)
    run = _Run(extractor, layers, units, strict=errors == "raise")
    identity = run.identity(wanted)
    if dry_run and store is not None and not Path(store).is_dir():
        store = None  # it would be made
    keep = Disk(Store(store, identity), corpus) if store is not None else Memory()
    sources = run.usable(units.pending(keep.done))
    engine = engines.Serial(
        extractor,
        units.pool,
        batch_seconds=engines.resolve_batch_seconds(batch_seconds),
        workers=engines.resolve_workers(workers),
    )
    with Progress(sources, extractor.name, shown=progress and not dry_run) as bar:
        if dry_run:
            rows_of = functools.partial(run.checked, bar=bar)
            plan = plan_of(extractor, engine, sources, rows_of, len(keep.done))
            print(plan)  # noqa: T201 it is what was asked for
            return plan
        keep.take(run.checked(engine.run(sources), bar))
        cost = bar.cost(engine, extractor)
    return keep.finish(corpus, run.failures, identity | run.facts(corpus) | cost)


class _Run:
    """One extraction: its settings, what it has refused, and the layers it has settled on."""

    def __init__(
        self, extractor: Extractor, layers: str | Sequence[str], units: Utterances, *, strict: bool
    ) -> None:
        self.extractor, self.units, self.strict = extractor, units, strict
        self.patterns = [layers] if isinstance(layers, str) else list(layers)
        self.failures: list[tuple[Source, Exception]] = []
        self.widths: dict[str, int] = {}
        known = getattr(extractor, "layers", None)
        if isinstance(known, tuple):
            select_layers(known, self.patterns)  # a wrong pattern raises before anything runs

    def identity(self, pool: Pooling) -> dict[str, Any]:
        made_by = getattr(self.extractor, "provenance", None)
        if not isinstance(made_by, Mapping):
            made_by = _fingerprint.of_object(self.extractor) | {"name": self.extractor.name}
        told = {"extractor": dict(made_by), "layers": self.patterns, "pool": _told(pool)}
        return told | self.units.identity

    def facts(self, corpus: Corpus) -> dict[str, Any]:
        return {
            "corpus": corpus.name,
            "padding_error": getattr(self.extractor, "padding_error", None),
            "device": str(getattr(self.extractor, "device", "cpu")),
            "versions": _fingerprint.versions(),
        }

    def usable(self, utterances: Sequence[tuple[str, str]]) -> list[Source]:
        """Return those whose header is sound; the others fail now, before anything runs."""
        headers = read_headers([path for _, path in utterances])
        sources: list[Source] = []
        suspects: list[Source] = []
        for (key, path), header in zip(utterances, headers, strict=True):
            duration = header.duration if isinstance(header, audio.Header) else 0.0
            source = Source(key, path, duration)
            problem = self._problem(source, header)
            if problem is not None:
                self.failures.append((source, problem))
            else:
                sources.append(source)
                suspects += [source] if getattr(header, "may_hold_nan", False) else []
        if self.strict:
            self._read_through(suspects)
        self._raise_if_strict(len(utterances))
        return sources

    def _problem(self, source: Source, header: audio.Header | Exception) -> Exception | None:
        if not isinstance(header, audio.Header):
            return header
        longest = getattr(self.extractor, "max_seconds", None)
        if longest is not None and source.duration > longest:
            return ValueError(
                f"{source.path}: {source.duration:.1f} s; {self.extractor.name} takes {longest:g} s"
            )
        try:
            self.units.check(source.id, source.duration)
        except ValueError as error:
            return error
        return None

    def _read_through(self, suspects: Sequence[Source]) -> None:
        # Only floating-point files can hold NaN, and no header shows it.
        def attempt(source: Source) -> Exception | None:
            try:
                audio.read(source.path)
            except (OSError, ValueError) as error:
                return error
            return None

        # Silence is told of when it is extracted.
        with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
            warnings.simplefilter("ignore")
            found = list(pool.map(attempt, suspects))
        pairs = zip(suspects, found, strict=True)
        self.failures += [(source, error) for source, error in pairs if error is not None]

    def checked(self, batches: Iterator[engines.Done], bar: Progress) -> Iterator[Rows]:
        """Give the rows of batches with the chosen layers only; raise or note what failed."""
        for done in batches:
            self.failures += done.failures
            if done.sources:
                yield self.units.rows(replace(done, layers=self._choose(done)))
            self._raise_if_strict(bar.n_utterances)
            if len(self.failures) >= HOPELESS and not self.widths:
                raise ValueError(
                    f"the first {len(self.failures)} utterances all failed, so nothing more was "
                    f"tried; first: {_tell(*self.failures[0])}"
                )
            bar.update([*done.sources, *(source for source, _ in done.failures)])

    def _choose(self, done: engines.Done) -> dict[str, Any]:
        chosen = select_layers(done.layers, self.patterns)
        widths = {name: _width(done.layers[name]) for name in chosen}
        if self.widths and widths != self.widths:
            raise ValueError(
                f"{self.extractor.name!r} gave layers of other names or widths for utterance "
                f"{done.sources[0].id!r} than before: {widths}, not {self.widths}"
            )
        self.widths = widths
        return {name: done.layers[name] for name in chosen}

    def _raise_if_strict(self, n_utterances: int) -> None:
        if self.failures and self.strict:
            if isinstance(self.failures[0][1], TypeError):
                # The extractor is wrong, not this utterance.
                raise self.failures[0][1]
            raise ValueError(
                f"{len(self.failures)} of {n_utterances} utterances cannot be used, first "
                f"{_tell(*self.failures[0])}. Leave them out, or go on without them by "
                "errors='record'"
            ) from self.failures[0][1]


def _told(pool: Pooling) -> Any:
    """Return what identifies a pooling: of ours the name, of others their code and settings."""
    name = pooling.name_of(pool)
    if isinstance(pool, pooling.Spans):
        return {"name": name, "pool": _told(pool.pool), "spans_sha256": pool.digest}
    if getattr(pool, "__module__", "").startswith(pooling.__name__):
        return name
    return {"name": name} | _fingerprint.of_object(pool)


def _width(rows: Any) -> int:
    """Return the number of dimensions of (n_rows, n_dims) or of a list of such."""
    widths = {np.shape(each)[-1] for each in rows} if isinstance(rows, list) else {rows.shape[1]}
    return widths.pop() if len(widths) == 1 else -1


def _tell(source: Source, error: Exception) -> str:
    place = "" if source.path in str(error) else f" ({source.path})"
    return f"{source.id!r}{place}: {error}"
