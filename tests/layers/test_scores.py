"""LayerScores: tables, choice of the best layer, and what it writes."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from speechprobe.layers import LayerScore, LayerScores


def record(layer, score, validation, metric="r2", higher=True):
    made = LayerScore(layer, metric, score, -0.1, 0.05, validation, 0.0, 100, 512, higher)
    return made.with_interval(score - 0.1, score + 0.1, n_groups=10)


@pytest.fixture
def scores():
    records = (
        record("stem", 0.51234, 0.6),
        record("stem", 2.0, 1.0, "mse", higher=False),
        record("block_1", 0.9, 0.5),
        record("block_1", 1.0, 3.0, "mse", higher=False),
    )
    return LayerScores(records, pd.DataFrame(), {"target": "rate", "groups": "speaker"})


def test_the_table_has_score_interval_floor_and_n(scores):
    table = scores.table()
    assert list(table.columns) == [
        "metric", "score", "low", "high", "floor", "n_items", "n_groups",
    ]  # fmt: skip
    assert table.loc["stem", "score"].tolist() == [0.512, 2.0]


def test_the_table_of_a_model_prints_in_eighty_columns(scores):
    assert max(map(len, scores.table().to_string().splitlines())) <= 80


def test_the_best_layer_is_that_of_the_choice_not_of_the_largest_score(scores):
    chosen = (record("stem", 0.4, 0.6), record("stem", 2.5, 1.0, "mse", higher=False))
    scores = replace(scores, chosen=chosen)
    assert scores.best().score == 0.4
    assert scores.best("mse").score == 2.5


def test_an_unknown_metric_is_named_with_those_there_are(scores):
    with pytest.raises(KeyError, match=r"no metric 'mae' among \['r2', 'mse'\]"):
        scores.best("mae")


def test_csv_holds_full_precision(scores, tmp_path):
    scores.to_csv(tmp_path / "scores.csv")
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame["score"].tolist() == [r.score for r in scores.records]
    assert frame["layer"].tolist() == [r.layer for r in scores.records]


def test_json_holds_records_and_settings_and_no_nan(scores, tmp_path):
    lost = record("stem", float("nan"), float("nan"))
    LayerScores((lost,), pd.DataFrame(), scores.settings).to_json(tmp_path / "scores.json")
    text = (tmp_path / "scores.json").read_text()
    found = json.loads(text)
    assert "NaN" not in text
    assert found["records"][0]["score"] is None
    assert found["settings"]["target"] == "rate"


def test_latex_has_one_row_a_record_and_escapes_names(scores, tmp_path):
    text = scores.to_latex(tmp_path / "scores.tex")
    assert text == (tmp_path / "scores.tex").read_text()
    assert text.count(r"\\") == 1 + len(scores.records)
    assert r"block\_1 & r2 & 0.900" in text


def test_latex_escapes_every_special_character(scores):
    odd = LayerScores((record(r"a%&#${}~^\_b", 0.5, 0.5),), pd.DataFrame())
    escaped = r"a\%\&\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\_b & r2"
    assert escaped in odd.to_latex()


def test_tables_hold_no_negative_zero():
    table = LayerScores((record("stem", -1e-5, 0.5),), pd.DataFrame()).table()
    assert not np.signbit(table["score"]).any()


def test_scores_are_frozen(scores):
    with pytest.raises(AttributeError):
        scores.records = ()
    with pytest.raises(AttributeError):
        scores.records[0].score = 1.0


def test_a_layer_without_validation_scores_cannot_be_chosen(scores):
    open_scores = LayerScores((record("stem", 0.5, np.nan),), pd.DataFrame())
    with pytest.raises(ValueError, match="chosen on validation items"):
        open_scores.best()
