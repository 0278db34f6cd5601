"""Scores of verification written and read again are equal, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.layers.verification.verify import verify_layers


@pytest.fixture(scope="module")
def scores():
    generator = np.random.default_rng(0)
    speaker = np.repeat([f"{k:02d}" for k in range(12)], 4)
    items = pd.DataFrame({"speaker": speaker}, index=[f"{k:03d}" for k in range(48)])
    layers = {name: generator.normal(size=(48, 5)) for name in ("stem", "block_1")}
    made = {"extractor": {"name": "made", "pad": (1, 2)}, "n": np.int64(4)}
    first, second = np.triu_indices(48, 1)
    trials = pd.DataFrame({
        "enrol": items.index[first], "test": items.index[second],
        "same": speaker[first] == speaker[second],
    })  # fmt: skip
    floor = {"mel: raw": sp.Features({"mel": generator.normal(size=(48, 2))}, items)}
    return verify_layers(sp.Features(layers, items, made), trials, floor=floor)


def test_json_with_the_trials_beside_loads_back_equal(scores, tmp_path):
    scores.to_json(tmp_path / "scores.json", trials="trials.csv")
    loaded = VerificationScores.from_json(tmp_path / "scores.json")
    assert loaded == scores
    assert loaded.trials.dtypes.equals(scores.trials.dtypes)
    assert loaded.trials.equals(scores.trials)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.json", "trials.csv"]


def test_json_loads_back_equal_by_default(scores, tmp_path):
    scores.to_json(tmp_path / "eer.json")
    assert VerificationScores.from_json(tmp_path / "eer.json") == scores
    assert (tmp_path / "eer.trials.csv").is_file()


def test_json_alone_is_equal_but_for_the_trials(scores, tmp_path):
    scores.to_json(tmp_path / "scores.json", trials=False)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    loaded = VerificationScores.from_json(tmp_path / "scores.json")
    assert loaded != scores
    assert loaded == replace(scores, trial_list=pd.DataFrame(), scores={})


def test_csv_loads_back_with_equal_records(scores, tmp_path):
    scores.to_csv(tmp_path / "scores.csv")
    assert VerificationScores.from_csv(tmp_path / "scores.csv").records == scores.records
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame["floor:mel: raw"].tolist() == [dict(r.floors)["mel: raw"] for r in scores.records]


def test_other_files_are_refused(tmp_path, scores):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a file of VerificationScores.to_json"):
        VerificationScores.from_json(tmp_path / "other.json")
    (tmp_path / "other.csv").write_text("layer,score\na,1\n")
    with pytest.raises(ValueError, match="expected a file of VerificationScores.to_csv"):
        VerificationScores.from_csv(tmp_path / "other.csv")
    with pytest.raises(ValueError, match="give a file name"):
        scores.to_json(tmp_path / "scores.json", trials="elsewhere/trials.csv")
    scores.to_json(tmp_path / "scores.json", trials="trials.csv")
    (tmp_path / "trials.csv").unlink()
    with pytest.raises(FileNotFoundError, match="it was written beside"):
        VerificationScores.from_json(tmp_path / "scores.json")


def test_latex_has_a_row_a_layer(scores, tmp_path):
    text = scores.to_latex(tmp_path / "scores.tex")
    assert (tmp_path / "scores.tex").read_text() == text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3
    assert rows[2].startswith(r"block\_1 & ")
    assert len({line.count("&") for line in rows}) == 1


def test_both_rates_stand_as_scores_of_layers(scores):
    found = scores.layer_scores()
    assert found.metrics == ["equal_error_rate", "minDCF (p = 0.01)"]
    assert found.settings["target"] == "speaker verification"
    for record, score in zip(scores.records, found.by_metric(), strict=True):
        assert (score.score, score.low, score.high) == (record.eer, record.eer_low, record.eer_high)
        assert (score.n_items, score.n_groups) == (record.n_trials, record.n_speakers)
        assert not score.higher_is_better
    cost = found.by_metric("minDCF (p = 0.01)")[0]
    assert (cost.score, cost.floor) == (scores.records[0].min_dcf, scores.records[0].min_dcf_floor)


def test_an_unknown_layer_names_those_there_are(scores):
    with pytest.raises(KeyError, match="no layer 'fc' among"):
        scores.record("fc")
    assert "2 layers, 1128 trials" in repr(scores)
