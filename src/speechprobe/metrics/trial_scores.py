"""Scores of speaker-verification trials from embeddings, and their normalisation.

Conventions: a file is a row of `embeddings` or `crops`; `trials` (n_trials, 2) holds the row
numbers of the two sides, enrol and test. Higher scores mean same speaker. All work on blocks of
rows in float64, with some 50 MiB of their own beside input, cohort and result. The input may be
memory-mapped and is not written into; the score of one trial does not depend on the others.

An embedding that is all zeros or not finite has no direction; it raises ValueError naming its row.

To subtract a mean, as many recipes do, subtract it beforehand, from the cohort as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.metrics._check import group_codes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# In float64, for one side of the trials: what stays in a core's cache was twice as fast as 32 MiB.
_BLOCK_BYTES = 2**20
_COHORT_BYTES = 2**23  # products with a whole cohort want more rows at once


def cosine_scores(embeddings: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine between the two embeddings of each trial, in [-1, 1].

    Parameters
    ----------
    embeddings
        One a file, (n_files, n_dims).
    trials
        Row numbers of both sides, (n_trials, 2).

    Returns
    -------
    scores
        Shape (n_trials,).

    Raises
    ------
    ValueError
        If shapes do not fit, a row does not exist, or an embedding has no direction.

    Examples
    --------
    >>> cosine_scores([[1, 0], [0, 2], [3, 3]], [[0, 1], [0, 2]]).round(4)
    array([0.    , 0.7071])
    """
    table = table_of(embeddings, "embeddings (n_files, n_dims)", 2)
    pairs = _trials(trials, len(table))
    lengths = lengths_of(table, np.unique(pairs))
    scores = np.empty(len(pairs))
    for part in _blocks(len(pairs), table.shape[1]):
        enrol, test = (table[rows].astype(np.float64) for rows in pairs[part].T)
        scores[part] = np.einsum("td,td->t", enrol, test)
    scores /= lengths[pairs].prod(axis=1)
    return scores.clip(-1, 1)


def crop_distance_scores(crops: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """Return minus the mean Euclidean distance between all crops of both sides, in [-2, 0].

    Embeddings are L2-normalised first. With c crops a file, c * c distances are averaged, so that
    a file against itself gives less than 0 unless its crops are equal. This is how
    voxceleb_trainer scores ten crops a file.

    Parameters
    ----------
    crops
        Embeddings of the crops of each file, (n_files, n_crops, n_dims).
    trials
        Row numbers of both sides, (n_trials, 2).

    Returns
    -------
    scores
        Shape (n_trials,).

    Raises
    ------
    ValueError
        If shapes do not fit, a row does not exist, or a crop has no direction.

    References
    ----------
    Chung, Huh, Mun, Lee, Heo, Choe, Ham, Jung, Lee, Han: "In defence of metric learning for
    speaker recognition", Interspeech 2020.

    Examples
    --------
    >>> crop_distance_scores([[[1, 0], [1, 0]], [[0, 1], [2, 0]]], [[0, 1]]).round(4)
    array([-0.7071])
    """
    table = table_of(crops, "crops (n_files, n_crops, n_dims)", 3)
    pairs = _trials(trials, len(table))
    lengths = lengths_of(table, np.unique(pairs))
    scores = np.empty(len(pairs))
    for part in _blocks(len(pairs), table.shape[1] * table.shape[2]):
        enrol, test = (table[rows].astype(np.float64) for rows in pairs[part].T)
        of_enrol, of_test = (lengths[rows] for rows in pairs[part].T)
        cosines = enrol @ test.swapaxes(1, 2) / (of_enrol[:, :, None] * of_test[:, None, :])
        # Of unit vectors, |a - b|^2 = 2 - 2 a.b; below 0 by rounding only.
        squares = 2 - 2 * cosines
        scores[part] = -np.sqrt(np.maximum(squares, 0)).mean(axis=(1, 2))
    return scores


def as_norm(
    scores: ArrayLike,
    trials: ArrayLike,
    *,
    embeddings: ArrayLike,
    cohort: ArrayLike,
    top_n: int = 300,
) -> NDArray[np.float64]:
    """Return scores normalised by the cohort's scores of both sides (adaptive s-norm).

    ((s - m_enrol) / d_enrol + (s - m_test) / d_test) / 2, where m and d are mean and standard
    deviation (over n, not n - 1) of the `top_n` highest cosines between the file and the cohort.
    The result has no fixed range; higher means same speaker. It does not change if trials change
    sides.

    Parameters
    ----------
    scores
        Cosine scores of the trials, (n_trials,).
    trials
        Row numbers of both sides, (n_trials, 2).
    embeddings
        One a file, (n_files, n_dims); those that `scores` come from.
    cohort
        Embeddings of other speakers, (n_cohort, n_dims): one a speaker, see `speaker_means`.
    top_n
        How many of the cohort count, from 2 to n_cohort.

    Returns
    -------
    normalised
        Shape (n_trials,).

    Raises
    ------
    ValueError
        If shapes do not fit, the cohort is smaller than `top_n`, or its highest cosines with a
        file are all equal, so that they have no spread.

    References
    ----------
    Matejka, Novotny, Plchot, Burget, Diez Sanchez, Cernocky: "Analysis of score normalization in
    multilingual speaker recognition", Interspeech 2017 (adaptive s-norm, first variant).

    Examples
    --------
    >>> embeddings, trials = np.array([[1.0, 0.0], [0.6, 0.8]]), [[0, 1]]
    >>> cohort = [[0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]]
    >>> as_norm(cosine_scores(embeddings, trials), trials, embeddings=embeddings, cohort=cohort,
    ...         top_n=2).round(4)
    array([-1.5])
    """
    table = table_of(embeddings, "embeddings (n_files, n_dims)", 2)
    pairs = _trials(trials, len(table))
    raw = np.asarray(scores, dtype=np.float64)
    if raw.shape != (len(pairs),):
        raise ValueError(f"scores must be ({len(pairs)},), one a trial, got {raw.shape}")
    files, sides = np.unique(pairs, return_inverse=True)
    centre, spread = _against(table, files, _cohort(cohort, table.shape[1], top_n), top_n)
    sides = sides.reshape(pairs.shape)
    both = (raw[:, None] - centre[sides]) / spread[sides]
    return np.asarray(both.mean(axis=1), dtype=np.float64)


def speaker_means(embeddings: ArrayLike, speakers: ArrayLike) -> NDArray[np.float64]:
    """Return the mean embedding of each speaker, speakers sorted, (n_speakers, n_dims).

    Parameters
    ----------
    embeddings
        One a file, (n_files, n_dims).
    speakers
        Speaker of each file, (n_files,).

    Raises
    ------
    ValueError
        If shapes do not fit, or a file has no speaker.

    Examples
    --------
    >>> speaker_means([[0, 0], [4, 2], [1, 1]], ["b", "b", "a"])
    array([[1., 1.],
           [2., 1.]])
    """
    table = table_of(embeddings, "embeddings (n_files, n_dims)", 2)
    codes = group_codes(speakers, len(table))
    sums = np.zeros((codes.max() + 1, table.shape[1]))
    for part in _blocks(len(table), table.shape[1]):
        np.add.at(sums, codes[part], table[part].astype(np.float64))
    return np.asarray(sums / np.bincount(codes)[:, None], dtype=np.float64)


def table_of(values: ArrayLike, wanted: str, n_axes: int) -> NDArray[Any]:
    """Return an array of so many axes, none of them empty, left where it is; or raise."""
    table = np.asanyarray(values)
    if table.ndim != n_axes or 0 in table.shape:
        raise ValueError(f"expected {wanted}, got {table.shape}")
    return table


def _trials(trials: ArrayLike, n_files: int) -> NDArray[np.intp]:
    pairs = np.asarray(trials)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"trials must be (n_trials, 2), enrol and test, got {pairs.shape}")
    if not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(
            f"trials must hold the row numbers of files, got {pairs.dtype} such as "
            f"{pairs[0, 0]!r}; pandas.Index(ids).get_indexer(...) finds rows of ids"
        )
    outside = np.flatnonzero((pairs < 0) | (pairs >= n_files))
    if len(outside):
        row = int(outside[0]) // 2
        raise ValueError(f"trial {row} is {pairs[row].tolist()}, but there are {n_files} files")
    return pairs.astype(np.intp, copy=False)


def _cohort(cohort: ArrayLike, n_dims: int, top_n: int) -> NDArray[np.float64]:
    others = table_of(cohort, "cohort (n_cohort, n_dims)", 2)
    if others.shape[1] != n_dims:
        raise ValueError(f"cohort has {others.shape[1]} dimensions, the embeddings {n_dims}")
    if not 2 <= top_n <= len(others):
        raise ValueError(f"top_n must be from 2 to the {len(others)} of the cohort, got {top_n}")
    lengths = lengths_of(others, np.arange(len(others)), "cohort row")
    return np.asarray(others / lengths[:, None], dtype=np.float64)


def _against(
    table: NDArray[Any], files: NDArray[np.intp], cohort: NDArray[np.float64], top_n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of the highest cosines of files with a cohort, (n_files,) each."""
    lengths = lengths_of(table, files)
    centre, spread = np.empty(len(files)), np.empty(len(files))
    for part in _blocks(len(files), table.shape[1] + len(cohort), _COHORT_BYTES):
        rows = files[part]
        cosines = table[rows].astype(np.float64) @ cohort.T / lengths[rows, None]
        highest = np.partition(cosines, -top_n, axis=1)[:, -top_n:]
        centre[part], spread[part] = highest.mean(axis=1), highest.std(axis=1)
    flat = files[spread <= 1e-12]  # rounding of cosines, which are at most 1
    if len(flat):
        raise ValueError(
            f"the {top_n} highest cosines of file {flat[0]} with the cohort are all equal; take "
            "a cohort of different speakers"
        )
    return centre, spread


def lengths_of(
    table: NDArray[Any], rows: NDArray[np.intp], what: str = "file"
) -> NDArray[np.float64]:
    """Return the length of each vector, (n_files,) or (n_files, n_crops), 1 for rows not asked."""
    lengths = np.ones(table.shape[:-1])
    for part in _blocks(len(rows), int(np.prod(table.shape[1:]))):
        vectors = table[rows[part]].astype(np.float64)
        lengths[rows[part]] = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))
    wrong = np.argwhere(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        raise ValueError(f"{what} {wrong[0, 0]} has an embedding that is all zeros or not finite")
    return lengths


def _blocks(n_rows: int, n_values: int, n_bytes: int = _BLOCK_BYTES) -> Iterator[slice]:
    """Yield slices over rows of so many values that a block stays within its bytes."""
    step = max(1, n_bytes // (8 * n_values))
    for start in range(0, n_rows, step):
        yield slice(start, start + step)
