"""The mathematics of canonical correlations: both views whitened, then singular values.

A wide view and a label of one dimension need one solution of the normal equations only: the factor
is then made in single precision, and the solution refined in double precision (conjugate gradients,
to 1e-9 in the norm in which the error of a squared correlation is the square of that).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechprobe._similarity import centre, varying
from speechprobe.probes._whitening import (
    Cut,
    Whitening,
    solve,
    well_conditioned_factor,
    whitening,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

# The reciprocal condition above which a factor in single precision guides the refinement.
WELL_CONDITIONED_IN_SINGLE = 1e-6
WIDE = 128  # dimensions from which the refinement saves time
N_REFINEMENTS = 40


class Directions(NamedTuple):
    """Pairs of directions, best first, and the correlations of their variates.

    Parameters
    ----------
    correlations
        Shape (n_components,), on the items fitted on.
    x_mean, y_mean
        Shapes (n_dims,) and (n_other_dims,).
    x_weights, y_weights
        Shapes (n_dims, n_components) and (n_other_dims, n_components).
    """

    correlations: Matrix
    x_mean: Matrix
    x_weights: Matrix
    y_mean: Matrix
    y_weights: Matrix

    def variates(self, X: Matrix, Y: Matrix) -> tuple[Matrix, Matrix]:
        """Return the variates of items, both (n_items, n_components)."""
        return (X - self.x_mean) @ self.x_weights, (Y - self.y_mean) @ self.y_weights

    def correlate(self, X: Matrix, Y: Matrix) -> Matrix:
        """Return the correlation of each pair of variates on other items; NaN for a constant."""
        return columns_correlate(*self.variates(X, Y))


def directions(X: Matrix, Y: Matrix, cut: Cut, n_components: int | None = None) -> Directions:
    """Return the canonical directions of two views; dimensions without variance have no weight."""
    x_mean, centred_x, x_spread = centre(X)
    y_mean, centred_y, y_spread = centre(Y)
    x_kept, y_kept = x_spread > 0, y_spread > 0
    if not (x_kept.all() and y_kept.all()):
        found = directions(X[:, x_kept], Y[:, y_kept], cut, n_components)
        return Directions(
            found.correlations,
            x_mean,
            _spread(found.x_weights, x_kept),
            y_mean,
            _spread(found.y_weights, y_kept),
        )
    x_weights, values, y_weights = _solution(centred_x, x_spread, centred_y, cut, n_components)
    # A direction and its opposite are one: the largest weight of X is made positive.
    signs = np.sign(x_weights[np.abs(x_weights).argmax(axis=0), np.arange(len(values))])
    x_weights, y_weights = x_weights * signs, y_weights * signs
    correlations = np.clip(values, 0, 1)
    found = Directions(correlations, x_mean, x_weights, y_mean, y_weights)
    return _with_true_correlations(found, centred_x, centred_y) if cut.ridge else found


def held_out(
    X: Matrix,
    Y: Matrix,
    cut: Cut,
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    n_components: int | None = None,
) -> list[tuple[Directions, Matrix]]:
    """Return, for each fold, the directions fitted and their correlations on the other items.

    Raises
    ------
    ValueError
        If a variate is constant on the items held out, or a side is on those fitted on.
    """
    found = []
    for number, (fit, held) in enumerate(folds):
        for name, side in (("X", X), ("Y", Y)):
            if not varying(side[fit]).any():
                raise ValueError(f"{name} is the same for all {len(fit)} items of fold {number}")
        fitted = directions(X[fit], Y[fit], cut, n_components)
        correlations = fitted.correlate(X[held], Y[held])
        if np.isnan(correlations).any():
            raise ValueError(
                f"the {len(held)} items held out in fold {number} are all alike in a direction, so "
                "there is no correlation; use fewer folds, or check whether Y is a label of groups"
            )
        found.append((fitted, correlations))
    return found


def columns_correlate(a: Matrix, b: Matrix) -> Matrix:
    """Return the correlation of each column of `a` with that of `b`; NaN where one is constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    power = np.sum(a**2, axis=0) * np.sum(b**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.sum(a * b, axis=0) / np.sqrt(power)
    # Variates have a variance of about 1: one of 1e-20 is rounding.
    found[power <= 1e-40 * len(a) ** 2] = np.nan
    return np.asarray(np.clip(found, -1, 1))


def _solution(
    centred_x: Matrix, x_spread: Matrix, centred_y: Matrix, cut: Cut, n_components: int | None
) -> tuple[Matrix, Matrix, Matrix]:
    """Return weights of x, singular values, and weights of y, of the leading components."""
    if centred_y.shape[1] == 1 and len(centred_x) > centred_x.shape[1] >= WIDE and not cut.ridge:
        found = _label_solution(centred_x, x_spread, centred_y[:, 0])
        if found is not None:
            return found
    x, y = whitening(centred_x, cut), whitening(centred_y, cut)
    left, values, right = np.linalg.svd(_between(centred_x, x, centred_y, y), full_matrices=False)
    kept = slice(n_components)
    return x.of(left[:, kept]), values[kept], y.of(right[kept].T)


def _label_solution(
    centred: Matrix, spread: Matrix, label: Matrix
) -> tuple[Matrix, Matrix, Matrix] | None:
    """Return the same for a label (n_items,); None where single precision is no guide."""
    scale = spread * np.sqrt(len(centred))
    single = np.empty(centred.shape, dtype=np.float32)
    np.multiply(centred, 1 / scale, out=single, casting="same_kind")
    factor = well_conditioned_factor(single.T @ single, WELL_CONDITIONED_IN_SINGLE)
    if factor is None:
        return None
    unit = label / np.linalg.norm(label)
    right = (unit @ centred) / scale
    found = _refined(
        lambda v: ((centred @ (v / scale)) @ centred) / scale,
        lambda r: solve(factor, solve(factor, r.astype(np.float32)), transposed=True),
        right,
    )
    if found is None or not right @ found > 0:
        return None
    correlation = np.sqrt(right @ found)
    size = np.sqrt(len(centred))  # variates have a variance of 1, not a length of 1
    weights = found / scale / correlation * size
    return weights[:, None], np.array([correlation]), np.array([[size / np.linalg.norm(label)]])


def _refined(
    product: Callable[[Matrix], Matrix], guide: Callable[[Matrix], Matrix], right: Matrix
) -> Matrix | None:
    """Solve product(solution) = right by conjugate gradients; None where they do not arrive."""
    solution, residual = np.zeros_like(right), right
    step = guided = guide(residual)
    power = start = residual @ guided
    for _ in range(N_REFINEMENTS):
        if power <= 1e-18 * start:
            return solution
        image = product(step)
        length = power / (step @ image)
        solution, residual = solution + length * step, residual - length * image
        guided = guide(residual).astype(np.float64)
        power, before = residual @ guided, power
        step = guided + power / before * step
    return None


def _spread(weights: Matrix, kept: NDArray[np.bool_]) -> Matrix:
    """Return weights of all dimensions, 0 for those left out."""
    found = np.zeros((len(kept), weights.shape[1]))
    found[kept] = weights
    return found


def _between(centred_x: Matrix, x: Whitening, centred_y: Matrix, y: Whitening) -> Matrix:
    """Return the covariance of the whitened sides, (x rank, y rank).

    Where one is nearly rank-deficient, the narrower side is whitened item by item: the rounding
    errors of both would else be multiplied.
    """
    n_items = len(centred_x)
    if x.exact and y.exact:
        return y.transposed(x.transposed(centred_x.T @ centred_y).T).T / n_items
    if centred_x.shape[1] < centred_y.shape[1]:
        return y.transposed(centred_y.T @ x.items(centred_x)).T / n_items
    return x.transposed(centred_x.T @ y.items(centred_y)) / n_items


def _with_true_correlations(found: Directions, X: Matrix, Y: Matrix) -> Directions:
    """Return directions of unit variance with their correlations, best first.

    Under a ridge the singular values are smaller than the correlations of the variates.
    """
    a, b = X @ found.x_weights, Y @ found.y_weights
    correlations = columns_correlate(a, b)
    order = np.argsort(-correlations, kind="stable")
    return found._replace(
        correlations=correlations[order],
        x_weights=(found.x_weights / a.std(axis=0))[:, order],
        y_weights=(found.y_weights / b.std(axis=0))[:, order],
    )
