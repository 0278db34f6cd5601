"""The error rates of one layer, with interval, floors and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from speechprobe.layers.floors import Matrices
from speechprobe.layers.scoring import N_RESAMPLES
from speechprobe.layers.verification.resamples import Rates, SpeakerResamples
from speechprobe.layers.verification.scores import VerificationScore
from speechprobe.layers.verification.trial_rows import FoundTrials, codes_of
from speechprobe.layers.verification.trial_scoring import Scorer
from speechprobe.metrics.uncertainty import percentile_interval
from speechprobe.metrics.verification import equal_error_rate, equal_error_threshold, min_dcf

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SHUFFLES = 5


class _Shuffled(NamedTuple):
    eer: float
    min_dcf: float


class RatesOfLayers:
    """All that is the same for every layer.

    Parameters
    ----------
    scorer
        Scores the trials of a layer.
    found
        The trials.
    held
        Trials on which a layer is chosen; None without.
    speakers
        Speaker of both sides of each trial, (n_trials, 2); None for no interval.
    p_target
        Share of target trials that minDCF assumes.
    confidence
        Of the intervals.
    """

    def __init__(
        self,
        scorer: Scorer,
        found: FoundTrials,
        held: FoundTrials | None,
        speakers: NDArray[Any] | None,
        p_target: float,
        confidence: float,
    ) -> None:
        self.scorer, self.found, self.held = scorer, found, held
        self.p_target, self.confidence = p_target, confidence
        self.n_speakers = 0 if speakers is None else len(np.unique(speakers))
        self.resamples = None
        if speakers is not None and self.n_speakers > 1:
            self.resamples = SpeakerResamples(codes_of(speakers), n_resamples=N_RESAMPLES, seed=0)

    def layer(
        self, layer: str, matrices: Matrices, given: Mapping[str, Matrices]
    ) -> tuple[VerificationScore, NDArray[np.float64]]:
        """Return the record of a layer, and the score of each trial."""
        n_crops = self.scorer.n_crops(matrices.features)
        matrix: Any = matrices[layer]
        score = self.scorer(layer, matrix, self.found.rows, n_crops)
        same = self.found.same
        own, shuffled = self._rates(score), self._shuffled(score)
        floors = {name: self._of_floor(layer, name, each) for name, each in given.items()}
        rates = {name: equal_error_rate(same, each) for name, each in floors.items()}
        eer = equal_error_rate(same, score)
        gap = self._gap(eer, own.eer, shuffled.eer, rates, floors)
        record = VerificationScore(
            layer,
            eer,
            equal_error_threshold(same, score),
            min_dcf(same, score, p_target=self.p_target),
            self.p_target,
            len(same),
            int(same.sum()),
            self.n_speakers,
            matrix.shape[1] // n_crops,
            *percentile_interval(own.eer, self.confidence),
            *percentile_interval(own.min_dcf, self.confidence),
            *shuffled,
            self._validation(layer, matrix, n_crops),
            tuple(rates.items()),
            *gap,
        )
        return record, score

    def _rates(self, score: NDArray[np.float64]) -> Rates:
        if self.resamples is None:
            return Rates(np.array([np.nan]), np.array([np.nan]))
        return self.resamples.rates(self.found.same, score, p_target=self.p_target)

    def _shuffled(self, score: NDArray[np.float64]) -> _Shuffled:
        generator = np.random.default_rng(0)
        orders = [generator.permutation(self.found.same) for _ in range(N_SHUFFLES)]
        rates = [
            (equal_error_rate(same, score), min_dcf(same, score, p_target=self.p_target))
            for same in orders
        ]
        return _Shuffled(*np.mean(rates, axis=0).tolist())

    def _of_floor(self, layer: str, name: str, floor: Matrices) -> NDArray[np.float64]:
        names = list(floor.features.layers)
        wanted = names[0] if len(names) == 1 else layer
        matrix: Any = floor[wanted]
        n_crops = self.scorer.n_crops(floor.features)
        return self.scorer(wanted, matrix, self.found.rows, n_crops, of=f" of floor {name!r}")

    def _gap(
        self,
        eer: float,
        drawn: NDArray[np.float64],
        shuffled: float,
        rates: Mapping[str, float],
        floors: Mapping[str, NDArray[np.float64]],
    ) -> tuple[float, float, float]:
        """Return how much lower the rate is than the lowest floor, with the interval."""
        lowest = min(rates, key=lambda name: rates[name], default=None)
        if lowest is None or rates[lowest] >= shuffled:
            return shuffled - eer, *percentile_interval(shuffled - drawn, self.confidence)
        below = self._rates(floors[lowest]).eer
        return rates[lowest] - eer, *percentile_interval(below - drawn, self.confidence)

    def _validation(self, layer: str, matrix: NDArray[np.float32], n_crops: int) -> float:
        if self.held is None:
            return float("nan")
        score = self.scorer(layer, matrix, self.held.rows, n_crops)
        return equal_error_rate(self.held.same, score)
