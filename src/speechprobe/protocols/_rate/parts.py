"""Corpora of a study as one table: parts joined, split by speaker, labels of the study beside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe.datasets import labels
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.splits import Split, predefined
from speechprobe.layers.folds import folds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """

    corpus: Corpus
    folds: list[Split]
    given: bool

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
        place = np.cumsum(keep) - 1
        folds = [Split(*(place[part[keep[part]]] for part in fold)) for fold in self.folds]
        return np.flatnonzero(keep), [fold for fold in folds if len(fold.test)]


def rate_data(
    corpus: Corpus | Mapping[str, Corpus],
    split: Split | Sequence[Any] | None,
    *,
    n_folds: int,
    pauses: bool,
) -> RateData:
    """Return the utterances with their labels and folds, checked before anything is extracted.

    Raises
    ------
    ValueError
        If an utterance has no text, a speaker straddles, or there are too few speakers.
    TypeError
        If something is no corpus.
    """
    if isinstance(corpus, Mapping):
        if split is not None:
            raise ValueError("the parts of the corpus are the split; leave split out")
        whole = joined({_part_name(name): each for name, each in corpus.items()})
        split = predefined(whole.table, column=PART)
    else:
        whole = require_corpus(corpus, "corpus")
    _require_text(whole)
    folds = folds_of(whole.table, split, groups="speaker", n_folds=n_folds, stratify=None)
    whole = whole.label(RATE, labels.speaking_rate).label(DURATION, labels.duration)
    if pauses:
        whole = whole.label(ARTICULATION, labels.articulation_rate)
    return RateData(whole, folds, split is not None)


def joined(corpora: Mapping[str, Corpus]) -> Corpus:
    """Return parts as one corpus with a label `part`.

    Raises
    ------
    ValueError
        If an utterance stands in two parts.
    TypeError
        If a part is no corpus.
    """
    tables = [
        require_corpus(each, name).table.assign(**{PART: name}) for name, each in corpora.items()
    ]
    whole = pd.concat(tables)
    if not whole.index.is_unique:
        twice = whole.index[whole.index.duplicated()]
        raise ValueError(
            f"{len(twice)} utterances stand in two parts or share an id, first {twice[0]!r}; "
            "parts must not overlap, and corpora of like ids need new ones"
        )
    names = dict.fromkeys(each.name for each in corpora.values())
    return Corpus("+".join(names), whole)


def require_corpus(value: Any, what: str) -> Corpus:
    """Return a corpus, or raise TypeError."""
    if not isinstance(value, Corpus):
        raise TypeError(
            f"{what} must be a Corpus, as datasets.load_librispeech gives, got "
            f"{type(value).__name__}"
        )
    return value


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
