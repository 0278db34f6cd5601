"""Turns predictions into scores: floors, intervals, and the choice of a layer in each fold."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from speechprobe.layers.fits import ByFold, Outcome, Plan
from speechprobe.layers.records import SHUFFLED, LayerScore
from speechprobe.layers.target import Measure
from speechprobe.metrics.uncertainty import percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_RESAMPLES = 1000


class Scored(NamedTuple):
    """A record, and what it was made of."""

    measure: Measure
    outcome: Outcome
    record: LayerScore


def score(
    outcomes: Mapping[str, Outcome],
    measures: Sequence[Measure],
    plan: Plan,
    groups: NDArray[np.intp],
    confidence: float,
) -> tuple[tuple[LayerScore, ...], tuple[LayerScore, ...], list[str]]:
    """Return the records of all layers, for each metric that of the layers chosen, and cautions.

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
    layers = [
        Scored(measure, outcome, _record(layer, measure, outcome, plan))
        for layer, outcome in outcomes.items()
        for measure in measures
    ]
    chosen: list[Scored] = []
    cautions: list[str] = []
    if all(outcome.validation[0] for outcome in outcomes.values()):
        for measure in measures:
            outcome, n_aided = _chosen(outcomes, measure, plan)
            if n_aided:
                cautions.append(
                    f"{measure.name} does not exist for the validation items of {n_aided} of "
                    f"{len(plan.real.folds)} folds; there the layer is chosen by the squared error "
                    "or the accuracy. Fewer folds leave more groups to validate on"
                )
            named = _best([each.record for each in layers if each.measure is measure])
            record = _record(named.layer, measure, outcome, plan)
            record = replace(record, validation=named.validation)
            chosen.append(Scored(measure, outcome, record))
    done = _with_intervals([*layers, *chosen], plan.real.truth, groups, confidence)
    return tuple(done[: len(layers)]), tuple(done[len(layers) :]), cautions


def _record(layer: str, measure: Measure, outcome: Outcome, plan: Plan) -> LayerScore:
    truth, nan = plan.real.truth, float("nan")
    by_seed = [measure.of(truth, [join(test)]) for test in outcome.test]
    found = float(np.mean(by_seed))
    if not np.isfinite(found):
        warnings.warn(
            f"{measure.name} does not exist for the predictions of layer {layer!r}; its score is "
            "NaN",
            stacklevel=2,
        )
    shuffled, control = (
        [measure.of(r.truth, [join(each)]) for r, each in zip(runs, predicted, strict=True)]
        for runs, predicted in ((plan.shuffled, outcome.shuffled), (plan.controls, outcome.control))
    )
    floors = {SHUFFLED: float(np.mean(shuffled))} if shuffled else {}
    floors |= {
        name: measure.of(truth, [join(test) for test in tests])
        for name, tests in outcome.floors.items()
    }
    sign = 1 if measure.higher_is_better else -1
    controlled = float(np.mean(control)) if control else nan
    return LayerScore(
        layer=layer,
        metric=measure.name,
        score=found,
        floor=floors.get(SHUFFLED, nan),
        floor_std=float(np.std(shuffled)) if shuffled else nan,
        validation=_validation(measure, outcome, plan),
        seed_std=float(np.std(by_seed)),
        n_items=len(truth),
        n_dims=outcome.n_dims,
        higher_is_better=measure.higher_is_better,
        floors=tuple(floors.items()),
        control=controlled,
        selectivity=sign * (found - controlled),
    )


def _validation(measure: Measure, outcome: Outcome, plan: Plan) -> float:
    predicted = [join(each) for each in outcome.validation if each]
    if not predicted:
        return float("nan")
    truth = [target[asked] for _, asked, target in plan.real.on_validation]
    return measure.of(np.concatenate(truth), predicted)


def _best(records: Sequence[LayerScore]) -> LayerScore:
    sign = 1 if records[0].higher_is_better else -1
    return max(records, key=lambda record: np.nan_to_num(sign * record.validation, nan=-np.inf))


def _chosen(outcomes: Mapping[str, Outcome], measure: Measure, plan: Plan) -> tuple[Outcome, int]:
    """Return the predictions of, in each fold, the layer that is best on its validation part.

    Also the number of folds in which the metric exists for no layer.
    """
    sign = 1 if measure.higher_is_better else -1
    picks: list[Outcome] = []
    n_aided = 0
    for number, (_, asked, target) in enumerate(plan.real.on_validation):
        truth, found = target[asked], {}
        for layer, outcome in outcomes.items():
            predicted = [each[number] for each in outcome.validation]
            value = sign * measure.of(truth, predicted)
            found[layer] = np.nan_to_num(value, nan=-np.inf), _plainly(truth, predicted)
        n_aided += all(value == -np.inf for value, _ in found.values())
        picks.append(outcomes[max(found, key=lambda layer: found[layer])])
    chosen = Outcome(
        test=_picked([pick.test for pick in picks]),
        validation=[],
        shuffled=_picked([pick.shuffled for pick in picks]),
        control=_picked([pick.control for pick in picks]),
        n_dims=max(pick.n_dims for pick in picks),
        floors={name: _picked([pick.floors[name] for pick in picks]) for name in picks[0].floors},
    )
    return chosen, n_aided


def _plainly(truth: NDArray[Any], predictions: Sequence[NDArray[Any]]) -> float:
    """Return the accuracy, or minus the squared error: for given items, in the order of R2."""
    if np.issubdtype(truth.dtype, np.integer):
        return float(np.mean([np.mean(each == truth) for each in predictions]))
    return -float(np.mean([np.mean((each - truth) ** 2) for each in predictions]))


def _picked(picks: Sequence[Sequence[ByFold]]) -> list[ByFold]:
    """Return one list a seed (or shuffle) with, of each fold, what its own pick predicts."""
    return [[pick[s][fold] for fold, pick in enumerate(picks)] for s in range(len(picks[0]))]


def _with_intervals(
    scored: Sequence[Scored],
    truth: NDArray[Any],
    groups: NDArray[np.intp],
    confidence: float,
) -> list[LayerScore]:
    """Add intervals from one set of resamples of the groups, the same for layers and floors."""
    highest = [_highest(each.record) for each in scored]
    wanted = {id(each.outcome.test): each.outcome.test for each in scored}
    series = {(each.measure, id(each.outcome.test)) for each in scored}
    for each, name in zip(scored, highest, strict=True):
        tests = each.outcome.floors.get(name or "")
        if tests is not None:
            wanted[id(tests)] = tests
            series.add((each.measure, id(tests)))
    joined = {key: [join(test) for test in tests] for key, tests in wanted.items()}
    drawn = resampled(series, joined, truth, groups)
    done = []
    for each, name in zip(scored, highest, strict=True):
        own = drawn[each.measure, id(each.outcome.test)]
        record = each.record.with_interval(
            *percentile_interval(own, confidence), n_groups=len(np.unique(groups))
        )
        if name is not None:
            # A shuffle has a truth of its own: its score is no pair of a score, but a constant.
            floor = dict(record.floors)[name]
            tests = each.outcome.floors.get(name)
            below = floor if tests is None else drawn[each.measure, id(tests)]
            sign = 1 if record.higher_is_better else -1
            low, high = percentile_interval(sign * (own - below), confidence)
            gap = sign * (record.score - floor)
            record = replace(record, gap=gap, gap_low=low, gap_high=high)
        done.append(record)
    return done


def _highest(record: LayerScore) -> str | None:
    """Return the name of the floor that is hardest to beat; None without one."""
    sign = 1 if record.higher_is_better else -1
    known = {name: sign * value for name, value in record.floors if np.isfinite(value)}
    return max(known, key=lambda name: known[name]) if known else None


def resampled(
    series: Iterable[tuple[Measure, int]],
    joined: Mapping[int, list[NDArray[Any]]],
    truth: NDArray[Any],
    groups: NDArray[np.intp],
) -> dict[tuple[Measure, int], NDArray[np.float64]]:
    """Return the score of every resample, for each metric and list of predictions."""
    found = {each: np.full(N_RESAMPLES, np.nan) for each in series}
    if len(np.unique(groups)) < 2:
        return found
    by_measure: dict[Measure, list[int]] = {}
    for measure, key in found:
        by_measure.setdefault(measure, []).append(key)
    for measure, keys in by_measure.items():
        tests = [test for key in keys for test in joined[key]]
        drawn = measure.of_resamples(truth, tests, groups, N_RESAMPLES)
        ends = np.cumsum([len(joined[key]) for key in keys])
        for key, scores in zip(keys, np.split(drawn, ends[:-1]), strict=True):
            found[measure, key] = scores.mean(0)
    return found


def join(by_fold: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the predictions of all folds as one array."""
    return np.concatenate(by_fold)
