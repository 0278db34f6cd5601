"""Pictures and the HTML page."""

import re
import subprocess
import sys

import matplotlib as mpl
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers import LayerScore, LayerScores


def make_scores(target, values, metric="r2"):
    records = tuple(
        LayerScore(f"block.{k}", metric, value, -0.1, 0.02, value, 0.0, 50, 8, True).with_interval(
            value - 0.2, value + 0.1, n_groups=10
        )
        for k, value in enumerate(values)
    )
    best = max(records, key=lambda record: record.score)
    return LayerScores(records, pd.DataFrame(), {"target": target}, (best,))


@pytest.fixture
def models():
    return {
        "<trained>": make_scores("rate", [0.2, 0.5, 0.7]),
        "untrained": make_scores("rate", [0.1, 0.2, 0.1]),
        "log-mel": make_scores("rate", [0.15]),
    }


def test_points_bands_and_floors_are_the_scores(models):
    (axes,) = sp.plots.plot_layers(models).axes
    score, floor, *_ = axes.lines
    assert score.get_ydata().tolist() == [0.2, 0.5, 0.7]
    assert floor.get_ydata().tolist() == [-0.1, -0.1, -0.1]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (round(min(band), 6), round(max(band), 6)) == (0.0, 0.8)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["block.0", "block.1", "block.2"]


def test_a_model_with_one_layer_is_a_level_across_the_panel(models):
    (axes,) = sp.plots.plot_layers(models).axes
    level = axes.lines[4]
    assert level.get_label() == "log-mel"
    assert set(level.get_ydata()) == {0.15}
    assert level.get_xdata()[0] < 0 and level.get_xdata()[-1] > 2


def test_one_layer_alone_is_a_point():
    (axes,) = sp.plots.plot_layers(make_scores("rate", [0.3])).axes
    assert axes.lines[0].get_ydata().tolist() == [0.3]


def test_each_target_has_its_panel(models):
    figure = sp.plots.plot_layers([models, make_scores("gender", [0.9, 0.8], "uar")])
    assert [axes.get_title() for axes in figure.axes] == ["rate", "gender"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["r2", "uar"]


def test_models_of_different_targets_are_not_drawn_in_one_panel(models):
    with pytest.raises(ValueError, match="one target a section, got"):
        sp.plots.plot_layers(models | {"other": make_scores("gender", [0.9])})
    with pytest.raises(ValueError, match="no scores"):
        sp.plots.plot_layers({})


def test_a_picture_shows_itself_in_a_notebook_and_leaves_the_style_alone(models):
    before = dict(mpl.rcParams)
    picture = sp.plots.plot_layers(models)
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


def test_the_page_needs_no_other_file_and_holds_every_score(models, tmp_path):
    path = sp.reports.html(models, tmp_path / "new" / "page.html", title="A & B")
    page = path.read_text()
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "A &amp; B" in page and "<td>&lt;trained&gt;</td>" in page
    assert page.count("<tr") == 1 + 7 + 2
    assert page.count("<td>chosen in each fold") == 2
    assert page.count('class="best"') == 2
    assert ">0.700<" in page and "0.500 to 0.800" in page


def test_the_page_of_one_model_needs_no_name(tmp_path):
    page = sp.reports.html(make_scores("rate", [0.1, 0.3]), tmp_path / "page.html").read_text()
    assert page.count("<svg") == 1


def test_the_import_is_light():
    code = (
        "import sys, speechprobe; heavy = {'torch', 'pandas', 'matplotlib', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_loads():
    for package in (sp, sp.datasets, sp.extractors, sp.metrics, sp.probes, sp.layers):
        for name in package.__all__:
            assert getattr(package, name) is not None


def test_what_is_no_score_is_refused_and_a_list_names_its_models():
    with pytest.raises(TypeError, match="expected LayerScores"):
        sp.plots.plot_layers("rate")
    made = {"corpus": "mine", "extractor": {"name": "net"}}
    scores = make_scores("rate", [0.1, 0.2])
    named = LayerScores(scores.records, scores.predictions, {"target": "rate", "features": made})
    (axes,) = sp.plots.plot_layers([named]).axes
    assert axes.get_title() == "mine: rate"
    assert axes.lines[0].get_label() == "net"
