"""Score by layer, and bars of metrics."""

import itertools
from dataclasses import replace

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import speechprobe as sp
from speechprobe.layers import LayerScores
from speechprobe.plots._canvas import COLOURS, look


def ticks(axes, which="x"):
    axes.figure.draw_without_rendering()
    axis = axes.xaxis if which == "x" else axes.yaxis
    return [text.get_text() for text in axis.get_ticklabels()]


def test_points_bands_and_floors_are_the_scores(models):
    (axes,) = sp.plots.plot_layers(models).axes
    score, floor, *_ = axes.lines
    assert score.get_ydata().tolist() == [0.2, 0.5, 0.7]
    assert floor.get_ydata().tolist() == [-0.1, -0.1, -0.1]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (round(min(band), 6), round(max(band), 6)) == (0.0, 0.8)
    assert ticks(axes) == ["block.0", "block.1", "block.2"]


def test_a_model_with_one_layer_is_a_level_across_the_panel(models):
    (axes,) = sp.plots.plot_layers(models).axes
    level = axes.lines[4]
    assert level.get_label() == "log-mel"
    assert set(level.get_ydata()) == {0.15}
    assert level.get_xdata()[0] < 0 and level.get_xdata()[-1] > 2


def test_levels_beyond_the_panel_are_named_above_it_and_cover_nothing(models, make_scores):
    far = {"pitch": make_scores("rate", [-3.0]), "duration": make_scores("rate", [4.0])}
    (axes,) = sp.plots.plot_layers(models | far).axes
    assert axes.get_title().splitlines() == [
        "rate", "pitch: -3.00, below this panel", "duration: 4.00, above this panel"
    ]  # fmt: skip
    assert axes.get_ylim()[0] > -1 and axes.get_ylim()[1] < 2
    assert not axes.texts


def test_one_layer_alone_is_a_point(make_scores):
    for depth in ("layer", "relative"):
        (axes,) = sp.plots.plot_layers(make_scores("rate", [0.3]), depth=depth).axes
        assert axes.lines[0].get_ydata().tolist() == [0.3]


def test_models_of_one_layer_each_are_points_with_whiskers_and_floors_across(make_scores):
    models = {"a": make_scores("rate", [0.3]), "b": make_scores("rate", [-0.5])}
    figure = sp.plots.plot_layers(models, depth="relative")
    (axes,) = figure.axes
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [line.get_ydata().tolist() for line in points] == [[0.3], [-0.5]]
    left, right = (line.get_xdata()[0] for line in points)
    assert left == pytest.approx(-right) and left < 0  # beside each other, around depth 0
    assert axes.get_xticks().tolist() == [0]
    whiskers = [
        line for line in axes.lines if len(set(line.get_xdata())) == 1 < len(line.get_xdata())
    ]
    assert [[round(y, 6) for y in line.get_ydata()] for line in whiskers] == [
        [0.1, 0.4],
        [-0.7, -0.4],
    ]
    floors = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert [set(line.get_ydata()) for line in floors] == [{-0.1}] * 2
    assert all(tuple(line.get_xdata()) == axes.get_xlim() for line in floors)


def test_scores_worse_than_twice_the_error_of_the_mean_are_marked_at_the_border(make_scores):
    blown = make_scores("rate", [0.2, -1e13, 0.5, -1.2])
    (axes,) = sp.plots.plot_layers({"net": make_scores("rate", [0.1, 0.6]), "far": blown}).axes
    low, high = axes.get_ylim()
    assert -1.2 < low < -1 and 0.7 < high < 1
    marks = [line for line in axes.lines if line.get_marker() == "v" and not line.get_clip_on()]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [(1, low), (3, low)]
    assert axes.get_title().splitlines() == [
        "rate", "far: 2 of 4 layers below this panel, at -1.0e+13"
    ]  # fmt: skip
    # Nothing that is drawn lies outside: files of vectors would carry it.
    drawn = [y for line in axes.lines for y in line.get_ydata()]
    drawn += [y for band in axes.collections for y in band.get_paths()[0].vertices[:, 1]]
    assert low <= min(drawn) and max(drawn) <= high


def test_errors_of_another_magnitude_are_marked_above(make_scores):
    scores = make_scores("rate", [1.0, 1.5, 1e6], "mae")
    floors = (("shuffled", 1e6), ("mean", 2.0))
    records = tuple(replace(record, floors=floors) for record in scores.records)
    (axes,) = sp.plots.plot_layers(LayerScores(records, None, scores.settings)).axes
    assert 4 < axes.get_ylim()[1] < 4.5
    assert axes.get_title().splitlines()[1] == "1 of 3 layers above this panel, at 1.0e+06"
    # Without the mean there is no telling what is bad.
    (axes,) = sp.plots.plot_layers(scores).axes
    assert axes.get_ylim()[1] > 1e6


def test_relative_depth_lays_models_of_any_depth_over_each_other(make_scores):
    deep, flat = make_scores("rate", [0.1] * 5), make_scores("rate", [0.2] * 3, prefix="conv")
    (axes,) = sp.plots.plot_layers({"deep": deep, "flat": flat}, depth="relative").axes
    assert axes.lines[0].get_xdata().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert axes.lines[2].get_xdata().tolist() == [0, 0.5, 1]
    assert axes.get_xlabel() == "relative depth (0 first layer, 1 last)"
    with pytest.raises(ValueError, match="'layer' or 'relative', got 'absolute'"):
        sp.plots.plot_layers(deep, depth="absolute")


def test_every_floor_and_the_control_task_have_a_line_of_their_own_kind(make_scores):
    scores = make_scores("rate", [0.3, 0.6])
    floors = (("shuffled", -0.1), ("mean", 0.0), ("logmel", 0.25))
    records = tuple(replace(r, floors=floors, control=0.2) for r in scores.records)
    figure = sp.plots.plot_layers(LayerScores(records, None, scores.settings, records[-1:]))
    (axes,) = figure.axes
    drawn = {tuple(line.get_ydata()): line.get_linestyle() for line in axes.lines[1:5]}
    assert list(drawn) == [(-0.1, -0.1), (0, 0), (0.25, 0.25), (0.2, 0.2)]
    patterns = {str(line._unscaled_dash_pattern) for line in axes.lines[1:5]}
    assert len(patterns) == 4
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "score", "floor (shuffled labels)", "floor (always the mean)", "floor (logmel)",
        "control task",
    ]  # fmt: skip
    (bars,) = sp.plots.plot_metrics(LayerScores(records, None, scores.settings, records[-1:])).axes
    assert [line.get_xdata()[0] for line in bars.lines[1:5]] == [-0.1, 0.0, 0.25, 0.2]


def test_each_target_has_its_panel(models, make_scores):
    figure = sp.plots.plot_layers([models, make_scores("gender", [0.9, 0.8], "uar")])
    assert [axes.get_title() for axes in figure.axes] == ["rate", "gender"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["R²", "UAR"]


@pytest.mark.parametrize(
    ("metric", "words"),
    [("mae", "MAE (Hz)"), ("mse", "MSE ((Hz)²)"), ("r2", "R²"), ("top_5", "top 5")],
)
def test_only_metrics_that_carry_the_targets_unit_name_it(make_scores, metric, words):
    (axes,) = sp.plots.plot_layers(make_scores("pitch", [1.0, 2.0], metric), unit="Hz").axes
    assert axes.get_ylabel() == words


def test_models_of_different_targets_are_not_drawn_in_one_panel(models, make_scores):
    with pytest.raises(ValueError, match="one target a section, got"):
        sp.plots.plot_layers(models | {"other": make_scores("gender", [0.9])})
    with pytest.raises(ValueError, match="no scores"):
        sp.plots.plot_layers({})
    with pytest.raises(TypeError, match="expected LayerScores"):
        sp.plots.plot_layers("rate")


def test_a_metric_that_one_model_lacks_is_an_error_that_names_what_there_is(models, make_scores):
    for draw in (sp.plots.plot_layers, sp.plots.plot_metrics):
        with pytest.raises(KeyError, match=r"no metric 'mae' among \['r2'\]"):
            draw(models, metric="mae")
        with pytest.raises(KeyError, match=r"no metric 'r2' among \['mae'\]"):
            draw(models | {"other": make_scores("rate", [1.0], "mae")})


def test_a_list_names_its_models_by_what_made_the_features(make_scores):
    scores = make_scores("rate", [0.1, 0.2], corpus="mine", extractor={"name": "net"})
    (axes,) = sp.plots.plot_layers([scores]).axes
    assert axes.get_title() == "mine: rate"
    assert axes.lines[0].get_label() == "net"


def test_a_picture_shows_itself_in_a_notebook_and_leaves_the_style_alone(models, tmp_path):
    before = dict(mpl.rcParams)
    picture = sp.plots.plot_layers(models)
    assert picture._repr_png_().startswith(b"\x89PNG")
    for name in ("a.svg", "a.pdf"):
        picture.savefig(tmp_path / name)
    assert dict(mpl.rcParams) == before


def test_no_picture_opens_a_window_of_pyplot(models):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    sp.plots.plot_layers(models)
    assert plt.get_fignums() == before


def test_ones_own_axes_are_drawn_into_and_their_figure_comes_back(models, make_scores):
    figure = Figure(figsize=(3.4, 2.6))
    left, right = figure.subfigures(1, 2)
    axes = right.subplots()
    assert sp.plots.plot_layers(models, ax=axes) is figure
    assert axes.lines and not figure.legends and axes.get_legend() is not None
    assert left.axes == []
    with pytest.raises(ValueError, match="ax holds one panel, and there are 2"):
        sp.plots.plot_layers([models, make_scores("gender", [0.9], "uar")], ax=axes)


@pytest.mark.parametrize(("width", "n_layers"), [(3.4, 25), (3.4, 49), (10, 49)])
def test_names_of_many_layers_do_not_touch(make_scores, width, n_layers):
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    axes = figure.subplots()
    sp.plots.plot_layers(make_scores("rate", [0.5] * n_layers, prefix="encoder.layers."), ax=axes)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert len(boxes) >= 9
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))


def test_long_names_leave_out_the_modules_they_share(make_scores):
    scores = make_scores("rate", [0.5] * 25, prefix="net.encoder.layers.")
    (axes,) = sp.plots.plot_layers(scores).axes
    assert ticks(axes)[:2] == ["layers.0", "layers.1"]
    assert axes.get_xlabel() == "layer of net.encoder, in depth order"


def test_49_models_differ_in_colour_or_marker_and_the_first_7_in_both():
    pairs = [look(number) for number in range(49)]
    assert len(set(pairs)) == 49
    assert len({colour for colour, _ in pairs[:7]}) == len({m for _, m in pairs[:7]}) == 7


def luminance(colour, loss):
    """Return relative luminance as someone without one kind of cone sees it (Machado 2009)."""
    rgb = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return [max(sum(w * c for w, c in zip(row, linear, strict=True)), 0) for row in loss]


PROTANOPIA = [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
              (-0.003882, -0.048116, 1.051998)]  # fmt: skip
DEUTERANOPIA = [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                (-0.011820, 0.042940, 0.968881)]  # fmt: skip


@pytest.mark.parametrize("loss", [PROTANOPIA, DEUTERANOPIA], ids=["protan", "deutan"])
def test_colours_stay_apart_for_colour_blind_readers(loss):
    seen = [luminance(colour, loss) for colour in COLOURS]
    gaps = [
        max(abs(x - y) for x, y in zip(a, b, strict=True))
        for k, a in enumerate(seen)
        for b in seen[:k]
    ]
    assert min(gaps) > 0.08


def test_bars_are_the_scores_with_whiskers_and_floors(models):
    (axes,) = sp.plots.plot_metrics(models).axes
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.2, 0.15]
    assert ticks(axes, "y") == ["<trained>\nblock.2", "untrained\nblock.1", "log-mel\nblock.0"]
    whisker, floor = axes.lines[:2]
    assert [round(x, 6) for x in whisker.get_xdata()] == [0.5, 0.8]
    assert list(floor.get_xdata()) == [-0.1, -0.1]
    assert [text.get_text() for text in axes.texts] == ["0.70", "0.20", "0.15"]
    assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == list(COLOURS[:3])


def test_bars_of_layers_stand_beside_each_other_and_do_not_overlap(models):
    (axes,) = sp.plots.plot_metrics(models, layers="all").axes
    assert ticks(axes, "y") == ["block.0", "block.1", "block.2"]
    assert len(axes.patches) == 7
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    (axes,) = sp.plots.plot_metrics(models, layers=["block.2"]).axes
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.1]


def test_bars_of_what_is_not_there_are_errors(models):
    with pytest.raises(KeyError, match="no layer 'block.9' among"):
        sp.plots.plot_metrics(models, layers=["block.9"])
    first = models["untrained"]
    unchosen = LayerScores(first.records, first.predictions, first.settings)
    with pytest.raises(ValueError, match="chosen on validation items"):
        sp.plots.plot_metrics(unchosen)


def test_scores_without_interval_and_floor_can_be_drawn():
    record = sp.layers.LayerScore("a", "r2", 0.5, float("nan"), 0, 0, 0, 5, 2, True)
    scores = LayerScores((record,), None, {"target": "rate"})
    (axes,) = sp.plots.plot_metrics(scores).axes
    assert [bar.get_width() for bar in axes.patches] == [0.5]
    assert sp.plots.plot_layers(scores).axes[0].lines[0].get_ydata().tolist() == [0.5]
