"""How alike two representations of the same items are.

Conventions: `X` and `Y` are (n_items, n_dims) and (n_items, n_other_dims), row i of both is the
same item; (n_items,) is one dimension. Nothing is fitted, so there is nothing to hold out; but
items of one speaker are alike in every representation, and speak for similarity as often as there
are items of them.

============  ===============================  ======================================
function      1 means                          unchanged by
============  ===============================  ======================================
`linear_cka`  equal up to rotation and scale   rotation, one scale for all dimensions
`rbf_cka`     the same distances up to scale   the same
`rsa`         the same order of distances      any growing function of the distances
============  ===============================  ======================================

None of them is unchanged by a general linear map, as canonical correlations are (`probes.svcca`).

References
----------
Kriegeskorte, Mur, Bandettini: "Representational similarity analysis", Frontiers in Systems
Neuroscience 2, 2008. Those of CKA are in `probes.cka`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.stats import rankdata

from speechprobe._similarity import blocks, cka, paired, squared_distances

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Distance = Literal["correlation", "cosine", "euclidean"]


def linear_cka(X: ArrayLike, Y: ArrayLike, *, debiased: bool = False) -> float:
    """Centred kernel alignment of linear kernels, between 0 and 1.

    Of centred X and Y: sum((X' Y)^2) / sqrt(sum((X' X)^2) sum((Y' Y)^2)).

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims).
    debiased
        Take the U-statistic, which is 0 on average for independent representations and may be
        negative; without it, few items in many dimensions look alike whatever they hold.

    Raises
    ------
    ValueError
        If the numbers of items differ or are too small, a value is NaN, or all items are equal.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(linear_cka(x, 2 * x[:, ::-1]), 6)
    1.0
    """
    return cka(X, Y, kernel="linear", debiased=debiased)


def rbf_cka(X: ArrayLike, Y: ArrayLike, *, bandwidth: float = 1.0, debiased: bool = False) -> float:
    """Centred kernel alignment of RBF kernels, between 0 and 1.

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims).
    bandwidth
        Width of the kernel in median distances between two items. A small one compares who the
        near neighbours are; with a large one it becomes `linear_cka`.
    debiased
        Take the U-statistic, as in `linear_cka`.

    Raises
    ------
    ValueError
        As `linear_cka`, and if the bandwidth is not positive.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(rbf_cka(x, -x), 6)
    1.0
    """
    return cka(X, Y, kernel="rbf", bandwidth=bandwidth, debiased=debiased)


def rsa(
    X: ArrayLike, Y: ArrayLike, *, distance: Distance | tuple[Distance, Distance] = "correlation"
) -> float:
    """Spearman correlation between the distances of all pairs of items, between -1 and 1.

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims).
    distance
        "correlation" (1 minus the correlation over dimensions), "cosine" or "euclidean"; a pair
        where the two representations want different ones, as a layer and a label do.

    Raises
    ------
    ValueError
        If the numbers of items differ or are below 3, a value is NaN, all items or all distances
        are equal, or the distance does not exist for an item.

    Notes
    -----
    The n (n - 1) / 2 distances are not independent: the p-value of their correlation means nothing.
    Distances that are equal up to 1e-12 of the largest count as ties.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(rsa(x, 3 * x), 6)
    1.0
    >>> label = x[:, 0]
    >>> 0 < rsa(x, label, distance="euclidean") < 1
    True
    """
    both = (distance, distance) if isinstance(distance, str) else distance
    a, b = paired(X, Y, at_least=3)
    found = [
        distance_ranks(rows, kind, name)
        for rows, kind, name in zip((a, b), both, "XY", strict=True)
    ]
    return float(np.clip(found[0] @ found[1], -1, 1))


def distance_ranks(X: NDArray[np.float64], distance: Distance, name: str) -> NDArray[np.float64]:
    """Return the ranks of the distances of all pairs, centred and of length 1.

    Parameters
    ----------
    X
        Shape (n_items, n_dims).
    distance
        As in `rsa`.
    name
        Of the representation, for messages.

    Returns
    -------
    ranks
        Shape (n_items (n_items - 1) / 2,), pairs in the order of `scipy.spatial.distance.pdist`.

    Examples
    --------
    >>> distance_ranks(np.array([[0.0], [1.0], [3.0]]), "euclidean", "X").round(3)
    array([-0.707,  0.707,  0.   ])
    """
    placed = _placed(X, distance, name)
    upper = [
        squared_distances(placed, rows)[
            np.arange(rows.start, rows.stop)[:, None] < np.arange(len(X))
        ]
        for rows in blocks(len(X))
    ]
    squared = np.concatenate(upper)
    # Ranks need no root; rounding makes ties of distances that are equal but for the last bits.
    ranks = rankdata(np.round(squared / (squared.max() or 1.0), 12))
    ranks -= ranks.mean()
    length = float(np.linalg.norm(ranks))
    if not length:
        raise ValueError(f"all items of {name} are equally far from each other, which has no order")
    return np.asarray(ranks / length)


def _placed(X: NDArray[np.float64], distance: Distance, name: str) -> NDArray[np.float64]:
    """Return points whose Euclidean distances are in the order of those asked for."""
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {get_args(Distance)}, got {distance!r}")
    if distance == "euclidean":
        return np.asarray(X - X.mean(axis=0))
    rows = X - X.mean(axis=1, keepdims=True) if distance == "correlation" else X
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    lost = np.flatnonzero(length[:, 0] <= 1e-12 * np.abs(X).max(axis=1, initial=0))
    if len(lost):
        raise ValueError(
            f"the {distance} distance does not exist for row {lost[0]} of {name}, whose "
            f"{X.shape[1]} values are all {'equal' if distance == 'correlation' else '0'}; "
            "take distance='euclidean'"
        )
    placed: NDArray[np.float64] = rows / length
    return placed
