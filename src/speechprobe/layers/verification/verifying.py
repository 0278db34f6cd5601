"""One verification of the layers of one model: what is settled before the scores, and the rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.features import Features
from speechprobe.layers.floors import Matrices, given_floors
from speechprobe.layers.scoring import N_RESAMPLES
from speechprobe.layers.verification.cautions import verification_cautions
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.rates import N_SHUFFLES, RatesOfLayers
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.layers.verification.trial_rows import (
    FoundTrials,
    Missing,
    find_trials,
    require_others,
    speakers_of,
)
from speechprobe.layers.verification.trial_scoring import Mean, Scorer, Scoring
from speechprobe.metrics._check import require_share
from speechprobe.metrics.uncertainty import require_confidence
from speechprobe.store import RaggedLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Settings:
    """What `verify_layers` was asked; its docstring tells each.

    Raises
    ------
    ValueError
        If a share is out of range.
    """

    scoring: Scoring
    subtract_mean: Mean
    cohort: Cohort | None
    p_target: float
    groups: str | None
    missing: Missing
    confidence: float

    def __post_init__(self) -> None:
        require_confidence(self.confidence)
        require_share("p_target", self.p_target, 0.01)


class Verification:
    """Trials, speakers and floors of one model, found and checked; then the scores.

    Parameters
    ----------
    features
        The vectors of every layer.
    trials
        Columns enrol, test, same.
    asked
        The settings.
    validation, floor
        As `verify_layers` takes them.

    Attributes
    ----------
    left_out : list of str
        A sentence on the trials that are left out, for a warning; empty if none is.
    """

    def __init__(
        self,
        features: Features,
        trials: pd.DataFrame,
        asked: Settings,
        *,
        validation: pd.DataFrame | None = None,
        floor: Features | Mapping[str, Features] | None = None,
    ) -> None:
        self._features, self._asked, items = features, asked, features.items
        self._scorer = Scorer(
            asked.scoring, features, subtract_mean=asked.subtract_mean, cohort=asked.cohort
        )
        self._found = find_trials(items, trials, asked.missing)
        self._held = None if validation is None else find_trials(
            items, validation, asked.missing, called="validation trials"
        )  # fmt: skip
        groups = asked.groups
        self._speakers = None if groups is None else speakers_of(items, groups, self._found)
        _require_others(items, groups, self._speakers, self._held, asked.cohort)
        self._given = _floors(features, floor, self._scorer)
        self._matrices = Matrices(features, None)
        _check(self._matrices)
        parts = (self._found, *([] if self._held is None else [self._held]))
        self.left_out = [sentence for part in parts for sentence in part.told()]

    def scores(self, *, progress: bool) -> VerificationScores:
        """Return the rates of every layer, and the score of every trial.

        Raises
        ------
        ValueError
            If a vector has no direction, or a function gives other than a score a trial.
        """
        asked, features, found = self._asked, self._features, self._found
        run = RatesOfLayers(
            self._scorer, found, self._held, self._speakers, asked.p_target, asked.confidence
        )
        bar = tqdm(
            features.layers, self._scorer.name, unit="layer", disable=hide_progress(progress)
        )
        done = {layer: run.layer(layer, self._matrices, self._given) for layer in bar}
        records = tuple(record for record, _ in done.values())
        said = verification_cautions(records, found, features.items, asked.groups)
        return VerificationScores(
            records,
            found.table,
            {layer: score for layer, (_, score) in done.items()},
            self._told(n_resamples=0 if run.resamples is None else N_RESAMPLES),
            (*self.left_out, *said),
            found.absent,
        )

    def _told(self, *, n_resamples: int) -> dict[str, Any]:
        asked = self._asked
        return {
            "target": "speaker verification",
            "scoring": self._scorer.name,
            "subtract_mean": _told(asked.subtract_mean),
            "cohort": _told(asked.cohort),
            "p_target": asked.p_target,
            "groups": asked.groups,
            "floors": {name: dict(each.features.provenance) for name, each in self._given.items()},
            "missing": asked.missing,
            "n_skipped": self._found.n_skipped,
            "n_shuffles": N_SHUFFLES,
            "confidence": asked.confidence,
            "n_resamples": n_resamples,
            "n_validation_trials": 0 if self._held is None else len(self._held.table),
            "features": dict(self._features.provenance),
        }


def _floors(
    features: Features, floor: Features | Mapping[str, Features] | None, scorer: Scorer
) -> dict[str, Matrices]:
    if floor is not None and not scorer.is_plain:
        raise ValueError(
            "a mean or a cohort is of one model's vectors, so a floor cannot share it: score the "
            "floor by a call of its own, with its own subtract_mean= or cohort="
        )
    given = given_floors(features, floor, None)
    for each in given.values():
        scorer.n_crops(each.features)
        _check(each)
    return given


def _check(matrices: Matrices) -> None:
    """Raise if a layer cannot be compared: now, and not after those before it."""
    for layer in matrices.features.layers:
        if isinstance(matrices[layer], RaggedLayer):
            raise ValueError(
                f"layer {layer!r} holds frames; pool them first: features.pooled('mean')"
            )


def _require_others(
    items: pd.DataFrame,
    groups: str | None,
    speakers: NDArray[Any] | None,
    held: FoundTrials | None,
    cohort: Cohort | None,
) -> None:
    """Raise if a speaker of the trials is in the validation trials or in the cohort."""
    if groups is None or speakers is None:
        return
    if held is not None:
        require_others(speakers, speakers_of(items, groups, held), "validation trials")
    if cohort is not None:
        require_others(speakers, cohort.speakers, "cohort")


def _told(given: Any) -> str | None:
    """Return what was given as mean or cohort, for the settings."""
    if given is None:
        return None
    if isinstance(given, Features | Cohort):
        return repr(given)
    return "vectors by layer" if isinstance(given, Mapping) else "one vector"
