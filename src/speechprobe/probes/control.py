"""Control tasks: labels that say nothing, and can only be learnt by heart.

A probe that scores well may have read the layer or may have memorised it. So every type (every
word, sentence, speaker) is given a label at random, the same for all its items; there is nothing
to know about such a label but which type has it. Selectivity is the score of the task minus the
score of the control task: high where the layer knows, near zero where the probe memorises.

Which type makes sense: one that train and test items share, since the label of a type that was
never seen cannot be guessed. Words or sentences that many speakers say do, with folds by speaker;
speakers do with folds by sentence. With folds by speaker a control task on speakers is at chance
whatever the probe, and selectivity says no more than the distance from chance.

References
----------
Hewitt, Liang: "Designing and interpreting probes with control tasks", EMNLP 2019, section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray


def control_labels(items: pd.DataFrame, *, target: str, types: str, seed: int = 0) -> NDArray[Any]:
    """Return a label for each item that is random between types and constant within each.

    The label of a type is drawn from the labels of all items, with replacement, so that classes
    have the shares that they have in the task. Targets of a regression are drawn likewise. A draw
    that gives all types one label is drawn again.

    Parameters
    ----------
    items
        The labels, one row an item.
    target
        The label whose distribution is drawn from.
    types
        The label that tells the types: a word, a sentence, a speaker.
    seed
        Seed of the draw.

    Returns
    -------
    labels
        Shape (n_items,), of the kind of the target.

    Raises
    ------
    KeyError
        If there is no such label.
    ValueError
        If an item has no target or no type, or there is one type or one label only.

    Examples
    --------
    >>> items = pd.DataFrame({"word": list("aabbcc"), "tag": list("NVNVNV")})
    >>> control_labels(items, target="tag", types="word", seed=1).tolist()
    ['N', 'N', 'V', 'V', 'N', 'N']
    """
    for name in (target, types):
        if name not in items:
            raise KeyError(f"no label {name!r} among {list(items.columns)}")
        lost = items.index[items[name].isna()]
        if len(lost):
            raise ValueError(
                f"{len(lost)} of {len(items)} items have no {name!r}, first {lost[0]!r}"
            )
    codes, found = pd.factorize(items[types])
    if len(found) < 2:
        raise ValueError(
            f"{types!r} is the same for all {len(items)} items; a control task needs several types"
        )
    labels = items[target].to_numpy()
    if len(pd.unique(items[target])) < 2:
        raise ValueError(f"{target!r} is the same for all {len(items)} items; there is no task")
    generator = np.random.default_rng(seed)
    while True:  # a draw with one label only is no task
        drawn: NDArray[Any] = labels[generator.integers(len(labels), size=len(found))]
        if (drawn[codes] != drawn[0]).any():
            return drawn[codes]
