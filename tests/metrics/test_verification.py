from __future__ import annotations

import functools
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import norm

import speechprobe as sp
from speechprobe.metrics.verification import (
    det_curve,
    equal_error_rate,
    equal_error_threshold,
    min_dcf,
)


def rates(truth, score, threshold) -> tuple[Fraction, Fraction]:
    """Return false accept rate and miss rate of one threshold by counting."""
    accepted = Counter((s >= threshold, t) for t, s in zip(truth, score, strict=True))
    return (
        Fraction(accepted[True, 0], accepted[True, 0] + accepted[False, 0]),
        Fraction(accepted[False, 1], accepted[True, 1] + accepted[False, 1]),
    )


def crossing(truth, score) -> Fraction:
    """Return the EER by trying every threshold and every line between neighbours, exactly."""
    points = [rates(truth, score, threshold) for threshold in [*sorted(set(score)), float("inf")]]
    for (fa, miss), (next_fa, next_miss) in pairwise(points):
        before, after = miss - fa, next_miss - next_fa
        if before <= 0 <= after:
            return miss + (next_miss - miss) * before / (before - after)
    raise AssertionError("the curve never crosses the diagonal")


def cost(truth, score, p, c_miss, c_fa) -> float:
    thresholds = [*set(score), float("inf")]
    found = [rates(truth, score, threshold) for threshold in thresholds]
    costs = [c_miss * float(miss) * p + c_fa * float(fa) * (1 - p) for fa, miss in found]
    return min(costs) / min(c_miss * p, c_fa * (1 - p))


@st.composite
def scored_trials(draw) -> tuple[np.ndarray, np.ndarray]:
    """Draw trials of both kinds, with many equal scores."""
    n_trials = draw(st.integers(2, 25))
    truth = draw(st.lists(st.integers(0, 1), min_size=n_trials - 2, max_size=n_trials - 2))
    score = draw(st.lists(st.integers(-4, 4), min_size=n_trials, max_size=n_trials))
    return np.array([0, 1, *truth]), np.array(score) / 4


@given(items=scored_trials())
def test_the_eer_is_where_the_lines_between_all_thresholds_cross_the_diagonal(items):
    score = equal_error_rate(*items)
    assert type(score) is float
    assert score == pytest.approx(float(crossing(*items)), abs=1e-12)


@given(items=scored_trials())
def test_the_eer_is_that_of_scikit_learns_curve_solved_for_the_diagonal(items):
    false_accept, hit, _ = sklearn.metrics.roc_curve(*items, drop_intermediate=False)
    expected = brentq(lambda x: 1 - x - interp1d(false_accept, hit)(x), 0, 1)
    points = set(zip(false_accept, hit, strict=True))
    if len({x for x, _ in points}) == len(points):  # without steps the curve is a function
        assert equal_error_rate(*items) == pytest.approx(expected, abs=1e-9)


@given(items=scored_trials(), seed=st.integers(0, 100))
def test_neither_order_nor_any_rising_function_of_the_scores_matters(items, seed):
    truth, score = items
    order = np.random.default_rng(seed).permutation(len(truth))
    changed = np.exp(3 * score)[order]
    assert equal_error_rate(truth[order], changed) == equal_error_rate(truth, score)
    assert min_dcf(truth[order], changed, p_target=0.05) == min_dcf(truth, score, p_target=0.05)
    for ours, theirs in zip(
        det_curve(truth[order], changed)[:2], det_curve(truth, score)[:2], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@given(items=scored_trials())
def test_the_eer_mirrors_with_the_scores_and_stays_with_both_sides_exchanged(items):
    truth, score = items
    rate = equal_error_rate(truth, score)
    assert 0 <= rate <= 1
    assert equal_error_rate(truth, -score) == pytest.approx(1 - rate, abs=1e-12)
    assert equal_error_rate(1 - truth, -score) == pytest.approx(rate, abs=1e-12)


@given(items=scored_trials())
def test_usual_scripts_differ_by_at_most_one_step_of_the_curve(items):
    # They take the point where both rates are nearest, and the larger of the two.
    false_accept, miss, _ = det_curve(*items)
    nearest = np.argmin(np.abs(miss - false_accept))
    usual = max(false_accept[nearest], miss[nearest])
    step = max(np.abs(np.diff(false_accept)).max(), np.abs(np.diff(miss)).max())
    assert abs(usual - equal_error_rate(*items)) <= step + 1e-12


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_normal_scores_give_the_eer_of_theory(distance):
    scores = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    truth = np.repeat([1, 0], 20_000)
    rate = equal_error_rate(truth, np.concatenate([scores + distance, scores]))
    assert rate == pytest.approx(norm.cdf(-distance / 2), abs=1e-4)


@pytest.mark.parametrize(
    ("score", "expected"),
    [([2, 3, 0, 1], 0.0), ([0, 1, 2, 3], 1.0), ([5, 5, 5, 5], 0.5), ([1, 0, 1, 0], 0.5)],
    ids=["apart", "reversed", "constant", "two values"],
)
def test_the_eer_of_plain_cases(score, expected):
    assert equal_error_rate([1, 1, 0, 0], score) == expected


@given(items=scored_trials())
def test_the_threshold_is_the_last_that_misses_no_more_than_it_accepts(items):
    threshold = equal_error_threshold(*items)
    false_accept, miss = rates(*items, threshold)
    assert miss <= false_accept
    higher = [s for s in items[1] if s > threshold]
    if higher:
        false_accept, miss = rates(*items, min(higher))
        assert miss > false_accept


@given(
    items=scored_trials(),
    p=st.sampled_from([0.01, 0.05, 0.5, 0.9]),
    c_miss=st.sampled_from([1.0, 10.0]),
    c_fa=st.sampled_from([0.5, 1.0]),
)
def test_min_dcf_is_the_smallest_cost_of_all_thresholds(items, p, c_miss, c_fa):
    found = min_dcf(*items, p_target=p, c_miss=c_miss, c_fa=c_fa)
    assert type(found) is float
    assert 0 <= found <= 1
    assert found == pytest.approx(cost(*items, p, c_miss, c_fa))


@given(items=scored_trials())
def test_costs_act_like_another_share_of_targets(items):
    # c_miss * p against c_fa * (1 - p): 10 * 0.01 to 0.99 is as 1 * p' to 1 * (1 - p').
    weighted = min_dcf(*items, p_target=0.01, c_miss=10.0)
    assert weighted == pytest.approx(min_dcf(*items, p_target=0.1 / 1.09))


def test_a_constant_score_costs_what_the_cheaper_of_accepting_and_rejecting_all_costs():
    for p in (0.01, 0.3, 0.99):
        assert min_dcf([1, 0, 0], [2, 2, 2], p_target=p) == 1
    assert min_dcf([1, 0, 0], [3, 2, 2], p_target=0.01) == 0


def test_few_misses_weigh_more_where_targets_are_common():
    truth, score = [1] * 10 + [0] * 10, [0.0] + [2.0] * 9 + [1.0] * 10
    # One target of ten below all others: rejecting it costs a tenth of the targets.
    assert min_dcf(truth, score, p_target=0.01) == pytest.approx(0.1)
    assert min_dcf(truth, score, p_target=0.99) == pytest.approx(1.0)


@given(items=scored_trials())
def test_every_point_of_the_det_curve_is_its_threshold_counted(items):
    curve = det_curve(*items)
    assert curve.threshold.tolist() == [*sorted(set(items[1])), np.inf]
    for false_accept, miss, threshold in zip(*curve, strict=True):
        expected = rates(*items, threshold)
        assert (false_accept, miss) == pytest.approx(tuple(map(float, expected)))
    assert (curve.false_accept_rate[0], curve.miss_rate[0]) == (1, 0)
    assert (curve.false_accept_rate[-1], curve.miss_rate[-1]) == (0, 1)


@given(items=scored_trials())
def test_the_points_of_scikit_learns_det_curve_are_among_ours(items):
    false_accept, miss, _ = sklearn.metrics.det_curve(*items)
    ours = {(round(x, 9), round(y, 9)) for x, y in zip(*det_curve(*items)[:2], strict=True)}
    assert {(round(x, 9), round(y, 9)) for x, y in zip(false_accept, miss, strict=True)} <= ours


def test_the_given_arrays_are_left_alone():
    truth, score = np.array([1, 0, 1, 0]), np.array([0.3, 0.4, 0.2, 0.1])
    copies = truth.copy(), score.copy()
    equal_error_rate(truth, score)
    min_dcf(truth, score, p_target=0.1)
    np.testing.assert_array_equal((truth, score), copies)


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32, object])
def test_truth_of_any_kind_of_zero_and_one(kind):
    truth = np.array([True, False, True, False]).astype(kind)
    assert equal_error_rate(truth, [0.9, 0.1, 0.8, 0.2]) == 0


@pytest.mark.parametrize(
    "metric",
    [equal_error_rate, equal_error_threshold, det_curve, functools.partial(min_dcf, p_target=0.1)],
)
@pytest.mark.parametrize(
    ("truth", "score", "message"),
    [
        ([], [], "at least 1 items, got 0"),
        ([1, 1], [0.1, 0.2], "all 2 trials are target trials"),
        ([0, 0], [0.1, 0.2], "all 2 trials are non-target trials"),
        ([0.2, 0.9], [0, 1], "got 0.2; truth comes first"),
        ([1, -1], [0.1, 0.2], "got -1"),
        ([1, np.nan], [0.1, 0.2], "got nan"),
        (["target", "nontarget"], [0.1, 0.2], "got 'target'"),
        (["1", "0"], [0.1, 0.2], "got '1'"),
        ([1, 0], [0.1, np.nan], "score holds 1 NaN or infinite"),
        ([1, 0], [-np.inf, np.inf], "score holds 2 NaN or infinite"),
        ([1, 0], [0.1], r"\(2,\) and \(1,\)"),
    ],
)  # fmt: skip
def test_trials_that_have_no_rates_are_refused(metric, truth, score, message):
    with pytest.raises(ValueError, match=message):
        metric(truth, score)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p_target": 0}, "p_target must be between 0 and 1"),
        ({"p_target": 5}, "p_target must be between 0 and 1"),
        ({"p_target": 0.1, "c_miss": 0}, "c_miss must be above 0"),
        ({"p_target": 0.1, "c_fa": float("nan")}, "c_fa must be above 0"),
    ],
)
def test_costs_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        min_dcf([1, 0], [0.1, 0.2], **settings)


def test_p_has_no_default():
    with pytest.raises(TypeError, match="p_target"):
        min_dcf([1, 0], [0.1, 0.2])


def test_as_metrics_of_a_probe_both_point_down_and_p_is_in_the_name():
    generator = np.random.default_rng(0)
    same = np.tile([True, False], 60)
    signal = same + 0.8 * generator.normal(size=120)
    speaker = np.repeat(np.arange(20), 6)
    features = sp.Features(
        {"layer": signal[:, None]}, pd.DataFrame({"same": same, "speaker": speaker})
    )
    scores = sp.probe_layers(
        features,
        target="same",
        groups="speaker",
        probe=sp.probes.LogisticProbe(),
        metrics=[equal_error_rate, functools.partial(min_dcf, p_target=0.01)],
    )
    assert scores.metrics == ["equal_error_rate", "min_dcf(p_target=0.01)"]
    for record in scores.records:
        assert not record.higher_is_better
        assert record.low <= record.score <= record.high < record.floor + 0.05
