from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from speechprobe.metrics.classification import accuracy
from speechprobe.metrics.comparison import PairedTest, holm, paired_test
from speechprobe.metrics.regression import pearson, r2

RNG = np.random.default_rng


def mean_error(truth, prediction) -> float:
    return float(np.abs(truth - prediction).mean())


class Study(NamedTuple):
    truth: np.ndarray
    a: np.ndarray
    b: np.ndarray
    speaker: np.ndarray


def study(seed: int, n_groups: int = 40, n_items: int = 5, size_b: float = 1.0) -> Study:
    """Draw a truth of 0 and errors of standard deviation 1 and `size_b`, alike for a speaker."""
    generator = RNG(seed)
    of_speaker = generator.normal(size=(2, n_groups, 1))
    errors = np.sqrt(0.6) * of_speaker + np.sqrt(0.4) * generator.normal(
        size=(2, n_groups, n_items)
    )
    a, b = errors.reshape(2, -1) * [[1.0], [size_b]]
    return Study(np.zeros(len(a)), a, b, np.repeat(np.arange(n_groups), n_items))


def compared(drawn: Study, metric=mean_error, **settings) -> PairedTest:
    return paired_test(*drawn[:3], metric, **({"groups": drawn.speaker} | settings))


def test_without_a_difference_one_test_in_twenty_rejects_by_group_and_far_more_by_item():
    rejected = Counter()
    for seed in range(200):
        drawn = study(seed)
        for name, groups in (("group", drawn.speaker), ("item", None)):
            test = compared(drawn, groups=groups, n_resamples=199, seed=seed)
            rejected[name] += test.p_value <= 0.05
    # 10 of 200 plus or minus three binomial standard errors; items of a speaker err alike.
    assert 1 <= rejected["group"] <= 19
    assert rejected["item"] > 30


def test_the_interval_of_the_difference_covers_it_at_its_nominal_rate():
    # The mean size of a normal error is sqrt(2 / pi) standard deviations.
    true_difference = (1.0 - 1.3) * np.sqrt(2 / np.pi)
    covered, found = 0, 0
    for seed in range(200):
        test = compared(study(seed, size_b=1.3), n_resamples=200, confidence=0.9, seed=seed)
        covered += test.low <= true_difference <= test.high
        found += test.p_value <= 0.05
    assert 0.83 <= covered / 200 <= 0.96  # 0.9 and three binomial standard errors
    assert found > 100  # and the test sees a difference that is there


@given(seed=st.integers(0, 1000), n_groups=st.integers(2, 8))
def test_with_few_groups_the_p_value_is_exact(seed, n_groups):
    drawn = study(seed, n_groups, 3, size_b=2.0)
    test = compared(drawn, n_resamples=200)
    observed = abs(mean_error(drawn.truth, drawn.a) - mean_error(drawn.truth, drawn.b))
    as_large = []
    for exchanged in itertools.product([False, True], repeat=n_groups):
        swap = np.array(exchanged)[drawn.speaker]
        a, b = np.where(swap, drawn.b, drawn.a), np.where(swap, drawn.a, drawn.b)
        difference = abs(mean_error(drawn.truth, a) - mean_error(drawn.truth, b))
        as_large.append(difference >= observed - 1e-12)
    assert test.p_value == pytest.approx(np.mean(as_large))
    assert test.n_swaps == 2 ** (n_groups - 1)


def test_for_a_mean_over_items_it_is_the_sign_test_of_fisher_as_scipy_has_it():
    drawn = study(3, n_groups=9, n_items=4, size_b=1.5)
    by_group = (np.abs(drawn.a) - np.abs(drawn.b)).reshape(9, 4).sum(axis=1)
    expected = scipy.stats.permutation_test(
        (by_group,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert compared(drawn).p_value == pytest.approx(expected.pvalue)


def test_with_many_items_the_p_value_is_that_of_the_normal_distribution():
    drawn = study(7, n_groups=400, n_items=1, size_b=1.05)
    differences = np.abs(drawn.a) - np.abs(drawn.b)
    z = differences.mean() / np.sqrt((differences**2).mean() / 400)
    expected = 2 * scipy.stats.norm.sf(abs(z))
    assert 0.005 < expected < 0.2
    found = compared(drawn, groups=None, n_resamples=10_000).p_value
    error = np.sqrt(expected * (1 - expected) / 10_000)
    assert found == pytest.approx(expected, abs=4 * error + 0.002)


def test_exchanging_the_systems_turns_the_sign_and_nothing_else():
    drawn = study(0, size_b=1.2)
    test, turned = compared(drawn), compared(drawn._replace(a=drawn.b, b=drawn.a))
    assert turned.difference == -test.difference
    assert (turned.low, turned.high) == pytest.approx((-test.high, -test.low))
    assert turned.p_value == test.p_value


def test_a_system_against_itself_differs_by_nothing_with_a_p_value_of_one():
    drawn = study(0)
    test = compared(drawn._replace(b=drawn.a))
    assert (test.difference, test.low, test.high, test.p_value) == (0, 0, 0, 1)


def test_the_difference_is_that_of_the_metric_and_lies_in_its_interval():
    drawn = study(1, size_b=1.4)._replace(truth=RNG(0).normal(size=200))
    test = compared(drawn, pearson)
    assert test.difference == pearson(drawn.truth, drawn.a) - pearson(drawn.truth, drawn.b)
    assert test.low < test.difference < test.high
    assert (test.n_items, test.n_groups, test.n_swaps, test.confidence) == (200, 40, 2001, 0.95)


def test_shared_errors_make_the_difference_far_better_known_than_either_score():
    drawn, noise = study(0), RNG(1).normal(size=200) * 0.05
    alike = compared(drawn._replace(b=drawn.a * 1.05 + noise))
    apart = compared(study(0, size_b=1.05))
    assert alike.high - alike.low < 0.2 * (apart.high - apart.low)
    assert alike.p_value < 0.01 < apart.p_value


def test_labels_are_compared_as_well_as_numbers():
    truth = np.tile(["anger", "joy"], 60)
    good, poor = truth.copy(), truth.copy()
    good[::20], poor[::3] = "fear", "joy"
    test = paired_test(
        truth, good, poor, accuracy, groups=np.repeat(np.arange(12), 10), n_resamples=200
    )
    assert test.difference == pytest.approx(accuracy(truth, good) - accuracy(truth, poor))
    assert test.p_value < 0.05


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 the state under test
    first, again, other = (compared(study(0), seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_neither_the_order_of_items_nor_the_names_of_groups_matter():
    drawn = study(0, size_b=1.2)
    order = RNG(0).permutation(200)
    moved = Study(*(side[order] for side in drawn))
    names = np.array([f"speaker{number:02d}" for number in moved.speaker])
    test, other = compared(drawn), compared(moved, groups=names)
    assert other.p_value == test.p_value
    assert (other.low, other.high) == pytest.approx((test.low, test.high))


@pytest.mark.parametrize("n_better", [5, 6, 7])
def test_for_equal_steps_it_is_the_sign_test_however_the_sums_round(n_better):
    # The first is better by 0.3 for some of 8 speakers and worse by 0.3 for the others.
    better, base = np.arange(8) < n_better, np.linspace(0.1, 1.7, 8)
    a, b = base + np.where(better, 0.1, 0.4), base + np.where(better, 0.4, 0.1)
    test = paired_test(np.zeros(8), a, b, mean_error, groups=np.arange(8))
    assert test.p_value == pytest.approx(scipy.stats.binomtest(n_better, 8).pvalue)


class TestNotes:
    def test_enough_groups_of_one_size_need_none(self):
        assert compared(study(0)).notes == ()

    def test_few_groups_and_the_smallest_p_value_they_allow_are_named(self):
        drawn = study(0, n_groups=4, size_b=9.0)
        test = compared(drawn)
        assert test.p_value >= 0.125
        assert any("4 groups are few" in note for note in test.notes)
        assert "no p-value below 0.125 is possible with 4 groups" in test.notes

    def test_resamples_without_a_score_are_counted(self):
        # r2 does not exist where the one speaker of another truth is not drawn: 0.35 of resamples.
        truth, speaker = np.repeat(np.eye(12)[0], 5), np.repeat(np.arange(12), 5)
        a, b = truth + 0.1 * RNG(0).normal(size=(2, 60))
        test = paired_test(truth, a, b, r2, groups=speaker, n_resamples=300)
        assert any("does not exist for" in note and "resamples" in note for note in test.notes)
        assert np.isfinite([test.low, test.high, test.p_value]).all()

    def test_exchanges_without_a_score_count_against_significance(self):
        drawn = study(0, size_b=3.0)

        def brittle(truth, prediction):
            if not any(np.array_equal(prediction, given) for given in (drawn.a, drawn.b)):
                raise ValueError("only the two systems themselves have a score")
            return mean_error(truth, prediction)

        test = compared(drawn, brittle)
        assert test.p_value == 1
        assert np.isnan([test.low, test.high]).all()
        assert "the metric does not exist for 2000 of 2001 exchanges" in test.notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ["a"] * 6}, "at least two groups"),
        ({"groups": list("abc")}, r"groups must be \(6,\)"),
        ({"prediction_a": [0] * 5}, r"\(6,\) and \(5,\)"),
        ({"prediction_b": [0] * 5}, r"\(6,\) and \(5,\)"),
        ({"prediction_b": ["0"] * 6}, "both predictions must be of one kind, got 0 and '0'"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"n_resamples": 0}, "n_resamples must be at least 1"),
        ({"truth": [1] * 6, "metric": r2}, "r2 does not exist"),
        ({"metric": lambda truth, prediction: float("nan")}, "nan for the items themselves"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, message):
    arguments = {
        "truth": [0, 1] * 3,
        "prediction_a": [0, 1, 1] * 2,
        "prediction_b": [0, 0, 1] * 2,
        "metric": accuracy,
        "groups": list("aabbcc"),
    }
    with pytest.raises(ValueError, match=message):
        paired_test(**(arguments | changes))


def test_groups_have_no_default():
    with pytest.raises(TypeError, match="groups"):
        paired_test([0, 1], [0, 1], [1, 1], accuracy)


P_VALUES = st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=6)


@given(p_values=P_VALUES)
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    # A hypothesis falls only if every intersection with it does (Marcus, Peritz, Gabriel, 1976).
    rows = range(len(p_values))
    subsets = [s for size in rows for s in itertools.combinations(rows, size + 1)]
    bonferroni = {s: min(1.0, len(s) * min(p_values[row] for row in s)) for s in subsets}
    expected = [max(p for s, p in bonferroni.items() if row in s) for row in rows]
    np.testing.assert_allclose(holm(p_values), expected)


@given(p_values=P_VALUES, seed=st.integers(0, 100))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values, seed):
    values = np.array(p_values)
    corrected = holm(values)
    assert (corrected >= values).all()
    assert (corrected <= np.minimum(1, values * len(values)) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(values, kind="stable")]) >= 0).all()
    order = RNG(seed).permutation(len(values))
    np.testing.assert_array_equal(holm(values[order]), corrected[order])


def test_one_false_rejection_or_more_in_twenty_families_however_many_tests():
    families = RNG(0).uniform(size=(2000, 20))
    rejected = np.mean([(holm(family) <= 0.05).any() for family in families])
    assert rejected == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 2000))
    assert (families <= 0.05).any(axis=1).mean() > 0.5


@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ([], "at least one"),
        ([[0.1]], r"\(n_tests,\)"),
        ([0.1, np.nan], "p-value 1 is nan"),
        ([0.1, 0.2, 1.5], "p-value 2 is 1.5"),
        ([-0.1], "p-value 0 is -0.1"),
    ],
)
def test_what_is_no_p_value_is_refused(p_values, message):
    with pytest.raises(ValueError, match=message):
        holm(p_values)
