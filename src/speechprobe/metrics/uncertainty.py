"""How far a score would move with other speakers: the bootstrap over groups.

Items of one speaker are alike, so resampling items would give intervals that are far too narrow.
Whole groups are drawn instead, with replacement, all their items together (the cluster
bootstrap), and the interval runs between percentiles of the scores. With fewer than some ten
groups such intervals are themselves too narrow, and `bootstrap_interval` warns; the number of
groups always stands beside them. `paired_test` compares two systems.

References
----------
Davison, Hinkley: "Bootstrap methods and their application", 1997, section 3.8.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn

from speechprobe.metrics._check import FEW_GROUPS, group_codes, pairs, require_share
from speechprobe.metrics.by_group import by_group, weights_of_draws

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
        the interval is (nan, nan). A warning says how many.
    seed
        Seed of the draws.

    Returns
    -------
    low, high
        In the unit of the metric.

    Raises
    ------
    ValueError
        If there is only one group, shapes do not fit, or the metric does not exist for the items
        themselves.

    Warns
    -----
    UserWarning
        If there are fewer than ten groups, or resamples without a score.

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
    metric(a, b)  # says what is wrong with the items, where no resample could have a score
    scores = resampled_scores(metric, a, [b], codes, n_resamples=n_resamples, seed=seed)[0]
    interval = percentile_interval(scores, confidence)
    _warn(int(codes.max()) + 1, scores, interval)
    return interval


def resampled_scores(
    metric: Callable[[Any, Any], float],
    truth: NDArray[Any],
    predictions: Sequence[NDArray[Any]],
    groups: NDArray[np.intp],
    *,
    n_resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the scores of all resamples, (n_predictions, n_resamples), NaN where there is none.

    Parameters
    ----------
    metric
        Function (truth, prediction) -> float.
    truth, predictions
        Shape (n_items,) each, checked already.
    groups
        Code of each item's group, (n_items,).
    n_resamples, seed
        As in `group_resamples`.
    """
    n_groups = _n_groups(groups, n_resamples)
    with unchecked():
        sums = [by_group(metric, truth, each, groups) for each in predictions]
        known = [each for each in sums if each is not None]
        if len(known) == len(predictions):
            draws = weights_of_draws(n_groups, n_resamples, np.random.default_rng(seed))
            blocks = [np.stack([each.scores(weights) for each in known]) for weights in draws]
            return np.concatenate(blocks, axis=1)
        found = np.empty((len(predictions), n_resamples))
        resamples = group_resamples(groups, n_resamples=n_resamples, seed=seed)
        for number, rows in enumerate(resamples):
            items = truth[rows]
            found[:, number] = [score_or_nan(metric, items, each[rows]) for each in predictions]
        return found


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
    n_groups = _n_groups(codes, n_resamples)
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    generator = np.random.default_rng(seed)
    for _ in range(n_resamples):
        drawn = generator.integers(n_groups, size=n_groups)
        yield np.concatenate([members[group] for group in drawn])


def _n_groups(codes: NDArray[np.intp], n_resamples: int) -> int:
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        raise ValueError("an interval needs at least two groups; with one, nothing can be said")
    return n_groups


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
    require_share("confidence", confidence, 0.95)


@contextmanager
def unchecked() -> Iterator[None]:
    """Spare resamples the checks of scikit-learn and the warnings, both made for all items."""
    with warnings.catch_warnings():
        # A metric may warn of a class that a resample lacks.
        warnings.simplefilter("ignore")
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            yield


def _warn(n_groups: int, scores: NDArray[np.float64], interval: tuple[float, float]) -> None:
    missing = int((~np.isfinite(scores)).sum())
    if missing:
        then = "so there is no interval" if np.isnan(interval[0]) else "they are left out"
        warnings.warn(
            f"the metric does not exist for {missing} of {len(scores)} resamples, {then}",
            stacklevel=3,
        )
    if n_groups < FEW_GROUPS:
        warnings.warn(
            f"{n_groups} groups are few; an interval from fewer than {FEW_GROUPS} is too narrow",
            stacklevel=3,
        )
