"""Corpora of a study as one table: parts joined, split by speaker, labels of the study beside."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.datasets import labels
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.splits import Split, predefined
from speechprobe.features.table import Failure
from speechprobe.layers.folds import folds_of
from speechprobe.protocols._rate.failures import Lost
from speechprobe.protocols._rate.folders import corpus_of, parts_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from speechprobe.datasets.utterance import Utterance
    from speechprobe.protocols._rate.failures import Errors
    from speechprobe.protocols._rate.folders import Given

PART = "part"
RATE, ARTICULATION, DURATION = "cps", "articulation_rate", "duration"
_PARTS = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}


@dataclass(frozen=True, eq=False)
class RateData:
    """Utterances with the labels of the study, and the folds they are probed in.

    Parameters
    ----------
    corpus
        With the labels `cps`, `duration` and, if asked for, `articulation_rate`.
    folds
        Row positions.
    given
        Whether the folds are a split that was given, not drawn here.
    failures
        Utterances that are left out because their length cannot be read.
    """

    corpus: Corpus
    folds: list[Split]
    given: bool
    failures: tuple[Failure, ...] = ()

    def label_tables(self) -> dict[str, pd.DataFrame]:
        """Return the labels as the study's CSV files have them: one a part, or one of all."""
        if len(self.folds) > 1:
            return {"labels": _as_csv(self.corpus.table)}
        (fold,) = self.folds
        return {
            f"labels_{part}": _as_csv(self.corpus.table.iloc[rows])
            for part, rows in zip(fold._fields, fold, strict=True)
            if len(rows)
        }

    def summary(self) -> pd.DataFrame:
        """Return number, mean, spread and range of each label, and what they share with `cps`."""
        names = [name for name in (RATE, ARTICULATION, DURATION) if name in self.corpus.table]
        numbers = self.corpus.table[names].astype(float)
        rows = []
        for name in names:
            known = numbers[name].dropna()
            told = {"label": name, "n_items": len(known), "mean": known.mean()}
            told |= {"std": known.std(ddof=0), "least": known.min(), "most": known.max()}
            rows.append(told | {f"pearson_{RATE}": numbers[name].corr(numbers[RATE])})
        return pd.DataFrame(rows)

    def rows_with(self, label: str) -> tuple[NDArray[np.intp], list[Split]]:
        """Return the rows that have a finite label, and the folds among them."""
        keep = np.isfinite(self.corpus.table[label].to_numpy(dtype=float))
        return np.flatnonzero(keep), _folds_among(self.folds, keep)

    def only(self, keep: ArrayLike) -> RateData:
        """Return the utterances of a mask (n_items,), and the folds among them.

        Raises
        ------
        ValueError
            If no fold has both training and test utterances left.
        """
        mask = np.asarray(keep, dtype=bool)
        folds = _folds_among(self.folds, mask)
        if not folds:
            raise ValueError(
                f"{mask.sum()} of {len(mask)} utterances can be used, and no fold has training and "
                "test utterances among them"
            )
        return replace(self, corpus=self.corpus.select(mask), folds=folds)


def _folds_among(folds: Sequence[Split], keep: NDArray[np.bool_]) -> list[Split]:
    """Return folds of the rows that are kept, without those that lack training or test."""
    place = np.cumsum(keep) - 1
    found = [Split(*(place[part[keep[part]]] for part in fold)) for fold in folds]
    return [fold for fold in found if len(fold.train) and len(fold.test)]


def rate_data(
    corpus: Given | Mapping[str, Given],
    split: Split | Sequence[Any] | None,
    *,
    n_folds: int,
    pauses: bool,
    errors: Errors = "raise",
) -> RateData:
    """Return the utterances with their labels and folds, checked before anything is extracted.

    With `errors` "record", those whose length cannot be read are left out and listed, and those
    whose sound cannot be read have no articulation rate.

    Raises
    ------
    ValueError
        If an utterance has no text, a speaker straddles, or there are too few speakers.
    FileNotFoundError
        If a folder holds no such corpus.
    TypeError
        If something is neither corpus nor folder.
    """
    parts = corpus if isinstance(corpus, Mapping) else parts_of(corpus)
    if isinstance(parts, Mapping):
        if split is not None:
            raise ValueError("the parts of the corpus are the split; leave split out")
        named = {_part_name(name): (name, each) for name, each in parts.items()}
        whole = joined({part: corpus_of(each, name) for part, (name, each) in named.items()})
        split = predefined(whole.table, column=PART)
    else:
        whole = parts
    _require_text(whole)
    folds = folds_of(whole.table, split, groups="speaker", n_folds=n_folds, stratify=None)
    data = RateData(whole, folds, split is not None)
    if errors == "record":
        data = _readable(data)
    return replace(data, corpus=_labelled(data.corpus, pauses=pauses, errors=errors))


def _readable(data: RateData) -> RateData:
    """Return the utterances whose length is known, and the others as failures."""
    keep, failures = np.ones(len(data.corpus), dtype=bool), []
    for row, utterance in enumerate(data.corpus):
        try:
            labels.speaking_rate(utterance)
        except (OSError, ValueError) as error:
            keep[row] = False
            failures.append(Failure(utterance.path, str(error)))
    if not failures:
        return data
    try:
        return replace(data.only(keep), failures=tuple(failures))
    except ValueError as error:
        lost = Lost({"corpus": failures}, len(failures), len(keep))
        raise lost.explained(error) from error


def _labelled(corpus: Corpus, *, pauses: bool, errors: Errors) -> Corpus:
    labelled = corpus.label(RATE, labels.speaking_rate).label(DURATION, labels.duration)
    if not pauses:
        return labelled
    rate = labels.articulation_rate
    return labelled.label(ARTICULATION, rate if errors == "raise" else _nan_where_unreadable(rate))


def _nan_where_unreadable(label: Callable[[Utterance], float]) -> Callable[..., float]:
    """Return a label measured from the sound that is NaN where the sound cannot be read."""
    combine = getattr(label, "combine", lambda utterance, _: label(utterance))

    def forgiving(utterance: Utterance, value: Any = None) -> float:
        try:
            return float(combine(utterance, value))
        except ImportError:
            raise  # not the fault of the sound
        except Exception:  # whatever reading it raised: its extraction tells
            return math.nan

    # As `Corpus.label` wants them of a label that is measured on all cores.
    forgiving.measure, forgiving.combine = getattr(label, "measure", None), forgiving  # type: ignore[attr-defined]
    return forgiving


def joined(corpora: Mapping[str, Corpus]) -> Corpus:
    """Return parts as one corpus with a label `part`.

    Raises
    ------
    ValueError
        If an utterance stands in two parts.
    """
    tables = [each.table.assign(**{PART: name}) for name, each in corpora.items()]
    whole = pd.concat(tables)
    if not whole.index.is_unique:
        twice = whole.index[whole.index.duplicated()]
        raise ValueError(
            f"{len(twice)} utterances stand in two parts or share an id, first {twice[0]!r}; "
            "parts must not overlap, and corpora of like ids need new ones"
        )
    names = dict.fromkeys(each.name for each in corpora.values())
    return Corpus("+".join(names), whole)


def _part_name(name: str) -> str:
    if name not in _PARTS:
        raise ValueError(
            f"the parts of a corpus are 'train', 'validation' (or 'dev') and 'test', got {name!r}"
        )
    return _PARTS[name]


def _require_text(corpus: Corpus) -> None:
    nothing = [None] * len(corpus)
    texts = corpus.table["text"].tolist() if "text" in corpus.table else nothing
    without = [not isinstance(text, str) or not text.strip() for text in texts]
    if any(without):
        first = corpus.table.index[without.index(True)]
        raise ValueError(
            f"a speaking rate needs the text of every utterance, and {sum(without)} of "
            f"{len(corpus)} of corpus {corpus.name!r} have none, first {first!r}; select those "
            "that have one, or add it with corpus.label('text', ...)"
        )


def _as_csv(table: pd.DataFrame) -> pd.DataFrame:
    """Return the six columns of the study; chapters are empty where a corpus has none."""
    chapters = table["chapter"].tolist() if "chapter" in table else [None] * len(table)
    columns = {
        "audio_path": [os.path.abspath(path) for path in table["path"]],
        "text": table["text"].tolist(),
        RATE: table[RATE].to_numpy(dtype=float),
        "speaker_id": table["speaker"].tolist(),
        "chapter_id": chapters,
        "audio_id": table.index.tolist(),
    }
    return pd.DataFrame(columns)
