from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from speechprobe.metrics import trial_scores
from speechprobe.metrics.trial_scores import (
    as_norm,
    cosine_scores,
    crop_distance_scores,
    speaker_means,
)

SCORERS = {"cosine": (cosine_scores, (8, 5)), "crops": (crop_distance_scores, (8, 3, 5))}
KINDS = pytest.mark.parametrize(("score", "shape"), SCORERS.values(), ids=SCORERS)


def drawn(shape, seed: int = 0):
    """Draw embeddings, and all trials of their files."""
    values = np.random.default_rng(seed).normal(size=shape)
    pairs = [(a, b) for a in range(shape[0]) for b in range(shape[0])]
    return values, np.array(pairs)


def cosine(a, b) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.hypot(*a) / math.hypot(*b)


def norm_by_loop(scores, trials, embeddings, cohort, top_n) -> list[float]:
    normalised = []
    for score, sides in zip(scores, trials, strict=True):
        parts = []
        for side in sides:
            best = sorted((cosine(embeddings[side], other) for other in cohort), reverse=True)
            best = best[:top_n]
            mean = sum(best) / top_n
            spread = math.sqrt(sum((value - mean) ** 2 for value in best) / top_n)
            parts.append((score - mean) / spread)
        normalised.append(sum(parts) / 2)
    return normalised


def test_cosines_are_those_of_scipy():
    embeddings, trials = drawn((8, 5))
    expected = 1 - cdist(embeddings, embeddings, "cosine")
    np.testing.assert_allclose(cosine_scores(embeddings, trials), expected.ravel(), atol=1e-12)


def test_crop_distances_are_those_of_scipy_averaged():
    crops, trials = drawn((8, 3, 5))
    unit = crops / np.linalg.norm(crops, axis=2, keepdims=True)
    expected = [-cdist(unit[a], unit[b]).mean() for a, b in trials]
    np.testing.assert_allclose(crop_distance_scores(crops, trials), expected, atol=1e-7)


def test_one_crop_a_file_is_minus_the_chord_of_the_cosine():
    embeddings, trials = drawn((8, 5))
    expected = -np.sqrt(2 - 2 * cosine_scores(embeddings, trials))
    scores = crop_distance_scores(embeddings[:, None], trials)
    np.testing.assert_allclose(scores, expected, atol=1e-7)


@KINDS
def test_scores_lie_in_their_range_and_end_at_the_same_and_the_opposite_direction(score, shape):
    low, high = (-1, 1) if score is cosine_scores else (-2, 0)
    values = np.ones(shape)
    values[1] = -1
    np.testing.assert_allclose(score(values, [[0, 0], [0, 1]]), [high, low], atol=1e-7)
    values, trials = drawn(shape)
    assert ((low <= score(values, trials)) & (score(values, trials) <= high)).all()


@KINDS
@given(seed=st.integers(0, 100), size=st.sampled_from([1e-6, 3.0, 1e6]))
def test_neither_order_nor_sides_nor_lengths_matter(score, shape, seed, size):
    values, trials = drawn(shape, seed)
    scores = score(values, trials)
    order = np.random.default_rng(seed).permutation(len(trials))
    np.testing.assert_allclose(score(values, trials[order]), scores[order], atol=1e-7)
    np.testing.assert_allclose(score(values, trials[:, ::-1]), scores, atol=1e-7)
    np.testing.assert_allclose(score(values * size, trials), scores, atol=1e-7)


@KINDS
def test_blocks_and_kinds_of_arrays_change_nothing(score, shape, monkeypatch, tmp_path):
    values, trials = drawn(shape)
    values = values.astype(np.float32)
    whole = score(values, trials)
    stored = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, values.shape)
    stored[:] = values
    monkeypatch.setattr(trial_scores._blocks, "__defaults__", (1,))  # one trial a block
    np.testing.assert_array_equal(score(stored, trials.tolist()), whole)
    np.testing.assert_array_equal(stored, values)


def test_half_a_million_trials_take_little_memory_beside_their_input():
    crops = np.random.default_rng(0).normal(size=(50, 2, 8)).astype(np.float32)
    trials = np.random.default_rng(0).integers(50, size=(500_000, 2))
    tracemalloc.start()
    try:
        scores = crop_distance_scores(crops, trials)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scores.shape == (500_000,)
    assert peak - scores.nbytes < 60e6  # all distances and both sides would be 208 MB


@pytest.mark.parametrize("top_n", [2, 5, 12])
def test_as_norm_is_its_formula(top_n):
    embeddings, trials = drawn((8, 5))
    cohort = np.random.default_rng(1).normal(size=(12, 5))
    scores = cosine_scores(embeddings, trials)
    found = as_norm(scores, trials, embeddings=embeddings, cohort=cohort, top_n=top_n)
    expected = norm_by_loop(scores, trials, embeddings, cohort, top_n)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_as_norm_does_not_change_with_sides_lengths_order_of_the_cohort_or_blocks(monkeypatch):
    embeddings, trials = drawn((8, 5))
    cohort = np.random.default_rng(1).normal(size=(12, 5))
    scores = cosine_scores(embeddings, trials)
    settings = {"embeddings": embeddings, "cohort": cohort, "top_n": 4}
    expected = as_norm(scores, trials, **settings)
    for changes in ({"embeddings": embeddings * 7}, {"cohort": cohort[::-1] * 0.1}):
        found = as_norm(scores, trials, **{**settings, **changes})
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(as_norm(scores, trials[:, ::-1], **settings), expected)
    monkeypatch.setattr(trial_scores, "_COHORT_BYTES", 1)
    np.testing.assert_allclose(as_norm(scores, trials, **settings), expected)


def test_as_norm_takes_away_what_a_file_has_in_common_with_everybody():
    # Files 0 and 1 are near the middle of all speakers; their raw score is high for that alone.
    generator = np.random.default_rng(0)
    middle = np.zeros(20)
    middle[0] = 3
    people = generator.normal(size=(60, 20)) + middle
    near, far = generator.normal(size=(2, 20)) * 0.3 + middle, people[:1] * 1.0
    embeddings = np.concatenate([near, far, far + generator.normal(size=(1, 20)) * 0.8])
    trials = np.array([[0, 1], [2, 3]])
    raw = cosine_scores(embeddings, trials)
    other, same = as_norm(raw, trials, embeddings=embeddings, cohort=people[1:], top_n=20)
    assert raw[0] > raw[1]
    assert same > other


def test_the_mean_of_each_speaker_is_that_of_pandas_order():
    embeddings, _ = drawn((9, 4))
    speakers = np.array(list("cabacabbc"))
    expected = [embeddings[speakers == name].mean(axis=0) for name in "abc"]
    np.testing.assert_allclose(speaker_means(embeddings, speakers), expected)


@KINDS
@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_named_if_a_trial_wants_it(score, shape, wrong):
    values, _ = drawn(shape)
    values[6] = wrong
    score(values, [[0, 1]])
    with pytest.raises(ValueError, match="file 6 has an embedding that is all zeros or not finite"):
        score(values, [[0, 1], [2, 6]])


@KINDS
@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([[0, 1, 1]], r"\(n_trials, 2\).*got \(1, 3\)"),
        ([0, 1], r"\(n_trials, 2\).*got \(2,\)"),
        (np.empty((0, 2), dtype=int), r"got \(0, 2\)"),
        ([["id1", "id2"]], "row numbers of files, got <U3 such as .*id1.*get_indexer"),
        ([[0.0, 1.0]], "row numbers of files, got float64"),
        ([[0, 1], [1, 8]], r"trial 1 is \[1, 8\], but there are 8 files"),
        ([[0, -1]], r"trial 0 is \[0, -1\]"),
    ],
)
def test_trials_that_do_not_fit_are_refused(score, shape, trials, message):
    with pytest.raises(ValueError, match=message):
        score(drawn(shape)[0], trials)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cosine_scores(np.ones((2, 3, 4)), [[0, 1]]), r"\(n_files, n_dims\), got \(2, 3"),
        (lambda: crop_distance_scores(np.ones((2, 3)), [[0, 1]]), r"n_crops.*got \(2, 3\)"),
        (lambda: speaker_means(np.ones((3, 2)), ["a", "b"]), r"groups must be \(3,\)"),
        (lambda: normalised(top_n=5), "from 2 to the 4 of the cohort, got 5"),
        (lambda: normalised(top_n=1), "from 2 to the 4 of the cohort, got 1"),
        (lambda: normalised(cohort=np.ones((4, 2))), "cohort has 2 dimensions, the embeddings 3"),
        (lambda: normalised(cohort=np.zeros((4, 3))), "cohort row 0 has an embedding that is all"),
        (lambda: normalised(cohort=np.ones((4, 3))), "2 highest cosines of file 0 .*all equal"),
        (lambda: normalised(scores=[1, 2]), r"scores must be \(1,\), one a trial, got \(2,\)"),
    ],
)
def test_other_input_that_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def normalised(**changes):
    settings = {"scores": [0.5], "trials": [[0, 1]], "embeddings": np.eye(3), "top_n": 2}
    settings |= {"cohort": np.arange(12.0).reshape(4, 3) + 1} | changes
    return as_norm(settings.pop("scores"), settings.pop("trials"), **settings)
