"""All fits of a probing as lists of jobs, the same for every layer."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier

from speechprobe.datasets.splits import Split
from speechprobe.layers.nuisance import Nuisance
from speechprobe.probes.jobs import Job, fit_predict_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

ByFold = list["NDArray[Any]"]
Part = tuple["Rows", "Rows", "NDArray[Any]"]
Matrices = Mapping[str, Any]  # {layer: (n_items, n_dims), or a RaggedLayer}


@dataclass(frozen=True)
class Outcome:
    """Predictions of one layer, each a list with one array a fold.

    Parameters
    ----------
    test, validation, control
        One list a seed: predictions of the fold's test and validation items, and those of the test
        items by a probe of the control task.
    shuffled
        One list a shuffle: predictions of the test items of the shuffle's own folds.
    floors
        {name: one list a seed, or one}: what other features, or a constant, predict of the test
        items.
    n_dims
        Width of the layer.
    """

    test: list[ByFold]
    validation: list[ByFold]
    shuffled: list[ByFold]
    control: list[ByFold]
    n_dims: int
    floors: Mapping[str, list[ByFold]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Folds and the target that is learnt on them: the truth, a shuffle of it, or a control task.

    Parameters
    ----------
    folds
        Row positions.
    target
        The target of every item, (n_items,).
    order
        The row whose target each item has, (n_items,); None for its own.
    nuisance
        What is taken out of the target, by a fit on the rows that the probe is fitted on.
    groups
        Group of every item, (n_items,), for a probe that holds some out itself; None for none.
    """

    folds: Sequence[Split]
    target: NDArray[Any]
    order: Rows | None = None
    nuisance: Nuisance | None = None
    groups: Rows | None = None

    def target_of(self, fit: Rows) -> NDArray[Any]:
        """Return the target of every item, for a probe that is fitted on some rows."""
        left = self.target if self.nuisance is None else self.nuisance.beyond(self.target, fit)
        return left if self.order is None else left[self.order]

    @functools.cached_property
    def on_test(self) -> list[Part]:
        """Rows to fit on (train and validation), rows to predict and the target, of each fold."""
        fits = [np.concatenate([fold.train, fold.validation]) for fold in self.folds]
        return [
            (fit, fold.test, self.target_of(fit))
            for fit, fold in zip(fits, self.folds, strict=True)
        ]

    @functools.cached_property
    def on_validation(self) -> list[Part]:
        """Fit on train, predict the validation part; none where a fold has no such part."""
        if not all(len(fold.validation) for fold in self.folds):
            return []
        return [(fold.train, fold.validation, self.target_of(fold.train)) for fold in self.folds]

    @property
    def scored(self) -> Rows:
        """Rows of the test items, fold after fold."""
        return np.concatenate([fold.test for fold in self.folds])

    @functools.cached_property
    def truth(self) -> NDArray[Any]:
        """Target of the test items, fold after fold."""
        return np.concatenate([target[asked] for _, asked, target in self.on_test])

    def constant(self, *, of_classes: bool) -> ByFold:
        """Return, for the test items of each fold, the commonest class or the mean of its fit."""
        found = []
        for fit, asked, target in self.on_test:
            known = target[fit]
            value = np.bincount(known).argmax() if of_classes else known.mean()
            found.append(np.full(len(asked), value))
        return found


class Plan:
    """All fits of a layer, as one list of jobs.

    Parameters
    ----------
    real
        Folds and the true target.
    seeds
        Of the probe.
    shuffled
        Folds and target of each shuffle.
    controls
        The same for the control task, one for each seed or none.
    """

    def __init__(
        self,
        real: Run,
        seeds: tuple[int, ...],
        shuffled: Sequence[Run] = (),
        controls: Sequence[Run] = (),
    ) -> None:
        if not seeds:
            raise ValueError("at least one seed is needed")
        if np.bincount(real.scored).max() > 1:
            raise ValueError(
                "some items are tested in several folds and would count several times; give folds "
                "whose test parts do not overlap"
            )
        self.real, self.seeds, self.shuffled, self.controls = real, seeds, shuffled, controls

    def run(self, probe: Any, matrices: Matrices) -> dict[str, Outcome]:
        """Return the predictions for some layers (n_items, n_dims)."""
        sets = {
            "test": [_jobs(self.real, self.real.on_test, seed) for seed in self.seeds],
            "shuffled": [_jobs(run, run.on_test, self.seeds[0]) for run in self.shuffled],
            "control": [
                _jobs(run, run.on_test, seed)
                for run, seed in zip(self.controls, self.seeds[: len(self.controls)], strict=True)
            ],
            "validation": [_jobs(self.real, self.real.on_validation, seed) for seed in self.seeds],
        }
        jobs = [job for lists in sets.values() for listed in lists for job in listed]
        outcomes = {}
        for layer, found in predict_all(probe, matrices, jobs).items():
            predicted = iter(found)
            by_set = {
                name: [[next(predicted) for _ in listed] for listed in lists]
                for name, lists in sets.items()
            }
            outcomes[layer] = Outcome(
                test=by_set["test"],
                validation=by_set["validation"],
                shuffled=by_set["shuffled"],
                control=by_set["control"],
                n_dims=width_of(matrices[layer]),
            )
        return outcomes

    def run_floor(self, probe: Any, matrices: Matrices) -> dict[str, list[ByFold]]:
        """Return the predictions of the test items alone, one list a seed, for some layers."""
        outcomes = Plan(self.real, self.seeds).without_validation().run(probe, matrices)
        return {layer: outcome.test for layer, outcome in outcomes.items()}

    def without_validation(self) -> Plan:
        """Return the plan with the same fits for the test items and none for validation items."""
        folds = [
            Split(np.concatenate([fold.train, fold.validation]), fold.validation[:0], fold.test)
            for fold in self.real.folds
        ]
        real = replace(self.real, folds=folds)
        return Plan(real, self.seeds, self.shuffled, self.controls)


def _jobs(run: Run, parts: Sequence[Part], seed: int) -> list[Job]:
    return [Job(fit, asked, target, seed, groups_for(run, fit)) for fit, asked, target in parts]


def groups_for(run: Run, fit: Rows) -> Rows | None:
    """Return the groups of a run for a probe that holds some out; None where it is fitted on one.

    With one there is none to hold out, and a probe chooses its settings as without groups.
    """
    if run.groups is None or (run.groups[fit] == run.groups[fit[0]]).all():
        return None
    return run.groups


def width_of(layer: Any) -> int:
    """Return n_dims of a layer, pooled or of frames."""
    return int(layer.n_dims if hasattr(layer, "n_dims") else np.shape(layer)[1])


def predict_all(
    probe: Any, matrices: Matrices, jobs: Sequence[Job]
) -> dict[str, list[NDArray[Any]]]:
    """Fit what can be fitted; where the rows have one class only, that class is predicted."""
    fixed = [_only_class(job) if is_classifier(probe) else None for job in jobs]
    real = [job for job, found in zip(jobs, fixed, strict=True) if found is None]
    merged = {}
    for layer, predictions in fit_predict_layers(probe, matrices, real).items():
        fitted: Iterator[NDArray[Any]] = iter(predictions)
        merged[layer] = [next(fitted) if found is None else found for found in fixed]
    return merged


def _only_class(job: Job) -> NDArray[Any] | None:
    values = job.target[job.fit]
    return np.full(len(job.predict), values[0]) if (values == values[0]).all() else None
