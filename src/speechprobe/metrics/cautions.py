"""What to be careful with before believing a score: said in words, to stand beside it.

Each function returns sentences, none where there is nothing to say. They warn and raise nothing of
their own, so that a result can carry them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics._check import FEW_GROUPS, classes, group_codes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

IMBALANCE = 4  # times the smallest class
FEW_ITEMS = 10
FEW_GROUPS_OF_A_CLASS = 5  # with 4 of 40 groups, 1 resample in 70 has none of them
_NAMED = 5


def class_cautions(
    truth: ArrayLike,
    prediction: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    trained_on: Iterable[Any] | None = None,
) -> tuple[str, ...]:
    """Return what limits a score of classes, one sentence a matter.

    Named are: classes of very different size (the largest at least 4 times the smallest), classes
    of fewer than 10 items, from fewer than 5 groups, never predicted, predicted though no item
    has them, and scored though never trained on.

    Parameters
    ----------
    truth
        Class of each scored item, (n_items,).
    prediction
        What was predicted, (n_items,); None to leave it out.
    groups
        Group of each item, (n_items,); None to leave it out.
    trained_on
        The classes of the training items; None to leave it out.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is no class.

    Examples
    --------
    >>> for sentence in class_cautions(["F"] * 30 + ["M"] * 3, ["F"] * 33):
    ...     print(sentence)
    classes differ in size: 'F' has 30 of 33 items (91 %), 'M' has 3
    classes of fewer than 10 items: 'M' (3)
    classes never predicted: 'M'
    """
    a, b = classes(truth, truth if prediction is None else prediction)
    names, which = np.unique(a, return_inverse=True)
    sizes = np.bincount(which)
    found = [*_sizes(names, sizes)]
    if groups is not None:
        found += _spread(names, which, group_codes(groups, len(a)))
    if prediction is not None:
        found += _listed("classes never predicted", np.setdiff1d(names, b))
        found += _listed("classes predicted though no item has them", np.setdiff1d(b, names))
    if trained_on is not None:
        unseen = np.setdiff1d(names, np.asarray(list(trained_on)))
        found += _listed("classes never trained on, so always wrong", unseen)
    return tuple(found)


def group_cautions(groups: ArrayLike) -> tuple[str, ...]:
    """Return what limits an interval or a test by group, one sentence a matter.

    Named are: fewer than 10 groups, one group with more than half of the items, and groups of a
    single item where others have more.

    Parameters
    ----------
    groups
        Group of each item, (n_items,).

    Raises
    ------
    ValueError
        If an item has no group.

    Examples
    --------
    >>> group_cautions(["a", "a", "a", "b"])  # doctest: +NORMALIZE_WHITESPACE
    ('2 groups are few; an interval from fewer than 10 is too narrow',
     'one group has 3 of 4 items', '1 of 2 groups have a single item')
    """
    values = np.asarray(groups)
    sizes = np.bincount(group_codes(values, values.size))
    n_groups, largest, single = len(sizes), sizes.max(), int((sizes == 1).sum())
    found = []
    if n_groups < FEW_GROUPS:
        found.append(
            f"{n_groups} groups are few; an interval from fewer than {FEW_GROUPS} is too narrow"
        )
    if 2 * largest > sizes.sum():
        found.append(f"one group has {largest} of {sizes.sum()} items")
    if 0 < single < n_groups:
        found.append(f"{single} of {n_groups} groups have a single item")
    return tuple(found)


def _sizes(names: NDArray[Any], sizes: NDArray[np.intp]) -> list[str]:
    found, largest, smallest = [], int(sizes.argmax()), int(sizes.argmin())
    labels = names.tolist()
    if sizes[largest] >= IMBALANCE * sizes[smallest]:
        found.append(
            f"classes differ in size: {labels[largest]!r} has {sizes[largest]} of {sizes.sum()} "
            f"items ({sizes[largest] / sizes.sum():.0%}), ".replace("%)", " %)")
            + f"{labels[smallest]!r} has {sizes[smallest]}"
        )
    few = sizes < FEW_ITEMS
    return found + _listed(f"classes of fewer than {FEW_ITEMS} items", names[few], sizes[few])


def _spread(names: NDArray[Any], which: NDArray[np.intp], codes: NDArray[np.intp]) -> list[str]:
    n_groups = np.array([len(np.unique(codes[which == row])) for row in range(len(names))])
    few = n_groups < FEW_GROUPS_OF_A_CLASS
    what = f"classes from fewer than {FEW_GROUPS_OF_A_CLASS} groups, which resamples may lack"
    return _listed(what, names[few], n_groups[few])


def _listed(what: str, names: NDArray[Any], counts: NDArray[Any] | None = None) -> list[str]:
    """Return one sentence that names the first few, or none."""
    if not len(names):
        return []
    shown = [repr(name) for name in names[:_NAMED].tolist()]
    if counts is not None:
        shown = [f"{name} ({count})" for name, count in zip(shown, counts, strict=False)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{what}: {', '.join(shown)}{more}"]
