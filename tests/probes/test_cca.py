"""Canonical correlations against scikit-learn, second formulas, planted values and invariances."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.linalg import eigh, qr
from sklearn.cross_decomposition import CCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold

from speechprobe.probes import _canonical, _whitening
from speechprobe.probes.cca import cca, cka, pwcca, svcca


def views(n_items=400, n_dims=6, n_other=4, seed=0):
    """Return two correlated views with scales, means and correlated dimensions."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(n_items, 3))
    X, Y = (
        common @ generator.normal(size=(3, width))
        + generator.normal(size=(n_items, width)) @ generator.normal(size=(width, width))
        for width in (n_dims, n_other)
    )
    return X * generator.uniform(0.01, 100, n_dims) + 5, Y - 3


def planted(correlations, n_items, seed=0):
    """Return views with given canonical correlations, hidden by invertible maps."""
    generator = np.random.default_rng(seed)
    k = len(correlations)
    a, b = generator.normal(size=(2, n_items, k))
    b = np.asarray(correlations) * a + np.sqrt(1 - np.square(correlations)) * b
    return a @ generator.normal(size=(k, k)), b @ generator.normal(size=(k, k)) + 1


def by_qr(X, Y):
    """Björck and Golub: the cosines of the angles between the spans of the centred views."""
    bases = [qr(side - side.mean(0), mode="economic")[0] for side in (X, Y)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def by_eigenvalues(X, Y):
    """Hotelling: Cxy Cyy^-1 Cyx a = rho^2 Cxx a."""
    X, Y = X - X.mean(0), Y - Y.mean(0)
    between = X.T @ Y
    values = eigh(between @ np.linalg.solve(Y.T @ Y, between.T), X.T @ X, eigvals_only=True)
    return np.sqrt(np.maximum(values[::-1], 0))


def scikit_learns(X, Y):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        scores = CCA(n_components=1, max_iter=20_000, tol=1e-14).fit(X, Y).transform(X, Y)
    return np.corrcoef(scores[0][:, 0], scores[1][:, 0])[0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_correlations_are_those_of_two_other_formulas(seed):
    X, Y = views(seed=seed)
    found = cca(X, Y).correlations
    assert found.shape == (4,)
    np.testing.assert_allclose(found, by_qr(X, Y), atol=1e-10)
    np.testing.assert_allclose(found, by_eigenvalues(X, Y)[:4], atol=1e-7)


@pytest.mark.parametrize(("n_dims", "n_other"), [(6, 4), (4, 6), (30, 1), (1, 30), (200, 20)])
def test_the_first_correlation_is_scikit_learns(n_dims, n_other):
    X, Y = views(2000, n_dims, n_other)
    assert float(cca(X, Y)) == pytest.approx(scikit_learns(X, Y), abs=1e-6)


@pytest.mark.parametrize("n_dims", [5, 200])
def test_the_correlation_with_a_label_is_the_multiple_correlation(n_dims):
    generator = np.random.default_rng(1)
    X = generator.normal(size=(2400, n_dims)) * np.logspace(0, -2, n_dims)
    rate = X.sum(axis=1) + generator.normal(size=2400)
    found = cca(X, rate)
    centred = np.column_stack([np.ones(2400), X])
    predicted = centred @ np.linalg.lstsq(centred, rate, rcond=None)[0]
    assert float(found) == pytest.approx(np.corrcoef(predicted, rate)[0, 1], abs=1e-10)
    assert float(found) == pytest.approx(scikit_learns(X, rate), abs=1e-6)
    variates = found.project(X, rate)
    np.testing.assert_allclose(
        variates[0][:, 0], (predicted - predicted.mean()) / predicted.std(), atol=1e-8
    )


@pytest.mark.parametrize("condition", [0, -1, -2, -3, -5])
def test_the_refined_solution_is_that_of_whitening(condition, monkeypatch):
    generator = np.random.default_rng(2)
    axes = np.linalg.qr(generator.normal(size=(150, 150)))[0]
    X = generator.normal(size=(1600, 150)) * np.logspace(0, condition, 150) @ axes
    rate = X[:, 0] + generator.normal(size=1600)
    found = cca(X, rate)
    monkeypatch.setattr(_canonical, "WIDE", 1000)
    whole = cca(X, rate)
    assert float(found) == pytest.approx(float(whole), abs=1e-11)
    np.testing.assert_allclose(found.x_weights, whole.x_weights, rtol=1e-6, atol=1e-8)


def test_a_well_conditioned_label_takes_the_refined_solution():
    X = np.random.default_rng(3).normal(size=(1600, 150))
    centred = X - X.mean(0)
    assert _canonical._label_solution(centred, centred.std(axis=0), centred[:, 0]) is not None


def test_planted_correlations_are_found():
    X, Y = planted([0.9, 0.5, 0.2], 200_000)
    np.testing.assert_allclose(cca(X, Y).correlations, [0.9, 0.5, 0.2], atol=0.01)


@pytest.mark.parametrize("measure", [lambda X, Y: cca(X, Y).correlations, svcca])
def test_invertible_linear_maps_change_no_canonical_correlation(measure):
    # svcca cuts directions of little variance, which maps may make: all is kept of both here.
    generator = np.random.default_rng(4)
    X, Y = planted([0.8, 0.6, 0.1], 500)
    if measure is svcca:
        expected, found = (
            svcca(side, Y, variance_kept=1.0)
            for side in (X, X @ generator.normal(size=(3, 3)) + 100)
        )
    else:
        expected, found = (measure(side, Y) for side in (X, X @ generator.normal(size=(3, 3)) + 9))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_variates_have_variance_one_their_correlations_and_no_others():
    X, Y = views()
    found = cca(X, Y)
    a, b = found.project(X, Y)
    whole = np.corrcoef(a, b, rowvar=False)
    expected = np.block(
        [
            [np.eye(4), np.diag(found.correlations)],
            [np.diag(found.correlations), np.eye(4)],
        ]
    )
    np.testing.assert_allclose(whole, expected, atol=1e-9)
    np.testing.assert_allclose([a.std(0), b.std(0)], 1, atol=1e-9)
    np.testing.assert_allclose(a.mean(0), 0, atol=1e-9)


def test_directions_have_a_sign_that_does_not_depend_on_that_of_y():
    X, Y = views()
    assert (cca(X, Y).x_weights == cca(X, -Y).x_weights).all()
    assert (np.abs(cca(X, Y).x_weights).max(0) == cca(X, Y).x_weights.max(0)).all()


class TestRank:
    def test_dependent_and_constant_dimensions_change_nothing(self):
        X, Y = views()
        more = np.column_stack([X, X[:, 0] + X[:, 1], X[:, 2], np.full(len(X), 3.7)])
        found = cca(more, Y)
        np.testing.assert_allclose(found.correlations, cca(X, Y).correlations, atol=1e-9)
        assert (found.x_weights[-1] == 0).all()

    def test_ill_conditioned_views_keep_their_precision(self):
        """Directions with a millionth of the spread of others count as much as those."""
        generator = np.random.default_rng(5)
        signal = generator.normal(size=500)
        X = generator.normal(size=(500, 3))
        X[:, 1] = X[:, 0] + 1e-6 * signal  # only the difference of two dimensions holds it
        Y = np.column_stack([signal + generator.normal(size=500), generator.normal(size=500)])
        np.testing.assert_allclose(cca(X, Y).correlations, by_qr(X, Y), atol=1e-8)
        assert float(cca(X, Y)) > 0.6
        assert float(cca(X, Y, rank_tolerance=1e-3)) < 0.2

    @pytest.mark.parametrize("n_other", [1, 3, 20])
    def test_all_ways_of_whitening_agree(self, n_other, monkeypatch):
        generator = np.random.default_rng(8)
        axes = np.linalg.qr(generator.normal(size=(12, 12)))[0]
        X = generator.normal(size=(400, 12)) * np.logspace(0, -5, 12) @ axes
        Y = X @ generator.normal(size=(12, n_other)) + generator.normal(size=(400, n_other))
        cut = _whitening.Cut(0.0, 1e-10)
        ways = []
        for limit in ("FULL_RANK", "WELL_CONDITIONED"):
            centred = X - X.mean(0)
            ways.append((_whitening.whitening(centred, cut), cca(X, Y).correlations))
            monkeypatch.setattr(_whitening, limit, 2.0)
        assert not ways[0][0].exact
        assert ways[0][0].dense is None
        assert ways[1][0].dense is not None
        np.testing.assert_allclose(ways[0][1], ways[1][1], atol=1e-10)
        np.testing.assert_allclose(ways[0][1], by_qr(X, Y)[: min(12, n_other)], atol=1e-10)

    def test_there_are_as_many_components_as_the_smaller_rank(self):
        X, Y = views()
        assert len(cca(np.column_stack([X[:, 0], X[:, 0]]), Y).correlations) == 1
        assert len(cca(X, Y, n_components=2).correlations) == 2

    def test_as_many_dimensions_as_items_fit_anything(self):
        generator = np.random.default_rng(6)
        X, y = generator.normal(size=(20, 30)), generator.normal(size=20)
        with pytest.warns(UserWarning, match="20 items for 30 dimensions"):
            assert float(cca(X, y)) == pytest.approx(1)


class TestRidge:
    def test_the_directions_are_those_of_the_regularised_problem(self):
        """Against the generalised eigenproblem with the ridge written out."""
        X, Y = ((side - side.mean(0)) / side.std(0) for side in views())
        n, ridge = len(X), 0.3
        xx, yy = X.T @ X / n + ridge * np.eye(6), Y.T @ Y / n + ridge * np.eye(4)
        xy = X.T @ Y / n
        vectors = eigh(xy @ np.linalg.solve(yy, xy.T), xx)[1][:, ::-1][:, :4]
        others = np.linalg.solve(yy, xy.T @ vectors)
        expected = [
            np.corrcoef(X @ vectors[:, k], Y @ others[:, k])[0, 1] for k in range(4)
        ]  # fmt: skip
        found = cca(X, Y, ridge=ridge)
        np.testing.assert_allclose(found.correlations, sorted(expected)[::-1], atol=1e-9)
        np.testing.assert_allclose(found.project(X, Y)[0].std(0), 1, atol=1e-9)

    def test_both_ways_of_whitening_agree(self, monkeypatch):
        X, Y = views()
        expected = cca(X, Y, ridge=0.3)
        monkeypatch.setattr(_whitening, "WELL_CONDITIONED", 2.0)
        found = cca(X, Y, ridge=0.3)
        np.testing.assert_allclose(found.correlations, expected.correlations, atol=1e-10)
        np.testing.assert_allclose(found.x_weights, expected.x_weights, atol=1e-8)

    def test_it_raises_held_out_correlations_where_items_are_few(self):
        generator = np.random.default_rng(7)
        X = generator.normal(size=(120, 60))
        y = X[:, 0] + generator.normal(size=120)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, mild = (
                float(cca(X, y, ridge=ridge, groups=np.arange(120))) for ridge in (0.0, 0.5)
            )
        assert mild > plain + 0.05


class TestHeldOut:
    def test_it_is_fitted_on_some_groups_and_correlated_on_the_others(self):
        X, Y = views()
        groups = np.random.default_rng(8).integers(12, size=len(X))
        found = cca(X, Y, groups=groups, n_folds=4)
        each = []
        for fit, held in GroupKFold(4).split(X, groups=groups):
            a, b = cca(X[fit], Y[fit]).project(X[held], Y[held])
            each.append([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(4)])
        np.testing.assert_allclose(found.held_out, np.mean(each, axis=0), atol=1e-10)
        np.testing.assert_allclose(found.held_out_std, np.std(each, axis=0), atol=1e-10)
        assert float(found) == found.held_out[0]
        assert (found.correlations == cca(X, Y).correlations).all()

    def test_independent_views_have_none(self):
        generator = np.random.default_rng(9)
        X, Y = generator.normal(size=(2, 300, 20))
        groups = np.arange(300) // 10
        found = cca(X, Y, groups=groups)
        assert found.correlations.mean() > 0.15
        assert abs(found.held_out.mean()) < 0.05
        assert abs(svcca(X, Y, groups=groups)) < 0.05
        assert abs(pwcca(X, Y, groups=groups)) < 0.1
        assert svcca(X, Y) > 0.15

    def test_a_voice_is_no_property(self):
        """Offsets of speakers, in features and label, correlate within but not across speakers."""
        generator = np.random.default_rng(10)
        speaker = np.repeat(np.arange(30), 20)
        X = generator.normal(size=(30, 15))[speaker] + 0.1 * generator.normal(size=(600, 15))
        y = generator.normal(size=30)[speaker]
        leaking = float(cca(X, y, groups=np.arange(600)))
        assert leaking > 0.6
        assert float(cca(X, y, groups=speaker)) < 0.4

    def test_names_of_groups_do_not_matter(self):
        X, Y = views(200)
        groups = np.arange(200) % 10
        names = np.array([f"speaker{number}" for number in groups])
        assert (cca(X, Y, groups=groups).held_out == cca(X, Y, groups=names).held_out).all()


class TestClasses:
    def test_the_first_correlation_is_that_of_discriminant_analysis(self):
        generator = np.random.default_rng(11)
        emotion = np.array(["anger", "joy", "fear"])[generator.integers(3, size=600)]
        X = generator.normal(size=(600, 5))
        X[:, 0] += emotion == "anger"
        X[:, 1] += 2 * (emotion == "joy")
        found = cca(X, emotion)
        assert len(found.correlations) == 2
        scores = LinearDiscriminantAnalysis(solver="eigen").fit(X, emotion).transform(X)
        # The squared correlation is the share of the variance of the scores between classes.
        for k, correlation in enumerate(found.correlations):
            means = np.select(
                [emotion == name for name in ("anger", "joy", "fear")],
                [scores[emotion == name, k].mean() for name in ("anger", "joy", "fear")],
            )
            assert correlation**2 == pytest.approx(means.var() / scores[:, k].var(), abs=1e-9)

    def test_booleans_are_two_classes(self):
        X = np.random.default_rng(12).normal(size=(100, 3))
        male = X[:, 0] > 0
        assert float(cca(X, male)) == pytest.approx(float(cca(X, male.astype(float))))


class TestSvcca:
    def test_it_is_the_mean_correlation_of_principal_components(self):
        X, Y = views()

        def components(side, share):
            left, values, _ = np.linalg.svd(side - side.mean(0), full_matrices=False)
            kept = np.cumsum(values**2) / np.sum(values**2) < share
            return left[:, : kept.sum() + 1]

        expected = by_qr(components(X, 0.9), components(Y, 0.9)).mean()
        assert svcca(X, Y, variance_kept=0.9) == pytest.approx(expected)

    def test_held_out_the_components_too_are_those_of_the_groups_fitted_on(self):
        X, Y = views(200)
        X[:20] *= 50  # one group, whose directions of large variance are its own
        groups = np.arange(200) // 20
        scores = []
        for fit, held in GroupKFold(5).split(X, groups=groups):
            axes = []
            for side in (X[fit], Y[fit]):
                _, values, vectors = np.linalg.svd(side - side.mean(0), full_matrices=False)
                n_kept = (np.cumsum(values**2) / np.sum(values**2) < 0.9).sum() + 1
                axes.append(vectors[:n_kept].T)
            found = cca(X[fit] @ axes[0], Y[fit] @ axes[1])
            a, b = found.project(X[held] @ axes[0], Y[held] @ axes[1])
            scores.append(np.mean([np.corrcoef(u, v)[0, 1] for u, v in zip(a.T, b.T, strict=True)]))
        found = svcca(X, Y, variance_kept=0.9, groups=groups)
        assert found == pytest.approx(np.mean(scores), abs=1e-9)

    def test_noise_of_little_variance_is_cut(self):
        generator = np.random.default_rng(13)
        X, Y = planted([1.0, 1.0], 300)
        noisy = [np.column_stack([s, 1e-3 * generator.normal(size=(300, 9))]) for s in (X, Y)]
        assert svcca(*noisy) == pytest.approx(1, abs=1e-3)
        assert cca(*noisy).correlations.mean() < 0.6

    @pytest.mark.parametrize("share", [0, -0.1, 1.1, 99])
    def test_a_share_is_asked(self, share):
        with pytest.raises(ValueError, match="variance_kept must be above 0 and at most 1"):
            svcca(*views(), variance_kept=share)


class TestPwcca:
    def test_the_textbook_weighs_by_projections_of_x(self):
        X, Y = views()
        centred = X - X.mean(0)
        found = cca(X, Y)
        variates = found.project(X, Y)[0]
        weights = np.zeros(4)
        for k in range(4):
            for dimension in centred.T:
                weights[k] += abs(variates[:, k] @ dimension)
        expected = (weights * found.correlations).sum() / weights.sum()
        assert pwcca(X, Y) == pytest.approx(expected)

    def test_it_is_not_symmetric_and_lies_between_the_correlations(self):
        X, Y = views()
        correlations = cca(X, Y).correlations
        assert pwcca(X, Y) != pytest.approx(pwcca(Y, X), abs=1e-3)
        assert correlations[-1] < pwcca(X, Y) < correlations[0]

    def test_the_program_of_the_layer_wise_analyses(self):
        """Its steps, written out: uncentred, means added to variates, the narrower view."""
        X, Y = views()  # Y is narrower
        largest = np.abs(np.cov(Y, rowvar=False)).max()
        variates = cca(X, Y).project(X, Y)[1]
        variates = variates / variates.std(0, ddof=1) * np.sqrt(largest)
        basis = np.linalg.qr(variates + Y.mean(0)[:4])[0]
        weights = np.abs(basis.T @ Y).sum(1)
        expected = (weights * cca(X, Y).correlations).sum() / weights.sum()
        assert pwcca(X, Y, variant="layerwise") == pytest.approx(expected)

    def test_without_means_it_is_the_textbook_from_the_narrower_view(self):
        X, Y = (side - side.mean(0) for side in views())
        assert pwcca(X, Y, variant="layerwise") == pytest.approx(pwcca(Y, X))
        assert pwcca(Y, X, variant="layerwise") == pytest.approx(pwcca(Y, X))
        assert pwcca(X[:, :4], Y, variant="layerwise") == pytest.approx(pwcca(Y, X[:, :4]))

    def test_held_out_it_weighs_the_correlations_of_other_groups(self):
        X, Y = views()
        groups = np.arange(400) % 8
        scores = []
        for fit, held in GroupKFold(4).split(X, groups=groups):
            found = cca(X[fit], Y[fit])
            a, b = found.project(X[held], Y[held])
            rho = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(4)]
            own = found.project(X[fit], Y[fit])[0]
            weights = np.abs(own.T @ (X[fit] - X[fit].mean(0))).sum(1)
            scores.append(weights @ rho / weights.sum())
        assert pwcca(X, Y, groups=groups, n_folds=4) == pytest.approx(np.mean(scores))

    def test_an_unknown_variant_is_named(self):
        with pytest.raises(ValueError, match=r"variant must be one of \('textbook', 'layerwise'\)"):
            pwcca(*views(), variant="pasad")


def test_the_same_numbers_every_time_and_no_input_is_written():
    X, Y = views()
    copies = X.copy(), Y.copy()
    for measure in (cca, svcca, pwcca):
        assert float(measure(X, Y)) == float(measure(X, Y))
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(Y, copies[1])


def test_single_precision_is_computed_in_double():
    X, Y = (side.astype(np.float32) for side in views())
    expected = by_qr(X.astype(np.float64), Y.astype(np.float64))
    assert cca(X, Y).correlations.dtype == np.float64
    np.testing.assert_allclose(cca(X, Y).correlations, expected, atol=1e-10)


def test_cka_is_found_beside_them():
    X, _ = views()
    assert cka(X, X) == pytest.approx(1)


def test_few_items_are_warned_of_with_both_numbers():
    X = np.random.default_rng(0).normal(size=(99, 10))
    with pytest.warns(UserWarning, match="99 items for 10 dimensions"):
        cca(X, X[:, 0])
    with pytest.warns(UserWarning, match="99 items for 10 dimensions"):
        pwcca(X, X[:, :2])
    with pytest.warns(UserWarning, match="99 items for 10 dimensions"):
        svcca(X, X[:, :2], variance_kept=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cca(X[:, :9], X[:, 0])


X, Y = np.random.default_rng(0).normal(size=(2, 60, 3))
HOLED = np.where(np.arange(180).reshape(60, 3) == 31, np.nan, X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:50]), "same items, got 60 rows in X and 50 in Y"),
        ((HOLED, Y), "X holds NaN or infinite values in 1 of 60 items, first in row 10"),
        ((X, HOLED), "Y holds NaN"),
        ((X, np.full(60, 2.0)), "Y is the same for all 60 items"),
        ((np.full((60, 3), 0.1), Y), "X is the same for all 60 items"),
        ((X[:1], Y[:1]), "at least 3 items are needed, got 1"),
        ((X[0, 0], Y), r"X must have shape \(n_items, n_dims\)"),
        ((np.empty((60, 0)), Y), r"X must have shape"),
        ((X.astype(str), Y), "X must hold numbers"),
        (
            (X, np.array(["a", None] * 30, dtype=object)),
            "Y holds 30 missing values, first in row 1",
        ),
    ],
)
@pytest.mark.parametrize("measure", [cca, svcca, pwcca])
def test_what_cannot_be_compared_is_refused_in_one_way(measure, arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ridge": -1}, "ridge must be a number from 0"),
        ({"rank_tolerance": 1.0}, "rank_tolerance a share"),
        ({"n_components": 0}, "n_components must be a whole number from 1"),
        ({"groups": ["a"] * 60}, "n_folds must be from 2 to the number of groups, which is 1"),
        ({"groups": list("abcd") * 15}, "groups, which is 4; got 5"),
        ({"groups": list("abc")}, r"groups must be \(60,\)"),
        ({"groups": [None, *range(59)]}, "1 items have no group"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        cca(X, Y, **settings)


def test_a_label_of_groups_is_refused_where_a_fold_holds_one_value():
    with pytest.raises(ValueError, match=r"held out in fold \d are all alike.*label of groups"):
        cca(X, np.repeat(np.arange(6), 10), groups=np.repeat(np.arange(6), 10), n_folds=6)
