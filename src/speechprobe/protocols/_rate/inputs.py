"""What the models of a study see, and the features they give: whole utterances, or a fixed part."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from speechprobe.datasets.corpus import Corpus
from speechprobe.extractors.base import Extractor, check_facts, pool_signals
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.wrapped import Wrapped, refuse_spans
from speechprobe.features import Features, extract

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling
    from speechprobe.protocols._rate.failures import Errors

Model = Extractor | Features

# A frame of the study: 25 ms every 10 ms.
_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010


def seconds_of(n_frames: int) -> float:
    """Return the length of as many frames of the study."""
    return _WINDOW_SECONDS + (n_frames - 1) * _HOP_SECONDS


class FixedLength(Wrapped):
    """An extractor that sees as many samples of every signal: longer ones cut, shorter ones filled.

    For networks that are not fed frames of the study's kind. Zeros fill, behind the signal, and
    what the network gives for them counts, as in the study.

    Parameters
    ----------
    extractor
        Any extractor.
    max_frames
        Frames of 25 ms every 10 ms; 400 are 4.015 s.

    Raises
    ------
    ValueError
        If `max_frames` is less than 1.

    Examples
    --------
    >>> from speechprobe.extractors import LogMel
    >>> fixed = FixedLength(LogMel(n_mels=8), max_frames=400)
    >>> [fixed(np.zeros(n, np.float32))["logmel"].shape for n in (8_000, 80_000)]
    [(400, 8), (400, 8)]
    """

    def __init__(self, extractor: Extractor, *, max_frames: int) -> None:
        super().__init__(extractor)
        if max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {max_frames}")
        self.max_frames = max_frames
        self._n_samples = round(seconds_of(max_frames) * self.sample_rate)

    def __call__(self, signal: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """Return the frames of every layer of the part."""
        return self.extractor(self._part(signal))

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> Mapping[str, Any]:
        """Return the pooled layers of the parts of several signals.

        Raises
        ------
        ValueError
            If the pooling is over spans, which may lie beyond the part.
        """
        refuse_spans(pool, self)
        return pool_signals(self.extractor, [self._part(signal) for signal in signals], pool)

    def _part(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        kept = signal[: self._n_samples]
        return np.pad(kept, (0, self._n_samples - len(kept)))

    def _settings(self) -> dict[str, Any]:
        return {"max_frames": self.max_frames}


def models_of(models: Model | Sequence[Model] | Mapping[str, Model]) -> dict[str, Model]:
    """Return extractors or features by name, checked.

    Raises
    ------
    ValueError
        If there is none, or two share a name.
    TypeError
        If one is neither extractor nor features.
    """
    if isinstance(models, Mapping):
        named = {str(name): model for name, model in models.items()}
    else:
        listed: list[Any] = list(models) if isinstance(models, list | tuple) else [models]
        names = [_name(model) for model in listed]
        if len(set(names)) < len(names):
            raise ValueError(f"two extractors share a name, {names}; give {{name: extractor}}")
        named = dict(zip(names, listed, strict=True))
    if not named:
        raise ValueError("no extractor was given; give one, several, or {name: extractor}")
    for model in named.values():
        if not isinstance(model, Features):
            check_facts(model)
    if len({safe(name) for name in named}) < len(named):
        raise ValueError(f"names of extractors become names of files, and two coincide: {[*named]}")
    return named


def features_of(
    models: Mapping[str, Model],
    corpus: Corpus,
    *,
    max_frames: int | None,
    store: Path | None,
    errors: Errors = "raise",
) -> dict[str, Features]:
    """Return the features of every model, each in a store of its own if a folder is given.

    With `errors` "record", each model has those of the utterances that gave some.

    Raises
    ------
    ValueError
        If features that were given lack an utterance, or for what `extract` raises.
    """
    found = {}
    for name, model in models.items():
        if isinstance(model, Features):
            found[name] = _of_corpus(name, model, corpus, errors)
            continue
        suffix = "" if max_frames is None else f"-{max_frames}-frames"
        place = None if store is None else store / f"{safe(name)}{suffix}"
        features = extract(corpus, _limited(model, max_frames), store=place, errors=errors)
        found[name] = features.with_labels(corpus)
    return found


def safe(name: str) -> str:
    """Return a name that a file can have."""
    return re.sub(r"[^\w.+-]+", "_", name)


def _name(model: Any) -> str:
    if isinstance(model, Features):
        return str(dict(model.provenance.get("extractor", {})).get("name", "features"))
    check_facts(model)
    return str(model.name)


def _limited(extractor: Extractor, max_frames: int | None) -> Extractor:
    if max_frames is None:
        return extractor
    if not takes_frames(extractor):
        return FixedLength(extractor, max_frames=max_frames)
    # Fed by frames itself: the user's own extractor stays as it is.
    limited = copy.copy(extractor)
    limited.max_frames = max_frames
    return limited


def takes_frames(extractor: Extractor) -> TypeGuard[MaskedExtractor]:
    """Say whether an extractor counts frames of the study's kind itself."""
    return isinstance(extractor, MaskedExtractor)


def _of_corpus(name: str, features: Features, corpus: Corpus, errors: Errors) -> Features:
    # Ids of a corpus are text.
    rows = features.items.index.astype(str).get_indexer(corpus.table.index)
    if errors == "record" and (rows >= 0).any():
        return replace(features.select(rows[rows >= 0]), items=corpus.table[rows >= 0])
    if (rows < 0).any():
        first = corpus.table.index[int(np.flatnonzero(rows < 0)[0])]
        raise ValueError(
            f"features {name!r} lack {int((rows < 0).sum())} of {len(corpus)} utterances, first "
            f"{first!r}; extract them from the same corpus"
        )
    return replace(features.select(rows), items=corpus.table)
