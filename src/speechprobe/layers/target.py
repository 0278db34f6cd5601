"""The target of a probe and its metrics, checked before anything is fitted."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor

from speechprobe.datasets.splits import Split
from speechprobe.metrics.uncertainty import resampled_scores, score_or_nan

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metric = Callable[[Any, Any], float]

Shuffled = Literal["items", "groups", "within groups"]


class Target:
    """The target as numbers or class codes, checked against the probe."""

    def __init__(self, items: pd.DataFrame, target: str, probe: Any) -> None:
        if target not in items:
            raise KeyError(f"no label {target!r} among {list(items.columns)}")
        values = items[target]
        if values.isna().any():
            lost = items.index[values.isna()]
            raise ValueError(
                f"target {target!r}: {len(lost)} of {len(items)} items have none, first "
                f"{lost[0]!r}; keep the others with features.select(features.items[{target!r}]"
                ".notna())"
            )
        if isinstance(probe, type) or not hasattr(probe, "__sklearn_tags__"):
            raise TypeError(
                "the probe must be a scikit-learn estimator such as probes.RidgeProbe() or "
                f"probes.LogisticProbe(), got {probe!r}"
            )
        self.name = target
        self.truth: NDArray[Any]
        self.classes: NDArray[Any] | None = None
        if is_classifier(probe):
            self._encode(values)
        elif is_regressor(probe):
            self._as_numbers(values)
        else:
            raise TypeError(
                "the probe must be a scikit-learn classifier or regressor, got "
                f"{type(probe).__name__}"
            )

    def _encode(self, values: pd.Series[Any]) -> None:
        raw = values.to_numpy()
        kinds = sorted({type(value).__name__ for value in raw.tolist()})
        if len(kinds) > 1:
            raise ValueError(f"target {self.name!r} holds classes of several types: {kinds}")
        self.classes, self.truth = np.unique(raw, return_inverse=True)
        if len(self.classes) < 2:
            raise ValueError(
                f"target {self.name!r} has one class only ({raw[:1].tolist()[0]!r}) in {len(raw)} "
                "items; there is nothing to tell apart"
            )
        fractional = np.issubdtype(raw.dtype, np.floating) and (raw != np.rint(raw)).any()
        if fractional and len(self.classes) > 10:
            raise ValueError(
                f"target {self.name!r} has {len(self.classes)} different fractional values; a "
                "classifier wants classes: take a regressor, or bin the label"
            )

    def _as_numbers(self, values: pd.Series[Any]) -> None:
        values = values.infer_objects()
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            raise ValueError(
                f"target {self.name!r} holds {values.dtype} such as {values.iloc[0]!r}; a "
                "regressor wants numbers: take a classifier"
            )
        self.truth = values.to_numpy(dtype=np.float64)
        if not np.isfinite(self.truth).all():
            raise ValueError(f"target {self.name!r} holds infinite values")
        if self.truth.min() == self.truth.max():
            raise ValueError(
                f"target {self.name!r} is {self.truth[0]:g} for all {len(values)} items"
            )

    def check_folds(self, folds: Sequence[Split]) -> list[str]:
        """Raise if a fold trains on one class; warn of, and return, classes that it never saw."""
        found = []
        for number, fold in enumerate(folds if self.classes is not None else ()):
            seen = np.unique(self.truth[np.concatenate([fold.train, fold.validation])])
            if len(seen) < 2:
                raise ValueError(
                    f"fold {number} trains on one class of {self.name!r} only "
                    f"({self.decode(seen).tolist()[0]!r}); use fewer folds or another split"
                )
            new = np.setdiff1d(self.truth[fold.test], seen)
            if len(new) == len(np.unique(self.truth[fold.test])):
                raise ValueError(
                    f"fold {number} tests no class of {self.name!r} that it trains on, so nothing "
                    "can be told; is the target the groups themselves?"
                )
            if len(new):
                found.append(
                    f"fold {number} tests classes of {self.name!r} that it never trains on: "
                    f"{self.decode(new).tolist()}"
                )
        for sentence in found:
            warnings.warn(sentence, stacklevel=3)
        return found

    def can_validate(self, folds: Sequence[Split]) -> bool:
        """Say whether every fold trains on two classes when its validation part is held out."""
        return self.classes is None or all(
            len(np.unique(self.truth[fold.train])) > 1 for fold in folds
        )

    def encode(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return classes as class codes; numbers as float64."""
        if self.classes is None:
            return np.asarray(labels, dtype=np.float64)
        return np.searchsorted(self.classes, labels)

    def decode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return class codes as classes; numbers as they are."""
        return values if self.classes is None else self.classes[values.astype(np.intp)]

    def shuffled_between(self, groups: NDArray[np.intp], *, within: bool) -> Shuffled:
        """Return what labels are shuffled between.

        Within groups if asked for; else between groups if the target is constant in each, else
        between items.
        """
        first = np.unique(groups, return_index=True)[1]
        is_constant = np.array_equal(self.truth[first][groups], self.truth)
        if within and is_constant:
            raise ValueError(
                f"shuffle='within': target {self.name!r} is the same for all items of every "
                "group, so there is nothing to shuffle within them; take shuffle='auto'"
            )
        if within:
            return "within groups"
        return "groups" if len(first) < len(groups) and is_constant else "items"

    def shuffles(
        self, groups: NDArray[np.intp], n_shuffles: int, between: Shuffled
    ) -> list[NDArray[np.intp]]:
        """Return shuffles, each the row whose label every item is given, (n_items,)."""
        generator = np.random.default_rng(0)
        if between == "within groups":
            return [_within(groups, generator) for _ in range(n_shuffles)]
        if between == "groups":
            first = np.unique(groups, return_index=True)[1]
            return [first[generator.permutation(len(first))][groups] for _ in range(n_shuffles)]
        return [generator.permutation(len(groups)) for _ in range(n_shuffles)]

    def explained_by(self, groups: NDArray[np.intp]) -> float:
        """Return the part of the label that the group tells: of the variance, or of the items."""
        if self.classes is not None:
            counts = np.zeros((int(groups.max()) + 1, len(self.classes)))
            np.add.at(counts, (groups, self.truth), 1)
            return float(counts.max(axis=1).sum() / len(groups))
        sizes = np.maximum(1, np.bincount(groups))
        means = np.bincount(groups, self.truth) / sizes
        return float(1 - np.mean((self.truth - means[groups]) ** 2) / self.truth.var())


def _within(groups: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    order = np.empty(len(groups), dtype=np.intp)
    drawn = np.lexsort([generator.random(len(groups)), groups])
    order[np.argsort(groups, kind="stable")] = drawn
    return order


class Measure:
    """A metric, tried before anything is fitted: its name and whether higher is better.

    A metric of classes is given the labels themselves. One that does not take them, as
    scikit-learn's binary scores do with their positive class 1, is given class codes instead: 0,
    1, ... in sorted order, so that the second of two classes is the positive one.
    """

    def __init__(self, metric: Metric, target: Target) -> None:
        self.metric, self.name = metric, name_of(metric)
        self._classes: NDArray[Any] | None = None
        module = getattr(metric, "__module__", "")
        if target.classes is not None and module == "speechprobe.metrics.regression":
            raise ValueError(
                f"{self.name} wants numbers, and {target.name!r} has classes; take metrics.uar or "
                "metrics.accuracy"
            )
        # Ours take codes as well as labels, and are faster on codes.
        if target.classes is not None and not module.startswith("speechprobe."):
            self._classes = target.classes if self._takes(target.decode(target.truth)) else None
        truth = target.truth
        perfect = self._try(truth, truth)
        others = [np.random.default_rng(seed).permutation(truth) for seed in range(5)]
        self.higher_is_better = bool(perfect >= np.mean([self._try(truth, x) for x in others]))

    def _takes(self, labels: NDArray[Any]) -> bool:
        try:
            self.metric(labels, labels)
        except Exception:  # whatever it raises, codes are tried next and their error is told
            return False
        return True

    def _call(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        if self._classes is None:
            return float(self.metric(truth, prediction))
        return float(self.metric(self._classes[truth], self._classes[prediction]))

    def _try(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        try:
            return self._call(truth, prediction)
        except Exception as error:
            raise ValueError(
                f"the metric {self.name!r} fails on this target ({len(np.unique(truth))} different "
                f"values): {error}"
            ) from error

    def of(self, truth: NDArray[Any], predictions: Sequence[NDArray[Any]]) -> float:
        """Return the mean over seeds; NaN where the metric does not exist."""
        with warnings.catch_warnings():
            # A metric may warn of a class that a shuffle lacks.
            warnings.simplefilter("ignore")
            return float(np.mean([score_or_nan(self._call, truth, each) for each in predictions]))

    def of_resamples(
        self,
        truth: NDArray[Any],
        predictions: Sequence[NDArray[Any]],
        groups: NDArray[np.intp],
        n_resamples: int,
    ) -> NDArray[np.float64]:
        """Return the scores of resamples of the groups, (n_predictions, n_resamples)."""
        metric = self.metric if self._classes is None else self._call
        return resampled_scores(metric, truth, predictions, groups, n_resamples=n_resamples, seed=0)


def measures_of(metrics: Metric | Sequence[Metric], target: Target) -> list[Measure]:
    """Return the metrics, each tried on the target."""
    listed = [metrics] if callable(metrics) or isinstance(metrics, str) else list(metrics)
    for metric in listed:
        if not callable(metric):
            raise TypeError(
                "a metric is a function (truth, prediction) -> float, such as metrics.r2 without "
                f"quotes; got {metric!r}"
            )
    if not listed:
        raise ValueError("at least one metric is needed, such as metrics.r2")
    names = [name_of(metric) for metric in listed]
    if len(set(names)) < len(names):
        raise ValueError(f"two metrics have one name: {names}; give each function its own __name__")
    return [Measure(metric, target) for metric in listed]


def name_of(metric: Metric) -> str:
    """Return the name of a metric; of a partial, that of its function with the settings."""
    if isinstance(metric, functools.partial):
        settings = ", ".join(f"{key}={value}" for key, value in metric.keywords.items())
        return f"{name_of(metric.func)}({settings})"
    return getattr(metric, "__name__", None) or type(metric).__name__
