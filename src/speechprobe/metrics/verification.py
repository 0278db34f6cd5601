"""Metrics of speaker verification.

Conventions: a trial compares two recordings. `truth` (n_trials,) is 1 (or True) where one speaker
speaks in both, a target trial, and 0 where two do. `score` (n_trials,) is any finite number;
higher means same speaker. A trial is accepted where its score is at least the threshold. Rates are
fractions in [0, 1], not percent: `miss_rate` is the share of target trials rejected,
`false_accept_rate` the share of non-target trials accepted. Lower is better for both metrics.

Trials of equal score are accepted or rejected together, so neither the order of the trials nor the
sorting can change a number; only the order of the scores matters, not their size. All are
O(n log n). Trials of one kind only raise ValueError, for the rates do not exist.

Departures from the usual scripts. They take as EER the point of the curve where the two rates are
nearest, and either rate there or their mean; ours is interpolated to where they are equal, so the
two differ by at most one step of the curve: 1 / n_targets or 1 / n_non_targets where no scores are
equal. Scripts that sort trials one by one give a number that depends on their order where
many scores are equal: 0 or 1 in place of 0.5 for a constant score.

References
----------
Martin, Doddington, Kamm, Ordowski, Przybocki: "The DET curve in assessment of detection task
performance", Eurospeech 1997. NIST: "2016 Speaker Recognition Evaluation plan", section 3.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechprobe.metrics._check import require_share, target_and_other

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class DetCurve(NamedTuple):
    """Error rates of every threshold, ascending; each (n_thresholds,).

    Parameters
    ----------
    false_accept_rate
        Falls from 1 to 0.
    miss_rate
        Rises from 0 to 1.
    threshold
        The different scores in ascending order, then infinity, which accepts nothing.

    Examples
    --------
    >>> DetCurve(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.3, np.inf])).miss_rate
    array([0., 1.])
    """

    false_accept_rate: NDArray[np.float64]
    miss_rate: NDArray[np.float64]
    threshold: NDArray[np.float64]


def equal_error_rate(truth: ArrayLike, score: ArrayLike) -> float:
    """Rate at which misses and false accepts are equal, interpolated; in [0, 1], chance is 0.5.

    The curve (false_accept_rate, miss_rate) is joined by straight lines; the EER is where it
    crosses the diagonal, of which there is exactly one. A constant score gives 0.5, and the
    negative of a score 1 - EER.

    Parameters
    ----------
    truth
        1 for the same speaker, 0 for another, (n_trials,).
    score
        Higher means same speaker, (n_trials,).

    Raises
    ------
    ValueError
        If truth is not 0 and 1, lacks one of the two, or a score is not finite.

    Examples
    --------
    >>> equal_error_rate([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1])
    0.5
    >>> equal_error_rate([1, 1, 1, 0, 0], [0.9, 0.7, 0.6, 0.6, 0.1])
    0.2
    """
    target, other = target_and_other(truth, score)
    below, above = _crossing(target, other)
    missed, accepted = _counts(target, other, below)
    missed_above, accepted_above = _counts(target, other, above)
    return rate_between((missed, accepted), (missed_above, accepted_above), len(target), len(other))


def equal_error_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """Highest score that, as threshold, misses no larger a share than it falsely accepts.

    It is where a histogram of scores is cut at the equal error rate, in the unit of the score.

    Parameters
    ----------
    truth
        1 for the same speaker, 0 for another, (n_trials,).
    score
        Higher means same speaker, (n_trials,).

    Raises
    ------
    ValueError
        As `equal_error_rate`.

    Examples
    --------
    >>> equal_error_threshold([1, 1, 0, 0], [0.9, 0.8, 0.6, 0.1])
    0.8
    """
    return _crossing(*target_and_other(truth, score))[0]


def min_dcf(
    truth: ArrayLike,
    score: ArrayLike,
    *,
    p_target: float,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Smallest detection cost over all thresholds, normalised; in [0, 1].

    min(c_miss * miss_rate * p + c_fa * false_accept_rate * (1 - p)) / min(c_miss * p,
    c_fa * (1 - p)), with p = `p_target`. 1 is what accepting all or rejecting all costs, the
    cheaper of the two, and so what a constant score gives. Numbers of different p cannot be
    compared: 0.05 in voxceleb_trainer, 0.01 in WeSpeaker and most papers; hence no default. In
    `probe_layers`, give `functools.partial(min_dcf, p_target=0.01)`, and the table names p.

    Parameters
    ----------
    truth
        1 for the same speaker, 0 for another, (n_trials,).
    score
        Higher means same speaker, (n_trials,).
    p_target
        Share of target trials that is assumed in use, between 0 and 1.
    c_miss, c_fa
        Cost of a miss and of a false accept, above 0.

    Raises
    ------
    ValueError
        As `equal_error_rate`, or if `p_target` or a cost is out of its range.

    Examples
    --------
    >>> min_dcf([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1], p_target=0.01)
    0.5
    """
    weights = cost_weights(p_target, c_miss, c_fa)
    target, other = target_and_other(truth, score)
    # Between two target scores the misses stay and the false accepts fall, so the best threshold is
    # a target score, or above all. Of equal ones the first counts: the others only cost more.
    missed = np.arange(len(target) + 1)
    accepted = np.append(len(other) - np.searchsorted(other, target), 0)
    return least_cost(missed / len(target), accepted / len(other), weights)


def det_curve(truth: ArrayLike, score: ArrayLike) -> DetCurve:
    """Return false accept rate, miss rate and threshold of every point of the DET curve.

    One point for each different score, accepting it and all above, and one that accepts nothing:
    from (1, 0) to (0, 1). A DET plot draws both rates on the scale of normal deviates
    (`scipy.stats.norm.ppf`), where normal scores give a straight line. scikit-learn's
    `det_curve` leaves out the points before the first error and after the last.

    Parameters
    ----------
    truth
        1 for the same speaker, 0 for another, (n_trials,).
    score
        Higher means same speaker, (n_trials,).

    Returns
    -------
    curve
        A named tuple: false_accept_rate, miss_rate, threshold, each (n_thresholds,).

    Raises
    ------
    ValueError
        As `equal_error_rate`.

    Examples
    --------
    >>> false_accept_rate, miss_rate, threshold = det_curve([1, 0, 1, 0], [0.9, 0.6, 0.6, 0.1])
    >>> false_accept_rate
    array([1. , 0.5, 0. , 0. ])
    >>> miss_rate
    array([0. , 0. , 0.5, 1. ])
    >>> threshold
    array([0.1, 0.6, 0.9, inf])
    """
    target, other = target_and_other(truth, score)
    threshold = np.append(np.unique(np.concatenate([target, other])), np.inf)
    missed = np.searchsorted(target, threshold)
    accepted = len(other) - np.searchsorted(other, threshold)
    return DetCurve(accepted / len(other), missed / len(target), threshold)


def rate_between(
    before: tuple[int, int], after: tuple[int, int], n_target: int, n_other: int
) -> float:
    """Return the EER on the line between two points of the curve, in whole numbers till the end.

    Parameters
    ----------
    before, after
        Targets missed and non-targets accepted, left and right of the diagonal.
    n_target, n_other
        Number of trials of each kind.
    """
    (missed, accepted), (missed_above, accepted_above) = before, after
    # Miss rate minus false accept rate, times both numbers of trials.
    lead = accepted * n_target - missed * n_other
    step = (accepted - accepted_above) * n_target + (missed_above - missed) * n_other
    return (missed * step + lead * (missed_above - missed)) / (step * n_target)


def cost_weights(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """Return what a miss rate and a false accept rate cost, the cheaper one 1; or raise."""
    require_share("p_target", p_target, 0.01)
    for name, cost in (("c_miss", c_miss), ("c_fa", c_fa)):
        if not 0 < cost < float("inf"):
            raise ValueError(f"{name} must be above 0 and finite, got {cost}")
    # Divided by the smaller cost first, so that the ends of the curve cost 1 exactly.
    miss, false_accept = c_miss * p_target, c_fa * (1 - p_target)
    cheaper = min(miss, false_accept)
    return miss / cheaper, false_accept / cheaper


def least_cost(
    miss_rate: NDArray[np.float64],
    false_accept_rate: NDArray[np.float64],
    weights: tuple[float, float],
) -> float:
    """Return the smallest weighted sum of both rates over the thresholds, (n_thresholds,) each."""
    return float((weights[0] * miss_rate + weights[1] * false_accept_rate).min())


def _crossing(target: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Return the last score whose miss rate is at most its false accept rate, and the next."""

    def lead(score: float) -> int:
        missed, accepted = _counts(target, other, score)
        return missed * len(other) - accepted * len(target)

    # Searched on each side alone: to merge both would take longer than all the rest.
    ends = [(side, bisect_right(side, 0, key=lead)) for side in (target, other)]
    return (
        max(float(side[end - 1]) for side, end in ends if end),
        min((float(side[end]) for side, end in ends if end < len(side)), default=float("inf")),
    )


def _counts(
    target: NDArray[np.float64], other: NDArray[np.float64], threshold: float
) -> tuple[int, int]:
    """Return how many targets are missed and non-targets accepted; both sides are sorted."""
    missed = int(np.searchsorted(target, threshold))
    return missed, len(other) - int(np.searchsorted(other, threshold))
