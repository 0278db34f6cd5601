"""Layers as maps of points."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp

UMAP_WARNS = "ignore:Tensorflow not installed:ImportWarning"


def points_of(figure):
    return np.concatenate([each.get_offsets() for each in figure.axes[0].collections])


def test_numbers_get_a_colour_bar_with_its_unit_and_items_without_are_left_out(features):
    figure = sp.plots.plot_projection(features, "block.0", "rate", method="pca", unit="Hz")
    axes, bar = figure.axes
    assert bar.get_ylabel() == "rate (Hz)"
    (cloud,) = axes.collections
    assert len(cloud.get_offsets()) == 59
    assert cloud.get_array().tolist() == features.items["rate"].dropna().tolist()
    assert axes.get_title() == "block.0, PCA\n59 items, seed 0"


def test_classes_get_a_legend_with_their_numbers(features):
    figure = sp.plots.plot_projection(features, "block.0", "emotion", method="pca")
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["anger (20)", "joy (20)", "neutral (20)"]
    colours = {tuple(cloud.get_facecolor()[0]) for cloud in axes.collections}
    assert len(colours) == 3


def test_pca_is_that_of_the_covariance_matrix(features):
    figure = sp.plots.plot_projection(features, "block.0", "emotion", method="pca")
    x = features["block.0"] - features["block.0"].mean(0)
    shares, directions = np.linalg.eigh(x.T @ x)
    expected = x @ directions[:, ::-1][:, :2]
    order = np.argsort(features.items["emotion"].to_numpy(), kind="stable")
    np.testing.assert_allclose(np.abs(points_of(figure)), np.abs(expected[order]), atol=1e-8)
    share = shares[-1] / shares.sum()
    assert figure.axes[0].get_xlabel() == f"component 1 ({share:.0%} of variance)"


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_same_seed_gives_the_same_picture(features, method):
    def draw(seed, most_items=40):
        return sp.plots.plot_projection(
            features, "block.0", "emotion", method=method, most_items=most_items, seed=seed
        )

    first, again, other = draw(3), draw(3), draw(4)
    assert "40 of 60 items, seed 3" in first.axes[0].get_title()
    assert len(points_of(first)) == 40
    np.testing.assert_array_equal(points_of(first), points_of(again))
    assert not np.array_equal(points_of(first), points_of(other))


def test_tsne_keeps_clouds_together(features):
    figure = sp.plots.plot_projection(features, "block.0", "emotion")
    package = "openTSNE" if importlib.util.find_spec("openTSNE") else "scikit-learn"
    assert f"t-SNE of {package}" in figure.axes[0].get_title()
    clouds = [np.asarray(each.get_offsets()) for each in figure.axes[0].collections]
    centres = [cloud.mean(0) for cloud in clouds]
    for own, cloud in enumerate(clouds):
        gaps = [np.linalg.norm(cloud - centre, axis=1) for centre in centres]
        assert (np.argmin(gaps, axis=0) == own).all()


@pytest.mark.filterwarnings(UMAP_WARNS)
def test_umap_draws_the_same_for_the_same_seed(features):
    pytest.importorskip("umap")
    first, again = (
        sp.plots.plot_projection(features, "block.0", "rate", method="umap") for _ in range(2)
    )
    np.testing.assert_array_equal(points_of(first), points_of(again))


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap is installed")
def test_without_umap_the_pip_line_is_named(features):
    with pytest.raises(ImportError, match=r"pip install 'speechprobe\[umap\]'"):
        sp.plots.plot_projection(features, "block.0", "rate", method="umap")


def test_any_function_can_place_the_points(features):
    figure = sp.plots.plot_projection(
        features, "block.1", "rate", method=lambda x: x[:, :2], most_items=10
    )
    rows = features["block.1"][:, :2]
    assert all((rows == point).all(1).any() for point in points_of(figure))
    with pytest.raises(ValueError, match=r"points \(n_items, 2\) = \(60, 2\), got \(60, 8\)"):
        sp.plots.plot_projection(features, "block.1", "emotion", method=lambda x: x)


def test_the_global_generator_is_neither_used_nor_seeded(features):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 the global state is the point
    sp.plots.plot_projection(features, "block.0", "emotion", most_items=30)
    after = np.random.get_state()[1]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)


def test_unknown_layers_and_labels_are_errors_that_name_what_there_is(features):
    draw = sp.plots.plot_projection
    with pytest.raises(KeyError, match=r"no layer 'block.7' among \['block.0', 'block.1'"):
        draw(features, "block.7", "rate", method="pca")
    with pytest.raises(KeyError, match=r"no label 'age' among \['emotion', 'rate', 'speaker'\]"):
        draw(features, "block.0", "age")
    with pytest.raises(ValueError, match="holds frames; pool them first"):
        draw(features, "frames", "rate", method="pca")
    with pytest.raises(ValueError, match="NaN or infinity for 60 items, first 'u0'"):
        draw(features, "broken", "emotion", method="pca")
    with pytest.raises(ValueError, match=r"one of \['pca', 'tsne', 'umap'\] or a function"):
        draw(features, "block.0", "rate", method="mds")


def test_too_few_items_and_too_many_classes_are_errors(features):
    with pytest.raises(ValueError, match="has 60 classes here, and 49 can be told apart"):
        sp.plots.plot_projection(features, "block.0", "speaker", method="pca")
    with pytest.raises(ValueError, match="at least 4 items, got 3 with the label"):
        sp.plots.plot_projection(features.select([0, 1, 2]), "block.0", "rate", method="pca")


def test_truth_values_and_missing_classes_are_classes(features):
    items = pd.DataFrame({"is_a": [True, False, True, False, None, True]})
    six = sp.Features({"a": np.eye(6)}, items)
    (axes,) = sp.plots.plot_projection(six, "a", "is_a", method="pca").axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["False (2)", "True (3)"]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_layer_that_does_not_vary_has_no_map(method):
    items = pd.DataFrame({"speaker": np.arange(20) % 4})
    constant = sp.Features({"layer": np.ones((20, 3))}, items)
    with pytest.raises(ValueError, match="the layer is the same for all 20 items"):
        sp.plots.plot_projection(constant, "layer", "speaker", method=method)
