"""Linear probes: ridge and logistic regression on standardised features.

Both bring every dimension to mean 0 and standard deviation 1 (divided by n; a constant dimension
stays 0) over the items they are fitted on, as the usual pipeline with scikit-learn's
`StandardScaler` does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MultiOutputMixin,
    RegressorMixin,
    clone,
)
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from speechprobe.probes._check import checked, checked_pair
from speechprobe.probes.jobs import Job

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 5, 16))


class RidgeProbe(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression in closed form; the penalty is chosen by exact leave-one-out.

    One eigendecomposition serves all penalties and all targets. The choice and the result are
    those of scikit-learn's ``make_pipeline(StandardScaler(), RidgeCV(alphas,
    alpha_per_target=True))``.

    Parameters
    ----------
    alphas
        Penalties to choose from, all positive; 16 from 1 to 100,000 by default.

    Attributes
    ----------
    alpha_ : float, or ndarray of shape (n_targets,)
        The chosen penalty.
    coef_ : ndarray of shape (n_dims,) or (n_targets, n_dims)
        Weights of the standardised dimensions.
    intercept_ : float, or ndarray of shape (n_targets,)
        Prediction for the mean of the features.

    References
    ----------
    Rifkin, Lippert: "Notes on regularized least squares", MIT-CSAIL-TR-2007-025, 2007.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> probe = RidgeProbe().fit(x, x @ [1.0, 2.0, 3.0])
    >>> probe.alpha_, round(probe.score(x, x @ [1.0, 2.0, 3.0]), 2)
    (1.0, 1.0)
    """

    def __init__(self, alphas: Sequence[float] | None = None) -> None:
        self.alphas = alphas

    def fit(self, X: ArrayLike, y: ArrayLike) -> RidgeProbe:
        """Fit to features (n_items, n_dims) and a target (n_items,) or (n_items, n_targets)."""
        X, y = checked_pair(
            self, X, y, dtype=np.float64, y_numeric=True, multi_output=True, ensure_min_samples=2
        )
        targets = y.astype(np.float64).reshape(len(y), -1)
        self._scaler = StandardScaler().fit(X)
        alpha, weights, centre = _solve(self._scaler.transform(X), targets, self._penalties())
        single = y.ndim == 1
        self.alpha_ = float(alpha[0]) if single else alpha
        self.coef_ = weights[:, 0] if single else weights.T
        self.intercept_ = float(centre[0]) if single else centre
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the target of features (n_items, n_dims)."""
        X = checked(self, X, dtype=np.float64)
        predicted: NDArray[np.float64] = self._scaler.transform(X) @ self.coef_.T + self.intercept_
        return predicted

    def fit_predict_many(
        self, features: NDArray[Any], jobs: Sequence[Job]
    ) -> list[NDArray[np.float64]]:
        """Return the predictions of every job; jobs on the same rows share one decomposition."""
        shared: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
        for number, job in enumerate(jobs):
            shared[job.fit.tobytes(), job.predict.tobytes()].append(number)
        predictions: list[Any] = [None] * len(jobs)
        for numbers in shared.values():
            rows, asked = jobs[numbers[0]].fit, jobs[numbers[0]].predict
            targets = np.stack([np.asarray(jobs[k].target)[rows] for k in numbers], axis=1)
            found = clone(self).fit(features[rows], targets).predict(features[asked])
            for column, number in enumerate(numbers):
                predictions[number] = found[:, column]
        return predictions

    def _penalties(self) -> NDArray[np.float64]:
        alphas = np.asarray(ALPHAS if self.alphas is None else self.alphas, dtype=np.float64)
        if alphas.ndim != 1 or not len(alphas) or not (alphas > 0).all():
            raise ValueError(f"alphas must be positive numbers, got {self.alphas!r}")
        return alphas


def _solve(
    X: NDArray[np.float64], targets: NDArray[np.float64], alphas: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the chosen penalty of each target, the weights (n_dims, n_targets), the intercepts."""
    centre = targets.mean(axis=0)
    residual = targets - centre
    # The smaller of the two Gram matrices: left singular vectors and squared singular values.
    left, power = _left_vectors(X)
    projected = left.T @ residual
    errors = np.empty((len(alphas), targets.shape[1]))
    for row, alpha in zip(errors, alphas, strict=True):
        shrink = power / (power + alpha)
        leverage = (left**2) @ shrink + 1 / len(X)  # 1/n: the intercept is fitted too
        fitted = left @ (shrink[:, None] * projected)
        row[:] = np.mean(((residual - fitted) / np.maximum(1 - leverage, 1e-12)[:, None]) ** 2, 0)
    chosen = alphas[np.argmin(errors, axis=0)]
    dual = left @ (projected / (power[:, None] + chosen))
    return chosen, X.T @ dual, centre


def _left_vectors(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return left singular vectors (n_items, rank) and squared singular values (rank,)."""
    n_items, n_dims = X.shape
    if n_dims < n_items:
        power, right = np.linalg.eigh(X.T @ X)
        kept = power > power[-1] * n_items * np.finfo(np.float64).eps
        return (X @ right[:, kept]) / np.sqrt(power[kept]), power[kept]
    power, left = np.linalg.eigh(X @ X.T)
    kept = power > power[-1] * n_dims * np.finfo(np.float64).eps
    return left[:, kept], power[kept]


class LogisticProbe(ClassifierMixin, BaseEstimator):
    """Logistic regression on standardised features, with an L2 penalty (L-BFGS).

    Parameters
    ----------
    C
        Inverse strength of the penalty, as in scikit-learn. The default is strong, because layers
        have hundreds of dimensions and corpora hundreds of items.
    class_weight
        "balanced" weighs classes inversely to their size; None does not.
    max_iter
        Most steps of L-BFGS.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    coef_ : ndarray of shape (n_classes or 1, n_dims)
        Weights of the standardised dimensions.
    n_iter_ : ndarray
        Steps taken.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(60, 2))
    >>> sex = np.where(x[:, 0] > 0, "F", "M")
    >>> LogisticProbe(C=1.0).fit(x, sex).score(x, sex) > 0.9
    True
    """

    def __init__(
        self, C: float = 0.01, class_weight: str | None = None, max_iter: int = 1000
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter

    def fit(self, X: ArrayLike, y: ArrayLike) -> LogisticProbe:
        """Fit to features (n_items, n_dims) and classes (n_items,)."""
        X, y = checked_pair(self, X, y, dtype=np.float64)
        self._scaler = StandardScaler().fit(X)
        self._model = LogisticRegression(
            C=self.C, class_weight=self.class_weight, max_iter=self.max_iter
        ).fit(self._scaler.transform(X), y)
        self.classes_, self.n_iter_ = self._model.classes_, self._model.n_iter_
        self.coef_, self.intercept_ = self._model.coef_, self._model.intercept_
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the class of features (n_items, n_dims)."""
        scaled = self._scaled(X)
        return np.asarray(self._model.predict(scaled))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class, (n_items, n_classes)."""
        scaled = self._scaled(X)
        return np.asarray(self._model.predict_proba(scaled))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-odds, (n_items,) of two classes, else (n_items, n_classes)."""
        scaled = self._scaled(X)
        return np.asarray(self._model.decision_function(scaled))

    def _scaled(self, X: ArrayLike) -> NDArray[np.float64]:
        features = checked(self, X, dtype=np.float64)
        scaled: NDArray[np.float64] = self._scaler.transform(features)
        return scaled
