"""Is one system better than another? Paired differences, and correction for many comparisons.

Two systems predict the same items, so their scores move together from speaker to speaker; the
difference is far better known than either score. `paired_test` gives it with two answers:

- The p-value of a swap test (approximate randomisation). If the systems are alike, it does not
  matter which of the two made the predictions for a speaker. So they are exchanged for a random
  half of the speakers, all items of a speaker together, and the p-value is the share of exchanges
  whose difference is at least as large, either way. That needs no formula for the metric and holds
  for any number of groups. Its null hypothesis is that the two are exchangeable: two systems of one
  score but different spread are not, strictly, though the test is little moved by it.
- The percentile interval of the difference, speakers drawn with replacement (see `uncertainty`);
  with fewer than some ten groups it is too narrow, and the p-value is the better witness.

A p-value is for one comparison planned beforehand. For several, as between all layers, `holm`.

References
----------
Noreen: "Computer-intensive methods for testing hypotheses", 1989, section 2. Yeh: "More accurate
tests for the statistical significance of result differences", COLING 2000. Holm: "A simple
sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics._check import group_codes, pairs, require_share
from speechprobe.metrics.by_group import by_group, rows_at_once, side_by_side
from speechprobe.metrics.cautions import group_cautions
from speechprobe.metrics.uncertainty import (
    percentile_interval,
    resampled_scores,
    score_or_nan,
    unchecked,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Metric = Callable[[Any, Any], float]


@dataclass(frozen=True)
class PairedTest:
    """How much two systems differ, and how easily chance would make them.

    Parameters
    ----------
    difference
        Score of the first minus that of the second, in the unit of the metric.
    low, high
        Ends of its interval.
    p_value
        Two-sided, of the swap test; above 0.
    confidence
        Of the interval.
    n_items, n_groups
        Behind the test.
    n_swaps
        Exchanges tried, the given one included; all there are where there are few groups.
    notes
        What to be careful with: few groups, resamples without a score.

    Examples
    --------
    >>> PairedTest(0.1, 0.05, 0.15, 0.001, 0.95, 400, 40, 2001).p_value < 0.05
    True
    """

    difference: float
    low: float
    high: float
    p_value: float
    confidence: float
    n_items: int
    n_groups: int
    n_swaps: int
    notes: tuple[str, ...] = ()


def paired_test(
    truth: ArrayLike,
    prediction_a: ArrayLike,
    prediction_b: ArrayLike,
    metric: Metric,
    *,
    groups: ArrayLike | None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> PairedTest:
    """Return the difference of two systems on the same items, its interval and p-value.

    Parameters
    ----------
    truth, prediction_a, prediction_b
        Shape (n_items,) each.
    metric
        Function (truth, prediction) -> float.
    groups
        Group of each item, such as its speaker, (n_items,); None where items are independent.
    confidence
        Share of the resampled differences inside the interval, between 0 and 1.
    n_resamples
        Resamples for the interval, and exchanges for the p-value, which cannot be below
        1 / (n_resamples + 1); take more before `holm` corrects for many comparisons. Where there
        are no more exchanges than that, each is tried once and the p-value is exact.
    seed
        Seed of both.

    Returns
    -------
    test
        See `PairedTest`; the sign of the difference is that of metric(a) - metric(b), whichever
        way the metric points. An exchange for which the metric does not exist counts against
        significance, and such resamples are left out of the interval, which is (nan, nan) where
        they are more than half; `notes` says how many.

    Raises
    ------
    ValueError
        If there is only one group, shapes do not fit, or the metric does not exist for the items
        themselves.

    Examples
    --------
    >>> from speechprobe.metrics import mae
    >>> generator = np.random.default_rng(0)
    >>> truth, speaker = generator.normal(size=100), np.repeat(np.arange(20), 5)
    >>> good, poor = (truth + size * generator.normal(size=100) for size in (0.5, 1.0))
    >>> test = paired_test(truth, good, poor, mae, groups=speaker)
    >>> test.low < test.difference < test.high < 0, test.p_value < 0.01
    (True, True)
    """
    (items, a), (_, b) = pairs(truth, prediction_a), pairs(truth, prediction_b)
    _require_alike(a, b)
    require_share("confidence", confidence, 0.95)
    codes = np.arange(len(items)) if groups is None else group_codes(groups, len(items))
    scores = [_known(metric, items, side) for side in (a, b)]
    of_a, of_b = resampled_scores(metric, items, [a, b], codes, n_resamples=n_resamples, seed=seed)
    drawn = of_a - of_b
    swapped = _swapped(metric, items, a, b, codes, _swaps(int(codes.max()) + 1, n_resamples, seed))
    # Sums over other items round differently; what is equal but for that is as large.
    rounding = 1e-10 * max(abs(score) for score in scores)
    as_large = ~(np.abs(swapped) < abs(scores[0] - scores[1]) - rounding)
    return PairedTest(
        scores[0] - scores[1],
        *percentile_interval(drawn, confidence),
        p_value=float(as_large.mean()),
        confidence=confidence,
        n_items=len(items),
        n_groups=int(codes.max()) + 1,
        n_swaps=len(swapped),
        notes=_notes(codes, drawn, swapped),
    )


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected for their number: where below 5 %, significant among them all.

    With m p-values in ascending order, the i-th becomes the largest of (m - j + 1) * p_j over
    j = 1..i, at most 1. Rejecting those below alpha makes one false rejection or more with a
    probability of at most alpha, whatever the dependence between the tests.

    Parameters
    ----------
    p_values
        Shape (n_tests,), in [0, 1].

    Returns
    -------
    corrected
        Shape (n_tests,), in the order given; never below the p-value.

    Raises
    ------
    ValueError
        If there are none, or one is not in [0, 1].

    References
    ----------
    Holm: "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, 0.005])
    array([0.03, 0.06, 0.06, 0.02])
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"p_values must be (n_tests,), at least one, got {values.shape}")
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"p-value {row} is {values[row]:g}; p-values are from 0 to 1")
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(corrected, 1)


def _require_alike(a: NDArray[Any], b: NDArray[Any]) -> None:
    if len(a) and isinstance(a[0], str) != isinstance(b[0], str):
        raise ValueError(
            f"both predictions must be of one kind, got {a[:1].tolist()[0]!r} and "
            f"{b[:1].tolist()[0]!r}"
        )


def _known(metric: Metric, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    score = float(metric(truth, prediction))
    if not np.isfinite(score):
        raise ValueError(f"the metric is {score} for the items themselves; nothing to compare")
    return score


def _swapped(
    metric: Metric,
    truth: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any],
    codes: NDArray[np.intp],
    swaps: Iterator[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Return the difference of the scores for each exchange of groups, (n_swaps,)."""
    with unchecked():
        sums = [by_group(metric, truth, each, codes) for each in (a, b)]
        if None in sums:
            return np.array([
                score_or_nan(metric, truth, np.where(swap[codes], b, a))
                - score_or_nan(metric, truth, np.where(swap[codes], a, b))
                for swap in swaps
            ])  # fmt: skip
        both = side_by_side(*(each for each in sums if each is not None))
        found = []
        while some := list(itertools.islice(swaps, rows_at_once(len(both.sums)))):
            swap = np.array(some, dtype=np.float64)
            found.append(
                both.scores(np.hstack([1 - swap, swap])) - both.scores(np.hstack([swap, 1 - swap]))
            )
        return np.concatenate(found)


def _swaps(n_groups: int, n_resamples: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield which groups to exchange (n_groups,), none first; each way once where they are few."""
    # Exchanging all other groups instead gives the same size of difference, so half are enough.
    if n_groups - 1 < n_resamples.bit_length():
        for number in range(2 ** (n_groups - 1)):
            yield (number >> np.arange(n_groups)) % 2 == 1
        return
    generator = np.random.default_rng(seed)
    yield np.zeros(n_groups, dtype=bool)
    for _ in range(n_resamples):
        yield generator.integers(2, size=n_groups) == 1


def _notes(
    codes: NDArray[np.intp], drawn: NDArray[np.float64], swapped: NDArray[np.float64]
) -> tuple[str, ...]:
    lost = [
        f"the metric does not exist for {int((~np.isfinite(values)).sum())} of {len(values)} {what}"
        for values, what in ((drawn, "resamples"), (swapped, "exchanges"))
        if not np.isfinite(values).all()
    ]
    n_groups = int(codes.max()) + 1
    smallest = 2.0 ** (1 - n_groups)
    if smallest > 0.05:
        lost.append(f"no p-value below {smallest:g} is possible with {n_groups} groups")
    return (*group_cautions(codes), *lost)
