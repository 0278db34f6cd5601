"""What each layer knows: a probe on every layer, with its floor, its interval and its n.

How a score comes about
-----------------------
- Items are split by group. In each fold the probe is fitted on the train and validation parts and
  predicts the test part; the predictions of all folds are scored together, and with several seeds
  the scores are averaged.
- Validation score: fitted on the train part alone, scored on the validation part. The best layer
  is chosen by it, so that the test score of the chosen layer is not the largest of many.
- Floor: the same fits and the same score with shuffled labels, the mean of `n_shuffles` runs. A
  label that is constant within every group (gender by speaker) is shuffled between groups, any
  other between items.
- Interval: whole groups are drawn with replacement 1,000 times from the scored items; the
  percentiles of the scores. The fits are not repeated, so it says how the score would move with
  other test speakers, not with other training speakers.
- Classes are sorted and coded 0, 1, ... before the probe and the metrics see them, so that
  metrics of two classes take the second class (of "F" and "M": "M") as the positive one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import sklearn
from tqdm.auto import tqdm

from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split
from speechprobe.features import Features
from speechprobe.layers.fits import Outcome, Plan, folds_of
from speechprobe.layers.scores import LayerScore, LayerScores
from speechprobe.layers.target import Measure, Metric, Target, measures_of
from speechprobe.metrics.uncertainty import (
    group_resamples,
    percentile_interval,
    require_confidence,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_RESAMPLES = 1000
_UNCHECKED = {"assume_finite": True, "skip_parameter_validation": True}


def probe_layers(  # noqa: PLR0913 the public contract names each of these
    features: Features,
    *,
    target: str,
    groups: str | None,
    probe: Any,
    metrics: Metric | Sequence[Metric],
    split: Split | Sequence[Split] | None = None,
    n_folds: int = 5,
    n_shuffles: int = 5,
    seeds: Sequence[int] = (0,),
    confidence: float = 0.95,
    select_on: Literal["validation"] | None = "validation",
    progress: bool = True,
) -> LayerScores:
    """Probe every layer for one label.

    Parameters
    ----------
    features
        Layers and labels.
    target
        The label to predict.
    groups
        Label that must not stand in train and test both, "speaker" as a rule; None says that
        items are independent. There is no default: leakage is a choice the reader sees.
    probe
        A scikit-learn classifier or regressor. It is cloned, never fitted itself.
    metrics
        Function (truth, prediction) -> float, or several.
    split
        A split, or folds; `splits.k_fold` with `n_folds` by default, stratified by class. Pairs
        (train, test) of row positions, as scikit-learn's splitters give them, do as well. Where
        there is no validation part, a fifth of the training groups becomes it.
    n_folds
        Number of folds.
    n_shuffles
        Number of shuffled runs behind the floor; 0 gives no floor.
    seeds
        Seeds of the probe; the scores of several are averaged.
    confidence
        Of the interval.
    select_on
        "validation", or None to save the fits that choose the layer; `best` then refuses.
    progress
        Show a progress bar where the output is a terminal.

    Returns
    -------
    scores
        One record a layer and metric.

    Raises
    ------
    KeyError
        If there is no such label.
    ValueError
        If the target has NaN, one class only or no variance, does not fit the probe, there are
        fewer groups than folds, a group straddles, or a layer holds NaN.
    TypeError
        If the probe is neither classifier nor regressor.

    Examples
    --------
    >>> from speechprobe import metrics, probes
    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> items = pd.DataFrame({"speaker": np.arange(60) % 12, "rate": x[:, 0]})
    >>> scores = probe_layers(Features({"layer": x}, items), target="rate", groups="speaker",
    ...                       probe=probes.RidgeProbe(), metrics=metrics.r2)
    >>> scores.records[0].score > 0.9 > 0.5 > scores.records[0].floor
    True
    """
    require_confidence(confidence)
    _require_settings(select_on, n_shuffles)
    items, task = features.items, Target(features.items, target, probe)
    stratify = target if task.classes is not None else None
    folds = folds_of(items, split, groups=groups, n_folds=n_folds, stratify=stratify)
    adjust = splits.with_validation if select_on == "validation" else splits.without_validation
    folds = [adjust(fold, items, groups=groups) for fold in folds]
    task.check_folds(folds)
    measures = measures_of(metrics, task.truth)
    codes = splits.group_codes(items, groups)
    plan = Plan(folds, task.truth, task.shuffled(codes, n_shuffles), tuple(seeds))
    bar = tqdm(features.layers, target, unit="layer", disable=None if progress else True)
    outcomes = {layer: plan.run(probe, _matrix(features, layer)) for layer in bar}
    settings = {
        "target": target,
        "groups": groups,
        "probe": repr(probe),
        "n_folds": len(folds),
        "n_shuffles": n_shuffles,
        "seeds": list(seeds),
        "confidence": confidence,
        "select_on": select_on,
        "n_resamples": N_RESAMPLES,
        "features": dict(features.provenance),
    }
    records = _records(outcomes, measures, plan, codes[plan.scored], confidence)
    return LayerScores(records, _predictions(outcomes, plan, items, task, groups), settings)


def _require_settings(select_on: str | None, n_shuffles: int) -> None:
    if select_on not in ("validation", None):
        raise ValueError(
            f"select_on must be 'validation' or None, got {select_on!r}; choosing on test items "
            "would make the best score the luckiest one"
        )
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles must be 0 or more, got {n_shuffles}")


def _matrix(features: Features, layer: str) -> NDArray[np.float32]:
    matrix = np.asarray(features.layers[layer], dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise ValueError(
            f"layer {layer!r} holds NaN or infinity for {len(bad)} items, first "
            f"{features.items.index[bad[0]]!r}"
        )
    return matrix


def _records(
    outcomes: Mapping[str, Outcome],
    measures: Sequence[Measure],
    plan: Plan,
    groups: NDArray[np.intp],
    confidence: float,
) -> tuple[LayerScore, ...]:
    resampled = _resampled(outcomes, measures, plan.truth[plan.scored], groups)
    return tuple(
        _record(layer, measure, outcome, plan).with_interval(
            *percentile_interval(resampled[layer, measure.name], confidence),
            n_groups=len(np.unique(groups)),
        )
        for layer, outcome in outcomes.items()
        for measure in measures
    )


def _record(layer: str, measure: Measure, outcome: Outcome, plan: Plan) -> LayerScore:
    truth = plan.truth[plan.scored]
    by_seed = [measure.of(truth, [predicted]) for predicted in outcome.test]
    floors = [
        measure.of(target[plan.scored], [predicted])
        for target, predicted in zip(plan.shuffled, outcome.floor, strict=True)
    ]
    chosen = outcome.validation
    return LayerScore(
        layer=layer,
        metric=measure.name,
        score=float(np.mean(by_seed)),
        floor=float(np.mean(floors)) if floors else float("nan"),
        floor_std=float(np.std(floors)) if floors else float("nan"),
        validation=measure.of(plan.truth[plan.validated], chosen) if chosen else float("nan"),
        seed_std=float(np.std(by_seed)),
        n_items=len(truth),
        n_dims=outcome.n_dims,
        higher_is_better=measure.higher_is_better,
    )


def _resampled(
    outcomes: Mapping[str, Outcome],
    measures: Sequence[Measure],
    truth: NDArray[Any],
    groups: NDArray[np.intp],
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Score every resample of the groups, the same resamples for every layer and metric."""
    scores = {(layer, m.name): np.full(N_RESAMPLES, np.nan) for layer in outcomes for m in measures}
    if len(np.unique(groups)) < 2:
        return scores
    # The input is checked by now, and a metric may warn of a class that a resample lacks.
    with warnings.catch_warnings(), sklearn.config_context(**_UNCHECKED):
        warnings.simplefilter("ignore")
        for number, rows in enumerate(group_resamples(groups, n_resamples=N_RESAMPLES, seed=0)):
            for layer, outcome in outcomes.items():
                drawn = [predicted[rows] for predicted in outcome.test]
                for measure in measures:
                    scores[layer, measure.name][number] = measure.of(truth[rows], drawn)
    return scores


def _predictions(
    outcomes: Mapping[str, Outcome],
    plan: Plan,
    items: pd.DataFrame,
    task: Target,
    groups: str | None,
) -> pd.DataFrame:
    """Return one row for each layer, seed and scored item."""
    scored = items.iloc[plan.scored]
    common = pd.DataFrame(
        {
            "id": scored.index,
            "group": scored.index if groups is None else scored[groups].to_numpy(),
            "fold": np.repeat(range(len(plan.folds)), [len(fold.test) for fold in plan.folds]),
            "truth": task.decode(plan.truth[plan.scored]),
        }
    )
    parts = [
        common.assign(prediction=task.decode(predicted), layer=layer, seed=seed)
        for layer, outcome in outcomes.items()
        for seed, predicted in zip(plan.seeds, outcome.test, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)
