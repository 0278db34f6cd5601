"""Canonical correlations between two views of the same items: `cca`, `svcca` and `pwcca`.

Conventions
-----------
- A view is (n_items, n_dims), such as a layer; row i of both is the same item. A label (n_items,)
  of numbers is a view of one dimension; one of classes becomes one column of 0 and 1 a class, and
  the first correlation is then that of linear discriminant analysis.
- All is float64 and in closed form. Correlations are between 0 and 1 on the items fitted on.
- On few items they are large whatever the views hold: with n_items <= n_dims, 1. A warning says so
  below ten items a dimension. With `groups`, directions are fitted on some groups and correlated on
  the others (folds of scikit-learn's `GroupKFold`); held-out correlations are 0 on average for
  independent views and may be negative.
- Dimensions without variance are left out.

References
----------
Hotelling: "Relations between two sets of variates", Biometrika 28, 1936.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speechprobe._similarity import cka, view
from speechprobe.probes._canonical import directions, held_out
from speechprobe.probes._folds import folds_by_group
from speechprobe.probes._views import (
    RANK_TOLERANCE,
    cut_of,
    require_components,
    views_of,
    warn_of_few_items,
)
from speechprobe.probes.svcca import pwcca, svcca

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]

# All ways to compare two views are found here, those of the modules below too.
__all__ = ["CanonicalCorrelations", "cca", "cka", "pwcca", "svcca"]


@dataclass(frozen=True, eq=False)
class CanonicalCorrelations:
    """Canonical correlations and their directions. `float` of it is the first correlation.

    Parameters
    ----------
    correlations
        Shape (n_components,), best first: correlations of the pairs of variates on all items, which
        are those fitted on.
    x_weights, y_weights
        Shapes (n_dims, n_components) and (n_other_dims, n_components). Variates are
        ``(X - x_mean) @ x_weights``, of variance 1 on the items fitted on.
    x_mean, y_mean
        Shapes (n_dims,) and (n_other_dims,).
    n_items
        Number of items.
    held_out, held_out_std
        Shape (n_components,): mean and standard deviation over folds of the correlations on groups
        that were not fitted on; None where no groups were given. `float` gives the first of these
        where they exist.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> found = cca(x, x[:, :1] + x[:, 1:2])
    >>> round(float(found), 6), found.x_weights.shape
    (1.0, (3, 1))
    """

    correlations: Matrix
    x_weights: Matrix
    y_weights: Matrix
    x_mean: Matrix
    y_mean: Matrix
    n_items: int
    held_out: Matrix | None = None
    held_out_std: Matrix | None = None

    def project(self, X: ArrayLike, Y: ArrayLike) -> tuple[Matrix, Matrix]:
        """Return the variates of items, (n_items, n_components) each; Y as columns of numbers."""
        a, b = view(X, "X"), view(Y, "Y")
        return (a - self.x_mean) @ self.x_weights, (b - self.y_mean) @ self.y_weights

    def __float__(self) -> float:
        best = self.correlations if self.held_out is None else self.held_out
        return float(best[0])

    def __repr__(self) -> str:
        held = "" if self.held_out is None else f", held out {self.held_out[0]:.3f}"
        return (
            f"CanonicalCorrelations(first {self.correlations[0]:.3f}{held}, "
            f"{len(self.correlations)} components, {self.n_items} items)"
        )


def cca(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    n_components: int | None = None,
    ridge: float = 0.0,
    rank_tolerance: float = RANK_TOLERANCE,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
) -> CanonicalCorrelations:
    """Canonical correlations of two views, best first, with their directions.

    The first is that of scikit-learn's ``CCA(n_components=1)`` where that converges.

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims), or a label (n_items,).
    n_components
        How many to keep; all by default, as many as the smaller rank.
    ridge
        Added to the variance of every dimension, in units of that variance: 0.1 is mild. It draws
        directions towards those of large variance, and held-out correlations up. The correlations
        returned are those of the variates themselves.
    rank_tolerance
        Directions whose singular value (of standardised features) is below this share of the
        largest are cut; scikit-learn's by default.
    groups
        Group of each item, (n_items,), for held-out correlations; ``np.arange(n_items)`` for items
        that are independent.
    n_folds
        Folds of the held-out correlations.

    Returns
    -------
    found
        Correlations on all items, and held out by group if groups are given.

    Raises
    ------
    ValueError
        If the numbers of items differ, a value is NaN, a view is constant (also on the groups of a
        fold), or there are fewer groups than folds.

    Warns
    -----
    UserWarning
        If there are fewer than ten items a dimension of the wider view.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> x = generator.normal(size=(200, 4))
    >>> rate = x[:, 0] + generator.normal(size=200)
    >>> found = cca(x, rate, groups=np.arange(200) % 10)
    >>> 0.6 < float(found) < float(found.correlations[0]) < 0.8
    True
    """
    a, b = views_of(X, Y)
    cut = cut_of(ridge, rank_tolerance)
    require_components(n_components)
    warn_of_few_items(len(a), max(a.shape[1], b.shape[1]))
    found = directions(a, b, cut, n_components)
    mean = std = None
    if groups is not None:
        folds = folds_by_group(groups, len(a), n_folds)
        each = [values for _, values in held_out(a, b, cut, folds, n_components)]
        whole = np.stack([values[: min(map(len, each))] for values in each])
        mean, std = whole.mean(axis=0), whole.std(axis=0)
    return CanonicalCorrelations(
        correlations=found.correlations,
        x_weights=found.x_weights,
        y_weights=found.y_weights,
        x_mean=found.x_mean,
        y_mean=found.y_mean,
        n_items=len(a),
        held_out=mean,
        held_out_std=std,
    )
