"""One extraction: its settings, what it refuses before anything runs, the rows it takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe import _fingerprint, audio, engines, pooling
from speechprobe._headers import headers_of
from speechprobe.engines import Source
from speechprobe.extractors.base import Extractor, select_layers
from speechprobe.store.shards import Rows

if TYPE_CHECKING:
    from speechprobe.features.cost import Progress
    from speechprobe.features.units import Utterances
    from speechprobe.pooling import Pooling

# So many failures and no success: the extractor is broken, not the files.
HOPELESS = 20


class Run:
    """One extraction.

    Parameters
    ----------
    extractor
        What is run.
    layers
        Patterns of the layers to keep.
    units
        What becomes a row.
    strict
        Whether the first failure ends it.

    Attributes
    ----------
    failures : list of (Source, Exception)
        What failed so far.
    """

    def __init__(
        self, extractor: Extractor, layers: str | Sequence[str], units: Utterances, *, strict: bool
    ) -> None:
        self.extractor, self.units, self.strict = extractor, units, strict
        self.patterns = [layers] if isinstance(layers, str) else list(layers)
        self.failures: list[tuple[Source, Exception]] = []
        self._widths: dict[str, int] = {}
        known = getattr(extractor, "layers", None)
        if isinstance(known, tuple):
            select_layers(known, self.patterns)  # a wrong pattern raises before anything runs

    def identity(self, pool: Pooling) -> dict[str, Any]:
        """Return what tells these features from others."""
        made_by = getattr(self.extractor, "provenance", None)
        if not isinstance(made_by, Mapping):
            made_by = _fingerprint.of_object(self.extractor) | {"name": self.extractor.name}
        told = {"extractor": dict(made_by), "layers": self.patterns, "pool": _told(pool)}
        return told | self.units.identity

    def facts(self, corpus: str) -> dict[str, Any]:
        """Return what else the provenance tells."""
        told = {"corpus": corpus, "versions": _fingerprint.versions()}
        return told | run_facts(self.extractor)

    def usable(self, ids: Sequence[str], paths: Sequence[str]) -> list[Source]:
        """Return those whose header is sound; the others fail now, before anything runs."""
        sources: list[Source] = []
        suspects: list[Source] = []
        for key, path, header in zip(ids, paths, headers_of(paths), strict=True):
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
        self._raise_if_strict(len(ids))
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

    def checked(self, batches: Iterable[engines.Done], bar: Progress) -> Iterator[Rows]:
        """Give the rows of batches with the chosen layers only; raise or note what failed."""
        for done in batches:
            chosen = chosen_of(done, self.patterns)
            if done.sources:
                self.require_same(widths_of(chosen.layers), done.sources[0].id)
                yield self.units.rows(chosen)
            self.note(done.failures, bar)
            bar.update([*done.sources, *(source for source, _ in done.failures)])

    def require_same(self, widths: dict[str, int], first: str) -> None:
        """Raise if the layers of a batch, whose first utterance is named, are not as before."""
        require_same(self.extractor.name, widths, self._widths, first)
        self._widths = widths

    def note(self, failures: Sequence[tuple[Source, Exception]], bar: Progress) -> None:
        """Keep what failed; raise if that ends the run."""
        self.failures += failures
        self._raise_if_strict(bar.n_utterances)
        if len(self.failures) >= HOPELESS and not self._widths:
            raise ValueError(
                f"the first {len(self.failures)} utterances all failed, so nothing more was "
                f"tried; first: {_tell(*self.failures[0])}"
            )

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


def run_facts(extractor: Any) -> dict[str, Any]:
    """Return what is known of an extractor only once it has run, and where."""
    return {
        "padding_error": getattr(extractor, "padding_error", None),
        "device": str(getattr(extractor, "device", "cpu")),
    }


def chosen_of(done: engines.Done, patterns: Sequence[str]) -> engines.Done:
    """Return a batch with the layers that match."""
    if not done.sources:
        return done
    names = select_layers(done.layers, patterns)
    return replace(done, layers={name: done.layers[name] for name in names})


def require_same(name: str, widths: dict[str, int], before: dict[str, int], first: str) -> None:
    """Raise if an extractor gives other layers from some utterance on than it gave before."""
    if before and widths != before:
        raise ValueError(
            f"{name!r} gave layers of other names or widths for utterance {first!r} than before: "
            f"{widths}, not {before}"
        )


def widths_of(layers: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of dimensions of each layer, arrays (n_rows, n_dims) or lists of such."""
    return {name: _width(rows) for name, rows in layers.items()}


def _width(rows: Any) -> int:
    widths = {np.shape(each)[-1] for each in rows} if isinstance(rows, list) else {rows.shape[1]}
    return widths.pop() if len(widths) == 1 else -1


def _told(pool: Pooling) -> Any:
    """Return what identifies a pooling: of ours the name, of others their code and settings."""
    name = pooling.name_of(pool)
    if isinstance(pool, pooling.Spans):
        return {"name": name, "pool": _told(pool.pool), "spans_sha256": pool.digest}
    if getattr(pool, "__module__", "").startswith(pooling.__name__):
        return name
    return {"name": name} | _fingerprint.of_object(pool)


def _tell(source: Source, error: Exception) -> str:
    place = "" if source.path in str(error) else f" ({source.path})"
    return f"{source.id!r}{place}: {error}"
