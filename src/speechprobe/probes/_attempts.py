"""Fits of candidates on train rows, scored on validation rows; what fails is a reason, no error."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from speechprobe.probes._parts import Parts
from speechprobe.probes.jobs import group_arguments, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Data(NamedTuple):
    """Features, target and group of each item, and the parts of the split."""

    features: NDArray[Any] | list[NDArray[Any]]
    target: NDArray[Any]
    groups: NDArray[Any] | None
    parts: Parts

    def some(self, rows: NDArray[np.intp]) -> NDArray[Any] | list[NDArray[Any]]:
        """Return the features of some rows."""
        if isinstance(self.features, list):
            return [self.features[row] for row in rows]
        found: NDArray[Any] = self.features[rows]
        return found

    def fit(self, estimator: Any, rows: NDArray[np.intp]) -> None:
        """Fit an estimator, in place, to some rows; with their groups, if it asks for them."""
        groups = None if self.groups is None else self.groups[rows]
        extra = group_arguments(estimator, groups)
        estimator.fit(self.some(rows), self.target[rows], **extra)


def items_of(X: Any) -> NDArray[Any] | list[NDArray[Any]]:
    """Return features as an array with items first, or ragged ones as a list of arrays."""
    ragged = hasattr(X, "padded") or (isinstance(X, list | tuple) and np.ndim(X[:1]) > 2)
    return [np.asarray(X[row]) for row in range(len(X))] if ragged else np.asarray(X)


class Attempt(NamedTuple):
    """One setting tried: its score, or NaN and the reason of its failure; and its warnings."""

    score: float
    seconds: float
    failure: str
    warning: str


def attempt(
    candidate: Any, scorer: Callable[..., float], data: Data, *, fitted: bool = False
) -> Attempt:
    """Fit a candidate in place to the train rows, unless it is, and score it on validation rows."""
    rows = data.parts.validation
    score, failure, started = np.nan, "", time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Whatever an estimator of anybody's raises is the reason why this setting is no candidate.
        try:
            if not fitted:
                data.fit(candidate, data.parts.train)
            score = float(scorer(candidate, data.some(rows), data.target[rows]))
            failure = "" if np.isfinite(score) else f"the validation score is {score}"
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    return Attempt(np.nan if failure else score, seconds, failure, _told(caught))


def attempt_all(
    candidates: Sequence[Any], scorer: Callable[..., float], data: Data
) -> list[Attempt]:
    """Do as `attempt` with each candidate, all of one kind; perceptrons train as one stack.

    The time of the stack is shared out evenly, and its warnings are everyone's.
    """
    together = _fit_together(candidates, data) if len(candidates) > 1 else None
    if together is None:
        return [attempt(candidate, scorer, data) for candidate in candidates]
    seconds, told = together
    found = [attempt(candidate, scorer, data, fitted=True) for candidate in candidates]
    return [
        each._replace(
            seconds=each.seconds + seconds / len(found),
            warning="; ".join(filter(None, (told, each.warning))),
        )
        for each in found
    ]


def _fit_together(candidates: Sequence[Any], data: Data) -> tuple[float, str] | None:
    """Fit candidates as one stack; return seconds and warnings, or None where that cannot be."""
    if isinstance(data.features, list) or not shares(candidates[0], "fit_together", of=("fit",)):
        return None
    rows, started = data.parts.train, time.perf_counter()
    groups = None if data.groups is None else data.groups[rows]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Then each is fitted alone, so that the one to blame is known.
        try:
            candidates[0].fit_together(
                candidates, data.features[rows], data.target[rows], groups=groups
            )
        except Exception:
            return None
    return time.perf_counter() - started, _told(caught)


def _told(caught: Sequence[warnings.WarningMessage]) -> str:
    return "; ".join(dict.fromkeys(str(warning.message) for warning in caught))


def best_of(attempts: Sequence[Attempt], settings: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the best attempt, the first of equals; warn of failures, or raise."""
    failed = [number for number, found in enumerate(attempts) if found.failure]
    if failed:
        first = f"{dict(settings[failed[0]])}: {attempts[failed[0]].failure}"
        if len(failed) == len(attempts):
            raise ValueError(f"none of {len(attempts)} settings could be fitted; {first}")
        warnings.warn(
            f"{len(failed)} of {len(attempts)} settings failed, such as {first}", stacklevel=3
        )
    return int(np.nanargmax([found.score for found in attempts]))
