"""One probing of the layers of one model: what is settled before the fits, and the scores after."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from speechprobe.datasets import splits
from speechprobe.features import Features
from speechprobe.layers.cautions import cautions_of
from speechprobe.layers.fits import Outcome, Plan, Run
from speechprobe.layers.floors import Matrices, given_floors, with_floors
from speechprobe.layers.folds import folds_of, validated
from speechprobe.layers.nuisance import Nuisance
from speechprobe.layers.scores import LayerScores
from speechprobe.layers.scoring import N_RESAMPLES, score
from speechprobe.layers.target import Metric, Target, measures_of
from speechprobe.metrics.uncertainty import require_confidence
from speechprobe.probes.control import control_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.datasets.splits import Split
    from speechprobe.layers.fits import ByFold


@dataclass(frozen=True)
class Settings:
    """What `probe_layers` was asked; its docstring tells each.

    Raises
    ------
    ValueError, TypeError
        If one is out of range.
    """

    target: str
    groups: str | None
    probe: Any
    metrics: Metric | Sequence[Metric]
    split: Split | Sequence[Split] | None
    n_folds: int
    n_shuffles: int
    shuffle: Literal["auto", "within"]
    floor: Features | Mapping[str, Features] | None
    control: str | None
    control_for: Sequence[str]
    seeds: Sequence[int]
    confidence: float
    select_on: Literal["validation"] | None

    def __post_init__(self) -> None:
        require_confidence(self.confidence)
        if isinstance(self.seeds, int | np.integer):
            raise TypeError(
                f"seeds are several numbers, such as seeds=({self.seeds},); got {self.seeds}"
            )
        if self.select_on not in ("validation", None):
            raise ValueError(
                f"select_on must be 'validation' or None, got {self.select_on!r}; choosing on test "
                "items would make the best score the luckiest one"
            )
        if self.n_shuffles < 0:
            raise ValueError(f"n_shuffles must be 0 or more, got {self.n_shuffles}")
        if self.shuffle not in ("auto", "within"):
            raise ValueError(f"shuffle must be 'auto' or 'within', got {self.shuffle!r}")
        if self.shuffle == "within" and self.groups is None:
            raise ValueError("shuffle='within' shuffles within groups, and groups is None")


class Probing:
    """Folds, targets and floors of one model, settled and checked; scores from the fits.

    Parameters
    ----------
    features
        Layers and labels.
    asked
        The settings.

    Attributes
    ----------
    plan : Plan
        All fits of a layer.
    layers : Matrices
        The layers.
    given : dict
        The features given as floors, by name.
    """

    def __init__(self, features: Features, asked: Settings) -> None:
        self._asked, self._items = asked, features.items
        groups, target = asked.groups, asked.target
        self._task = task = Target(features.items, target, asked.probe)
        self._measures = measures_of(asked.metrics, task)
        self._nuisance = self._nuisance_of(features.items)
        self.layers = Matrices(features, self._nuisance)
        self.layers.check()
        self.given = given_floors(features, asked.floor, self._nuisance)
        fold = functools.partial(
            folds_of,
            split=asked.split,
            groups=groups,
            n_folds=asked.n_folds,
            stratify=target if task.classes is not None else None,
        )
        folds = fold(features.items)
        unseen = task.check_folds(folds)
        folds, unchosen = validated(folds, task, features.items, groups, asked.select_on)
        self._before = (*unseen, *unchosen)
        self._codes = splits.group_codes(features.items, groups)
        self._kind = task.shuffled_between(self._codes, within=asked.shuffle == "within")
        self.plan = self._plan(fold, folds)

    def _nuisance_of(self, items: pd.DataFrame) -> Nuisance | None:
        asked = self._asked
        if not asked.control_for:
            return None
        return Nuisance(items, asked.control_for, target=asked.target, groups=asked.groups)

    def _plan(self, fold: Any, folds: Sequence[Split]) -> Plan:
        asked, task, items = self._asked, self._task, self._items
        taken_out = self._nuisance if task.classes is None else None
        held = None if asked.groups is None else self._codes
        shuffled = [
            # Stratified folds follow the labels, so each shuffle has its own.
            Run(fold(items.assign(**{task.name: task.truth[order]})), task.truth, order, taken_out,
                held)
            for order in task.shuffles(self._codes, asked.n_shuffles, self._kind)
        ]  # fmt: skip
        real = Run(folds, task.truth, None, taken_out, held)
        controls = _controls(real, items, task, asked.control, asked.seeds)
        return Plan(real, tuple(asked.seeds), shuffled, controls)

    def scores(
        self,
        outcomes: Mapping[str, Outcome],
        floors: Mapping[str, Mapping[str, list[ByFold]]],
    ) -> LayerScores:
        """Return the scores of what the probe predicted.

        Parameters
        ----------
        outcomes
            Of each layer, in depth order.
        floors
            {floor: {layer: predictions}} of the features given as floors.
        """
        asked, plan = self._asked, self.plan
        whole = with_floors(outcomes, floors, plan, asked.probe, self._nuisance)
        groups = self._codes[plan.real.scored]
        records, chosen, aided = score(whole, self._measures, plan, groups, asked.confidence)
        told = cautions_of(records, plan, self._task, self._items, asked.groups, asked.control)
        return LayerScores(
            records,
            self._predictions(whole),
            self._told(),
            chosen,
            (*self._before, *aided, *told),
            {measure.name: measure.metric for measure in self._measures},
        )

    def _told(self) -> dict[str, Any]:
        asked = self._asked
        return {
            "target": asked.target,
            "groups": asked.groups,
            "probe": repr(asked.probe),
            "n_folds": len(self.plan.real.folds),
            "n_shuffles": asked.n_shuffles,
            "shuffle": self._kind,
            "control": asked.control,
            "control_for": list(asked.control_for),
            "floors": {name: dict(each.features.provenance) for name, each in self.given.items()},
            "seeds": list(asked.seeds),
            "confidence": asked.confidence,
            "select_on": asked.select_on,
            "n_resamples": N_RESAMPLES,
            "features": dict(self.layers.features.provenance),
        }

    def _predictions(self, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
        """Return one row for each layer, seed and scored item."""
        real, groups = self.plan.real, self._asked.groups
        scored = self._items.iloc[real.scored]
        common = pd.DataFrame(
            {
                "id": scored.index,
                "group": scored.index if groups is None else scored[groups].to_numpy(),
                "fold": np.repeat(range(len(real.folds)), [len(fold.test) for fold in real.folds]),
                "truth": self._task.decode(real.truth),
            }
        )
        parts = [
            common.assign(
                prediction=self._task.decode(np.concatenate(predicted)), layer=layer, seed=seed
            )
            for layer, outcome in outcomes.items()
            for seed, predicted in zip(self.plan.seeds, outcome.test, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)


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
