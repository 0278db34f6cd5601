"""Scores by the size of the training set."""

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp


@pytest.fixture(scope="module")
def curve():
    x = np.random.default_rng(0).normal(size=(2, 80, 3))
    items = pd.DataFrame({"speaker": np.arange(80) % 8, "rate": x[0, :, 0]})
    return sp.learning_curve(
        sp.Features({"noise": x[1], "signal": x[0]}, items),
        target="rate",
        groups="speaker",
        probe=sp.probes.TorchMLPRegressor(epochs=1),
        metrics=[sp.metrics.r2, sp.metrics.mae],
        widths=[2, 8],
        sizes=[2, 6],
        n_folds=4,
    )


def test_a_panel_a_width_and_a_line_a_layer_with_its_interval(curve):
    narrow, wide = sp.plots.plot_learning_curve(curve, metric="mae", unit="Hz").axes
    assert (narrow.get_title(), wide.get_title()) == (
        "probe of 2 hidden units",
        "probe of 8 hidden units",
    )
    assert wide.get_ylabel() == "MAE (Hz)"
    assert wide.get_ylim() == narrow.get_ylim()
    assert wide.get_xlabel() == "training groups (speaker)"
    points = [p for p in curve.points if (p.metric, p.width, p.layer) == ("mae", 8, "signal")]
    line = wide.lines[1]
    assert line.get_xdata().tolist() == [2, 6]
    assert line.get_ydata().tolist() == [point.score for point in points]
    band = wide.collections[1].get_paths()[0].vertices[:, 1]
    assert {point.low for point in points} | {point.high for point in points} <= set(band)


def test_layers_and_a_metric_may_be_named(curve):
    figure = sp.plots.plot_learning_curve(curve, layers=["signal"], metric=sp.metrics.r2)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    assert figure.axes[0].get_ylabel() == "R²"


def test_what_is_not_there_is_named(curve):
    with pytest.raises(KeyError, match="no layer 'late' among"):
        sp.plots.plot_learning_curve(curve, layers=["late"])
    with pytest.raises(KeyError, match="no metric 'uar' among"):
        sp.plots.plot_learning_curve(curve, metric="uar")
    with pytest.raises(TypeError, match="expected a LearningCurve"):
        sp.plots.plot_learning_curve(curve.table())
