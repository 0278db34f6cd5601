"""Histograms of scores, and DET curves."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import det_curve

import speechprobe as sp


@pytest.fixture
def trials():
    generator = np.random.default_rng(0)
    truth = np.repeat([1, 0], [400, 600])
    return truth, generator.normal(size=1000) + 2 * truth


def test_histograms_have_area_1_and_the_line_stands_where_errors_are_equal(trials):
    truth, score = trials
    (axes,) = sp.plots.plot_scores(truth, score).axes
    area = sum(bar.get_height() * bar.get_width() for bar in axes.patches)
    assert area == pytest.approx(2)
    (line,) = axes.lines
    threshold = line.get_xdata()[0]
    missed, accepted = (
        (score[truth == 1] < threshold).mean(),
        (score[truth == 0] >= threshold).mean(),
    )
    assert abs(missed - accepted) <= 1 / 400
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[:2] == ["non-target (600)", "target (400)"]
    assert float(names[2].split()[1]) / 100 == pytest.approx((missed + accepted) / 2, abs=1 / 400)
    assert axes.get_xlabel() == "score (no unit, higher: same speaker)"


def test_the_curve_goes_through_scikit_learns_points(trials):
    truth, score = trials
    (axes,) = sp.plots.plot_det(truth, score).axes
    drawn = set(zip(*(np.round(d, 9) for d in axes.lines[0].get_data()), strict=True))
    accepted, missed, _ = det_curve(truth, score)
    assert set(zip(accepted.round(9), missed.round(9), strict=True)) <= drawn


def test_both_axes_are_normal_deviates_with_percent(trials):
    figure = sp.plots.plot_det(*trials)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    places = [axes.transData.transform((rate, rate)) for rate in (0.02, 0.1, 0.4)]
    for side in (0, 1):
        steps = np.diff([place[side] for place in places])
        assert steps[0] / steps[1] == pytest.approx(
            (norm.ppf(0.1) - norm.ppf(0.02)) / (norm.ppf(0.4) - norm.ppf(0.1)), rel=1e-6
        )
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["0.1", "0.5", "2", "5", "10", "20", "40"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false accept rate (%)", "miss rate (%)")


def test_every_system_has_a_curve_and_its_equal_error_on_the_diagonal(trials):
    truth, score = trials
    noisy = score + np.random.default_rng(1).normal(size=1000)
    figure = sp.plots.plot_det(truth, {"a": score, "b": noisy})
    (axes,) = figure.axes
    points = [line.get_data() for line in axes.lines[1:4:2]]
    assert all(x == y for x, y in points)
    assert points[0][0][0] < points[1][0][0]
    assert axes.lines[0].get_color() != axes.lines[2].get_color()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == f"a: EER {100 * points[0][0][0]:.2f} %"
    assert len(names) == 2


@pytest.mark.parametrize("draw", [sp.plots.plot_scores, sp.plots.plot_det])
def test_trials_of_one_kind_and_odd_lengths_are_errors(draw):
    with pytest.raises(ValueError, match="both kinds"):
        draw([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="3"):
        draw([1, 0], [0.1, 0.2, 0.3])
