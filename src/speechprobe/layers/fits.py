"""The folds and all the fits of one layer, as one list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split
from speechprobe.probes.jobs import Job, fit_predict_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Outcome:
    """Predictions of one layer: by seed on test and validation items, by shuffle on test items."""

    test: list[NDArray[Any]]
    validation: list[NDArray[Any]]
    floor: list[NDArray[Any]]
    n_dims: int


class Plan:
    """All fits of a layer, as one list of jobs."""

    def __init__(
        self,
        folds: Sequence[Split],
        truth: NDArray[Any],
        shuffled: Sequence[NDArray[Any]],
        seeds: tuple[int, ...],
    ) -> None:
        if not seeds:
            raise ValueError("at least one seed is needed")
        self.folds, self.truth, self.shuffled, self.seeds = folds, truth, shuffled, seeds
        self.scored = np.concatenate([fold.test for fold in folds])
        self.validated = np.concatenate([fold.validation for fold in folds])

    def run(self, probe: Any, matrix: NDArray[np.float32]) -> Outcome:
        """Return the predictions for a layer (n_items, n_dims)."""
        sets = self._sets()
        jobs = [Job(fit, ask, target, seed) for pairs, target, seed in sets for fit, ask in pairs]
        predicted = iter(_fit_predict_all(probe, matrix, jobs))
        joined = [np.concatenate([next(predicted) for _ in pairs]) for pairs, _, _ in sets]
        first, last = len(self.seeds), len(self.seeds) + len(self.shuffled)
        return Outcome(joined[:first], joined[last:], joined[first:last], matrix.shape[1])

    def _sets(self) -> list[tuple[list[tuple[Rows, Rows]], NDArray[Any], int]]:
        """Return (fit and predict rows of each fold, target, seed): test, floor, validation."""
        test = [(np.concatenate([fold.train, fold.validation]), fold.test) for fold in self.folds]
        choice = [(fold.train, fold.validation) for fold in self.folds if len(fold.validation)]
        return [
            *((test, self.truth, seed) for seed in self.seeds),
            *((test, target, self.seeds[0]) for target in self.shuffled),
            *((choice, self.truth, seed) for seed in self.seeds if choice),
        ]


def _fit_predict_all(
    probe: Any, matrix: NDArray[np.float32], jobs: Sequence[Job]
) -> list[NDArray[Any]]:
    """Fit what can be fitted; a shuffle that leaves one class to train on predicts that class."""
    fixed = [_only_class(job) if is_classifier(probe) else None for job in jobs]
    fitted = iter(
        fit_predict_many(
            probe, matrix, [job for job, found in zip(jobs, fixed, strict=True) if found is None]
        )
    )
    return [next(fitted) if found is None else found for found in fixed]


def _only_class(job: Job) -> NDArray[Any] | None:
    values = job.target[job.fit]
    return np.full(len(job.predict), values[0]) if (values == values[0]).all() else None


def folds_of(
    items: pd.DataFrame,
    split: Split | Sequence[Any] | None,
    *,
    groups: str | None,
    n_folds: int,
    stratify: str | None,
) -> list[Split]:
    """Return the folds asked for, checked; `splits.k_fold` where no split is given."""
    if split is None:
        return splits.k_fold(items, n_folds=n_folds, groups=groups, stratify=stratify)
    listed = [split] if isinstance(split, Split) else list(split)
    if not listed:
        raise ValueError("the split has no fold")
    whole = [fold if isinstance(fold, Split) else _of_pair(fold) for fold in listed]
    return [splits.check(fold, items, groups=groups) for fold in whole]


def _of_pair(fold: Any) -> Split:
    parts = [np.asarray(part, dtype=np.intp) for part in fold]
    if len(parts) not in (2, 3):
        raise ValueError(
            f"a fold is a Split or a pair (train, test) of row positions, got {len(parts)} parts"
        )
    return Split(parts[0], parts[1] if len(parts) == 3 else np.empty(0, np.intp), parts[-1])
