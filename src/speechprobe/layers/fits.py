"""The folds and all the fits of one layer, as one list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

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
    """Predictions of one layer, each a list with one array a fold.

    Parameters
    ----------
    test, validation
        One list a seed: predictions of the fold's test and validation items.
    floor
        One list a shuffle: predictions of the test items of the shuffle's own folds.
    n_dims
        Width of the layer.
    """

    test: list[list[NDArray[Any]]]
    validation: list[list[NDArray[Any]]]
    floor: list[list[NDArray[Any]]]
    n_dims: int


class Run(NamedTuple):
    """Folds and the target that is learnt on them: the truth, or a shuffle of it."""

    folds: Sequence[Split]
    target: NDArray[Any]

    @property
    def scored(self) -> Rows:
        """Rows of the test items, fold after fold."""
        return np.concatenate([fold.test for fold in self.folds])

    @property
    def truth(self) -> NDArray[Any]:
        """Target of the test items, fold after fold."""
        values: NDArray[Any] = self.target[self.scored]
        return values


class Plan:
    """All fits of a layer, as one list of jobs.

    Parameters
    ----------
    real
        Folds and the true target.
    shuffled
        The same for each shuffle.
    seeds
        Of the probe.
    """

    def __init__(self, real: Run, shuffled: Sequence[Run], seeds: tuple[int, ...]) -> None:
        if not seeds:
            raise ValueError("at least one seed is needed")
        if len(np.unique(real.scored)) < len(real.scored):
            raise ValueError(
                "some items are tested in several folds and would count several times; give folds "
                "whose test parts do not overlap"
            )
        self.real, self.shuffled, self.seeds = real, shuffled, seeds

    def run(self, probe: Any, matrix: NDArray[np.float32]) -> Outcome:
        """Return the predictions for a layer (n_items, n_dims)."""
        sets = [
            *(_on_test(self.real, seed) for seed in self.seeds),
            *(_on_test(run, self.seeds[0]) for run in self.shuffled),
            *(_on_validation(self.real, seed) for seed in self.seeds),
        ]
        predicted = iter(_fit_predict_all(probe, matrix, [job for jobs in sets for job in jobs]))
        by_set = [[next(predicted) for _ in jobs] for jobs in sets]
        first, last = len(self.seeds), len(self.seeds) + len(self.shuffled)
        return Outcome(by_set[:first], by_set[last:], by_set[first:last], matrix.shape[1])


def _on_test(run: Run, seed: int) -> list[Job]:
    """Fit on train and validation parts, predict the test parts."""
    return [
        Job(np.concatenate([fold.train, fold.validation]), fold.test, run.target, seed)
        for fold in run.folds
    ]


def _on_validation(run: Run, seed: int) -> list[Job]:
    """Fit on the train parts, predict the validation parts; none where a fold has no such part."""
    if not all(len(fold.validation) for fold in run.folds):
        return []
    return [Job(fold.train, fold.validation, run.target, seed) for fold in run.folds]


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
    return [splits.check(_as_split(fold), items, groups=groups) for fold in listed]


def _as_split(fold: Any) -> Split:
    parts = [np.asarray(part) for part in fold]
    if len(parts) not in (2, 3):
        raise ValueError(
            f"a fold is a Split or a pair (train, test) of row positions, got {len(parts)} parts"
        )
    rows = [np.flatnonzero(p) if p.dtype == bool else p.astype(np.intp) for p in parts]
    return Split(rows[0], rows[1] if len(rows) == 3 else np.empty(0, np.intp), rows[-1])
