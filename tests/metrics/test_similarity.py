"""CKA and RSA against loops over items, their invariances, and what independence gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from speechprobe import _similarity
from speechprobe.metrics.similarity import linear_cka, rbf_cka, rsa
from speechprobe.probes.cca import cka


def views(n_items=40, n_dims=6, n_other=4, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_items, n_dims)) * generator.uniform(0.1, 3, n_dims) + 2
    Y = X[:, :n_other] + generator.normal(size=(n_items, n_other))
    return X, Y


def rotation(n_dims, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n_dims, n_dims)))[0]


def linear_kernel(X):
    return X @ X.T


def rbf_kernel(X, bandwidth=1.0):
    distances = squareform(pdist(X))
    width = bandwidth * np.median(pdist(X))
    return np.exp(-(distances**2) / (2 * width**2))


def hsic_by_loops(K, L):
    """Biased: the mean over all i, j, q, r of k_ij (l_ij + l_qr - 2 l_iq)."""
    n = len(K)
    return sum(
        K[i, j] * (L[i, j] + L.mean() - L[i].mean() - L[j].mean())
        for i, j in itertools.product(range(n), repeat=2)
    )


def unbiased_hsic_by_loops(K, L):
    """The U-statistic: the same over all i, j, q, r that differ."""
    n = len(K)
    total = 0.0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])
    return total


def cka_of(hsic, K, L):
    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


@pytest.mark.parametrize("shape", [(40, 6, 4), (12, 30, 20), (25, 25, 3)])
def test_biased_alignment_is_that_of_loops_over_items(shape):
    X, Y = views(*shape)
    assert linear_cka(X, Y) == pytest.approx(
        cka_of(hsic_by_loops, linear_kernel(X), linear_kernel(Y))
    )
    for bandwidth in (0.4, 1.0, 3.0):
        kernels = rbf_kernel(X, bandwidth), rbf_kernel(Y, bandwidth)
        assert rbf_cka(X, Y, bandwidth=bandwidth) == pytest.approx(cka_of(hsic_by_loops, *kernels))


@pytest.mark.parametrize("shape", [(9, 4, 3), (9, 20, 12)])
def test_debiased_alignment_is_the_mean_over_four_different_items(shape):
    X, Y = views(*shape)
    assert linear_cka(X, Y, debiased=True) == pytest.approx(
        cka_of(unbiased_hsic_by_loops, linear_kernel(X), linear_kernel(Y))
    )
    assert rbf_cka(X, Y, debiased=True) == pytest.approx(
        cka_of(unbiased_hsic_by_loops, rbf_kernel(X), rbf_kernel(Y))
    )


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("shape", [(60, 5, 8), (30, 40, 50), (50, 50, 50)])
def test_features_and_kernels_give_one_number(shape, debiased, monkeypatch):
    X, Y = views(*shape[:2], min(shape[1:]))
    found = []
    for cheaper in (True, False):
        monkeypatch.setattr(_similarity, "_features_are_cheaper", lambda *_, c=cheaper: c)
        found.append(linear_cka(X, Y, debiased=debiased))
    assert found[0] == pytest.approx(found[1], abs=1e-12)


@pytest.mark.parametrize(("n_items", "n_dims", "expected"), [(50, 400, False), (400, 50, True)])
def test_the_cheaper_form_is_chosen(n_items, n_dims, expected):
    X = np.zeros((n_items, n_dims))
    assert _similarity._features_are_cheaper(3, [X, X]) is expected


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("debiased", [False, True])
def test_blocks_of_rows_change_nothing(kernel, debiased, monkeypatch):
    X, Y = views(37, 60, 50)
    whole = cka(X, Y, kernel=kernel, debiased=debiased)
    monkeypatch.setattr(_similarity, "BLOCK_BYTES", 8 * 37 * 2 * 5)  # five rows of two kernels
    assert cka(X, Y, kernel=kernel, debiased=debiased) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("measure", [linear_cka, rbf_cka])
class TestInvariance:
    def test_rotation_shift_and_scale_change_nothing(self, measure, debiased):
        X, Y = views()
        expected = measure(X, Y, debiased=debiased)
        moved = 1e-3 * X @ rotation(6) + 7
        assert measure(moved, Y, debiased=debiased) == pytest.approx(expected)
        assert measure(X, 1e6 * Y, debiased=debiased) == pytest.approx(expected)

    def test_a_general_linear_map_does(self, measure, debiased):
        X, Y = views()
        stretched = X * [1, 1, 1, 1, 1, 50]
        expected = measure(X, Y, debiased=debiased)
        assert abs(measure(stretched, Y, debiased=debiased) - expected) > 0.05

    def test_a_view_is_like_itself_and_both_sides_are_equal(self, measure, debiased):
        X, Y = views()
        assert measure(X, X, debiased=debiased) == pytest.approx(1)
        assert measure(X, Y, debiased=debiased) == pytest.approx(measure(Y, X, debiased=debiased))

    def test_the_order_of_items_does_not_matter(self, measure, debiased):
        X, Y = views()
        order = np.random.default_rng(0).permutation(len(X))
        assert measure(X[order], Y[order], debiased=debiased) == pytest.approx(
            measure(X, Y, debiased=debiased)
        )


def test_independent_views_are_alike_unless_debiased():
    """Biased, n_dims / (n_items + n_dims) of noise; debiased, 0."""
    generator = np.random.default_rng(0)
    pairs = [generator.normal(size=(2, 100, 300)) for _ in range(10)]
    biased = np.mean([linear_cka(X, Y) for X, Y in pairs])
    assert biased == pytest.approx(300 / 400, abs=0.02)
    assert abs(np.mean([linear_cka(X, Y, debiased=True) for X, Y in pairs])) < 0.01
    assert np.mean([rbf_cka(X, Y) for X, Y in pairs]) > 0.5
    assert abs(np.mean([rbf_cka(X, Y, debiased=True) for X, Y in pairs])) < 0.01


def test_debiased_and_biased_agree_where_items_are_many():
    X, Y = views(4000)
    assert linear_cka(X, Y, debiased=True) == pytest.approx(linear_cka(X, Y), abs=0.005)


def test_a_wide_kernel_becomes_the_linear_one():
    X, Y = views()
    assert rbf_cka(X, Y, bandwidth=1000.0) == pytest.approx(linear_cka(X, Y), abs=1e-4)


class TestRsa:
    @pytest.mark.parametrize("distance", ["correlation", "cosine", "euclidean"])
    def test_it_is_spearmans_correlation_of_scipys_distances(self, distance):
        X, Y = views()
        expected = spearmanr(pdist(X, distance), pdist(Y, distance)).statistic
        assert rsa(X, Y, distance=distance) == pytest.approx(expected, abs=1e-9)

    def test_ties_are_those_of_exact_distances(self):
        generator = np.random.default_rng(1)
        X = generator.normal(size=(60, 5))
        classes = np.eye(4)[generator.integers(4, size=60)]
        steps = generator.integers(5, size=60) * 0.1
        for other in (classes, steps[:, None]):
            expected = spearmanr(pdist(X, "cosine"), pdist(other).round(9)).statistic
            found = rsa(X, other, distance=("cosine", "euclidean"))
            assert found == pytest.approx(expected, abs=1e-9)

    def test_items_that_are_equal_are_nearest(self):
        X, _ = views()
        X[1] = X[0]
        expected = spearmanr(pdist(X), pdist(X[:, :2])).statistic
        assert rsa(X, X[:, :2], distance="euclidean") == pytest.approx(expected, abs=1e-9)

    def test_blocks_of_rows_change_nothing(self, monkeypatch):
        X, Y = views()
        whole = rsa(X, Y)
        monkeypatch.setattr(_similarity, "BLOCK_BYTES", 8 * 40 * 3)
        assert rsa(X, Y) == pytest.approx(whole, abs=1e-12)

    def test_it_sees_only_the_order_of_distances(self):
        line = np.sort(np.random.default_rng(2).normal(size=(30, 1)), axis=0)
        plane = np.column_stack([np.cos(0.1 * line), np.sin(0.1 * line)])  # chords grow with arcs
        assert rsa(line, plane, distance="euclidean") == pytest.approx(1)

    def test_independent_views_have_none(self):
        generator = np.random.default_rng(3)
        found = [rsa(*generator.normal(size=(2, 60, 20))) for _ in range(20)]
        assert abs(np.mean(found)) < 0.02

    def test_a_distance_that_does_not_exist_names_the_item(self):
        X, Y = views()
        X[7] = 0
        with pytest.raises(ValueError, match="cosine distance does not exist for row 7 of X"):
            rsa(X, Y, distance="cosine")
        with pytest.raises(ValueError, match="correlation distance does not exist for row 0 of Y"):
            rsa(views()[0], Y[:, 0])

    def test_unknown_distances_and_equal_ones_are_refused(self):
        X, Y = views()
        with pytest.raises(ValueError, match="distance must be one of"):
            rsa(X, Y, distance="l1")
        with pytest.raises(ValueError, match="all items of Y are equally far"):
            rsa(X[:3], np.eye(3), distance="euclidean")


X, Y = views()


@pytest.mark.parametrize("measure", [linear_cka, rbf_cka, rsa])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:5]), "same items, got 40 rows in X and 5 in Y"),
        ((np.where(X > 4, np.inf, X), Y), "X holds NaN or infinite values"),
        ((X, np.full_like(Y, 0.1)), "Y is the same for all 40 items"),
        ((X[:1], Y[:1]), "at least"),
        ((X[:2], Y[:2]), "at least 3 items"),
        ((X[..., None], Y), r"X must have shape \(n_items, n_dims\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(measure, arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="debiased alignment needs at least 4 items, got 3"):
        linear_cka(X[:3], Y[:3], debiased=True)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        rbf_cka(X, Y, bandwidth=0)
    with pytest.raises(ValueError, match="kernel must be 'linear' or 'rbf'"):
        cka(X, Y, kernel="cosine")
    with pytest.raises(ValueError, match="over half of the pairs of items are equal"):
        rbf_cka(X, np.arange(40) == 0)
