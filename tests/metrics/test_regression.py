from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from speechprobe.metrics import regression as metrics


def ranks(values) -> list[float]:
    """Return ranks from 1 by counting; equal values share theirs."""
    return [sum(x < y for x in values) + (sum(x == y for x in values) + 1) / 2 for y in values]


def agreement(truth, prediction) -> float:
    """Return 1 - mean squared error over what it would be were both independent (Lin, 1989)."""
    error = statistics.fmean((a - b) ** 2 for a, b in zip(truth, prediction, strict=True))
    chance = statistics.fmean((a - b) ** 2 for a in truth for b in prediction)
    return 1 - error / chance


# name: the formula of the textbook, on float64 arrays (n_items,)
FORMULAS = {
    "mse": lambda t, p: sum((a - b) ** 2 for a, b in zip(t, p, strict=True)) / len(t),
    "rmse": lambda t, p: math.dist(t, p) / math.sqrt(len(t)),
    "mae": lambda t, p: sum(abs(a - b) for a, b in zip(t, p, strict=True)) / len(t),
    "r2": lambda t, p: 1 - np.sum((t - p) ** 2) / np.sum((t - np.sum(t) / len(t)) ** 2),
    "pearson": lambda t, p: statistics.correlation(t.tolist(), p.tolist()),
    "spearman": lambda t, p: statistics.correlation(ranks(t), ranks(p)),
    "concordance": agreement,
}
CORRELATIONS = pytest.mark.parametrize("name", ["pearson", "spearman", "concordance"])
NAMES = pytest.mark.parametrize("name", FORMULAS)
NUMBERS = st.integers(-1000, 1000).map(lambda number: number / 8)


@st.composite
def scored_items(draw) -> tuple[np.ndarray, np.ndarray]:
    pairs = draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=30))
    truth, prediction = np.array(pairs).T
    assume(len(set(truth)) > 1 and len(set(prediction)) > 1)
    return truth, prediction


@NAMES
@given(items=scored_items())
def test_a_metric_is_its_formula(name, items):
    score = getattr(metrics, name)(*items)
    assert type(score) is float
    assert score == pytest.approx(FORMULAS[name](*items), abs=1e-9)


@NAMES
@given(items=scored_items(), seed=st.integers(0, 100))
def test_the_order_of_the_items_does_not_matter(name, items, seed):
    metric, order = getattr(metrics, name), np.random.default_rng(seed).permutation(len(items[0]))
    assert metric(items[0][order], items[1][order]) == pytest.approx(metric(*items), abs=1e-9)


@given(items=scored_items(), scale=st.sampled_from([-3.0, 0.1, 100.0]), shift=NUMBERS)
def test_another_unit_changes_errors_by_it_and_r2_not_at_all(items, scale, shift):
    moved = [side * scale + shift for side in items]
    assert metrics.r2(*moved) == pytest.approx(metrics.r2(*items))
    assert metrics.mae(*moved) == pytest.approx(metrics.mae(*items) * abs(scale))
    assert metrics.mse(*moved) == pytest.approx(metrics.mse(*items) * scale**2)
    assert metrics.rmse(*moved) == pytest.approx(metrics.rmse(*items) * abs(scale))
    assert metrics.concordance(*moved) == pytest.approx(metrics.concordance(*items), abs=1e-9)


@given(items=scored_items())
def test_r2_is_one_for_the_truth_and_zero_for_its_mean_and_never_more_than_one(items):
    truth, prediction = items
    assert metrics.r2(truth, truth) == 1
    assert metrics.r2(truth, np.full(len(truth), truth.mean())) == pytest.approx(0)
    assert metrics.r2(truth, prediction) <= 1


@given(items=scored_items())
def test_the_least_squares_line_has_the_squared_correlation_as_r2(items):
    truth, prediction = items
    assume(np.ptp(prediction) > 0)
    line = np.polyval(np.polyfit(prediction, truth, 1), prediction)
    correlation = np.corrcoef(truth, prediction)[0, 1]
    assert metrics.r2(truth, line) == pytest.approx(correlation**2, abs=1e-6)


@given(items=scored_items())
def test_the_root_of_the_squared_error_is_at_least_the_absolute_error(items):
    assert metrics.rmse(*items) >= metrics.mae(*items) - 1e-9


@CORRELATIONS
@given(items=scored_items())
def test_a_correlation_is_within_one_of_zero_and_the_same_with_sides_exchanged(name, items):
    correlation = getattr(metrics, name)
    assert -1 <= correlation(*items) <= 1
    assert correlation(*items) == pytest.approx(correlation(*items[::-1]), abs=1e-12)
    assert correlation(items[0], items[0]) == 1


@given(items=scored_items(), scale=st.sampled_from([0.01, 3.0]), shift=NUMBERS)
def test_pearson_does_not_change_with_the_unit_of_one_side_and_turns_with_its_sign(
    items, scale, shift
):
    truth, prediction = items
    score = metrics.pearson(truth, prediction)
    assert metrics.pearson(truth, prediction * scale + shift) == pytest.approx(score, abs=1e-9)
    assert metrics.pearson(truth, -prediction) == pytest.approx(-score, abs=1e-9)


@given(items=scored_items())
def test_spearman_does_not_change_with_any_rising_function_of_one_side(items):
    truth, prediction = items
    score = metrics.spearman(truth, prediction)
    # Powers of two keep different numbers different, which a cube root need not.
    assert metrics.spearman(truth, prediction**3 + prediction) == pytest.approx(score, abs=1e-12)
    assert metrics.spearman(np.exp2(truth / 125), prediction) == pytest.approx(score, abs=1e-12)


@given(items=scored_items())
def test_correlations_are_those_of_scipy(items):
    assert metrics.pearson(*items) == pytest.approx(scipy.stats.pearsonr(*items)[0], abs=1e-9)
    assert metrics.spearman(*items) == pytest.approx(scipy.stats.spearmanr(*items)[0], abs=1e-9)


@given(items=scored_items())
def test_concordance_is_pearson_times_the_factor_for_shift_and_scale(items):
    truth, prediction = items
    ratio = truth.std() / prediction.std()
    shift = (truth.mean() - prediction.mean()) / np.sqrt(truth.std() * prediction.std())
    factor = 2 / (ratio + 1 / ratio + shift**2)  # C_b of Lin, 1989
    pearson = metrics.pearson(truth, prediction)
    assert metrics.concordance(truth, prediction) == pytest.approx(pearson * factor, abs=1e-9)
    assert abs(metrics.concordance(truth, prediction)) <= abs(pearson) + 1e-12


# Anscombe, "Graphs in statistical analysis", The American Statistician 27, 1973: four sets of
# different shape, made to have one correlation, 0.816.
ANSCOMBE_X = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
ANSCOMBE = [
    (ANSCOMBE_X, [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]),
    (ANSCOMBE_X, [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74]),
    (ANSCOMBE_X, [7.46, 6.77, 12.74, 7.11, 7.81, 8.84, 6.08, 5.39, 8.15, 6.42, 5.73]),
    ([8] * 7 + [19] + [8] * 3, [6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.5, 5.56, 7.91, 6.89]),
]


@pytest.mark.parametrize(("x", "y"), ANSCOMBE)
def test_pearson_of_a_published_table(x, y):
    assert metrics.pearson(x, y) == pytest.approx(0.816, abs=1e-3)


def test_spearman_by_the_formula_for_ranks_without_ties():
    truth, prediction = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 6, 8, 7, 10, 9, 3, 5, 2, 4]
    squares = sum((a - b) ** 2 for a, b in zip(truth, prediction, strict=True))
    expected = 1 - 6 * squares / (10 * (10**2 - 1))
    assert expected == pytest.approx(-29 / 165)
    assert metrics.spearman(truth, prediction) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize(("flat", "side"), [(0, "truths"), (1, "predictions")])
@pytest.mark.parametrize("value", [0, 0.1, -7.5])
def test_a_correlation_with_a_constant_does_not_exist(name, flat, side, value):
    items = [[1.0, 2.0, 4.0], [value] * 3][:: -1 if flat == 0 else 1]
    with pytest.raises(ValueError, match=rf"{name} .* all 3 {side} are equal \({value}\)"):
        getattr(metrics, name)(*items)


def test_differences_that_are_only_rounding_are_none():
    nearly = 1e6 + np.array([0, 1, 2]) * 1e-10
    assert np.ptp(nearly) > 0
    with pytest.raises(ValueError, match="all 3 predictions are equal"):
        metrics.pearson([1, 2, 3], nearly)


@CORRELATIONS
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_squares_of_huge_and_tiny_numbers_neither_overflow_nor_vanish(name, size):
    truth, prediction = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    correlation = getattr(metrics, name)
    expected = pytest.approx(correlation(truth, prediction))
    assert correlation(truth * size, prediction * size) == expected


class TestConcordanceOfConstants:
    def test_one_constant_side_agrees_no_better_than_chance(self):
        assert metrics.concordance([0.1] * 3, [1, 2, 3]) == 0
        assert metrics.concordance([1, 2, 3], [0.1] * 3) == 0
        assert metrics.concordance([1, 1], [2, 2]) == 0
        assert metrics.concordance([7.3] * 7, np.linspace(-1, 3, 7) ** 2) == 0

    @pytest.mark.parametrize("value", [0, 0.1])
    def test_one_and_the_same_constant_has_no_score(self, value):
        with pytest.raises(ValueError, match=rf"all 7 truths and predictions are {value}"):
            metrics.concordance([value] * 7, [value] * 7)


@pytest.mark.parametrize("value", [0, 0.1, -7.5])
def test_r2_does_not_exist_where_all_truths_are_equal(value):
    with pytest.raises(ValueError, match=rf"all 3 truths are equal \({value}\)"):
        metrics.r2([value] * 3, [1, 2, 3])


@pytest.mark.parametrize("name", ["r2", "pearson", "spearman", "concordance"])
def test_what_compares_items_needs_two(name):
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        getattr(metrics, name)([1], [1])


@NAMES
@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([], [], "at least . items, got 0"),
        ([1, 2], [1, 2, 3], r"\(2,\) and \(3,\)"),
        ([[1, 2]], [[1, 2]], r"\(n_items,\), got \(1, 2\)"),
        (1, 1, r"\(n_items,\), got \(\)"),
        ([1, np.nan, 3], [1, 2, 3], "truth holds 1 NaN"),
        ([1, None, 3], [1, 2, 3], "truth holds 1 NaN"),
        ([1, 2, 3], [np.inf, np.nan, 3], "prediction holds 2 NaN or infinite"),
        (["a", "b"], [1, 2], "could not convert"),
    ],
)
def test_items_that_cannot_be_scored_are_refused(name, truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(truth, prediction)
