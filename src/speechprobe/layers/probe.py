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

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from speechprobe.datasets.splits import Split
from speechprobe.engines import Engine, check_engine
from speechprobe.features import Features
from speechprobe.layers.fitting import fit_all
from speechprobe.layers.probing import Probing, Settings
from speechprobe.layers.scores import LayerScores
from speechprobe.layers.target import Metric


@overload
def probe_layers(
    features: Features,
    *,
    target: str,
    groups: str | None,
    probe: Any,
    metrics: Metric | Sequence[Metric],
    split: Split | Sequence[Split] | None = ...,
    n_folds: int = ...,
    n_shuffles: int = ...,
    shuffle: Literal["auto", "within"] = ...,
    floor: Features | Mapping[str, Features] | None = ...,
    control: str | None = ...,
    control_for: Sequence[str] = ...,
    seeds: Sequence[int] = ...,
    confidence: float = ...,
    select_on: Literal["validation"] | None = ...,
    engine: Engine | None = ...,
    progress: bool = ...,
) -> LayerScores: ...


@overload
def probe_layers(
    features: Mapping[str, Features],
    *,
    target: str,
    groups: str | None,
    probe: Any,
    metrics: Metric | Sequence[Metric],
    split: Split | Sequence[Split] | None = ...,
    n_folds: int = ...,
    n_shuffles: int = ...,
    shuffle: Literal["auto", "within"] = ...,
    floor: Features | Mapping[str, Features] | None = ...,
    control: str | None = ...,
    control_for: Sequence[str] = ...,
    seeds: Sequence[int] = ...,
    confidence: float = ...,
    select_on: Literal["validation"] | None = ...,
    engine: Engine | None = ...,
    progress: bool = ...,
) -> dict[str, LayerScores]: ...


def probe_layers(  # noqa: PLR0913 the public contract names each of these
    features: Features | Mapping[str, Features],
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
    engine: Engine | None = None,
    progress: bool = True,
) -> LayerScores | dict[str, LayerScores]:
    """Probe every layer for one label.

    Parameters
    ----------
    features
        Layers and labels; or those of several models by name, which are probed alike.
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
    engine
        `engines.Ray` to spread the layers, of all models and floors, over a cluster; this process
        by default.
    progress
        Show a progress bar where the output is a terminal.

    Returns
    -------
    scores
        One record a layer and metric; of several models a dictionary of scores by name.

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
    >>> import numpy as np, pandas as pd
    >>> from speechprobe import metrics, probes
    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> items = pd.DataFrame({"speaker": np.arange(60) % 12, "rate": x[:, 0]})
    >>> scores = probe_layers(Features({"layer": x}, items), target="rate", groups="speaker",
    ...                       probe=probes.RidgeProbe(), metrics=metrics.r2)
    >>> scores.records[0].score > 0.9 > 0.5 > scores.records[0].floor
    True
    """
    check_engine(engine)
    named = features if isinstance(features, Mapping) else {"": features}
    asked = Settings(
        target=target,
        groups=groups,
        probe=probe,
        metrics=metrics,
        split=split,
        n_folds=n_folds,
        n_shuffles=n_shuffles,
        shuffle=shuffle,
        floor=floor,
        control=control,
        control_for=control_for,
        seeds=seeds,
        confidence=confidence,
        select_on=select_on,
    )
    probings = {name: _probing(name, each, asked) for name, each in named.items()}
    outcomes, floors = fit_all(probings, probe, engine, name=target, progress=progress)
    scores = {name: each.scores(outcomes[name], floors[name]) for name, each in probings.items()}
    return scores if isinstance(features, Mapping) else scores[""]


def _probing(name: str, features: Features, asked: Settings) -> Probing:
    if not isinstance(features, Features):
        raise TypeError(
            "probe_layers wants Features: those of extract, or Features(layers, items) of your own "
            f"arrays, or a mapping of such by name; got {type(features).__name__}"
        )
    try:
        return Probing(features, asked)
    except (KeyError, TypeError, ValueError) as error:
        if name:
            error.add_note(f"This is about the features called {name!r}.")
        raise
