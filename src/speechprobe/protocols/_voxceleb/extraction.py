"""The extractions of the verification study: files of trials, by crops or whole, and a cohort."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from speechprobe import pooling
from speechprobe.datasets.corpus import Corpus
from speechprobe.extractors.base import check_facts, check_frames, select_layers
from speechprobe.features import Features, extract
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.ten_crops import TenCrops
from speechprobe.layers.verification.trial_scoring import TEN_CROPS, Scoring
from speechprobe.protocols._voxceleb.asked import TOP_N

if TYPE_CHECKING:
    from speechprobe.extractors import Extractor
    from speechprobe.pooling import Pooling

_ADVICE = "Leave them out, or go on without them by errors='record'"  # that of `extract`


class Extraction:
    """Extracts what a study needs of one model.

    Parameters
    ----------
    extractor
        The model.
    scoring
        Whether ten crops a file are wanted.
    layers, pool, store, progress
        As `voxceleb` takes them.

    Raises
    ------
    TypeError
        If the extractor is none.
    ValueError
        If the pooling is unknown or keeps frames.
    """

    def __init__(
        self,
        extractor: Extractor,
        scoring: Scoring,
        *,
        layers: str | Sequence[str],
        pool: str | Pooling,
        store: str | Path | None,
        progress: bool,
    ) -> None:
        check_facts(extractor)
        self._pool = pooling.resolve(pool)
        if pooling.is_ragged(self._pool):
            raise ValueError(
                f"pool={pooling.name_of(self._pool)!r} keeps several rows a file; trials compare "
                "one vector of each, so take a pooling such as 'mean'"
            )
        self._extractor, self._by_crops = extractor, scoring == TEN_CROPS
        self._layers = [layers] if isinstance(layers, str) else list(layers)
        self._store, self._progress = store, progress

    def require_layers(self, wanted: str | None, cohort: object, corpus: Corpus) -> None:
        """Raise if layers are not there; an extractor that does not tell runs its first file.

        Parameters
        ----------
        wanted
            The layer that the results are of; None for the last.
        cohort
            Must have every layer if it is a `Cohort`.
        corpus
            The files of the trials.

        Raises
        ------
        KeyError
            If there is no layer `wanted`.
        ValueError
            If the cohort lacks a layer.
        """
        own = cohort.means if isinstance(cohort, Cohort) else None
        if wanted is None and own is None:
            return
        known = self._names(corpus)
        if known is None:
            return
        names = select_layers(known, self._layers)
        if wanted is not None and wanted not in names:
            raise KeyError(f"no layer {wanted!r} among {names}")
        lost = [name for name in names if own is not None and name not in own]
        if lost:
            raise ValueError(f"the cohort has no layer {lost[0]!r}; it has {list(own or ())}")

    def _names(self, corpus: Corpus) -> tuple[str, ...] | None:
        model = self._extractor
        known = getattr(model, "layers", None)
        if isinstance(known, tuple):
            return known
        try:
            first = next(iter(corpus)).signal(model.sample_rate)
            return tuple(check_frames(model(first), model.name))
        except (OSError, ValueError):
            return None  # told with all others that cannot be read

    def of_trials(self, corpus: Corpus, *, skip: bool) -> Features:
        """Return the features of the files of trials, without those that cannot be read if so."""
        advice = "missing='skip' leaves their trials out"
        return self._run(corpus, "trials", advice, errors="record" if skip else "raise")

    def of_cohort(self, corpus: Corpus) -> Cohort:
        """Return the cohort of the speakers of a corpus, by whole files."""
        features = self._run(corpus, "cohort", "Leave them out of the cohort", errors="raise")
        return Cohort.of(features, top_n=min(TOP_N, int(corpus.table["speaker"].nunique())))

    def _run(
        self, corpus: Corpus, part: str, advice: str, *, errors: Literal["raise", "record"]
    ) -> Features:
        model = TenCrops(self._extractor) if self._by_crops else self._extractor
        try:
            return extract(
                corpus, model, layers=self._layers, pool=self._pool, store=self._place(part),
                errors=errors, progress=self._progress,
            )  # fmt: skip
        except ValueError as error:
            if _ADVICE not in str(error):
                raise
            raise ValueError(str(error).replace(_ADVICE, advice)) from error

    def _place(self, part: str) -> str | Path | None:
        """Return the folder of a kind of extraction, so that studies of several kinds share one."""
        if self._store is None:
            return None
        kind = f"{part}-{'crops' if self._by_crops else 'whole'}"
        chosen = (self._layers, pooling.name_of(self._pool))
        if chosen != (["*"], "mean"):
            kind += f"-{hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:8]}"
        name = self._extractor.name.replace("/", "-")
        # An address, such as s3://bucket/features, is text: a path would drop a slash of it.
        as_text = isinstance(self._store, str)
        return f"{self._store}/{name}/{kind}" if as_text else Path(self._store, name, kind)
