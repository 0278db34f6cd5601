"""Learning curves."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import speechprobe as sp


@pytest.fixture
def curves():
    epochs = np.arange(1, 6)
    train = {"epoch": epochs, "split": "train", "loss": 1 / epochs, "mae": 2 / epochs}
    held = {"epoch": epochs, "split": "validation", "loss": [0.9, 0.5, 0.3, 0.4, 0.6], "mae": 1.0}
    return pd.concat([pd.DataFrame(train), pd.DataFrame(held)], ignore_index=True)


class Fitted(BaseEstimator):
    def __init__(self, curves=None):
        self.curves_ = curves


def test_lines_are_the_columns_and_a_ring_marks_the_least_validation_loss(curves):
    loss, mae = sp.plots.plot_curves(curves, unit="Hz").axes
    assert (loss.get_ylabel(), mae.get_ylabel(), loss.get_xlabel()) == ("loss", "MAE (Hz)", "epoch")
    train, held, ring = loss.lines
    assert train.get_ydata().tolist() == (1 / np.arange(1, 6)).tolist()
    assert held.get_ydata().tolist() == [0.9, 0.5, 0.3, 0.4, 0.6]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([3], [0.3])
    assert train.get_linestyle() != held.get_linestyle()
    assert train.get_color() != held.get_color()
    assert len(mae.lines) == 2


def test_a_fitted_probe_gives_its_curves_bare_in_a_pipeline_or_found_by_a_search(curves):
    pipeline = make_pipeline(StandardScaler(), Fitted(curves))
    search = Fitted()
    search.best_estimator_ = pipeline
    for given in (Fitted(curves), pipeline, search):
        (axes,) = sp.plots.plot_curves(given, metric="loss").axes
        assert axes.lines[1].get_ydata().tolist() == [0.9, 0.5, 0.3, 0.4, 0.6]


def test_runs_have_a_colour_each_and_the_legend_names_them(curves):
    figure = sp.plots.plot_curves({"lr 1e-3": curves, "lr 1e-4": Fitted(curves)}, metric="mae")
    first, second = (line.get_color() for line in figure.axes[0].lines[::2])
    assert first != second
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "lr 1e-3, train", "lr 1e-3, validation", "lr 1e-4, train", "lr 1e-4, validation"
    ]  # fmt: skip


def test_epochs_without_a_value_are_left_out(curves):
    curves.loc[(curves["split"] == "validation") & (curves["epoch"] < 4), "mae"] = np.nan
    (axes,) = sp.plots.plot_curves(curves, metric="mae").axes
    assert axes.lines[1].get_xdata().tolist() == [4, 5]


def test_what_holds_no_curves_is_refused(curves):
    with pytest.raises(TypeError, match="a fitted probe that has curves_, got StandardScaler"):
        sp.plots.plot_curves(StandardScaler())
    with pytest.raises(ValueError, match="columns epoch, split and at least one metric"):
        sp.plots.plot_curves(curves[["epoch", "loss"]])
    with pytest.raises(KeyError, match=r"no metric 'uar' among \['loss', 'mae'\]"):
        sp.plots.plot_curves(curves, metric="uar")
