"""What each layer knows: a probe on every layer, with its floor, its interval and its n.

How a score comes about
-----------------------
- Items are split by group. In each fold the probe is fitted on the train and validation parts and
  predicts the test part; the predictions of all folds are scored together, and with several seeds
  the scores are averaged.
- Choice of a layer: in each fold every layer is fitted on the train part alone and scored on the
  validation part; the best one there predicts the test part of that fold. Among equals, and where
  the metric does not exist for so few items (R2 where all validate on one value), the squared error
  or the accuracy decides. These predictions, joined, are scored as those of a layer are, and
  `LayerScores.best` gives that score: it is free of the luck of the best of many layers. (A layer's
  validation score over all folds, by which `best` names a layer, is not: with folds, the validation
  items of one are the test items of another.)
- Floor: the same fits and the same score with shuffled labels, the mean of `n_shuffles` runs. A
  label that is constant within every group (gender by speaker) is shuffled between groups, any
  other between items. Stratified folds are drawn anew for each shuffle.
- Other floors: the commonest class, or the mean, of the items that each fold is fitted on; the
  probe on the features given as `floor`. The gap is how much better the score is than the
  highest floor. Its interval is paired, but for the shuffled floor, whose mean is taken as known.
- Interval: whole groups are drawn with replacement 1,000 times from the scored items; the
  percentiles of the scores. The fits are not repeated, so it says how the score would move with
  other test speakers, not with other training speakers.
- Classes are sorted and coded 0, 1, ... before the probe sees them. Metrics see the labels; those
  that do not take them, as scikit-learn's `f1_score` with its positive class 1, see the codes, so
  that the second class (of "F" and "M": "M") is the positive one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split
from speechprobe.features import Features
from speechprobe.layers.cautions import cautions_of
from speechprobe.layers.fits import Outcome, Plan, Run
from speechprobe.layers.floors import Matrices, batches, given_floors, with_floors
from speechprobe.layers.folds import folds_of, validated
from speechprobe.layers.nuisance import Nuisance
from speechprobe.layers.scores import LayerScores
from speechprobe.layers.scoring import N_RESAMPLES, score
from speechprobe.layers.target import Metric, Target, measures_of
from speechprobe.metrics.uncertainty import require_confidence
from speechprobe.probes.control import control_labels

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
    shuffle: Literal["auto", "within"] = "auto",
    floor: Features | Mapping[str, Features] | None = None,
    control: str | None = None,
    control_for: Sequence[str] = (),
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
    shuffle
        "auto", or "within" to shuffle labels among the items of each group: the floor then is
        what knowing the group alone gives.
    floor
        Features of the same items that the layers should beat, such as log-mel features or the
        same layers of an untrained network, or several by name. With one layer they are the floor
        of every layer; otherwise each layer has that of its name.
    control
        Label that tells the types (words, sentences) of a control task; see
        `probes.control_labels`. Scores then carry selectivity.
    control_for
        Nuisance labels: scores tell what is left beyond them. They stand beside every layer, and
        alone they are the floor "nuisance"; the gap is what the layer adds. Of a target in
        numbers, a linear regression on them is taken out first.
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
        fewer groups than folds, a group straddles, a layer holds NaN, or a floor lacks an item.
    TypeError
        If the probe is neither classifier nor regressor, or a floor is no Features.

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
    _require_settings(features, seeds, select_on, n_shuffles, shuffle, groups)
    items, task = features.items, Target(features.items, target, probe)
    measures = measures_of(metrics, task)
    nuisance = Nuisance(items, control_for, target=target, groups=groups) if control_for else None
    taken_out = nuisance if task.classes is None else None
    layers = Matrices(features, nuisance)
    layers.check()
    given = given_floors(features, floor, nuisance)
    stratify = target if task.classes is not None else None
    fold = functools.partial(
        folds_of, split=split, groups=groups, n_folds=n_folds, stratify=stratify
    )
    folds = fold(items)
    unseen = task.check_folds(folds)
    folds, unchosen = validated(folds, task, items, groups, select_on)
    codes = splits.group_codes(items, groups)
    held = None if groups is None else codes
    kind = task.shuffled_between(codes, within=shuffle == "within")
    shuffled = [
        # Stratified folds follow the labels, so each shuffle has its own.
        Run(fold(items.assign(**{target: task.truth[order]})), task.truth, order, taken_out, held)
        for order in task.shuffles(codes, n_shuffles, kind)
    ]
    real = Run(folds, task.truth, None, taken_out, held)
    controls = _controls(real, items, task, control, seeds)
    plan = Plan(real, tuple(seeds), shuffled, controls)
    outcomes = _outcomes(plan, probe, layers, target, progress)
    outcomes = with_floors(outcomes, given, plan, probe, nuisance)
    records, chosen, aided = score(outcomes, measures, plan, codes[plan.real.scored], confidence)
    settings = {
        "target": target,
        "groups": groups,
        "probe": repr(probe),
        "n_folds": len(folds),
        "n_shuffles": n_shuffles,
        "shuffle": kind,
        "control": control,
        "control_for": list(control_for),
        "floors": {name: dict(each.features.provenance) for name, each in given.items()},
        "seeds": list(seeds),
        "confidence": confidence,
        "select_on": select_on,
        "n_resamples": N_RESAMPLES,
        "features": dict(features.provenance),
    }
    cautions = *unseen, *unchosen, *aided, *cautions_of(records, plan, task, items, groups, control)
    predictions = _predictions(outcomes, plan, task, items, groups)
    functions = {measure.name: measure.metric for measure in measures}
    return LayerScores(records, predictions, settings, chosen, cautions, functions)


def _controls(
    real: Run, items: pd.DataFrame, task: Target, types: str | None, seeds: Sequence[int]
) -> list[Run]:
    """Return a control task for each seed, or none."""
    if types is None:
        return []
    drawn = [control_labels(items, target=task.name, types=types, seed=seed) for seed in seeds]
    return [replace(real, target=_as_spread(task.encode(each), real, task)) for each in drawn]


def _as_spread(labels: NDArray[Any], real: Run, task: Target) -> NDArray[Any]:
    """Return control labels with the mean and spread of the target, beyond the nuisance if any.

    Few types draw few labels, and errors in the target's unit would tell their spread.
    """
    if task.classes is not None:
        return labels
    rows = np.arange(len(labels))
    spreads = [each.target_of(rows).std() for each in (real, replace(real, target=labels))]
    return np.asarray(real.target.mean() + (labels - labels.mean()) * spreads[0] / spreads[1])


def _outcomes(
    plan: Plan, probe: Any, layers: Matrices, target: str, progress: bool
) -> dict[str, Outcome]:
    """Return the predictions of all layers in depth order; those of equal width train as one."""
    found: dict[str, Outcome] = {}
    names = layers.features.layers
    with tqdm(total=len(names), desc=target, unit="layer", disable=hide_progress(progress)) as bar:
        for batch in batches(names):
            found |= plan.run(probe, {layer: layers[layer] for layer in batch})
            bar.update(len(batch))
    return {layer: found[layer] for layer in names}


def _require_settings(
    features: Features,
    seeds: Sequence[int],
    select_on: str | None,
    n_shuffles: int,
    shuffle: str,
    groups: str | None,
) -> None:
    if not isinstance(features, Features):
        raise TypeError(
            "probe_layers wants Features: those of extract, or Features(layers, items) of your own "
            f"arrays; got {type(features).__name__}"
        )
    if isinstance(seeds, int | np.integer):
        raise TypeError(f"seeds are several numbers, such as seeds=({seeds},); got {seeds}")
    if select_on not in ("validation", None):
        raise ValueError(
            f"select_on must be 'validation' or None, got {select_on!r}; choosing on test items "
            "would make the best score the luckiest one"
        )
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles must be 0 or more, got {n_shuffles}")
    if shuffle not in ("auto", "within"):
        raise ValueError(f"shuffle must be 'auto' or 'within', got {shuffle!r}")
    if shuffle == "within" and groups is None:
        raise ValueError("shuffle='within' shuffles within groups, and groups is None")


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
