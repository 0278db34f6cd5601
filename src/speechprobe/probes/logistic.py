"""Logistic regression on standardised features, with an L2 penalty given or chosen.

Every dimension is brought to mean 0 and standard deviation 1 (divided by n; a constant dimension
stays 0) over the items fitted on, as the usual pipeline with scikit-learn's `StandardScaler` does;
items to predict are kept within what those could have reached (`speechprobe.probes._scaling`).
That is done once, with the items that are then held out for the choice of the penalty, as in the
pipeline.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from speechprobe.probes._check import checked, checked_pair
from speechprobe.probes._folds import group_codes
from speechprobe.probes._scaling import BoundedScaler
from speechprobe.probes.saving import Savable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.intp]


class LogisticProbe(Savable, ClassifierMixin, BaseEstimator):
    """Logistic regression on standardised features, with an L2 penalty (L-BFGS).

    With several penalties, each fold walks from the strongest to the weakest, every fit starting
    from the weights of the one before, and the penalty with the least loss on the held-out items is
    fitted to all items. The result is that of scikit-learn's `LogisticRegression` with that penalty
    on standardised features.

    Parameters
    ----------
    C
        Inverse strength of the penalty, as in scikit-learn, or several to choose from. The default
        is strong, because layers have hundreds of dimensions and corpora hundreds of items.
    class_weight
        "balanced" weighs classes inversely to their size, in the held-out loss as well; None does
        not.
    max_iter
        Most steps of L-BFGS.
    tol
        L-BFGS stops where no element of the gradient is larger.
    n_folds
        Folds that choose among several penalties: by the groups given to `fit`, else by item;
        classes spread evenly as far as groups allow.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    C_ : float
        The penalty given or chosen.
    held_out_losses_ : ndarray of shape (n_penalties,)
        Mean cross-entropy, in nats, of each penalty on the held-out items; only where several
        penalties were given.
    coef_ : ndarray of shape (n_classes or 1, n_dims)
        Weights of the standardised dimensions.
    intercept_ : ndarray of shape (n_classes or 1,)
        Log-odds at the mean of the features.
    n_iter_ : ndarray
        Steps taken.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(60, 2))
    >>> sex = np.where(x[:, 0] > 0, "F", "M")
    >>> LogisticProbe(C=1.0).fit(x, sex).score(x, sex) > 0.9
    True
    >>> speaker = np.arange(60) // 6
    >>> LogisticProbe(C=[1e-3, 1e-1, 10.0]).fit(x, sex, groups=speaker).C_
    10.0
    """

    def __init__(
        self,
        C: float | Sequence[float] = 0.01,
        class_weight: str | None = None,
        max_iter: int = 1000,
        *,
        tol: float = 1e-4,
        n_folds: int = 5,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.n_folds = n_folds

    def fit(self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> LogisticProbe:
        """Fit to features (n_items, n_dims) and classes (n_items,).

        Parameters
        ----------
        X, y
            Features and classes.
        groups
            Group of each item, (n_items,), not to straddle the folds that choose the penalty; not
            looked at where one penalty is given.

        Raises
        ------
        ValueError
            If a penalty is not positive, all items are of one group, or an item has none.
        """
        X, y = checked_pair(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self._scaler = BoundedScaler().fit(X)
        scaled = self._scaler.transform(X)
        if isinstance(self.C, Real):
            self.C_ = float(self.C)
        else:
            penalties = self._penalties()
            self.held_out_losses_ = self._held_out_losses(scaled, y, penalties, groups)
            self.C_ = float(penalties[int(np.argmin(self.held_out_losses_))])
        self._model = self._unfitted(self.C_).fit(scaled, y)
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

    def _unfitted(self, C: float, *, warm_start: bool = False) -> Any:
        return LogisticRegression(
            C=C,
            class_weight=self.class_weight,
            max_iter=self.max_iter,
            tol=self.tol,
            warm_start=warm_start,
        )

    def _penalties(self) -> NDArray[np.float64]:
        penalties = np.asarray(self.C, dtype=np.float64)
        if penalties.ndim != 1 or not len(penalties) or not (penalties > 0).all():
            raise ValueError(f"C must be a positive number or several, got {self.C!r}")
        return penalties

    def _folds(self, y: NDArray[Any], groups: ArrayLike | None) -> list[tuple[Rows, Rows]]:
        rows = np.zeros((len(y), 1))
        if groups is None:
            return list(StratifiedKFold(self.n_folds).split(rows, y))
        codes = group_codes(groups, len(y))
        if codes.max() == 0:
            raise ValueError(
                "all items are of one group, so no penalty can be chosen on others; give at least "
                "two groups, or one C"
            )
        n_folds = min(self.n_folds, int(codes.max()) + 1)
        return list(StratifiedGroupKFold(n_folds).split(rows, y, groups=codes))

    def _held_out_losses(
        self,
        X: NDArray[np.float64],
        y: NDArray[Any],
        penalties: NDArray[np.float64],
        groups: ArrayLike | None,
    ) -> NDArray[np.float64]:
        """Return the mean loss of each penalty over all items held out once."""
        classes, codes = np.unique(y, return_inverse=True)
        weight = compute_sample_weight(self.class_weight, y)
        losses = np.full((len(penalties), len(y)), np.nan)
        for train, held in self._folds(y, groups):
            known = held[np.isin(codes[held], codes[train])]
            if len(np.unique(codes[train])) < 2 or not len(known):
                continue
            model = self._unfitted(1.0, warm_start=True)
            for number in np.argsort(penalties):  # the strongest penalty first
                model.set_params(C=penalties[number]).fit(X[train], y[train])
                column = np.searchsorted(model.classes_, y[known])
                told = model.predict_log_proba(X[known])
                losses[number, known] = -told[np.arange(len(known)), column]
        scored = ~np.isnan(losses[0])
        _check_scored(classes, codes, scored)
        mean: NDArray[np.float64] = np.average(losses[:, scored], axis=1, weights=weight[scored])
        return mean


def _check_scored(classes: NDArray[Any], codes: Rows, scored: NDArray[np.bool_]) -> None:
    """Warn of items that no fold could score; raise where there is no other."""
    if not scored.any():
        raise ValueError(
            "no penalty can be chosen: in every fold what is left to fit on has one class, or "
            "lacks the held-out classes; give one C, or groups that share classes"
        )
    if not scored.all():
        missed = [
            f"{name} ({int((~scored & (codes == code)).sum())} items)"
            for code, name in enumerate(classes)
            if (~scored & (codes == code)).any()
        ]
        warnings.warn(
            "these took no part in choosing C, because the other folds had none of their class or "
            f"no second class: {', '.join(missed)}",
            stacklevel=4,
        )
