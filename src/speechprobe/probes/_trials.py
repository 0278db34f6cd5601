"""The trials of a search: settings drawn by a seed, trained for some epochs, scored, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import ParameterSampler
from sklearn.pipeline import Pipeline

from speechprobe.probes._attempts import Attempt, Data, attempt_all
from speechprobe.probes.jobs import seeded

CURVES = ("trial", "epoch", "split", "loss", "metric")


class Evaluation(NamedTuple):
    """A trial, how many epochs it was trained for, what came of it and its learning curve."""

    trial: int
    epochs_run: int
    attempt: Attempt
    curves: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Study:
    """What every trial shares, and the settings of each.

    Parameters
    ----------
    probe
        The estimator.
    data
        Features, target, groups and parts.
    scorer
        Of the validation part.
    settings
        One a trial.
    seed
        Of the training of every trial.
    """

    probe: Any
    data: Data
    scorer: Callable[..., float]
    settings: Sequence[Mapping[str, Any]]
    seed: int

    def candidate(self, trial: int, epochs: int | None = None) -> Any:
        """Return the unfitted probe of a trial, for some epochs or for its own number of them."""
        settings = dict(self.settings[trial])
        name = epochs_name(self.probe)
        if epochs is not None and name is not None:
            settings[name] = epochs
        return seeded(clone(self.probe), self.seed).set_params(**settings)

    def epochs(self, trial: int) -> int:
        """Return the number of epochs that a trial asks for; 1 for a probe without epochs."""
        name = epochs_name(self.probe)
        if name is None:
            return 1
        return int(self.settings[trial].get(name, self.probe.get_params()[name]))

    def evaluate(self, trials: Sequence[int], epochs: int) -> list[Evaluation]:
        """Train trials from scratch, for some epochs but no more than their own, and score them."""
        runs = [min(epochs, self.epochs(trial)) for trial in trials]
        candidates = [self.candidate(*each) for each in zip(trials, runs, strict=True)]
        found = attempt_all(candidates, self.scorer, self.data)
        return [
            Evaluation(trial, run, each, _curves(candidate, trial, run, each))
            for trial, run, candidate, each in zip(trials, runs, candidates, found, strict=True)
        ]


def draw(space: Mapping[str, Any], n_trials: int, seed: int) -> list[dict[str, Any]]:
    """Return the settings of each trial, as plain Python numbers."""
    drawn = ParameterSampler(dict(space), n_trials, random_state=seed)
    return [{name: _plain(value) for name, value in setting.items()} for setting in drawn]


def epochs_name(probe: Any) -> str | None:
    """Return the setting that holds the number of epochs, of a pipeline's step too, or None.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from speechprobe.probes.mlp import TorchMLPRegressor
    >>> epochs_name(make_pipeline(TorchMLPRegressor()))
    'torchmlpregressor__epochs'
    """
    names = [name for name in probe.get_params() if name.split("__")[-1] == "epochs"]
    return names[0] if len(names) == 1 else None


def rungs(study: Study, *, eta: int, min_epochs: int) -> list[int]:
    """Return the epochs after which trials are compared; the last is the most that any asks for."""
    longest = max(study.epochs(trial) for trial in range(len(study.settings)))
    steps = [min_epochs]
    while steps[-1] < longest:
        steps.append(steps[-1] * eta)
    return [step for step in steps if step < longest] + [longest]


def halve(study: Study, *, eta: int, min_epochs: int) -> list[Evaluation]:
    """Return all evaluations of a successive halving, rung after rung."""
    alive, done = list(range(len(study.settings))), list[Evaluation]()
    last: dict[int, Evaluation] = {}
    for epochs in rungs(study, eta=eta, min_epochs=min_epochs):
        due = [
            trial
            for trial in alive
            if trial not in last or last[trial].epochs_run < min(epochs, study.epochs(trial))
        ]
        done += study.evaluate(due, epochs)
        last |= {found.trial: found for found in done}
        sound = [trial for trial in alive if not last[trial].attempt.failure]
        ranked = sorted(sound, key=lambda trial: -last[trial].attempt.score)  # stable: first wins
        alive = ranked[: -(-len(alive) // eta)]
    return done


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _curves(candidate: Any, trial: int, epochs: int, found: Attempt) -> pd.DataFrame:
    """Return the learning curve that the probe kept, and the validation score at its end."""
    score = {"trial": trial, "epoch": epochs, "split": "validation", "metric": found.score}
    parts = [] if found.failure else [pd.DataFrame([score | {"loss": np.nan}])]
    fitted = candidate[-1] if isinstance(candidate, Pipeline) else candidate
    kept = getattr(fitted, "curves_", None)
    if kept is not None:
        named = kept.rename(columns={"accuracy": "metric", "r2": "metric"})
        # The probe's own held-out items are part of the train rows here.
        split = named["split"].replace({"validation": "early stopping"})
        parts.insert(0, named.assign(trial=trial, split=split))
    if not parts:
        return pd.DataFrame(columns=list(CURVES))
    return pd.concat([part.reindex(columns=list(CURVES)) for part in parts], ignore_index=True)
