"""Turns predictions into scores: floor, interval, and the choice of a layer in each fold."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn

from speechprobe.layers.fits import Outcome, Plan
from speechprobe.layers.scores import LayerScore
from speechprobe.layers.target import Measure
from speechprobe.metrics.uncertainty import group_resamples, percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_RESAMPLES = 1000
_UNCHECKED = {"assume_finite": True, "skip_parameter_validation": True}
Scored = tuple[Measure, Outcome, LayerScore]


def score(
    outcomes: Mapping[str, Outcome],
    measures: Sequence[Measure],
    plan: Plan,
    groups: NDArray[np.intp],
    confidence: float,
) -> tuple[tuple[LayerScore, ...], tuple[LayerScore, ...]]:
    """Return the records of all layers, and for each metric that of the layers chosen.

    Parameters
    ----------
    outcomes
        Predictions of each layer.
    measures
        The metrics.
    plan
        What was fitted.
    groups
        Group of each scored item.
    confidence
        Of the intervals.
    """
    layers: list[Scored] = [
        (measure, outcome, _record(layer, measure, outcome, plan))
        for layer, outcome in outcomes.items()
        for measure in measures
    ]
    chosen: list[Scored] = []
    if all(outcome.validation[0] for outcome in outcomes.values()):
        for measure in measures:
            outcome = _chosen(outcomes, measure, plan)
            named = _best([record for m, _, record in layers if m is measure])
            record = _record(named.layer, measure, outcome, plan)
            chosen.append((measure, outcome, record.with_validation(named.validation)))
    done = _with_intervals([*layers, *chosen], plan.real.truth, groups, confidence)
    return tuple(done[: len(layers)]), tuple(done[len(layers) :])


def _record(layer: str, measure: Measure, outcome: Outcome, plan: Plan) -> LayerScore:
    by_seed = [measure.of(plan.real.truth, [_join(test)]) for test in outcome.test]
    if not np.isfinite(by_seed).all():
        warnings.warn(
            f"{measure.name} does not exist for the predictions of layer {layer!r}; its score is "
            "NaN",
            stacklevel=2,
        )
    floors = [
        measure.of(run.truth, [_join(predicted)])
        for run, predicted in zip(plan.shuffled, outcome.floor, strict=True)
    ]
    validated = np.concatenate([fold.validation for fold in plan.real.folds])
    chosen = [_join(predicted) for predicted in outcome.validation if predicted]
    return LayerScore(
        layer=layer,
        metric=measure.name,
        score=float(np.mean(by_seed)),
        floor=float(np.mean(floors)) if floors else float("nan"),
        floor_std=float(np.std(floors)) if floors else float("nan"),
        validation=measure.of(plan.real.target[validated], chosen) if chosen else float("nan"),
        seed_std=float(np.std(by_seed)),
        n_items=len(plan.real.truth),
        n_dims=outcome.n_dims,
        higher_is_better=measure.higher_is_better,
    )


def _best(records: Sequence[LayerScore]) -> LayerScore:
    sign = 1 if records[0].higher_is_better else -1
    return max(records, key=lambda record: np.nan_to_num(sign * record.validation, nan=-np.inf))


def _chosen(outcomes: Mapping[str, Outcome], measure: Measure, plan: Plan) -> Outcome:
    """Return the predictions of, in each fold, the layer that is best on its validation part."""
    sign = 1 if measure.higher_is_better else -1
    picks: list[Outcome] = []
    for number, fold in enumerate(plan.real.folds):
        truth = plan.real.target[fold.validation]
        found = {
            layer: sign * measure.of(truth, [by_fold[number] for by_fold in outcome.validation])
            for layer, outcome in outcomes.items()
        }
        picks.append(outcomes[max(found, key=lambda k: np.nan_to_num(found[k], nan=-np.inf))])
    return Outcome(
        [[pick.test[s][k] for k, pick in enumerate(picks)] for s in range(len(plan.seeds))],
        [],
        [[pick.floor[s][k] for k, pick in enumerate(picks)] for s in range(len(plan.shuffled))],
        max(pick.n_dims for pick in picks),
    )


def _with_intervals(
    scored: Sequence[Scored],
    truth: NDArray[Any],
    groups: NDArray[np.intp],
    confidence: float,
) -> list[LayerScore]:
    """Add intervals from one set of resamples of the groups, the same for every layer."""
    found = np.full((len(scored), N_RESAMPLES), np.nan)
    n_groups = len(np.unique(groups))
    joined = [[_join(test) for test in outcome.test] for _, outcome, _ in scored]
    # The input is checked by now.
    with sklearn.config_context(**_UNCHECKED):
        draws = group_resamples(groups, n_resamples=N_RESAMPLES, seed=0) if n_groups > 1 else ()
        for number, rows in enumerate(draws):
            for row, (measure, _, _), tests in zip(found, scored, joined, strict=True):
                row[number] = measure.of(truth[rows], [test[rows] for test in tests])
    return [
        record.with_interval(*percentile_interval(row, confidence), n_groups=n_groups)
        for row, (_, _, record) in zip(found, scored, strict=True)
    ]


def _join(by_fold: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(by_fold)
