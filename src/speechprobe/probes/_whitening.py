"""Whitening: weights that give a view the identity as covariance, with a rank cut and a ridge.

Every dimension is first brought to standard deviation 1, so that `ridge` and `rank_tolerance` mean
the same for every layer.

Three ways, the first that is precise enough. Where the correlation matrix is well conditioned, its
Cholesky factor: fast, and the error of a canonical correlation is at most some 1e-8. Else the
triangular factor of the features themselves (QR), whose condition is the root of that. Else their
singular values, of which those below `rank_tolerance` times the largest are cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg import get_lapack_funcs, solve_triangular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

# The reciprocal condition of a correlation matrix above which its Cholesky factor is exact to 1e-8.
WELL_CONDITIONED = 1e-8
# That of the features, in which the error of a correlation is this much of the rounding.
FULL_RANK = 1e-8


class Cut(NamedTuple):
    """How small directions are treated.

    Parameters
    ----------
    ridge
        Added to the variance of every standardised dimension.
    rank_tolerance
        Singular values of standardised features below this share of the largest are cut.
    """

    ridge: float
    rank_tolerance: float


class Whitening(NamedTuple):
    """Weights W (n_dims, rank) that give centred features the identity as covariance.

    Either as they are, or as the inverse of a lower triangular factor of the correlation matrix and
    the scale of each dimension, which saves the inversion.

    Parameters
    ----------
    dense
        The weights, or None.
    factor
        Shape (n_dims, n_dims); not read where there are weights.
    scale
        Shape (n_dims,).
    exact
        Whether the whitened covariance of two such sides is precise without whitening items.
    """

    dense: Matrix | None
    factor: Matrix
    scale: Matrix
    exact: bool

    def of(self, vectors: Matrix) -> Matrix:
        """Return W @ vectors."""
        if self.dense is not None:
            return np.asarray(self.dense @ vectors)
        return np.asarray(solve(self.factor, vectors, transposed=True) / self.scale[:, None])

    def transposed(self, vectors: Matrix) -> Matrix:
        """Return W' @ vectors."""
        if self.dense is not None:
            return np.asarray(self.dense.T @ vectors)
        return solve(self.factor, vectors / self.scale[:, None])

    def items(self, centred: Matrix) -> Matrix:
        """Return whitened items (n_items, rank)."""
        if self.dense is not None:
            return np.asarray(centred @ self.dense)
        return np.asarray(solve(self.factor, (centred / self.scale).T).T)


def whitening(centred: Matrix, cut: Cut) -> Whitening:
    """Return the weights that whiten centred features, every dimension of which varies.

    With a ridge, the covariance that they whiten is that of the standardised features plus ridge.
    """
    n_items, n_dims = centred.shape
    if n_items <= n_dims:
        return _by_singular_values(centred, cut)
    correlation = centred.T @ centred
    scale = np.sqrt(np.diag(correlation) / n_items)
    correlation /= np.outer(scale, scale * n_items)
    factor = well_conditioned_factor(correlation, WELL_CONDITIONED)
    if factor is not None:
        if cut.ridge:
            factor = np.asarray(np.linalg.cholesky(correlation + cut.ridge * np.eye(n_dims)))
        return Whitening(None, factor, scale, exact=True)
    triangle = shortened(centred / (scale * np.sqrt(n_items))).T
    if not cut.ridge and _full_rank(triangle, max(FULL_RANK, 10 * cut.rank_tolerance)):
        return Whitening(None, triangle, scale, exact=False)
    return _by_singular_values(centred, cut)


def _by_singular_values(centred: Matrix, cut: Cut) -> Whitening:
    scale = np.sqrt(np.mean(centred**2, axis=0))
    standardised = centred / (scale * np.sqrt(len(centred)))
    _, values, axes = np.linalg.svd(shortened(standardised), full_matrices=False)
    # What centring leaves of the last direction of n_items <= n_dims is rounding.
    floor = max(cut.rank_tolerance, max(centred.shape) * np.finfo(np.float64).eps)
    large = values > floor * values[0]
    dense = axes[large].T / np.sqrt(values[large] ** 2 + cut.ridge) / scale[:, None]
    return Whitening(dense, dense, scale, exact=False)


def solve(factor: Matrix, right: Matrix, *, transposed: bool = False) -> Matrix:
    """Return factor^-1 @ right of a lower factor, or that of its transpose."""
    found = solve_triangular(
        factor, right, lower=True, trans="T" if transposed else "N", check_finite=False
    )
    return np.asarray(found)


def well_conditioned_factor(correlation: NDArray[Any], limit: float) -> NDArray[Any] | None:
    """Return the lower Cholesky factor; None where 1 / condition is below a limit."""
    routines: Any = get_lapack_funcs(("potrf", "pocon"), (correlation,))
    factorise, estimate = routines
    # The transpose of a symmetric matrix is itself in the order of LAPACK, and saves a copy. What
    # is above the diagonal of the factor is left as it was, and not read.
    factor, failed = factorise(correlation.T, lower=True, clean=False)
    if failed:
        return None
    norm = float(np.abs(correlation).sum(axis=0).max())
    reciprocal = estimate(factor, norm, uplo="L")[0]
    return np.asarray(factor) if reciprocal > limit else None


def _full_rank(factor: Matrix, limit: float) -> bool:
    """Say whether 1 / condition of a lower triangular factor is above a limit."""
    routines: Any = get_lapack_funcs(("trcon",), (factor,))
    return float(routines[0](factor, norm="1", uplo="L")[0]) > limit


def shortened(X: Matrix) -> Matrix:
    """Return at most n_dims rows with the same singular values and axes."""
    return np.asarray(np.linalg.qr(X, mode="r")) if len(X) > X.shape[1] else X
