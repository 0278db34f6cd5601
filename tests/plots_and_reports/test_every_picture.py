"""The one rule of all pictures: a Figure comes back, with words on its axes and nothing changed."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import speechprobe as sp
from speechprobe.layers.curve import CurvePoint, LearningCurve

CURVES = pd.DataFrame({"epoch": [1, 2], "split": "train", "loss": [2.0, 1.0]})
TRUTH, SCORE = np.repeat([1, 0], 20), np.arange(40)[::-1] % 27

POINTS = LearningCurve(
    tuple(
        CurvePoint("conv1", "r2", size, 10.0 * size, None, 0.1 * size, 0.0, 0.0, 0.5, 20, 4)
        for size in (1, 3)
    )
)

DRAW = {
    "plot_layers": lambda models, features, ax: sp.plots.plot_layers(models, ax=ax),
    "plot_metrics": lambda models, features, ax: sp.plots.plot_metrics(models, ax=ax),
    "plot_curves": lambda models, features, ax: sp.plots.plot_curves(CURVES, ax=ax),
    "plot_learning_curve": lambda models, features, ax: sp.plots.plot_learning_curve(POINTS, ax=ax),
    "plot_projection": lambda models, features, ax: sp.plots.plot_projection(
        features, "block.0", "rate", method="pca", ax=ax
    ),
    "plot_predictions": lambda models, features, ax: sp.plots.plot_predictions(
        [1.0, 2.0], [1.5, 2.0], ax=ax
    ),
    "plot_errors": lambda models, features, ax: sp.plots.plot_errors([1.0, 2.0], [1.5, 2.0], ax=ax),
    "plot_confusion": lambda models, features, ax: sp.plots.plot_confusion(
        ["a", "b"], ["a", "a"], ax=ax
    ),
    "plot_scores": lambda models, features, ax: sp.plots.plot_scores(TRUTH, SCORE, ax=ax),
    "plot_det": lambda models, features, ax: sp.plots.plot_det(TRUTH, SCORE, ax=ax),
    "plot_similarity": lambda models, features, ax: sp.plots.plot_similarity(
        pd.DataFrame(np.eye(3)), ax=ax
    ),
}


def test_every_public_picture_is_tested_here():
    assert set(DRAW) == set(sp.plots.__all__)


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_comes_back_with_words_on_its_axes_and_no_style_changed(name, models, features):
    before = dict(mpl.rcParams)
    figure = DRAW[name](models, features, None)
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_xlabel()
    assert all(axes.get_ylabel() for axes in figure.axes)  # those of colour bars too
    for kind in ("svg", "pdf", "png"):
        figure.savefig(io.BytesIO(), format=kind)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", DRAW)
def test_ones_own_axes_are_drawn_into_though_they_stand_in_a_part_of_a_figure(
    name, models, features
):
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes, spare = right.subplots(), left.subplots()
    assert DRAW[name](models, features, axes) is figure
    assert axes.get_xlabel() and axes.has_data()
    assert not spare.has_data() and not figure.legends
    figure.draw_without_rendering()
