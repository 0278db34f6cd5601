"""True against predicted, errors and confusions."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, r2_score

import speechprobe as sp

TRUTH = np.linspace(5, 9, 20)


def test_points_are_the_predictions_and_the_corner_has_their_scores(make_scores):
    scores = make_scores("pitch", [0.2, 0.7], truth=TRUTH)
    (axes,) = sp.plots.plot_predictions(scores, "block.1", unit="Hz").axes
    identity, points = axes.lines
    assert tuple(identity.get_xdata()) == tuple(identity.get_ydata()) == axes.get_xlim()
    assert axes.get_xlim() == axes.get_ylim()
    assert points.get_xdata().tolist() == TRUTH.tolist()
    assert points.get_ydata().tolist() == (TRUTH + 1).tolist()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true pitch (Hz)", "predicted pitch (Hz)")
    r2 = r2_score(TRUTH, TRUTH + 1)
    assert axes.texts[0].get_text() == f"R² {r2:.2f}\nMAE 1 Hz\nn = 20"
    assert axes.get_title() == "pitch, block.1"


def test_without_a_layer_the_best_on_validation_is_drawn(make_scores):
    scores = make_scores("pitch", [0.2, 0.7], truth=TRUTH)
    (axes,) = sp.plots.plot_predictions(scores).axes
    assert axes.get_title() == "pitch, block.1"


def test_scores_of_several_seeds_are_averaged_as_in_the_table(make_scores):
    scores = make_scores("pitch", [0.2], truth=TRUTH, seeds=(0, 2))
    (axes,) = sp.plots.plot_predictions(scores).axes
    expected = np.mean([r2_score(TRUTH, TRUTH), r2_score(TRUTH, TRUTH + 2)])
    assert axes.texts[0].get_text() == f"R² {expected:.2f}\nMAE 1\nn = 20 × 2 seeds"
    assert len(axes.lines[1].get_xdata()) == 40


def test_two_arrays_draw_as_well_and_a_constant_truth_has_no_r2():
    (axes,) = sp.plots.plot_predictions([3.0, 3.0], [3.0, 4.0], target="age").axes
    assert axes.texts[0].get_text().startswith("R² nan\nMAE 0.5")
    assert axes.get_xlabel() == "true age"


def test_a_cloud_of_many_points_is_an_image_in_vector_files():
    few, many = (
        sp.plots.plot_predictions(np.arange(n, dtype=float), np.arange(n, dtype=float))
        for n in (50, 6000)
    )
    assert not few.axes[0].lines[1].get_rasterized()
    assert many.axes[0].lines[1].get_rasterized()


def test_the_histogram_counts_every_error_once():
    truth = np.zeros(200)
    errors = np.random.default_rng(0).normal(size=200)
    (axes,) = sp.plots.plot_errors(truth, errors, target="pitch", unit="Hz").axes
    assert sum(bar.get_height() for bar in axes.patches) == 200
    no_error, mean = axes.lines
    assert set(no_error.get_xdata()) == {0}
    assert set(mean.get_xdata()) == {errors.mean()}
    assert axes.get_xlabel() == "predicted minus true pitch (Hz)"
    assert axes.get_ylabel() == "items (n = 200)"
    assert axes.get_title() == f"mean {errors.mean():.3g}, std {errors.std():.3g} Hz"


def test_equal_errors_are_one_bar_and_a_far_one_does_not_make_thousands():
    (axes,) = sp.plots.plot_errors([1.0, 2.0], [2.0, 3.0]).axes
    assert max(bar.get_height() for bar in axes.patches) == 2
    far = np.r_[np.zeros(500), np.linspace(0, 1e-3, 500), 1e6]
    (axes,) = sp.plots.plot_errors(np.zeros(len(far)), far).axes
    assert len(axes.patches) <= 60


@pytest.mark.parametrize("draw", [sp.plots.plot_predictions, sp.plots.plot_errors])
def test_what_cannot_be_drawn_says_why(draw, make_scores):
    with pytest.raises(ValueError, match="same length, at least 1, got 2 and 3"):
        draw([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="prediction must be finite numbers"):
        draw([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(ValueError, match="plot_confusion draws classes"):
        draw(["F"], ["M"])
    with pytest.raises(TypeError, match="give an array of predictions, got 'block.0'"):
        draw([1.0], "block.0")
    scores = make_scores("pitch", [0.2, 0.7], truth=TRUTH)
    with pytest.raises(TypeError, match="give the name of a layer"):
        draw(scores, TRUTH)
    with pytest.raises(KeyError, match=r"no layer 'block.9' among \['block.0', 'block.1'\]"):
        draw(scores, "block.9")
    with pytest.raises(ValueError, match="holds no predictions"):
        draw(make_scores("pitch", [0.2]))


def test_confusion_shows_shares_of_the_truth_and_counts():
    truth = ["F"] * 8 + ["M"] * 2
    prediction = ["F"] * 6 + ["M"] * 3 + ["F"]
    figure = sp.plots.plot_confusion(truth, prediction, target="gender")
    axes, bar = figure.axes
    counts = confusion_matrix(truth, prediction)
    np.testing.assert_allclose(axes.images[0].get_array(), counts / counts.sum(1, keepdims=True))
    assert [t.get_text() for t in axes.texts] == ["75 %\n6", "25 %\n2", "50 %\n1", "50 %\n1"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted gender", "true gender")
    assert axes.get_title() == "UAR 0.62, n = 10"
    assert bar.get_ylabel() == "share of the true class"


def test_confusion_follows_the_given_order_and_leaves_rows_without_items_empty():
    figure = sp.plots.plot_confusion(["a", "b"], ["b", "b"], labels=["b", "c", "a"])
    axes = figure.axes[0]
    figure.draw_without_rendering()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "c", "a"]
    shares = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shares, [[1, 0, 0], [np.nan] * 3, [1, 0, 0]])
    with pytest.raises(ValueError, match="'a'"):
        sp.plots.plot_confusion(["a", "b"], ["b", "b"], labels=["b"])


def test_confusion_of_a_layer_counts_all_seeds(make_scores):
    scores = make_scores("sex", [0.2], "uar", truth=np.array(["F", "M"] * 5), seeds=(0, 1))
    axes = sp.plots.plot_confusion(scores).axes[0]
    assert [t.get_text() for t in axes.texts] == ["50 %\n5"] * 4
    assert axes.get_title() == "sex, block.0\nUAR 0.50, n = 10 × 2 seeds"


def test_the_counts_of_many_classes_are_left_out():
    truth = np.arange(40)
    axes = sp.plots.plot_confusion(truth, truth).axes[0]
    assert not axes.texts


def test_text_in_cells_keeps_its_contrast():
    truth = np.repeat(np.arange(11), 10)
    prediction = np.concatenate([[0] * share + [1] * (10 - share) for share in range(11)])
    axes = sp.plots.plot_confusion(truth, prediction).axes[0]
    assert len(axes.texts) == 121
    for text, share in zip(axes.texts, axes.images[0].get_array().ravel(), strict=True):
        ground = np.array(axes.images[0].cmap(share)[:3])
        linear = np.where(ground <= 0.04045, ground / 12.92, ((ground + 0.055) / 1.055) ** 2.4)
        light = linear @ [0.2126, 0.7152, 0.0722]
        contrast = (light + 0.05) / 0.05 if text.get_color() == "black" else 1.05 / (light + 0.05)
        assert contrast >= 4.5
