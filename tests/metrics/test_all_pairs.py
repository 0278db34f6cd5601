from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import sklearn.metrics
from scipy.spatial.distance import cdist

from speechprobe.metrics import all_pairs
from speechprobe.metrics.all_pairs import PairHistogram, all_pairs_histogram
from speechprobe.metrics.verification import det_curve, equal_error_rate, min_dcf


def voices(n_files: int, n_speakers: int, n_dims: int = 16, seed: int = 0):
    """Draw embeddings around one point a speaker, speakers in no order."""
    generator = np.random.default_rng(seed)
    codes = generator.permutation(np.arange(n_files) % n_speakers)
    own = generator.normal(size=(n_speakers, n_dims))
    embeddings = own[codes] + 1.5 * generator.normal(size=(n_files, n_dims))
    return embeddings, np.array([f"id{code:05d}" for code in codes])


def listed(embeddings, speakers):
    """Return truth and cosine of every pair, by scipy and one by one."""
    cosines = 1 - cdist(embeddings, embeddings, "cosine")
    rows = list(itertools.combinations(range(len(speakers)), 2))
    truth = np.array([speakers[a] == speakers[b] for a, b in rows])
    return truth, np.array([cosines[a, b] for a, b in rows])


def as_trials(found: PairHistogram):
    """Return the pairs of a histogram as trials with the lower edge as score."""
    lower = found.edges[:-1]
    score = np.concatenate([np.repeat(lower, found.target), np.repeat(lower, found.other)])
    return np.repeat([1, 0], [found.n_target, found.n_other]), score


@pytest.mark.parametrize("tile", [7, 50, 1024])
def test_every_pair_is_counted_once_in_the_bin_of_its_cosine(tile, monkeypatch):
    monkeypatch.setattr(all_pairs, "_TILE", tile)
    embeddings, speakers = voices(90, 6)
    found = all_pairs_histogram(embeddings, speakers, n_bins=64, progress=False)
    truth, score = listed(embeddings, speakers)
    for counts, kind in ((found.target, truth), (found.other, ~truth)):
        np.testing.assert_array_equal(counts, np.histogram(score[kind], found.edges)[0])


def test_rates_are_those_of_the_scores_rounded_down():
    found = all_pairs_histogram(*voices(90, 6), n_bins=32, progress=False)
    truth, score = as_trials(found)
    assert found.equal_error_rate() == equal_error_rate(truth, score)
    for p in (0.01, 0.5, 0.9):
        expected = min_dcf(truth, score, p_target=p, c_miss=10)
        assert found.min_dcf(p_target=p, c_miss=10) == expected
    points = {(fa, miss) for fa, miss, _ in zip(*det_curve(truth, score), strict=True)}
    ours = {(fa, miss) for fa, miss, _ in zip(*found.det_curve(), strict=True)}
    assert ours == points


def test_the_eer_is_that_of_a_list_of_all_pairs_but_for_the_share_in_a_bin():
    embeddings, speakers = voices(400, 20)
    found = all_pairs_histogram(embeddings, speakers, progress=False)
    truth, score = listed(embeddings, speakers)
    false_accept, hit, _ = sklearn.metrics.roc_curve(truth, score)
    nearest = np.argmin(np.abs(1 - hit - false_accept))
    step = 1 / truth.sum()
    share = max(found.target.max() / found.n_target, found.other.max() / found.n_other)
    assert 0.05 < found.equal_error_rate() < 0.4
    assert abs(found.equal_error_rate() - (1 - hit[nearest])) < share + step


def test_another_set_of_files_is_compared_with_each_of_the_first(monkeypatch):
    monkeypatch.setattr(all_pairs, "_TILE", 16)
    embeddings, speakers = voices(60, 5)
    found = all_pairs_histogram(
        embeddings[:40], speakers[:40], test=embeddings[40:], test_speakers=speakers[40:],
        n_bins=50, progress=False,
    )  # fmt: skip
    cosines = 1 - cdist(embeddings[:40], embeddings[40:], "cosine")
    same = speakers[:40, None] == speakers[None, 40:]
    np.testing.assert_array_equal(found.target, np.histogram(cosines[same], found.edges)[0])
    np.testing.assert_array_equal(found.other, np.histogram(cosines[~same], found.edges)[0])


def test_equal_and_opposite_embeddings_fall_into_the_bins_at_the_ends():
    embeddings = np.array([[1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    found = all_pairs_histogram(embeddings, ["a", "a", "b"], progress=False)
    assert (found.target[-1], found.other[0]) == (1, 2)
    assert found.equal_error_rate() == 0
    assert found.min_dcf(p_target=0.01) == 0


def test_more_pairs_than_whole_numbers_of_64_bits_can_multiply():
    counts = np.array([10**12, 3 * 10**12], np.int64)
    found = PairHistogram(np.linspace(-1, 1, 3), counts, counts[::-1].copy())
    assert found.equal_error_rate() == 0.25


def test_embeddings_on_the_disk_are_taken_as_they_are(tmp_path):
    embeddings, speakers = voices(60, 5)
    stored = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, embeddings.shape)
    stored[:] = embeddings
    whole = all_pairs_histogram(embeddings.astype(np.float32), speakers, progress=False)
    found = all_pairs_histogram(stored, speakers, progress=False)
    np.testing.assert_array_equal(found.target, whole.target)
    np.testing.assert_array_equal(stored, embeddings.astype(np.float32))


def test_memory_does_not_grow_with_the_pairs():
    def peak(n_files: int) -> float:
        embeddings, speakers = voices(n_files, 50, 8)
        tracemalloc.start()
        try:
            all_pairs_histogram(embeddings, speakers, progress=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # All 18 million cosines would be 144 MB more, and tiles of them are 20.
    assert peak(6_000) - peak(3_000) < 2e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speakers": ["a"] * 4}, "all 6 pairs are of one speaker"),
        ({"speakers": list("abcd")}, "all 6 pairs are of two speakers"),
        ({"speakers": ["a"]}, r"groups must be \(4,\)"),
        ({"embeddings": np.ones(4)}, r"embeddings \(n_files, n_dims\), got \(4,\)"),
        ({"embeddings": np.diag([1.0, 1, 0, 1])}, "file 2 has an embedding that is all zeros"),
        ({"n_bins": 1}, "n_bins must be 2 or more, got 1"),
        ({"test": np.eye(4)}, "test and test_speakers go together"),
        ({"test": np.eye(3), "test_speakers": list("aab")}, "test has 3 dimensions, the embed"),
        ({"test": 0 * np.eye(4), "test_speakers": list("aabb")}, "test file 0 has an embedding"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    given = {"embeddings": np.eye(4), "speakers": list("aabb"), "progress": False} | changes
    with pytest.raises(ValueError, match=message):
        all_pairs_histogram(given.pop("embeddings"), given.pop("speakers"), **given)
