"""Heat maps of layers against layers."""

import itertools

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers.compare import compare_layers


def test_cells_are_the_values_with_the_first_layers_at_the_lower_left():
    table = pd.DataFrame([[1.0, 0.25, 0.5], [0.2, 0.9, 0.1]], ["a0", "a1"], ["b0", "b1", "b2"])
    figure = sp.plots.plot_similarity(table, measure="linear CKA", a="base", b="large")
    axes, bar = figure.axes
    figure.draw_without_rendering()
    assert axes.images[0].get_array().tolist() == table.to_numpy().tolist()
    assert axes.images[0].origin == "lower"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer of large", "layer of base")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b0", "b1", "b2"]
    assert bar.get_ylabel() == "linear CKA (1: the same)"
    assert [text.get_text() for text in axes.texts][:2] == ["1.00", "0.25"]


def test_the_map_spans_0_to_1_and_further_where_values_do():
    for values, limits in (([[0.4, 0.6]], (0, 1)), ([[-0.2, 0.6]], (-0.2, 1))):
        image = sp.plots.plot_similarity(pd.DataFrame(values)).axes[0].images[0]
        assert image.get_clim() == limits


def test_names_of_many_layers_do_not_touch():
    names = [f"encoder.layers.{k}" for k in range(60)]
    figure = sp.plots.plot_similarity(pd.DataFrame(np.eye(60), names, names))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    upright = [text.get_window_extent() for text in axes.get_xticklabels()]
    level = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert len(upright) > 20
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(upright))
    assert all(a.y1 <= b.y0 for a, b in itertools.pairwise(level))
    assert not axes.texts


def test_a_result_of_compare_layers_knows_its_measure_and_its_models():
    items, x = pd.DataFrame(index=list("abcdefgh")), np.random.default_rng(0).normal(size=(8, 3))
    base, large = (
        sp.Features({"stem": x, "block": x**k}, items, {"extractor": {"name": name}})
        for k, name in ((2, "base"), (3, "large"))
    )
    found = compare_layers(base, large)
    axes, bar = sp.plots.plot_similarity(found).axes
    assert axes.images[0].get_array().tolist() == found.matrix.tolist()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer of large", "layer of base")
    assert bar.get_ylabel() == "linear CKA (1: the same)"


def test_what_is_no_similarity_is_refused():
    with pytest.raises(TypeError, match="what compare_layers gives, or a table of pandas"):
        sp.plots.plot_similarity(np.eye(2))


def test_a_table_without_a_number_is_refused():
    with pytest.raises(ValueError, match=r"got a table \(1, 2\) of none"):
        sp.plots.plot_similarity(pd.DataFrame([[np.nan, np.nan]]))
