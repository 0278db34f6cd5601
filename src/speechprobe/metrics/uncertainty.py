"""How far a score would move with other speakers: the bootstrap over groups.

Items of one speaker are alike, so resampling items would give intervals that are far too narrow.
Whole groups are drawn instead, with replacement, all their items together (the cluster
bootstrap), and the interval runs between percentiles of the scores. With fewer than some ten
groups such intervals are themselves too narrow; the number of groups always stands beside them.

References
----------
Davison, Hinkley: "Bootstrap methods and their application", 1997, section 3.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics._check import group_codes, pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def bootstrap_interval(
    truth: ArrayLike,
    prediction: ArrayLike,
    metric: Callable[[Any, Any], float],
    *,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a metric, groups drawn with replacement.

    Parameters
    ----------
    truth, prediction
        Shape (n_items,).
    metric
        Function (truth, prediction) -> float.
    groups
        Group of each item, (n_items,); None where items are independent.
    confidence
        Share of the resampled scores inside, between 0 and 1.
    n_resamples
        Number of resamples. Those for which the metric does not exist (it raises ValueError or
        gives NaN, as r2 does where all truths are equal) are left out; where more than half are,
        the interval is (nan, nan).
    seed
        Seed of the draws.

    Returns
    -------
    low, high
        In the unit of the metric.

    Raises
    ------
    ValueError
        If there is only one group, or shapes do not fit.

    Examples
    --------
    >>> from speechprobe.metrics import accuracy
    >>> truth = np.tile([0, 1], 50)
    >>> bootstrap_interval(truth, truth, accuracy)
    (1.0, 1.0)
    """
    a, b = pairs(truth, prediction)
    require_confidence(confidence)
    codes = np.arange(len(a)) if groups is None else group_codes(groups, len(a))
    scores = [
        score_or_nan(metric, a[rows], b[rows])
        for rows in group_resamples(codes, n_resamples=n_resamples, seed=seed)
    ]
    return percentile_interval(np.array(scores), confidence)


def group_resamples(
    groups: ArrayLike, *, n_resamples: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Yield row positions of resamples: as many groups as there are, drawn with replacement.

    Parameters
    ----------
    groups
        Group of each item, (n_items,).
    n_resamples
        How many.
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If there are fewer than two groups.

    Examples
    --------
    >>> [rows.tolist() for rows in group_resamples(["a", "a", "b"], n_resamples=2, seed=1)]
    [[0, 1, 2], [2, 2]]
    """
    codes = group_codes(groups, len(np.asarray(groups)))
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        raise ValueError("an interval needs at least two groups; with one, nothing can be said")
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    generator = np.random.default_rng(seed)
    for _ in range(n_resamples):
        drawn = generator.integers(n_groups, size=n_groups)
        yield np.concatenate([members[group] for group in drawn])


def percentile_interval(scores: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the central interval of resampled scores; NaN where over half do not exist."""
    known = scores[np.isfinite(scores)]
    if 2 * len(known) < len(scores) or not len(known):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def score_or_nan(metric: Callable[[Any, Any], float], truth: Any, prediction: Any) -> float:
    """Return a metric, or NaN where it does not exist for a resample."""
    try:
        return float(metric(truth, prediction))
    except (ValueError, ArithmeticError):
        return float("nan")


def require_confidence(confidence: float) -> None:
    """Raise ValueError unless the confidence is a share between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence}")
