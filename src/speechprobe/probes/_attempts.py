"""Fits of candidates on train rows, scored on validation rows; what fails is a reason, no error."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from speechprobe.probes._parts import Parts

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
        extra = {}
        if self.groups is not None and has_fit_parameter(estimator, "groups"):
            extra = {"groups": self.groups[rows]}
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


def attempt(candidate: Any, scorer: Callable[..., float], data: Data) -> Attempt:
    """Fit a candidate, in place, to the train rows and score it on the validation rows."""
    rows = data.parts.validation
    score, failure, started = np.nan, "", time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Whatever an estimator of anybody's raises is the reason why this setting is no candidate.
        try:
            data.fit(candidate, data.parts.train)
            score = float(scorer(candidate, data.some(rows), data.target[rows]))
            failure = "" if np.isfinite(score) else f"the validation score is {score}"
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    told = "; ".join(dict.fromkeys(str(warning.message) for warning in caught))
    return Attempt(np.nan if failure else score, time.perf_counter() - started, failure, told)


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
