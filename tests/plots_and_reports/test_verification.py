"""Histograms of scores, and DET curves."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import det_curve

import speechprobe as sp
from speechprobe.layers.verification.verify import verify_layers


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


@pytest.fixture(scope="module")
def verified():
    generator = np.random.default_rng(0)
    speaker = np.repeat(list("abcdefghijkl"), 4)
    voice = generator.normal(size=(12, 6))[np.arange(48) // 4]
    items = pd.DataFrame({"speaker": speaker}, index=[f"u{k:02d}" for k in range(48)])
    layers = {
        name: voice + noise * generator.normal(size=(48, 6)) for name, noise in (("a", 2), ("b", 1))
    }
    first, second = np.triu_indices(48, 1)
    trials = pd.DataFrame({"enrol": items.index[first], "test": items.index[second]})
    trials["same"] = speaker[first] == speaker[second]
    return verify_layers(sp.Features(layers, items), trials)


def test_scores_of_layers_are_drawn_as_their_trials_are(verified):
    truth = verified.trial_list["same"]
    for layer, score in verified.scores.items():
        (given,) = sp.plots.plot_scores(verified, layer=layer).axes
        (expected,) = sp.plots.plot_scores(truth, score).axes
        heights = [[bar.get_height() for bar in axes.patches] for axes in (given, expected)]
        assert heights[0] == heights[1]
        assert given.lines[0].get_xdata()[0] == verified.record(layer).threshold
    figure = sp.plots.plot_det(verified)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [f"{r.layer}: EER {100 * r.eer:.2f} %" for r in verified.records]
    (only,) = sp.plots.plot_det(verified, layer=["b"]).axes[0].lines[1::2]
    assert only.get_xdata()[0] == verified.record("b").eer


def test_both_rates_have_a_panel_over_the_layers(verified):
    figure = sp.plots.plot_layers({"mine": verified})
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["equal error rate", "minDCF (p = 0.01)"]
    drawn = figure.axes[0].lines[0].get_ydata().tolist()
    assert drawn == [record.eer for record in verified.records]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (sp.plots.plot_scores, r"one layer: name it by layer=, one of \['a', 'b'\]"),
        (lambda v: sp.plots.plot_scores(v, [0.1]), "leave `score` out"),
        (lambda v: sp.plots.plot_det([1, 0]), "give truth and score"),
        (lambda v: sp.plots.plot_det([1, 0], [0.2, 0.1], layer="a"), "give truth and score"),
    ],
)
def test_scores_of_layers_and_arrays_are_not_mixed(verified, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(verified)
