"""Random search over the settings of a probe, with successive halving over its epochs.

Settings are drawn by a seed. All trials are trained for a few epochs and scored on validation
items; the best 1/eta of them go on to eta times as many epochs, and so on to the number of epochs
that each asks for. The best trial of those that got there is fitted to train and validation items.

A probe has no state to go on from, so each rung trains from scratch with the same seed. A probe
whose learning rate is constant passes through the very same weights again; the price is at most
eta/(eta - 1) times the epochs that a trial asks for, on top of them. A learning-rate schedule is
run in full within the epochs of each rung. A probe without a setting named `epochs` has one rung: a
random search.

Two engines take the same call and draw the same trials. Without Ray, halving waits for all trials
of a rung (Jamieson, Talwalkar 2016), so the same seed gives the same result on the same machine.
`engine="ray"` is Ray Tune's asynchronous halving, as in the gender study: trials run side by side
and are compared with those that came before, so what is stopped depends on which is faster, while
the score of a trial after a given number of epochs does not. The plain engine trains the
perceptrons of a rung as one stack, which moves scores by rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from speechprobe._ray import Ray
from speechprobe.probes._attempts import Data, best_of, items_of
from speechprobe.probes._folds import group_codes
from speechprobe.probes._parts import Parts, parts_of
from speechprobe.probes._ray_trials import run_ray
from speechprobe.probes._trials import CURVES, Evaluation, Study, draw, halve

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Halving:
    """How trials are compared and stopped; the defaults are those of Ray Tune's ASHA.

    Parameters
    ----------
    eta
        One trial in `eta` goes on, to `eta` times as many epochs; at least 2.
    min_epochs
        Epochs before the first comparison. Few favour settings that learn fast at first; raise it
        where an epoch is a few steps.
    scoring
        As in scikit-learn: a name such as "balanced_accuracy", or a scorer; higher is better. The
        probe's own score by default: accuracy or R2.

    Raises
    ------
    ValueError
        If `eta` or `min_epochs` is too small.

    Examples
    --------
    >>> Halving(eta=2, min_epochs=5)
    Halving(eta=2, min_epochs=5, scoring=None)
    """

    eta: int = 4
    min_epochs: int = 1
    scoring: str | Callable[..., float] | None = None

    def __post_init__(self) -> None:
        if self.eta < 2 or self.min_epochs < 1:
            raise ValueError(
                "eta must be at least 2 and min_epochs at least 1, got "
                f"{self.eta!r} and {self.min_epochs!r}"
            )


@dataclass(frozen=True, eq=False)
class TuningResult:
    """What a search found.

    Parameters
    ----------
    best
        Settings of the best trial of those that were trained for all their epochs.
    validation_score
        Its score on the validation items: the best of many, so optimistic.
    table
        One row a trial: `trial`, its settings, `epochs_run`, `finished` (whether these were all its
        epochs), `score` after them (NaN where it failed), `seconds` of all its rungs, `failure`
        (the reason, or empty) and `warning`.
    curves
        Learning curves: `trial`, `epoch`, `split`, `loss`, `metric` (accuracy or R2). Rows of
        "train", and of "early stopping" where the probe holds items out itself, are those of the
        probe's `curves_`, if it keeps them; rows of "validation" are the scores at the rungs, and
        have no loss.
    best_estimator
        The probe fitted with the best settings to train and validation items.

    Examples
    --------
    >>> import pandas as pd
    >>> TuningResult({"C": 1.0}, 0.9, pd.DataFrame(), pd.DataFrame(), None).best
    {'C': 1.0}
    """

    best: dict[str, Any]
    validation_score: float
    table: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    best_estimator: Any

    @property
    def failures(self) -> pd.DataFrame:
        """The rows of the table whose trial could not be fitted or scored."""
        return self.table[self.table["failure"] != ""]


def tune(
    probe: Any,
    space: Mapping[str, Any],
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    split: Any = None,
    n_trials: int = 20,
    seed: int = 0,
    engine: Literal["ray"] | Ray | None = None,
    halving: Halving | None = None,
) -> TuningResult:
    """Choose the settings of a probe by random search, stopping the worse trials early.

    Parameters
    ----------
    probe
        A scikit-learn estimator; it is cloned, never fitted itself.
    space
        Names of settings, and for each a sequence of values or a distribution of `scipy.stats`, as
        in scikit-learn's `RandomizedSearchCV`.
    X, y
        Features (n_items, n_dims), or whatever else the probe takes, in an array with items first
        or a list of arrays; and target (n_items,).
    groups
        Group of each item, (n_items,). Without a split, a fifth of the groups is held out for
        validation, for a classifier with its classes spread evenly as far as groups allow, and all
        others are trained on. A probe whose `fit` takes groups is given them.
    split
        An object with row positions `train` and `validation`, such as `datasets.splits.Split`, or
        a tuple (train, validation) or (train, validation, test). Rows in neither, the test rows
        among them, are never looked at.
    n_trials
        Number of settings drawn.
    seed
        Of the draw, of the groups held out and of the training of every trial.
    engine
        None, or "ray" for Ray Tune's ASHA (needs the extra `ray`); `engines.Ray` says on which
        cluster, how many trials at a time, and what each takes.
    halving
        How trials are compared and stopped; `Halving()` by default.

    Returns
    -------
    result

    Raises
    ------
    TypeError, ValueError
        If neither groups nor a split is given, a group stands in both parts of the split, a setting
        is unknown to the probe, or no trial finished.
    ImportError
        If Ray Tune is asked for and not installed, with the pip command.

    Warns
    -----
    UserWarning
        Once, if some trials failed; `result.failures` holds the reasons.

    References
    ----------
    Jamieson, Talwalkar: "Non-stochastic best arm identification and hyperparameter optimization",
    AISTATS 2016. Li et al.: "A system for massively parallel hyperparameter tuning", MLSys 2020
    (ASHA).

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from speechprobe.probes.mlp import TorchMLPClassifier
    >>> generator = np.random.default_rng(0)
    >>> x, speaker = generator.normal(size=(200, 4)), np.arange(200) // 10
    >>> sex = np.where(x[:, 0] * x[:, 1] > 0, "F", "M")
    >>> space = {"learning_rate": loguniform(1e-5, 1e-1), "epochs": [10, 20]}
    >>> found = tune(TorchMLPClassifier(), space, x, sex, groups=speaker, n_trials=8)
    >>> found.best["learning_rate"] > 1e-3, found.validation_score > 0.7
    (True, True)
    >>> int((found.table["epochs_run"] == 1).sum())  # the others went on
    6
    """
    halving = Halving() if halving is None else halving
    if not (engine in (None, "ray") or isinstance(engine, Ray)):
        raise ValueError(f"engine must be None, 'ray' or engines.Ray(...), got {engine!r}")
    if n_trials < 1:
        raise ValueError(f"n_trials must be at least 1, got {n_trials!r}")
    data = _data(probe, items_of(X), np.asarray(y), groups, split, seed)
    settings = draw(space, n_trials, seed)
    study = Study(probe, data, check_scoring(probe, halving.scoring), settings, seed)
    for trial in range(len(settings)):
        study.candidate(trial)  # an unknown setting is an error of the call, not of a trial
    cluster = Ray() if engine == "ray" else engine
    run = halve if cluster is None else functools.partial(run_ray, engine=cluster)
    done = run(study, eta=halving.eta, min_epochs=halving.min_epochs)
    return _result(study, done)


def _result(study: Study, done: Sequence[Evaluation]) -> TuningResult:
    last = {found.trial: found for found in done}
    best = _best(study, last)
    fitted = study.candidate(best)
    parts = study.data.parts
    study.data.fit(fitted, np.concatenate([parts.train, parts.validation]))
    return TuningResult(
        best=dict(study.settings[best]),
        validation_score=last[best].attempt.score,
        table=_table(study, done, last),
        curves=_curves(done, last),
        best_estimator=fitted,
    )


def _best(study: Study, last: Mapping[int, Evaluation]) -> int:
    """Return the best of the trials that were trained for all their epochs, the first of equals."""
    attempts = [
        found.attempt if _finished(study, found) else found.attempt._replace(score=np.nan)
        for _, found in sorted(last.items())
    ]
    if all(np.isnan(found.score) for found in attempts):
        reasons = [found.failure for found in attempts if found.failure]
        raise ValueError(f"none of {len(attempts)} trials was trained to its end: {reasons[0]}")
    return best_of(attempts, study.settings)


def _finished(study: Study, found: Evaluation) -> bool:
    return not found.attempt.failure and found.epochs_run == study.epochs(found.trial)


def _table(
    study: Study, done: Sequence[Evaluation], last: Mapping[int, Evaluation]
) -> pd.DataFrame:
    rows = []
    for trial, found in sorted(last.items()):
        seconds = sum(each.attempt.seconds for each in done if each.trial == trial)
        run = {"epochs_run": found.epochs_run, "finished": _finished(study, found)}
        told = found.attempt._asdict() | {"seconds": seconds}
        rows.append({"trial": trial, **study.settings[trial], **run, **told})
    return pd.DataFrame(rows)


def _curves(done: Sequence[Evaluation], last: Mapping[int, Evaluation]) -> pd.DataFrame:
    """Return the curves of the last rung of each trial, and its validation score at every rung."""
    kept = [
        found.curves[found.curves["split"] == "validation"]
        if found is not last[found.trial]
        else found.curves
        for found in done
    ]
    whole = pd.concat([part for part in kept if len(part)], ignore_index=True)
    return whole.sort_values(["trial", "split", "epoch"], ignore_index=True)[list(CURVES)]


def _data(
    probe: Any,
    features: NDArray[Any] | list[NDArray[Any]],
    target: NDArray[Any],
    groups: ArrayLike | None,
    split: Any,
    seed: int,
) -> Data:
    if len(features) != len(target):
        raise ValueError(f"X has {len(features)} items and y has {len(target)}")
    codes = None if groups is None else group_codes(groups, len(features))
    if split is not None:
        parts = parts_of(split, len(features), test=False)
        if codes is not None:
            _check_leakage(parts, np.asarray(groups))
    elif codes is not None:
        parts = _held_out(probe, target, codes, seed)
    else:
        raise ValueError(
            "nothing says which items are held out: give groups=, such as the speaker of each "
            "item, or split=(train rows, validation rows)"
        )
    return Data(features, target, None if codes is None else np.asarray(groups), parts)


def _check_leakage(parts: Parts, groups: NDArray[Any]) -> None:
    shared = np.intersect1d(groups[parts.train], groups[parts.validation])
    if len(shared):
        raise ValueError(
            f"{len(shared)} groups stand in train and in validation, such as {shared[0]!r}; the "
            "validation score would be too good"
        )


def _held_out(probe: Any, target: NDArray[Any], codes: NDArray[np.intp], seed: int) -> Parts:
    """Hold out a fifth of the groups, one of them at least."""
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        raise ValueError("all items are of one group, so none can be held out; give a split")
    kind = StratifiedGroupKFold if is_classifier(probe) else GroupKFold
    folds = kind(min(5, n_groups), shuffle=True, random_state=seed)
    train, validation = next(folds.split(np.zeros((len(codes), 1)), target, groups=codes))
    return Parts(train, validation, np.empty(0, np.intp))
