"""scikit-learn's validation of features and targets, with types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


def checked(estimator: Any, X: ArrayLike, *, dtype: DTypeLike) -> NDArray[Any]:
    """Return features (n_items, n_dims) for a fitted estimator, or raise as scikit-learn does."""
    check_is_fitted(estimator)
    features: NDArray[Any] = validate_data(estimator, X, dtype=dtype, reset=False)
    return features


def checked_pair(
    estimator: Any, X: ArrayLike, y: ArrayLike, **rules: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features and target to fit on, or raise as scikit-learn does."""
    features, target = validate_data(estimator, X, y, **rules)
    return features, target


def finite(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outputs of a network for classes, or raise ValueError: NaN is no class."""
    if not np.isfinite(outputs).all():
        raise ValueError(
            "the network has diverged: its outputs are NaN or infinite; take a smaller "
            "learning_rate, or look for outliers in the features"
        )
    return outputs
