"""Minimum description length of a label given features: the online code.

The items are put in a random order and cut into blocks that end at 0.1, 0.2, 0.4, 0.8, 1.6, 3.2,
6.25, 12.5, 25, 50 and 100 % of them. The labels of the first block are told by the uniform code; a
probe fitted on all blocks so far codes those of the next. The sum is what it takes to tell all
labels to somebody who has the features: it is short where a probe is good, and also where it
becomes good after few items.

Departures from the paper: probabilities are mixed with the uniform code with the weight
1 / (n_fit + 1), so that no label costs infinitely many bits; it adds at most log2(1 + 1 / n_fit)
bits to a label. Blocks may be cut at the bounds of groups. The code also serves numbers. While the
items so far hold one class only, the uniform code goes on.

Numbers: the target is told to a precision, one of n_symbols steps. The code is that of a normal
distribution around the prediction; its standard deviation is the root of the mean squared error of
the block before (of the target, for the first), which the receiver knows too.

References
----------
Voita, Titov: "Information-theoretic probing with minimum description length", EMNLP 2020, section
2.2.2 (online code) and its schedule of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from speechprobe.probes._codes import ClassCode, NumberCode, prepared
from speechprobe.probes._folds import group_codes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.intp]

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


class Block(NamedTuple):
    """A block of items, and what telling their labels took.

    Parameters
    ----------
    n_fit
        Items that the probe was fitted on; 0 where the uniform code was used.
    n_coded
        Items of the block.
    bits
        Of their labels.
    """

    n_fit: int
    n_coded: int
    bits: float


@dataclass(frozen=True)
class DescriptionLength:
    """Length of the online code of a target.

    Parameters
    ----------
    bits
        Of all labels.
    uniform_bits
        Of all labels by the uniform code, n_items log2(n_symbols).
    n_items
        Number of items.
    n_symbols
        Number of classes; of numbers, of steps between the smallest and the largest.
    blocks
        What the code is made of.

    Examples
    --------
    >>> blocks = (Block(0, 10, 10.0), Block(10, 90, 40.0))
    >>> DescriptionLength(50.0, 100.0, 100, 2, blocks).compression
    2.0
    """

    bits: float
    uniform_bits: float
    n_items: int
    n_symbols: int
    blocks: tuple[Block, ...] = field(repr=False)

    @property
    def compression(self) -> float:
        """How many times the uniform code is longer; 1 or below where nothing is learnt."""
        return self.uniform_bits / self.bits

    @property
    def bits_per_item(self) -> float:
        """Mean over items."""
        return self.bits / self.n_items

    def table(self) -> pd.DataFrame:
        """Return the blocks: items fitted on, items coded, bits, and bits an item."""
        frame = pd.DataFrame(self.blocks, columns=list(Block._fields))
        return frame.assign(bits_per_item=frame["bits"] / frame["n_coded"]).round(3)


def mdl(
    X: ArrayLike,
    y: ArrayLike,
    *,
    probe: Any,
    groups: ArrayLike | None = None,
    fractions: Sequence[float] = FRACTIONS,
    precision: float | None = None,
    seed: int = 0,
) -> DescriptionLength:
    """Return the length of the online code of a target, given features.

    Parameters
    ----------
    X, y
        Features (n_items, n_dims) and target (n_items,): classes for a classifier, numbers for a
        regressor.
    probe
        A classifier with `predict_proba`, or a regressor. It is cloned, never fitted itself.
    groups
        Group of each item, (n_items,). The groups are put in a random order, and a block ends with
        a group, so that no group is coded by a probe that knows it. None says that items are
        independent.
    fractions
        Where the blocks end, as shares of the items; the last is 1. Blocks without an item are left
        out.
    precision
        Step to which numbers are told, in their unit; a hundredth of their standard deviation by
        default. It shifts all codes by about the same number of bits, so compare bits, not
        compressions, of numbers.
    seed
        Of the order and of the probe.

    Raises
    ------
    TypeError
        If the probe is neither a regressor nor a classifier with probabilities.
    ValueError
        If there are NaN, one class, one group or one value only, shapes do not fit, the fractions
        do not rise to 1, or the probe fails on the items of a block.

    References
    ----------
    Voita, Titov 2020.

    Examples
    --------
    >>> from speechprobe.probes import LogisticProbe
    >>> generator = np.random.default_rng(0)
    >>> x = generator.normal(size=(1000, 4))
    >>> found = mdl(x, x[:, 0] > 0, probe=LogisticProbe(C=1.0))
    >>> found.uniform_bits, found.compression > 4
    (1000.0, True)
    >>> shuffled = mdl(x, generator.permutation(x[:, 0] > 0), probe=LogisticProbe(C=1.0))
    >>> shuffled.compression < 1
    True
    """
    features, code, probe = prepared(X, y, probe, groups=groups, seed=seed, precision=precision)
    order, ends = _order(groups, len(features), _shares(fractions), seed)
    parts = [(order[:a], order[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    blocks = _blocks(features, code, probe, parts)
    return DescriptionLength(
        bits=sum(block.bits for block in blocks),
        uniform_bits=float(len(features) * np.log2(code.n_symbols)),
        n_items=len(features),
        n_symbols=code.n_symbols,
        blocks=tuple(blocks),
    )


def _blocks(
    features: NDArray[Any], code: ClassCode | NumberCode, probe: Any, parts: list[tuple[Rows, Rows]]
) -> list[Block]:
    blocks = []
    scale = code.spread if isinstance(code, NumberCode) else 0.0
    for fit, ask in parts:
        if not code.can_fit(fit):
            blocks.append(Block(0, len(ask), float(len(ask) * np.log2(code.n_symbols))))
            continue
        try:
            if isinstance(code, ClassCode):
                lengths = code.bits(probe, features, fit, ask)
            else:
                centre = code.predict(probe, features, fit, ask)
                lengths = code.bits(centre, scale, len(fit), ask)
                scale = float(np.sqrt(np.mean((code.target[ask] - centre) ** 2)))
        except ValueError as error:
            raise ValueError(
                f"the probe fails on the first {len(fit)} items: {error}; begin with a larger "
                "share of the items, such as fractions=(0.1, 0.2, 0.5, 1.0)"
            ) from error
        blocks.append(Block(len(fit), len(ask), float(lengths.sum())))
    return blocks


def _shares(fractions: Sequence[float]) -> NDArray[np.float64]:
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or not len(shares) or shares[0] <= 0 or (np.diff(shares) <= 0).any():
        raise ValueError(f"fractions must be positive and rise, got {fractions!r}")
    if shares[-1] != 1:
        raise ValueError(f"the last fraction must be 1, all items, got {fractions[-1]!r}")
    return shares


def _order(
    groups: ArrayLike | None, n_items: int, shares: NDArray[np.float64], seed: int
) -> tuple[Rows, list[int]]:
    """Return the order of the items, and where each block ends."""
    generator = np.random.default_rng(seed)
    codes = np.arange(n_items) if groups is None else group_codes(groups, n_items)
    if n_items > 1 and codes.max() == 0:
        raise ValueError(
            "all items are of one group, so none can be coded by a probe that does not know it; "
            "give at least two groups, or none"
        )
    place = generator.permutation(int(codes.max()) + 1)[codes]
    order = np.lexsort((generator.permutation(n_items), place))
    bounds = np.flatnonzero(np.diff(place[order], append=-1)) + 1
    wanted = np.ceil(shares * n_items - 1e-9)
    ends = np.unique(bounds[np.searchsorted(bounds, wanted)])
    return order, [int(end) for end in ends]
