"""One number for how alike two layers are, from their canonical correlations: `svcca` and `pwcca`.

Views, labels, groups and the warning of few items are as in `cca`.

References
----------
Raghu, Gilmer, Yosinski, Sohl-Dickstein: "SVCCA: singular vector canonical correlation analysis for
deep learning dynamics and interpretability", NeurIPS 2017. Morcos, Raghu, Bengio: "Insights on
representational similarity in neural networks with canonical correlation", NeurIPS 2018. Pasad,
Chou, Livescu: "Layer-wise analysis of a self-supervised speech representation model", ASRU 2021,
and the program published with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from speechprobe.probes._canonical import Directions, directions, held_out
from speechprobe.probes._folds import folds_by_group
from speechprobe.probes._views import RANK_TOLERANCE, cut_of, views_of, warn_of_few_items
from speechprobe.probes._whitening import shortened

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]

Variant = Literal["textbook", "layerwise"]


def svcca(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    variance_kept: float = 0.99,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
) -> float:
    """Mean canonical correlation of the principal components that hold most of the variance.

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims), or a label (n_items,).
    variance_kept
        Share of the variance of each view that the kept principal components hold, above 0 and at
        most 1.
    groups
        Group of each item; components and directions are then found on some groups, and correlated
        on the others.
    n_folds
        Number of folds.

    Returns
    -------
    similarity
        Between 0 and 1; held out, between -1 and 1.

    Raises
    ------
    ValueError
        As `cca`, and if the share is not above 0 and at most 1.

    Warns
    -----
    UserWarning
        If there are fewer than ten items a kept component.

    References
    ----------
    Raghu et al. 2017, with 0.99 as there.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> round(svcca(x, x @ np.triu(np.ones((4, 4)))), 6)
    1.0
    """
    if not 0 < variance_kept <= 1:
        raise ValueError(f"variance_kept must be above 0 and at most 1, got {variance_kept!r}")
    a, b = views_of(X, Y)
    cut = cut_of(0.0, RANK_TOLERANCE)
    axes = [_principal_axes(side, variance_kept) for side in (a, b)]
    warn_of_few_items(len(a), max(each.shape[1] for each in axes))
    if groups is None:
        return float(directions(a @ axes[0], b @ axes[1], cut).correlations.mean())
    scores = []
    for fold in folds_by_group(groups, len(a), n_folds):
        sides = [side @ _principal_axes(side[fold[0]], variance_kept) for side in (a, b)]
        ((_, values),) = held_out(sides[0], sides[1], cut, [fold])
        scores.append(values.mean())
    return float(np.mean(scores))


def pwcca(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    variant: Variant = "textbook",
    ridge: float = 0.0,
    rank_tolerance: float = RANK_TOLERANCE,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
) -> float:
    """Canonical correlations averaged by how much of one view each direction accounts for.

    The weight of a direction is the sum over dimensions of the absolute product of its variate
    (orthonormalised, best first) with the dimension: sum_j abs(<h_i, x_j>). There are as many
    directions as the narrower view has dimensions: a narrow Y that X holds as a whole scores 1.

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims), or a label (n_items,).
    variant
        "textbook" (Morcos et al.): h and x are those of X, centred, so it is not symmetric.
        "layerwise" (the program of Pasad et al.): the weights are those of
        the view of fewer dimensions, Y where both have as many; its dimensions are not centred, and
        the mean of dimension i is added to variate i, whose variance is the largest entry of the
        covariance. Where all dimensions have the mean 0 the two agree but for the choice of the
        view. Elsewhere the second depends on the sign of the directions, which is arbitrary (here
        the largest weight of X is positive), and on the order of the dimensions.
    ridge, rank_tolerance
        As in `cca`. The program of Pasad et al. chooses a ridge between 1e-11 and 1e-5 of the
        largest covariance on a part of the items.
    groups
        Group of each item; directions and weights are then those of some groups, correlations those
        of the others. The program of Pasad et al. draws items, not groups, weighs by the items held
        out, and averages three draws of a tenth.
    n_folds
        Number of folds.

    Returns
    -------
    similarity
        Between 0 and 1; held out, between -1 and 1.

    Raises
    ------
    ValueError
        As `cca`, and if there is no such variant.

    Warns
    -----
    UserWarning
        If there are fewer than ten items a dimension of the wider view.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> round(pwcca(x, -x), 6), pwcca(x, x**2) < 0.5
    (1.0, True)
    """
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be one of {get_args(Variant)}, got {variant!r}")
    a, b = views_of(X, Y)
    cut = cut_of(ridge, rank_tolerance)
    warn_of_few_items(len(a), max(a.shape[1], b.shape[1]))
    if groups is None:
        found = directions(a, b, cut)
        return float(_weights(a, b, found, variant) @ found.correlations)
    folds = folds_by_group(groups, len(a), n_folds)
    scores = [
        _weights(a[fit], b[fit], found, variant) @ values
        for (fit, _), (found, values) in zip(folds, held_out(a, b, cut, folds), strict=True)
    ]
    return float(np.mean(scores))


def _weights(X: Matrix, Y: Matrix, found: Directions, variant: Variant) -> Matrix:
    """Return the weight of each direction, (n_components,), together 1."""
    x_variates, y_variates = found.variates(X, Y)
    if variant == "textbook":
        side, variates = X - found.x_mean, x_variates
    else:
        narrow = X.shape[1] < Y.shape[1]
        side, variates = (X, x_variates) if narrow else (Y, y_variates)
        mean = side.mean(axis=0)
        largest = np.abs(np.cov(side, rowvar=False, ddof=0)).max()
        variates = variates * np.sqrt(largest) + mean[: variates.shape[1]]
    basis = np.linalg.qr(variates)[0]
    weights = np.abs(basis.T @ side).sum(axis=1)
    return np.asarray(weights / weights.sum())


def _principal_axes(X: Matrix, variance_kept: float) -> Matrix:
    """Return the principal axes (n_dims, n_kept) that hold a share of the variance."""
    _, values, axes = np.linalg.svd(shortened(X - X.mean(axis=0)), full_matrices=False)
    share = np.cumsum(values**2) / np.sum(values**2)
    n_kept = int(np.searchsorted(share, variance_kept - 1e-12)) + 1
    return np.asarray(axes[:n_kept].T)
