"""Mutual information from distances to near neighbours, in the maximum norm.

References
----------
Kraskov, Stögbauer, Grassberger: "Estimating mutual information", Physical Review E 69, 2004,
equation 8. Ross: "Mutual information between discrete and continuous data sets", PLoS ONE 9, 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kraskov(x: NDArray[np.float64], y: NDArray[np.float64], n_neighbors: int) -> float:
    """Return Kraskov's first estimate in bits: maximum norm, strict distances in each space."""
    joint = cKDTree(np.hstack([x, y]))
    radius = np.asarray(joint.query(joint.data, k=n_neighbors + 1, p=np.inf)[0])[:, -1]
    inside = np.nextafter(radius, 0)
    counts = [
        cKDTree(side).query_ball_point(side, inside, p=np.inf, return_length=True)
        for side in (x, y)
    ]  # the item itself is among them, which makes each n + 1 of the paper
    nats = digamma(len(x)) + digamma(n_neighbors) - sum(digamma(each).mean() for each in counts)
    return float(nats / np.log(2))


def ross(x: NDArray[np.float64], classes: NDArray[np.intp], n_neighbors: int) -> float:
    """Return Ross's estimate in bits: neighbours of the class against neighbours of any class."""
    sizes = np.bincount(classes)
    if sizes.min() <= n_neighbors:
        raise ValueError(
            f"every class needs more than n_neighbors={n_neighbors} items, the smallest has "
            f"{sizes.min()}"
        )
    radius = np.empty(len(x))
    for code in range(len(sizes)):
        members = x[classes == code]
        found = np.asarray(cKDTree(members).query(members, k=n_neighbors + 1, p=np.inf)[0])
        radius[classes == code] = np.nextafter(found[:, -1], 0)
    counts = cKDTree(x).query_ball_point(x, radius, p=np.inf, return_length=True)
    nats = (
        digamma(len(x))
        + digamma(n_neighbors)
        - digamma(sizes[classes]).mean()
        - digamma(counts).mean()
    )
    return float(nats / np.log(2))


def with_noise(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return dimensions of standard deviation 1 with noise of 1e-10, which breaks ties."""
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.asarray(scaled + 1e-10 * generator.normal(size=values.shape))
