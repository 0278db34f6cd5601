"""Error rates over all pairs of files, in the memory of one tile.

A list of trials compares some pairs; of n files there are n (n - 1) / 2, of a million 5e11. They
are scored tile by tile (1,024 files by 1,024) and only counted: one histogram of the cosines
between files of one speaker, one of those between two. The curve of error rates at the edges of
the bins is part of the curve of all scores, so the equal error rate is off by less than the share
of either kind of pairs in the bin where it lies: with 65,536 bins between -1 and 1 some 0.0001.

Cosines are products of float32 and good to some 1e-6, a thirtieth of such a bin. For the exact
rates of a list of trials, take `cosine_scores` and `equal_error_rate`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.metrics._check import group_codes
from speechprobe.metrics.trial_scores import lengths_of, table_of
from speechprobe.metrics.verification import DetCurve, cost_weights, least_cost, rate_between

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_TILE = 1024  # files a side: large enough for BLAS, and its cosines stay in a core's cache
N_BINS = 2**16


@dataclass(frozen=True, eq=False)
class PairHistogram:
    """How often each score occurs among pairs of one speaker and among pairs of two.

    Rates are those of the scores rounded down to the edges of the bins: equal to
    `metrics.equal_error_rate`, `min_dcf` and `det_curve` of the rounded scores.

    Parameters
    ----------
    edges
        Ascending, (n_bins + 1,); a bin holds the scores from its lower edge up to the next.
    target, other
        Number of pairs in each bin, of one speaker and of two, (n_bins,).

    Examples
    --------
    >>> found = PairHistogram(np.array([-1.0, 0.0, 1.0]), np.array([0, 2]), np.array([3, 1]))
    >>> found.equal_error_rate()
    0.2
    """

    edges: NDArray[np.float64]
    target: NDArray[np.int64]
    other: NDArray[np.int64]

    @property
    def n_target(self) -> int:
        """Number of pairs of one speaker."""
        return int(self.target.sum())

    @property
    def n_other(self) -> int:
        """Number of pairs of two speakers."""
        return int(self.other.sum())

    def equal_error_rate(self) -> float:
        """Return the rate at which misses and false accepts are equal; see `equal_error_rate`."""
        missed, accepted = self._counts()

        def lead(edge: int) -> int:  # whole numbers of any size: the product passes 2^63
            return int(missed[edge]) * self.n_other - int(accepted[edge]) * self.n_target

        after = bisect_right(range(len(missed)), 0, key=lead)
        points = [(int(missed[edge]), int(accepted[edge])) for edge in (after - 1, after)]
        return rate_between(points[0], points[1], self.n_target, self.n_other)

    def min_dcf(self, *, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Return the smallest detection cost over all edges, normalised; see `metrics.min_dcf`.

        Parameters
        ----------
        p_target
            Share of target trials that is assumed in use, between 0 and 1.
        c_miss, c_fa
            Cost of a miss and of a false accept, above 0.
        """
        weights = cost_weights(p_target, c_miss, c_fa)
        curve = self.det_curve()
        return least_cost(curve.miss_rate, curve.false_accept_rate, weights)

    def det_curve(self) -> DetCurve:
        """Return the rates of each edge as threshold, and of infinity in place of the last."""
        missed, accepted = self._counts()
        threshold = np.append(self.edges[:-1], np.inf)
        return DetCurve(accepted / self.n_other, missed / self.n_target, threshold)

    def _counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the targets missed and the others accepted at each edge, (n_bins + 1,)."""
        missed, refused = (np.append(0, np.cumsum(counts)) for counts in (self.target, self.other))
        return missed, self.n_other - refused

    def __repr__(self) -> str:
        return f"PairHistogram({self.n_target:,} target and {self.n_other:,} other pairs)"


def all_pairs_histogram(
    embeddings: ArrayLike,
    speakers: ArrayLike,
    *,
    test: ArrayLike | None = None,
    test_speakers: ArrayLike | None = None,
    n_bins: int = N_BINS,
    progress: bool = True,
) -> PairHistogram:
    """Return the histogram of the cosines of all pairs of files, in flat memory.

    Parameters
    ----------
    embeddings
        One a file, (n_files, n_dims); may be memory-mapped, and is not written into.
    speakers
        Speaker of each file, (n_files,).
    test
        Embeddings (n_test, n_dims) that each of the files is compared with; None compares each
        two different files with each other, once.
    test_speakers
        Speaker of each, (n_test,).
    n_bins
        Number of bins between -1 and 1.
    progress
        Show a progress bar where the output is a terminal.

    Returns
    -------
    histogram
        With the rates as methods.

    Raises
    ------
    ValueError
        If shapes do not fit, an embedding has no direction, or all pairs are of one kind.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> speakers = np.arange(300) % 20
    >>> embeddings = generator.normal(size=(20, 64))[speakers] + generator.normal(size=(300, 64))
    >>> found = all_pairs_histogram(embeddings, speakers)
    >>> found
    PairHistogram(2,100 target and 42,750 other pairs)
    >>> found.equal_error_rate() < 0.05
    True
    """
    if n_bins < 2:
        raise ValueError(f"n_bins must be 2 or more, got {n_bins}")
    enrol, tested = _sides(embeddings, speakers, test, test_speakers)
    found = np.zeros((2, n_bins), np.int64)  # all pairs, and those of one speaker
    hidden = hide_progress(progress)
    with tqdm(total=len(enrol.rows), desc="pairs", unit="file", disable=hidden) as bar:
        for part in _tiles(len(enrol.rows)):
            _count(enrol, part, tested, found, once=test is None)
            bar.update(part.stop - part.start)
    target, other = found[1], found[0] - found[1]
    if not target.any() or not other.any():
        kind = "of two speakers" if other.any() else "of one speaker"
        raise ValueError(f"all {found[0].sum()} pairs are {kind}; error rates need both kinds")
    return PairHistogram(np.linspace(-1, 1, n_bins + 1), target, other)


class _Side(NamedTuple):
    """Files sorted by speaker, so that few tiles hold pairs of one speaker."""

    table: NDArray[Any]
    lengths: NDArray[np.float64]
    rows: NDArray[np.intp]
    codes: NDArray[np.intp]

    def tile(self, part: slice) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return embeddings of length 1, (n_rows, n_dims), and their speakers."""
        rows = self.rows[part]
        unit = self.table[rows].astype(np.float64) / self.lengths[rows, None]
        return unit.astype(np.float32), self.codes[part]


def _sides(
    embeddings: ArrayLike, speakers: ArrayLike, test: ArrayLike | None, others: ArrayLike | None
) -> tuple[_Side, _Side]:
    table = table_of(embeddings, "embeddings (n_files, n_dims)", 2)
    if (test is None) != (others is None):
        raise ValueError("test and test_speakers go together; only one of them was given")
    if test is None or others is None:
        side = _side(table, group_codes(speakers, len(table)), "file")
        return side, side
    tested = table_of(test, "test (n_test, n_dims)", 2)
    if tested.shape[1] != table.shape[1]:
        raise ValueError(f"test has {tested.shape[1]} dimensions, the embeddings {table.shape[1]}")
    both = np.concatenate([np.asarray(speakers), np.asarray(others)])
    codes = group_codes(both, len(table) + len(tested))
    return (
        _side(table, codes[: len(table)], "file"),
        _side(tested, codes[len(table) :], "test file"),
    )


def _side(table: NDArray[Any], codes: NDArray[np.intp], what: str) -> _Side:
    order = np.argsort(codes, kind="stable")
    return _Side(table, lengths_of(table, np.arange(len(table)), what), order, codes[order])


def _tiles(n_rows: int, start: int = 0) -> Iterator[slice]:
    for first in range(start, n_rows, _TILE):
        yield slice(first, min(n_rows, first + _TILE))


def _count(
    enrol: _Side, part: slice, tested: _Side, found: NDArray[np.int64], *, once: bool
) -> None:
    """Add the pairs of some files with all, or with those not before them, to the histograms."""
    n_bins = found.shape[1]
    unit, codes = enrol.tile(part)
    unit = unit * np.float32(n_bins / 2)
    for others in _tiles(len(tested.rows), part.start if once else 0):
        their_unit, their_codes = tested.tile(others)
        scores = unit @ their_unit.T
        scores += n_bins / 2
        bins = np.clip(scores, 0, n_bins - 1, out=scores).astype(np.intp)
        upper = ~np.tri(len(codes), dtype=bool) if once and others == part else None
        counted = bins.ravel() if upper is None else bins[upper]
        found[0] += np.bincount(counted, minlength=n_bins)
        if codes[0] <= their_codes[-1] and their_codes[0] <= codes[-1]:
            same = codes[:, None] == their_codes
            same = same if upper is None else same & upper
            found[1] += np.bincount(bins[same], minlength=n_bins)
