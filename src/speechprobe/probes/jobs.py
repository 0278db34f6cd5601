"""Many fits of one probe at once: folds, shuffles and seeds on the same features.

A probe that can share work between fits has a method ``fit_predict_many(features, jobs)`` and is
asked; every other estimator is cloned, fitted and asked to predict, job by job.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import clone

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Job(NamedTuple):
    """One fit of a probe.

    Parameters
    ----------
    fit
        Rows to fit on.
    predict
        Rows to predict.
    target
        Target of every row of the features, (n_items,).
    seed
        Given to the estimator's `random_state`, where it has one.
    """

    fit: NDArray[np.intp]
    predict: NDArray[np.intp]
    target: NDArray[Any]
    seed: int


def fit_predict_many(probe: Any, features: NDArray[Any], jobs: Sequence[Job]) -> list[NDArray[Any]]:
    """Return what the probe predicts for each job.

    Parameters
    ----------
    probe
        A scikit-learn estimator; it is cloned, never fitted itself.
    features
        Shape (n_items, n_dims).
    jobs
        The fits.

    Returns
    -------
    predictions
        One array (n_predicted,) a job, in their order.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> x, rows = np.arange(4.0)[:, None], np.arange(4)
    >>> fit_predict_many(LinearRegression(), x, [Job(rows, rows[:1], 2 * x[:, 0] + 1, 0)])
    [array([1.])]
    """
    if _shares_work(probe):
        shared: list[NDArray[Any]] = clone(probe).fit_predict_many(features, jobs)
        return shared
    return [_fit_predict(probe, features, job) for job in jobs]


def _shares_work(probe: Any) -> bool:
    """Say whether the probe's shared path is that of its own `fit` and `predict`.

    A subclass that changes one of these and inherits the shared path must not be bypassed by it.
    """

    def place(name: str) -> int:
        kinds = type(probe).__mro__
        return next((k for k, kind in enumerate(kinds) if name in vars(kind)), len(kinds))

    shared = place("fit_predict_many")
    return hasattr(probe, "fit_predict_many") and shared <= min(place("fit"), place("predict"))


def _fit_predict(probe: Any, features: NDArray[Any], job: Job) -> NDArray[Any]:
    estimator = seeded(clone(probe), job.seed)
    estimator.fit(features[job.fit], job.target[job.fit])
    return np.asarray(estimator.predict(features[job.predict]))


def seeded(estimator: Any, seed: int) -> Any:
    """Set every `random_state` of an estimator, those of a pipeline's steps included."""
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    return estimator.set_params(**dict.fromkeys(names, seed))
