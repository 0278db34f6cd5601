"""Ridge regression on standardised features, its penalty chosen on items that are left out.

Every dimension is brought to mean 0 and standard deviation 1 (divided by n; a constant dimension
stays 0) over the items fitted on, as the usual pipeline with scikit-learn's `StandardScaler` does;
items to predict are kept within what those could have reached (`speechprobe.probes._scaling`).
That is done once, with the items that are then left out for the choice of the penalty, as in the
pipeline; the weights and the intercept are those that fitting without them would give, exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone

from speechprobe.probes._check import checked, checked_pair
from speechprobe.probes._folds import group_codes
from speechprobe.probes._scaling import BoundedScaler
from speechprobe.probes.jobs import Job
from speechprobe.probes.saving import Savable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 5, 16))
SELECTIONS = (None, "loo", "groups")
ROWS_AT_ONCE = 1024  # of the left vectors, so that they stay in a core's cache
# Features that take more in float64 are standardised by parts, as often as they are needed.
MOST_BYTES, PART = 128 << 20, 4096
_KEPT = [np.float64, np.float32]  # types that are kept until they are standardised


class RidgeProbe(Savable, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression in closed form; the penalty is chosen by exactly leaving items out.

    One eigendecomposition serves all penalties, all targets and all that is left out. Leaving one
    item out, the choice and the result are those of scikit-learn's
    ``make_pipeline(StandardScaler(), RidgeCV(alphas, alpha_per_target=True))``, as long as the
    items to predict lie within what those fitted on could have reached. Leaving one group out, the
    penalty has the least mean squared error over all items, each predicted without its group; take
    it where items of a group (a speaker) resemble each other, because leaving single items out then
    asks for too small a penalty.

    Parameters
    ----------
    alphas
        Penalties to choose from, all positive; 16 from 1 to 100,000 by default.
    selection
        What is left out: "loo" one item, as `RidgeCV` does; "groups" one of the groups given to
        `fit`. None is "groups" where `fit` is given groups, and "loo" where not.

    Attributes
    ----------
    alpha_ : float, or ndarray of shape (n_targets,)
        The chosen penalty.
    held_out_errors_ : ndarray of shape (n_alphas,) or (n_targets, n_alphas)
        Mean squared error of each penalty on what was left out.
    coef_ : ndarray of shape (n_dims,) or (n_targets, n_dims)
        Weights of the standardised dimensions.
    intercept_ : float, or ndarray of shape (n_targets,)
        Prediction for the mean of the features.

    References
    ----------
    Rifkin, Lippert: "Notes on regularized least squares", MIT-CSAIL-TR-2007-025, 2007 (one item
    left out). The residual of a group left out is (I - H_gg)^-1 times its residual with it, H the
    matrix that maps the target to what is fitted: Cook, Weisberg: "Residuals and influence in
    regression", 1982.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> y = x @ [1.0, 2.0, 3.0]
    >>> probe = RidgeProbe().fit(x, y)
    >>> probe.alpha_, round(probe.score(x, y), 2)
    (1.0, 1.0)
    >>> RidgeProbe(selection="groups").fit(x, y, groups=np.repeat(list("abcde"), 10)).alpha_
    1.0
    """

    def __init__(
        self, alphas: Sequence[float] | None = None, *, selection: str | None = "loo"
    ) -> None:
        self.alphas = alphas
        self.selection = selection

    def fit(self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> RidgeProbe:
        """Fit to features (n_items, n_dims) and a target (n_items,) or (n_items, n_targets).

        Parameters
        ----------
        X, y
            Features and target.
        groups
            Group of each item, (n_items,); at least two. Not looked at where `selection` is "loo".

        Raises
        ------
        ValueError
            If a penalty is not positive, the selection is unknown or lacks its groups, or an item
            has no group.
        """
        X, y = checked_pair(
            self, X, y, dtype=_KEPT, y_numeric=True, multi_output=True, ensure_min_samples=2
        )
        targets = y.astype(np.float64).reshape(len(y), -1)
        blocks = self._blocks(groups, len(X))
        self._scaler = BoundedScaler().fit(X)
        scaled = _Standardised(X, self._scaler)
        found = _solve(scaled, targets, self._penalties(), blocks)
        alpha, errors, weights, centre = found
        single = y.ndim == 1
        self.alpha_ = float(alpha[0]) if single else alpha
        self.held_out_errors_ = errors[:, 0] if single else errors.T
        self.coef_ = weights[:, 0] if single else weights.T
        self.intercept_ = float(centre[0]) if single else centre
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predict the target of features (n_items, n_dims)."""
        scaled = _Standardised(checked(self, X, dtype=_KEPT), self._scaler)
        predicted = np.concatenate([part @ self.coef_.T for _, part in scaled.parts()])
        predicted += self.intercept_
        return np.asarray(predicted)

    def fit_predict_many(self, features: NDArray[Any], jobs: Sequence[Job]) -> list[Floats]:
        """Return the predictions of every job; jobs on the same rows share one decomposition."""
        shared: dict[tuple[bytes, bytes, int], list[int]] = defaultdict(list)
        for number, job in enumerate(jobs):
            shared[job.fit.tobytes(), job.predict.tobytes(), id(job.groups)].append(number)
        predictions: list[Any] = [None] * len(jobs)
        for numbers in shared.values():
            rows, asked, *_, groups = jobs[numbers[0]]
            targets = np.stack([np.asarray(jobs[k].target)[rows] for k in numbers], axis=1)
            known = None if groups is None else np.asarray(groups)[rows]
            probe = clone(self).fit(features[rows], targets, groups=known)
            found = probe.predict(features[asked])
            for column, number in enumerate(numbers):
                predictions[number] = found[:, column]
        return predictions

    def _penalties(self) -> Floats:
        alphas = np.atleast_1d(
            np.asarray(ALPHAS if self.alphas is None else self.alphas, dtype=np.float64)
        )
        if alphas.ndim != 1 or not len(alphas) or not ((alphas > 0) & (alphas < np.inf)).all():
            raise ValueError(f"alphas must be positive numbers, got {self.alphas!r}")
        return alphas

    def _blocks(self, groups: ArrayLike | None, n_items: int) -> list[NDArray[np.intp]] | None:
        """Return the rows of each group, or None where single items are left out."""
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection must be None, 'loo' or 'groups', got {self.selection!r}")
        if self.selection == "loo" or (self.selection is None and groups is None):
            return None
        if groups is None:
            raise ValueError(
                "selection='groups' needs the group of each item: fit(X, y, groups=...)"
            )
        codes = group_codes(groups, n_items)
        if codes.max() == 0:
            raise ValueError(
                "all items are of one group, so none can be left out; give at least two groups, "
                "or selection='loo'"
            )
        return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


class _Standardised:
    """Features (n_items, n_dims) in standard deviations and in float64.

    What would be large is made anew for the rows asked for.
    """

    def __init__(self, X: NDArray[Any], scaler: BoundedScaler) -> None:
        self._X, self._scaler = X, scaler
        self.shape = X.shape
        is_small = X.size * np.dtype(np.float64).itemsize <= MOST_BYTES
        self._made = scaler.transform_part(X) if is_small else None

    def __getitem__(self, rows: slice) -> Floats:
        if self._made is not None:
            return self._made[rows]
        return self._scaler.transform_part(self._X[rows])

    def gram(self) -> Floats:
        """Return X.T @ X."""
        return np.asarray(sum(part.T @ part for _, part in self.parts()))

    def outer(self) -> Floats:
        """Return X @ X.T."""
        made = self[:]
        return np.asarray(made @ made.T)

    def transposed(self, values: Floats) -> Floats:
        """Return X.T @ values (n_items, n_targets)."""
        return np.asarray(sum(part.T @ values[rows] for rows, part in self.parts()))

    def parts(self) -> Iterator[tuple[slice, Floats]]:
        """Yield all rows in order, with where they stand."""
        size = self.shape[0] if self._made is not None else PART
        for start in range(0, self.shape[0], size):
            rows = slice(start, start + size)
            yield rows, self[rows]


def _solve(
    X: _Standardised, targets: Floats, alphas: Floats, blocks: list[NDArray[np.intp]] | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the penalty of each target, all errors, the weights (n_dims, n_targets), the means."""
    centre = targets.mean(axis=0)
    residual = targets - centre
    left = _LeftVectors(X)
    projected = left.transposed(residual)
    shrinks = left.power / (left.power + alphas[:, None])
    if blocks is None:
        errors = _errors_without_items(left, shrinks, projected, residual)
    else:
        errors = _errors_without_groups(left.of(slice(None)), shrinks, projected, residual, blocks)
    chosen = alphas[np.argmin(errors, axis=0)]
    return chosen, errors, left.weights(projected / (left.power[:, None] + chosen)), centre


class _LeftVectors:
    """Left singular vectors (n_items, rank) of features, from the smaller of the Gram matrices.

    Where there are fewer dimensions than items they are made for some items when asked for: those
    of all would take as much memory as the features again.

    Attributes
    ----------
    power : ndarray of shape (rank,)
        Squared singular values.
    """

    def __init__(self, X: _Standardised) -> None:
        self._X = X
        self._is_tall = X.shape[1] < X.shape[0]
        power, axes = np.linalg.eigh(X.gram() if self._is_tall else X.outer())
        kept = power > power[-1] * max(X.shape) * np.finfo(np.float64).eps
        self.power = power[kept]
        # Of tall features, what takes them to their left vectors; else the left vectors themselves.
        self._axes = axes[:, kept] / np.sqrt(self.power) if self._is_tall else axes[:, kept]

    def of(self, rows: slice) -> Floats:
        """Return those of some items, (n_rows, rank)."""
        return np.asarray(self._X[rows] @ self._axes if self._is_tall else self._axes[rows])

    def transposed(self, values: Floats) -> Floats:
        """Return left.T @ values."""
        return np.asarray(self._axes.T @ (self._X.transposed(values) if self._is_tall else values))

    def weights(self, values: Floats) -> Floats:
        """Return X.T @ left @ values."""
        if self._is_tall:
            return np.asarray(self._axes @ (self.power[:, None] * values))
        return self._X.transposed(self._axes @ values)


def _errors_without_items(
    left: _LeftVectors, shrinks: Floats, projected: Floats, residual: Floats
) -> Floats:
    """Return the mean squared errors of items predicted without them, (n_alphas, n_targets)."""
    n_items = len(residual)
    total = np.zeros((len(shrinks), residual.shape[1]))
    fits = (shrinks.T[:, :, None] * projected[:, None]).reshape(len(projected), total.size)
    for start in range(0, n_items, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        part = left.of(rows)
        error = residual[rows, None] - (part @ fits).reshape(len(part), *total.shape)
        leverage = part**2 @ shrinks.T + 1 / n_items  # 1/n: the intercept is fitted too
        error /= np.maximum(1 - leverage, 1e-12)[:, :, None]
        total += np.sum(error**2, axis=0)
    return np.asarray(total / n_items)


def _errors_without_groups(
    left: Floats,
    shrinks: Floats,
    projected: Floats,
    residual: Floats,
    blocks: list[NDArray[np.intp]],
) -> Floats:
    """Return the same of items predicted without their group."""
    errors = []
    for shrink in shrinks:
        error = residual - left @ (shrink[:, None] * projected)
        errors.append(np.mean(_without_group(left, shrink, error, blocks) ** 2, axis=0))
    return np.stack(errors)


def _without_group(
    left: Floats, shrink: Floats, error: Floats, blocks: list[NDArray[np.intp]]
) -> Floats:
    """Return the error of each item, (n_items, n_targets), predicted without its group."""
    # H = root @ root.T maps the target to what is fitted; the last column is the intercept's.
    root = np.column_stack([left * np.sqrt(shrink), np.full(len(left), len(left) ** -0.5)])
    without = np.empty_like(error)
    for rows in blocks:
        part = root[rows]
        if len(rows) <= part.shape[1]:
            without[rows] = np.linalg.solve(np.eye(len(rows)) - part @ part.T, error[rows])
        else:  # the same by Woodbury's identity, with the smaller matrix
            inner = np.linalg.solve(np.eye(part.shape[1]) - part.T @ part, part.T @ error[rows])
            without[rows] = error[rows] + part @ inner
    return without
