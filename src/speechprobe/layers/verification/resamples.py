"""Error rates of verification when other speakers had been recorded: the bootstrap by speaker.

Trials are not independent: every file, and every speaker, is in many. So speakers are drawn, as
many as there are, with replacement, and a trial of two speakers weighs the product of how often
each was drawn, a trial of one speaker how often that one was: two draws of a speaker are two
people, who are compared with everybody else, but not with each other, for such trials are not in
the list. The rates are those of the trials so weighted, the equal error rate interpolated as
`metrics.equal_error_rate` does; with every speaker drawn once they are the plain ones.

Trials are sorted once a layer; each resample is two cumulative sums.

References
----------
Snijders, Borgatti: "Non-parametric standard errors and tests for network statistics", Connections
22(2), 1999 (vertices drawn, ties follow). Owen: "The pigeonhole bootstrap", Annals of Applied
Statistics 1(2), 2007 (weights that are products of the counts of both sides).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rates(NamedTuple):
    """Equal error rate and normalised minimum cost of each resample, (n_resamples,) each.

    NaN where a resample holds trials of one kind only.
    """

    eer: NDArray[np.float64]
    min_dcf: NDArray[np.float64]


class SpeakerResamples:
    """Draws of speakers, the same for all layers and floors, so that differences are paired.

    Parameters
    ----------
    speakers
        Speaker of both sides of each trial, whole numbers from 0, (n_trials, 2).
    n_resamples
        How many.
    seed
        Seed of the draws.

    Examples
    --------
    >>> draws = SpeakerResamples(np.array([[0, 0], [1, 1], [0, 1]]), n_resamples=100, seed=0)
    >>> rates = draws.rates(np.array([True, True, False]), np.array([3.0, 2.0, 1.0]), p_target=0.5)
    >>> np.nanmax(rates.eer).item(), bool(np.isnan(rates.eer).any())  # none of the two, or one only
    (0.0, True)
    """

    def __init__(self, speakers: NDArray[np.intp], *, n_resamples: int, seed: int) -> None:
        n_speakers = int(speakers.max()) + 1
        generator = np.random.default_rng(seed)
        drawn = generator.integers(n_speakers, size=(n_resamples, n_speakers))
        self._counts = np.stack([np.bincount(each, minlength=n_speakers) for each in drawn])
        sides = np.sort(speakers, axis=1)
        pairs, self._pair = np.unique(sides[:, 0] * n_speakers + sides[:, 1], return_inverse=True)
        self._first, self._second = np.divmod(pairs, n_speakers)

    def rates(
        self, same: NDArray[np.bool_], score: NDArray[np.float64], *, p_target: float
    ) -> Rates:
        """Return the rates of each resample.

        Parameters
        ----------
        same
            Whether each trial is a target trial, (n_trials,).
        score
            Higher means same speaker, (n_trials,).
        p_target
            Share of target trials that the cost assumes.
        """
        curve = _Curve(same, score, self._pair, p_target)
        found = [curve.rates(self._weights(counts)) for counts in self._counts]
        return Rates(*np.array(found).T)

    def _weights(self, counts: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the weight of each pair of speakers."""
        of_one = self._first == self._second
        found: NDArray[np.intp] = counts[self._first] * np.where(of_one, 1, counts[self._second])
        return found


class _Curve:
    """Sorted trials, and the corners of their DET curve: before and behind each target score.

    Between the corners of two neighbouring target scores the curve is a level, whatever the
    weights, so no other threshold can be where the rates cross or the cost is least.
    """

    def __init__(
        self,
        same: NDArray[np.bool_],
        score: NDArray[np.float64],
        pair: NDArray[np.intp],
        p_target: float,
    ) -> None:
        target, self._targets = _sorted(score[same], pair[same])
        other, self._others = _sorted(score[~same], pair[~same])
        values, first = np.unique(target, return_index=True)
        behind = np.append(first[1:], len(target))
        self._missed = np.stack([first, behind], axis=1).ravel()
        below = [np.searchsorted(other, values, side=side) for side in ("left", "right")]
        self._rejected = np.stack(below, axis=1).ravel()
        cheaper = min(p_target, 1 - p_target)
        self._cost_of_miss, self._cost_of_accept = p_target / cheaper, (1 - p_target) / cheaper

    def rates(self, weights: NDArray[np.intp]) -> tuple[float, float]:
        """Return the equal error rate and the least cost, NaN where they do not exist.

        Parameters
        ----------
        weights
            Weight of each pair of speakers, whole numbers.
        """
        targets, others = (_sums(weights[pair]) for pair in (self._targets, self._others))
        n_targets, n_others = int(targets[-1]), int(others[-1])
        if not n_targets or not n_others:
            return float("nan"), float("nan")
        missed, accepted = targets[self._missed], n_others - others[self._rejected]
        cost = self._cost_of_miss / n_targets * missed[::2]
        cost += self._cost_of_accept / n_others * accepted[::2]
        least = min(float(cost.min()), self._cost_of_miss)  # the latter rejects all
        return _crossing(missed, accepted, n_targets, n_others), least


def _crossing(
    missed: NDArray[np.intp], accepted: NDArray[np.intp], n_targets: int, n_others: int
) -> float:
    """Return the rate where the curve through these points has equal rates."""
    lead = missed * n_others - accepted * n_targets  # never falls; 0 or less at first
    after = int(np.searchsorted(lead, 0, side="right"))
    rate = missed[after - 1] / n_targets
    if after < len(lead):
        share = -lead[after - 1] / (lead[after] - lead[after - 1])
        rate += share * (missed[after] - missed[after - 1]) / n_targets
    return float(rate)


def _sorted(
    score: NDArray[np.float64], pair: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    order = np.argsort(score, kind="stable")
    return score[order], pair[order]


def _sums(weights: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the weight of the first k trials, for k from 0 to all of them."""
    sums = np.zeros(len(weights) + 1, dtype=np.int64)
    np.cumsum(weights, out=sums[1:])
    return sums
