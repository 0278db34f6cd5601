"""Centred kernel alignment (CKA), and the check of two views of the same items.

Conventions
-----------
- A view is (n_items, n_dims); row i of both views is the same item. All is computed in float64.
- HSIC, the Hilbert-Schmidt independence criterion, is taken of centred kernels. Biased: the trace
  form tr(KHLH), whose value for independent views grows with n_dims / n_items. Debiased: the
  U-statistic of Song et al., which has the mean 0 for independent views and may be negative.
- CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)). The constants of both forms cancel.
- Linear kernel: two forms of one number. From the features, O(n_items n_dims^2), or from the
  kernels (Gram matrices), O(n_items^2 n_dims), taken in blocks of rows; the cheaper is chosen.
- RBF kernel: exp(-distance^2 / (2 width^2)), width = `bandwidth` times the median Euclidean
  distance between two items.

References
----------
Kornblith, Norouzi, Lee, Hinton: "Similarity of neural network representations revisited", ICML
2019. Song, Smola, Gretton, Bedo, Borgwardt: "Feature selection via dependence maximization", JMLR
13, 2012, equation 5. Nguyen, Raghu, Kornblith: "Do wide and deep networks learn the same things?",
ICLR 2021, which uses the U-statistic in CKA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    View = NDArray[np.float64]

Kernel = Literal["linear", "rbf"]
BLOCK_BYTES = 2**27  # of kernel rows held at once


def cka(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    kernel: Kernel = "linear",
    debiased: bool = False,
    bandwidth: float = 1.0,
) -> float:
    """Return the centred kernel alignment of two views of the same items.

    Parameters
    ----------
    X, Y
        Shapes (n_items, n_dims) and (n_items, n_other_dims); (n_items,) is one dimension.
    kernel
        "linear" or "rbf".
    debiased
        Use the U-statistic. Without it, two independent views of 1,000 dimensions and 1,000 items
        score 0.5.
    bandwidth
        Width of the RBF kernel in median distances between items.

    Returns
    -------
    similarity
        1 for views equal up to rotation and scale. Between 0 and 1; debiased, it may be slightly
        below 0.

    Raises
    ------
    ValueError
        If the views have different numbers of items, too few (3; debiased 4), NaN, or all items
        are equal in one.

    References
    ----------
    Kornblith et al. 2019; Nguyen et al. 2021 (debiased).

    Examples
    --------
    >>> x, y = np.random.default_rng(0).normal(size=(2, 100, 50))
    >>> round(cka(x, 3 * x), 6)
    1.0
    >>> cka(x, y) > 0.3, abs(cka(x, y, debiased=True)) < 0.1
    (True, True)
    """
    a, b = paired(X, Y)
    found = cka_between([a], [b], kernel=kernel, debiased=debiased, bandwidth=bandwidth)
    return float(found[0, 0])


def cka_between(
    a: Sequence[View], b: Sequence[View], *, kernel: Kernel, debiased: bool, bandwidth: float
) -> NDArray[np.float64]:
    """Return the alignment of every view of `a` with every view of `b`, (len(a), len(b)).

    The kernels of each view are made once, block of rows by block of rows. Views are as `view`
    returns them; `b` may be `a` itself.
    """
    if kernel not in ("linear", "rbf"):
        raise ValueError(f"kernel must be 'linear' or 'rbf', got {kernel!r}")
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, in median distances, got {bandwidth!r}")
    if len(a[0]) < (4 if debiased else 3):
        raise ValueError(
            f"{'debiased alignment' if debiased else 'alignment'} needs at least "
            f"{4 if debiased else 3} items, got {len(a[0])}"
        )
    views = [_normalised(X) for X in (a if b is a else [*a, *b])]
    first, second = np.arange(len(a)), np.arange(len(b)) + (0 if b is a else len(a))
    wanted = {(i, i) for i in range(len(views))}
    wanted |= {(min(i, j), max(i, j)) for i in first.tolist() for j in second.tolist()}
    if kernel == "linear" and _features_are_cheaper(len(wanted), views):
        inner, rows = _by_features(views, wanted, debiased)
    else:
        width = bandwidth if kernel == "rbf" else None
        inner, rows = _by_items([_kernel_rows(X, width) for X in views], debiased)
    hsic = _hsic(inner, rows, debiased)
    own = np.sqrt(np.diag(hsic))
    found: NDArray[np.float64] = (hsic / np.outer(own, own))[np.ix_(first, second)]
    # Rounding alone takes the alignment of a view with itself beyond 1.
    return np.minimum(found, 1.0)


def paired(X: ArrayLike, Y: ArrayLike, *, at_least: int = 2) -> tuple[View, View]:
    """Return two views of the same items as float64, or raise ValueError."""
    a, b = view(X, "X"), view(Y, "Y")
    if len(a) != len(b):
        raise ValueError(
            f"X and Y must hold the same items, got {len(a)} rows in X and {len(b)} in Y"
        )
    if len(a) < at_least:
        raise ValueError(f"at least {at_least} items are needed, got {len(a)}")
    return a, b


def view(values: ArrayLike, name: str) -> View:
    """Return a view (n_items, n_dims) in float64, neither NaN nor the same everywhere."""
    found = np.asarray(values)
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or not found.size:
        raise ValueError(f"{name} must have shape (n_items, n_dims), got {np.shape(values)}")
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, got {found.dtype} such as {found.flat[0]!r}")
    found = found.astype(np.float64, copy=False)
    if not np.isfinite(found.sum()):  # much faster than asking each value
        broken = ~np.isfinite(found).all(axis=1)
        raise ValueError(
            f"{name} holds NaN or infinite values in {int(broken.sum())} of {len(found)} items, "
            f"first in row {int(np.argmax(broken))}"
        )
    # The first dimensions mostly settle it.
    if len(found) > 1 and not (varying(found[:, :8]).any() or varying(found).any()):
        raise ValueError(f"{name} is the same for all {len(found)} items; nothing can be compared")
    return found


def centre(X: View) -> tuple[View, View, View]:
    """Return the mean (n_dims,), the centred view, and the standard deviation (n_dims,).

    It is 0 for dimensions that vary by no more than the rounding of their mean.
    """
    mean = X.mean(axis=0)
    centred = X - mean
    spread = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(X))
    return mean, centred, np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)


def varying(X: View) -> NDArray[np.bool_]:
    """Say which dimensions vary."""
    return centre(X)[2] > 0


def squared_distances(X: View, rows: slice) -> NDArray[np.float64]:
    """Return the squared Euclidean distances of some items to all, (n_rows, n_items)."""
    power = np.einsum("ij,ij->i", X, X)
    found: NDArray[np.float64] = power[rows, None] + power - 2 * (X[rows] @ X.T)
    np.maximum(found, 0, out=found)
    return found


def blocks(n_items: int, n_views: int = 1) -> Iterator[slice]:
    """Yield slices of rows, so that their kernels of all views fit into `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // (8 * n_items * n_views))
    for start in range(0, n_items, size):
        yield slice(start, min(start + size, n_items))


def _normalised(X: View) -> View:
    """Return the centred view with a mean square of 1, which changes no alignment."""
    centred = X - X.mean(axis=0)
    return np.asarray(centred / np.sqrt(np.mean(centred**2)))


def _features_are_cheaper(n_pairs: int, views: Sequence[View]) -> bool:
    n_items, n_dims = len(views[0]), float(np.mean([X.shape[1] for X in views]))
    # Per item. A kernel costs its products of features, those with all kernels, and passes over
    # its values that take as long as some 200 products.
    by_features = n_pairs * n_dims**2
    return by_features < len(views) * n_items * (n_dims + len(views) + 200)


def _by_features(
    views: Sequence[View], pairs: Iterable[tuple[int, int]], debiased: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return inner products of the linear kernels of the pairs asked for, and row sums."""
    power = np.stack([np.einsum("ij,ij->i", X, X) for X in views])
    inner = np.zeros((len(views), len(views)))
    for i, j in pairs:
        inner[i, j] = inner[j, i] = np.sum((views[i].T @ views[j]) ** 2)
    # The rows of a kernel of centred features sum to 0; without their diagonal, to minus that.
    return (inner - power @ power.T, -power) if debiased else (inner, np.zeros_like(power))


def _by_items(
    kernels: Sequence[Callable[[slice], NDArray[np.float64]]], debiased: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the inner products of all kernels (n_views, n_views) and their row sums."""
    n_items = kernels[0](slice(0, 1)).shape[1]
    inner = np.zeros((len(kernels), len(kernels)))
    sums = np.empty((len(kernels), n_items))
    for rows in blocks(n_items, len(kernels)):
        held = np.stack([kernel(rows) for kernel in kernels])
        if debiased:
            held[:, np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = 0
        sums[:, rows] = held.sum(axis=2)
        flat = held.reshape(len(kernels), -1)
        inner += flat @ flat.T
    return inner, sums


def _kernel_rows(X: View, bandwidth: float | None) -> Callable[[slice], NDArray[np.float64]]:
    """Return the function rows -> kernel (n_rows, n_items): linear, or RBF with a bandwidth."""
    if bandwidth is None:
        return lambda rows: X[rows] @ X.T
    scale = 2 * (bandwidth * _median_distance(X)) ** 2
    # Centring takes away a constant: a wide kernel is near 1 everywhere, and 1 is left out there.
    function = np.expm1 if bandwidth >= 1 else np.exp
    return lambda rows: np.asarray(function(-squared_distances(X, rows) / scale))


def _median_distance(X: View) -> float:
    squared = np.concatenate(
        [
            found[np.arange(rows.start, rows.stop)[:, None] < np.arange(len(X))]
            for rows in blocks(len(X))
            for found in [squared_distances(X, rows)]
        ]
    )
    median = float(np.median(np.sqrt(squared)))
    if median < 1e-7:  # the mean square is 1, and distances round to 1e-8
        raise ValueError("over half of the pairs of items are equal, so an RBF kernel has no width")
    return median


def _hsic(
    inner: NDArray[np.float64], sums: NDArray[np.float64], debiased: bool
) -> NDArray[np.float64]:
    """Return HSIC of all pairs up to one constant."""
    n_items = sums.shape[1]
    together, totals = sums @ sums.T, np.outer(sums.sum(axis=1), sums.sum(axis=1))
    if debiased:
        return np.asarray(
            inner + totals / ((n_items - 1) * (n_items - 2)) - 2 * together / (n_items - 2)
        )
    return np.asarray(inner - 2 * together / n_items + totals / n_items**2)
