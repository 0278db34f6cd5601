"""Mutual information between features and a label, in bits.

- `cluster_information`: k-means clusters of the features against classes. Above 0 by chance;
  `chance_bits` says how far.
- `neighbour_information`: distances to near neighbours, for numbers or classes and up to some ten
  dimensions.
- `dimension_information`: the same, dimension by dimension; misses what dimensions hold together.
- `usable.usable_information`: what a probe can use, held out by group.

No estimate of mutual information from some thousand items of some hundred dimensions is worth its
name. Clusters and single dimensions give lower bounds (what is made of the features holds no more
than they do), and usable information asks another question: how much a family of probes can get.

References
----------
Pasad, Chou, Livescu: "Layer-wise analysis of a self-supervised speech representation model", ASRU
2021 (clusters). Kraskov, Stögbauer, Grassberger: "Estimating mutual information", Physical Review E
69, 2004. Ross: "Mutual information between discrete and continuous data sets", PLoS ONE 9, 2014.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from speechprobe._similarity import view
from speechprobe.probes._folds import folds_by_group
from speechprobe.probes._neighbours import kraskov, ross, with_noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MANY_DIMS = 10
MANY_ITEMS = 20_000


@dataclass(frozen=True)
class ClusterInformation:
    """Mutual information between k-means clusters and a label.

    Parameters
    ----------
    bits
        Mutual information, from 0 to `label_bits`; held out, its mean over folds.
    label_bits
        Entropy of the label on the same items.
    chance_bits
        Expected mutual information of the same clusters with the label shuffled.
    n_clusters, n_items, n_classes
        Numbers of clusters, items measured and classes.

    Examples
    --------
    >>> ClusterInformation(0.5, 2.0, 0.1, 10, 100, 4).share
    0.25
    """

    bits: float
    label_bits: float
    chance_bits: float
    n_clusters: int
    n_items: int
    n_classes: int

    @property
    def share(self) -> float:
        """MI / H(label), between 0 and 1; 1 where the cluster tells the class."""
        return self.bits / self.label_bits

    @property
    def chance_share(self) -> float:
        """The share of a shuffled label."""
        return self.chance_bits / self.label_bits


def cluster_information(
    X: ArrayLike,
    label: ArrayLike,
    *,
    n_clusters: int = 50,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> ClusterInformation:
    """Return the mutual information between k-means clusters of the features and a label.

    Parameters
    ----------
    X, label
        Features (n_items, n_dims), clustered as they are (scale them first if dimensions have
        different units), and class of each item (n_items,).
    n_clusters
        Number of clusters. Pasad et al. take 500 for phones and 5,000 for words, with some hundred
        thousand frames.
    groups
        Group of each item: clusters are then found on some groups and measured on the others. None
        finds and measures on all items.
    n_folds
        Number of folds.
    seed
        Of k-means. Above 20,000 items it is scikit-learn's MiniBatchKMeans.

    Raises
    ------
    ValueError
        If a value is missing, the label has one class (also in a fold, held out) or holds
        fractional numbers, or there are fewer items to cluster than clusters.

    Notes
    -----
    The measure is above 0 for independent labels, by about (n_clusters - 1)(n_classes - 1) /
    (2 n_items ln 2) bits; `chance_bits` is its exact mean over all shuffles of the label.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(400, 2))
    >>> found = cluster_information(x, x[:, 0] > 0, n_clusters=8)
    >>> found.share > 0.5 > 0.1 > found.chance_share
    True
    """
    features, classes = view(X, "X"), _classes(label, len(np.asarray(X)))
    everything = np.arange(len(features))
    folds = (
        [(everything, everything)]
        if groups is None
        else folds_by_group(groups, len(features), n_folds)
    )
    measured = []
    for fit, ask in folds:
        if not 2 <= n_clusters <= len(fit):
            raise ValueError(
                f"n_clusters must be from 2 to the number of items clustered, {len(fit)}; got "
                f"{n_clusters}"
            )
        kind = KMeans if len(fit) <= MANY_ITEMS else MiniBatchKMeans
        means = kind(n_clusters, n_init=1, random_state=seed).fit(features[fit])
        measured.append(_information(means.predict(features[ask]), classes[ask]))
    bits, label_bits, chance_bits = np.mean(measured, axis=0)
    if not label_bits:
        raise ValueError("the label has one class only in the items of every fold held out")
    return ClusterInformation(
        bits=float(bits),
        label_bits=float(label_bits),
        chance_bits=float(chance_bits),
        n_clusters=n_clusters,
        n_items=len(features),
        n_classes=int(classes.max()) + 1,
    )


def neighbour_information(
    X: ArrayLike, target: ArrayLike, *, n_neighbors: int = 3, seed: int = 0
) -> float:
    """Return the mutual information of all dimensions together and a target, in bits.

    Parameters
    ----------
    X
        Shape (n_items, n_dims). Every dimension is brought to standard deviation 1.
    target
        Shape (n_items,): numbers (the first estimator of Kraskov et al.), or classes as text or
        booleans (Ross). Whole numbers are numbers; classes given as codes want ``astype(str)``.
    n_neighbors
        Neighbours behind each estimate: few have less bias, many less variance.
    seed
        Of noise of 1e-10 standard deviations, which breaks ties.

    Returns
    -------
    bits
        About 0 for an independent target, then as often below as above.

    Raises
    ------
    ValueError
        If the numbers of items differ, a value is missing, there are not more items (of a class)
        than neighbours, or the target is constant.

    Warns
    -----
    UserWarning
        Above ten dimensions: all items are then about equally far from each other, and the estimate
        falls towards 0. Reduce them first (a few principal components, or canonical variates found
        on other items, which give lower bounds).

    Notes
    -----
    Nothing is fitted, so there is nothing to hold out. But the neighbours of an item are mostly of
    its own speaker: a label that speakers differ in is found through the voice.

    Examples
    --------
    >>> x, noise = np.random.default_rng(0).normal(size=(2, 2000))
    >>> expected = -0.5 * np.log2(1 - 0.8**2)
    >>> round(float(expected), 2), round(neighbour_information(x, 0.8 * x + 0.6 * noise), 1)
    (0.74, 0.7)
    """
    features = view(X, "X")
    values = _target(target, len(features))
    if features.shape[1] > MANY_DIMS:
        warnings.warn(
            f"distances in {features.shape[1]} dimensions tell little: above {MANY_DIMS} the "
            "estimate falls towards 0; reduce the features first",
            stacklevel=2,
        )
    if n_neighbors < 1 or n_neighbors >= len(features):
        raise ValueError(
            f"n_neighbors must be from 1 to below the {len(features)} items, got {n_neighbors}"
        )
    generator = np.random.default_rng(seed)
    placed = with_noise(features, generator)
    if values.dtype.kind in "iuf":
        return kraskov(placed, with_noise(values[:, None].astype(float), generator), n_neighbors)
    return ross(placed, np.unique(values, return_inverse=True)[1], n_neighbors)


def dimension_information(
    X: ArrayLike, target: ArrayLike, *, n_neighbors: int = 3, seed: int = 0
) -> NDArray[np.float64]:
    """Return the mutual information of each dimension and a target, in bits (n_dims,).

    scikit-learn's `mutual_info_regression` for numbers and `mutual_info_classif` for classes, which
    are the same estimators, one dimension at a time, with negative estimates set to 0.

    Parameters
    ----------
    X, target, n_neighbors, seed
        As in `neighbour_information`.

    Raises
    ------
    ValueError
        If the numbers of items differ, a value is missing, or the target is constant.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> dimension_information(x, x[:, 1] > 0).argmax()
    np.int64(1)
    """
    features = view(X, "X")
    values = _target(target, len(features))
    estimate = mutual_info_regression if values.dtype.kind in "iuf" else mutual_info_classif
    nats = estimate(
        features, values, discrete_features=False, n_neighbors=n_neighbors, random_state=seed
    )
    return np.asarray(nats / np.log(2))


def _information(clusters: NDArray[Any], classes: NDArray[np.intp]) -> tuple[float, float, float]:
    """Return mutual information, entropy of the classes and expected information, in bits."""
    nats = mutual_info_score(classes, clusters)
    table = contingency_matrix(classes, clusters, sparse=True)
    chance = expected_mutual_information(table, len(classes))
    own = mutual_info_score(classes, classes)
    return float(nats / np.log(2)), float(own / np.log(2)), float(chance / np.log(2))


def _target(target: ArrayLike, n_items: int) -> NDArray[Any]:
    """Return numbers, or classes as text, of all items, or raise ValueError."""
    values = np.asarray(target)
    if values.shape != (n_items,):
        raise ValueError(f"the target must be ({n_items},), one an item, got {values.shape}")
    missing = pd.isna(values)
    if missing.any():
        raise ValueError(
            f"the target has {int(missing.sum())} missing values, first in row {missing.argmax()}"
        )
    if values.dtype.kind not in "iuf":
        values = values.astype(str)
    if len(np.unique(values)) < 2:
        raise ValueError(f"the target is {values[:1].tolist()[0]!r} for all {n_items} items")
    return values


def _classes(label: ArrayLike, n_items: int) -> NDArray[np.intp]:
    values = _target(label, n_items)
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise ValueError(
            "the label holds fractional numbers; bin them, or take neighbour_information"
        )
    return np.unique(values, return_inverse=True)[1].astype(np.intp)
