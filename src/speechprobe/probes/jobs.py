"""Many fits of one probe at once: layers, folds, shuffles and seeds.

A probe that can share work between fits says so by a method, and every other estimator is cloned,
fitted and asked to predict, job by job:

- ``fit_predict_layers(matrices, jobs) -> {layer: predictions}`` shares it between layers too;
- ``fit_predict_many(features, jobs) -> predictions`` shares it between the jobs of one layer.

Either gives what `fit` and `predict` would, job by job, the groups of a job included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

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
    groups
        Group of every row of the features, (n_items,), for an estimator whose `fit` takes them, to
        hold some of them out; None gives none.
    """

    fit: NDArray[np.intp]
    predict: NDArray[np.intp]
    target: NDArray[Any]
    seed: int
    groups: NDArray[Any] | None = None


def fit_predict_layers(
    probe: Any, matrices: Mapping[str, NDArray[Any]], jobs: Sequence[Job]
) -> dict[str, list[NDArray[Any]]]:
    """Return what the probe predicts for each layer and job.

    The perceptrons train all of it as one stack for each width of a layer.

    Parameters
    ----------
    probe
        A scikit-learn estimator; it is cloned, never fitted itself.
    matrices
        {layer: features (n_items, n_dims)}, row i of every layer the same item.
    jobs
        The fits, the same for every layer.

    Returns
    -------
    predictions
        For each layer, in the order given, one array (n_predicted,) a job.

    Raises
    ------
    ValueError
        If layers differ in their number of items.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> x, rows = np.arange(4.0)[:, None], np.arange(4)
    >>> jobs = [Job(rows, rows[:1], 2 * x[:, 0] + 1, 0)]
    >>> fit_predict_layers(LinearRegression(), {"conv1": x, "conv2": -x}, jobs)
    {'conv1': [array([1.])], 'conv2': [array([1.])]}
    """
    lengths = {layer: len(features) for layer, features in matrices.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"all layers must hold the same items, got these numbers: {lengths}")
    if shares(probe, "fit_predict_layers"):
        found: dict[str, list[NDArray[Any]]] = clone(probe).fit_predict_layers(matrices, jobs)
        return {layer: found[layer] for layer in matrices}
    if shares(probe, "fit_predict_many"):
        return {
            layer: clone(probe).fit_predict_many(features, jobs)
            for layer, features in matrices.items()
        }
    return {
        layer: [_fit_predict(probe, features, job) for job in jobs]
        for layer, features in matrices.items()
    }


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
    return fit_predict_layers(probe, {"": features}, jobs)[""]


def shares(
    probe: Any, method: str, of: Sequence[str] = ("fit", "predict", "fit_predict_many")
) -> bool:
    """Say whether the probe shares work by a method that goes with its own `fit` and `predict`.

    A subclass that changes one of these, or the other way to share, and inherits the method must
    not be bypassed by it.
    """

    def place(name: str) -> int:
        kinds = type(probe).__mro__
        return next((k for k, kind in enumerate(kinds) if name in vars(kind)), len(kinds))

    own = min(place(name) for name in of)
    return hasattr(probe, method) and place(method) <= own


def _fit_predict(probe: Any, features: NDArray[Any], job: Job) -> NDArray[Any]:
    estimator = seeded(clone(probe), job.seed)
    groups = None if job.groups is None else job.groups[job.fit]
    extra = group_arguments(estimator, groups)
    estimator.fit(features[job.fit], job.target[job.fit], **extra)
    return np.asarray(estimator.predict(features[job.predict]))


def group_arguments(estimator: Any, groups: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """Return the keyword by which the `fit` of an estimator takes groups, if it takes any.

    A pipeline hands them to its last step, a search of scikit-learn to a splitter that wants them.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from speechprobe.probes.ridge import RidgeProbe
    >>> list(group_arguments(make_pipeline(StandardScaler(), RidgeProbe()), np.arange(3)))
    ['ridgeprobe__groups']
    """
    if groups is None:
        return {}
    if has_fit_parameter(estimator, "groups"):
        return {"groups": groups}
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return {f"{name}__{key}": held for key, held in group_arguments(last, groups).items()}
    splitter: Any = getattr(estimator, "cv", None)
    if hasattr(splitter, "get_metadata_routing"):
        wants = splitter.get_metadata_routing().split.requests.get("groups")
        return {"groups": groups} if wants else {}
    return {}


def seeded(estimator: Any, seed: int) -> Any:
    """Set every `random_state` of an estimator, those of a pipeline's steps included."""
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    return estimator.set_params(**dict.fromkeys(names, seed))
