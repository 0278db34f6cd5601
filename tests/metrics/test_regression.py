from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from speechprobe import metrics

# name: the formula of the textbook, on float64 arrays (n_items,)
FORMULAS = {
    "mse": lambda t, p: sum((a - b) ** 2 for a, b in zip(t, p, strict=True)) / len(t),
    "mae": lambda t, p: sum(abs(a - b) for a, b in zip(t, p, strict=True)) / len(t),
    "r2": lambda t, p: 1 - np.sum((t - p) ** 2) / np.sum((t - np.sum(t) / len(t)) ** 2),
}
NAMES = pytest.mark.parametrize("name", FORMULAS)
NUMBERS = st.integers(-1000, 1000).map(lambda number: number / 8)


@st.composite
def scored_items(draw) -> tuple[np.ndarray, np.ndarray]:
    pairs = draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=30))
    truth, prediction = np.array(pairs).T
    assume(len(set(truth)) > 1)
    return truth, prediction


@NAMES
@given(items=scored_items())
def test_a_metric_is_its_formula(name, items):
    score = getattr(metrics, name)(*items)
    assert type(score) is float
    assert score == pytest.approx(FORMULAS[name](*items))


@NAMES
@given(items=scored_items(), seed=st.integers(0, 100))
def test_the_order_of_the_items_does_not_matter(name, items, seed):
    metric, order = getattr(metrics, name), np.random.default_rng(seed).permutation(len(items[0]))
    assert metric(items[0][order], items[1][order]) == pytest.approx(metric(*items))


@given(items=scored_items(), scale=st.sampled_from([-3.0, 0.1, 100.0]), shift=NUMBERS)
def test_another_unit_changes_errors_by_it_and_r2_not_at_all(items, scale, shift):
    moved = [side * scale + shift for side in items]
    assert metrics.r2(*moved) == pytest.approx(metrics.r2(*items))
    assert metrics.mae(*moved) == pytest.approx(metrics.mae(*items) * abs(scale))
    assert metrics.mse(*moved) == pytest.approx(metrics.mse(*items) * scale**2)


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


@pytest.mark.parametrize("value", [0, 0.1, -7.5])
def test_r2_does_not_exist_where_all_truths_are_equal(value):
    with pytest.raises(ValueError, match=rf"all 3 truths are equal \({value}\)"):
        metrics.r2([value] * 3, [1, 2, 3])


def test_r2_needs_two_items():
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        metrics.r2([1], [1])


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
