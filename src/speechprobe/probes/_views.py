"""What canonical correlations ask of their input."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe._similarity import paired
from speechprobe.probes._whitening import Cut

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]

# scikit-learn's CCA cuts singular values below this share of the largest.
RANK_TOLERANCE = 1e6 * float(np.finfo(np.float64).eps)
ITEMS_A_DIMENSION = 10


def views_of(X: ArrayLike, Y: ArrayLike) -> tuple[Matrix, Matrix]:
    """Return both as (n_items, n_dims) float64; classes become columns of 0 and 1."""
    label: Any = np.asarray(Y)
    if label.ndim == 1 and label.dtype.kind not in "iuf":
        missing = pd.isna(label)
        if missing.any():
            raise ValueError(
                f"Y holds {int(missing.sum())} missing values, first in row {missing.argmax()}"
            )
        label = pd.get_dummies(pd.Series(label.astype(str))).to_numpy(dtype=np.float64)
    return paired(X, label, at_least=3)


def cut_of(ridge: float, rank_tolerance: float) -> Cut:
    """Return how small directions are treated, or raise ValueError."""
    if not 0 <= ridge < np.inf or not 0 <= rank_tolerance < 1:
        raise ValueError(
            "ridge must be a number from 0 and rank_tolerance a share from 0 to below 1, got "
            f"{ridge!r} and {rank_tolerance!r}"
        )
    return Cut(float(ridge), float(rank_tolerance))


def require_components(n_components: int | None) -> None:
    """Raise ValueError unless it is None or a whole number from 1."""
    if n_components is not None and (
        not isinstance(n_components, int | np.integer) or n_components < 1
    ):
        raise ValueError(f"n_components must be a whole number from 1, got {n_components!r}")


def warn_of_few_items(n_items: int, n_dims: int) -> None:
    """Warn the caller of the public function below ten items a dimension."""
    if n_items < ITEMS_A_DIMENSION * n_dims:
        warnings.warn(
            f"{n_items} items for {n_dims} dimensions: below {ITEMS_A_DIMENSION} items a dimension "
            "canonical correlations on the items fitted on are large whatever the views hold; give "
            "groups for held-out ones, more items, or fewer dimensions",
            stacklevel=3,
        )
