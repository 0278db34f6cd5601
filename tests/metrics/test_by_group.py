"""Scores of resamples from sums over groups: those of the metric on the items drawn."""

from __future__ import annotations

import numpy as np
import pytest

from speechprobe import metrics
from speechprobe.metrics import by_group as module
from speechprobe.metrics.by_group import by_group, weights_of_draws
from speechprobe.metrics.uncertainty import group_resamples, resampled_scores, score_or_nan

GENERATOR = np.random.default_rng(0)
GROUPS = GENERATOR.integers(7, size=90)
NUMBERS = 1e4 + GENERATOR.normal(size=90) + GROUPS
NEAR = NUMBERS + GENERATOR.normal(size=90)
CLASSES = np.where(GROUPS < 2, GROUPS, GENERATOR.integers(4, size=90))  # many draws lack a class
GUESSES = np.where(GENERATOR.random(90) < 0.6, CLASSES, (CLASSES + 1) % 4)


def one_by_one(metric, truth, prediction, groups, n_resamples):
    return [
        score_or_nan(metric, truth[rows], prediction[rows])
        for rows in group_resamples(groups, n_resamples=n_resamples, seed=3)
    ]


@pytest.mark.parametrize(
    ("metric", "truth", "prediction"),
    [
        *((each, NUMBERS, NEAR) for each in (metrics.mse, metrics.rmse, metrics.mae, metrics.r2)),
        *((each, CLASSES, GUESSES) for each in (metrics.accuracy, metrics.uar)),
        *((each, CLASSES.astype(str), GUESSES.astype(str)) for each in (metrics.accuracy,)),
        (metrics.uar, np.array(list("abcd"))[CLASSES], np.array(list("abcd"))[GUESSES]),
        (metrics.r2, NUMBERS.astype(np.float32), NEAR.astype(np.float32)),
    ],
)
@pytest.mark.parametrize("at_once", [1 << 21, 100])
def test_they_are_the_scores_of_the_items_drawn(monkeypatch, metric, truth, prediction, at_once):
    monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", at_once)
    assert by_group(metric, truth, prediction, GROUPS) is not None
    found = resampled_scores(metric, truth, [prediction, truth], GROUPS, n_resamples=50, seed=3)
    expected = [one_by_one(metric, truth, each, GROUPS, 50) for each in (prediction, truth)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_r2_does_not_exist_where_all_drawn_truths_are_equal():
    groups, truth = np.array([0, 0, 1, 1, 2, 2]), np.array([0.1, 0.1, 0.1, 0.1, 0.7, 0.3])
    prediction = truth + 0.01
    found = resampled_scores(metrics.r2, truth, [prediction], groups, n_resamples=200, seed=3)[0]
    expected = np.array(one_by_one(metrics.r2, truth, prediction, groups, 200))
    assert 0 < np.isnan(expected).sum() < 200
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_weights_are_those_of_the_rows_drawn():
    groups = np.arange(7)
    weights = np.concatenate(list(weights_of_draws(7, 20, np.random.default_rng(3))))
    rows = group_resamples(groups, n_resamples=20, seed=3)
    np.testing.assert_array_equal(weights, [np.bincount(each, minlength=7) for each in rows])


def test_another_metric_is_asked_for_every_resample():
    found = resampled_scores(metrics.pearson, NUMBERS, [NEAR], GROUPS, n_resamples=30, seed=3)
    assert by_group(metrics.pearson, NUMBERS, NEAR, GROUPS) is None
    expected = one_by_one(metrics.pearson, NUMBERS, NEAR, GROUPS, 30)
    np.testing.assert_array_equal(found[0], expected)


def test_very_many_classes_and_groups_are_left_to_the_metric_itself(monkeypatch):
    monkeypatch.setattr(module, "_MOST_SUMS", 10)
    assert by_group(metrics.uar, CLASSES, GUESSES, GROUPS) is None
    found = resampled_scores(metrics.uar, CLASSES, [GUESSES], GROUPS, n_resamples=9, seed=3)
    np.testing.assert_array_equal(found[0], one_by_one(metrics.uar, CLASSES, GUESSES, GROUPS, 9))


@pytest.mark.parametrize("metric", [metrics.mae, metrics.r2, metrics.accuracy, metrics.uar])
@pytest.mark.parametrize("n_groups", [4, 13])
def test_a_paired_test_is_that_of_the_metric_asked_for_every_draw(monkeypatch, metric, n_groups):
    generator = np.random.default_rng(1)
    groups = generator.integers(n_groups, size=120)
    if metric in (metrics.accuracy, metrics.uar):
        truth = generator.integers(3, size=120)
        a, b = (np.where(generator.random(120) < p, truth, 2 - truth) for p in (0.8, 0.6))
    else:
        truth = 100 + generator.normal(size=120)
        a, b = (truth + size * generator.normal(size=120) for size in (0.5, 0.7))

    def asked(truth, prediction):
        return metric(truth, prediction)

    monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", 500)
    found, expected = (
        metrics.paired_test(truth, a, b, each, groups=groups, n_resamples=100)
        for each in (metric, asked)
    )
    assert found.p_value == expected.p_value
    assert found.n_swaps == expected.n_swaps
    assert found.notes == expected.notes
    for name in ("difference", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-12)
