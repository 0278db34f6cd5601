"""What each layer knows: a probe on every layer, with its floor, its interval and its n.

How a score comes about
-----------------------
- Items are split by group. In each fold the probe is fitted on the train and validation parts and
  predicts the test part; the predictions of all folds are scored together, and with several seeds
  the scores are averaged.
- Choice of a layer: in each fold every layer is fitted on the train part alone and scored on the
  validation part; the best one there predicts the test part of that fold. These predictions,
  joined, are scored as those of a layer are, and `LayerScores.best` gives that score: it is free
  of the luck of the best of many layers. (A layer's validation score over all folds, by which
  `best` names a layer, is not: with folds, the validation items of one are the test items of
  another.)
- Floor: the same fits and the same score with shuffled labels, the mean of `n_shuffles` runs. A
  label that is constant within every group (gender by speaker) is shuffled between groups, any
  other between items. Stratified folds are drawn anew for each shuffle.
- Interval: whole groups are drawn with replacement 1,000 times from the scored items; the
  percentiles of the scores. The fits are not repeated, so it says how the score would move with
  other test speakers, not with other training speakers.
- Classes are sorted and coded 0, 1, ... before the probe sees them. Metrics see the labels; those
  that do not take them, as scikit-learn's `f1_score` with its positive class 1, see the codes, so
  that the second class (of "F" and "M": "M") is the positive one.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split
from speechprobe.features import Features
from speechprobe.layers.fits import Outcome, Plan, Run, folds_of
from speechprobe.layers.scores import LayerScores
from speechprobe.layers.scoring import N_RESAMPLES, score
from speechprobe.layers.target import Metric, Target, measures_of
from speechprobe.metrics.uncertainty import require_confidence

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        Seeds of the probe, which replace its own `random_state`; the scores of several are
        averaged.
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
    measures = measures_of(metrics, task)
    for layer in features.layers:
        _matrix(features, layer)  # NaN is an error now, not after the fits of the layers before
    stratify = target if task.classes is not None else None
    fold = functools.partial(folds_of, split=split, groups=groups, n_folds=n_folds)
    folds = fold(items, stratify=stratify)
    task.check_folds(folds)
    real = Run(_validated(folds, task, items, groups, select_on), task.truth)
    codes = splits.group_codes(items, groups)
    shuffled = [
        # Stratified folds follow the labels, so each shuffle has its own.
        Run(fold(items.assign(**{target: labels}), stratify=stratify), labels)
        for labels in task.shuffled(codes, n_shuffles)
    ]
    plan = Plan(real, shuffled, tuple(seeds))
    bar = tqdm(features.layers, target, unit="layer", disable=hide_progress(progress))
    outcomes = {layer: plan.run(probe, _matrix(features, layer)) for layer in bar}
    records, chosen = score(outcomes, measures, plan, codes[real.scored], confidence)
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
    return LayerScores(records, _predictions(outcomes, plan, task, items, groups), settings, chosen)


def _validated(
    folds: Sequence[Split],
    task: Target,
    items: pd.DataFrame,
    groups: str | None,
    select_on: str | None,
) -> list[Split]:
    """Return the folds with a validation part to choose layers on, or without if none is wanted."""
    if select_on == "validation":
        wanted = [splits.with_validation(fold, items, groups=groups) for fold in folds]
        if task.can_validate(wanted):
            return wanted
        warnings.warn(
            f"too few groups to choose a layer: without those held out for validation, a fold "
            f"would train on one class of {task.name!r} only. Scores are not affected; "
            "select_on=None silences this",
            stacklevel=3,
        )
    return [splits.without_validation(fold, items, groups=groups) for fold in folds]


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


def _predictions(
    outcomes: Mapping[str, Outcome],
    plan: Plan,
    task: Target,
    items: pd.DataFrame,
    groups: str | None,
) -> pd.DataFrame:
    """Return one row for each layer, seed and scored item."""
    folds, scored = plan.real.folds, items.iloc[plan.real.scored]
    common = pd.DataFrame(
        {
            "id": scored.index,
            "group": scored.index if groups is None else scored[groups].to_numpy(),
            "fold": np.repeat(range(len(folds)), [len(fold.test) for fold in folds]),
            "truth": task.decode(plan.real.truth),
        }
    )
    parts = [
        common.assign(prediction=task.decode(np.concatenate(predicted)), layer=layer, seed=seed)
        for layer, outcome in outcomes.items()
        for seed, predicted in zip(plan.seeds, outcome.test, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)
