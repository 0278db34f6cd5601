"""Scores written and read again are equal, to the last bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers.scores import LayerScores


@pytest.fixture(scope="module")
def scores():
    """Scores with floors, a control task, several seeds and numpy scalars in the settings."""
    generator = np.random.default_rng(0)
    items = pd.DataFrame({
        "speaker": np.arange(96) % 12, "word": np.arange(96) % 8, "rate": generator.normal(size=96),
        "tag": generator.choice(["NA", "", "v, é"], size=96), "loud": np.arange(96) % 3 > 1,
    })  # fmt: skip
    features = sp.Features(
        {"stem": generator.normal(size=(96, 4)), "block_1": generator.normal(size=(96, 5))},
        items,
        {"n_dims": np.int64(4), "extractor": {"name": "made", "pad": (1, 2)}},
    )
    floor = sp.Features({"mel": generator.normal(size=(96, 2))}, items)
    return {
        target: sp.probe_layers(
            features, target=target, groups="speaker", probe=probe, metrics=metrics,
            floor={"mel: 1, raw": floor}, control="word", seeds=(0, 1), n_shuffles=2, n_folds=3,
        )
        for target, probe, metrics in (
            ("rate", sp.probes.RidgeProbe(), [sp.metrics.r2, sp.metrics.mae]),
            ("tag", sp.probes.LogisticProbe(), sp.metrics.uar),
            ("loud", sp.probes.LogisticProbe(), sp.metrics.accuracy),
        )
    }  # fmt: skip


@pytest.mark.parametrize("target", ["rate", "tag", "loud"])
def test_json_with_the_predictions_beside_loads_back_equal(scores, target, tmp_path):
    scores[target].to_json(tmp_path / "scores.json", predictions="predictions.csv")
    loaded = LayerScores.from_json(tmp_path / "scores.json")
    assert loaded == scores[target]
    assert loaded.predictions.dtypes.equals(scores[target].predictions.dtypes)
    assert loaded.best() == scores[target].best()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.csv", "scores.json"]


def test_json_loads_back_equal_by_default(scores, tmp_path):
    scores["rate"].to_json(tmp_path / "rate.json")
    assert LayerScores.from_json(tmp_path / "rate.json") == scores["rate"]
    assert (tmp_path / "rate.predictions.csv").is_file()


def test_json_alone_is_equal_but_for_the_predictions(scores, tmp_path):
    scores["rate"].to_json(tmp_path / "scores.json", predictions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    loaded = LayerScores.from_json(tmp_path / "scores.json")
    assert loaded != scores["rate"]
    assert loaded == replace(scores["rate"], predictions=pd.DataFrame())


def test_csv_loads_back_with_equal_records(scores, tmp_path):
    scores["rate"].to_csv(tmp_path / "scores.csv")
    assert LayerScores.from_csv(tmp_path / "scores.csv").records == scores["rate"].records
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame["floor:mel: 1, raw"].tolist() == [
        dict(record.floors)["mel: 1, raw"] for record in scores["rate"].records
    ]


def test_nan_loads_back_as_nan(scores, tmp_path):
    lost = replace(scores["rate"].records[0], score=float("nan"), floors=(("mean", np.nan),))
    one = LayerScores((lost,), pd.DataFrame())
    one.to_json(tmp_path / "scores.json")
    one.to_csv(tmp_path / "scores.csv")
    for loaded in (
        LayerScores.from_json(tmp_path / "scores.json"),
        LayerScores.from_csv(tmp_path / "scores.csv"),
    ):
        assert loaded.records == (lost,)
        assert np.isnan(loaded.records[0].score)


def test_any_difference_makes_scores_unequal(scores):
    own = scores["rate"]
    moved = own.predictions.assign(prediction=own.predictions["prediction"] + 1e-12)
    for other in (
        replace(own, records=own.records[::-1]),
        replace(own, records=(replace(own.records[0], low=np.nan), *own.records[1:])),
        replace(own, chosen=()),
        replace(own, cautions=("few",)),
        replace(own, settings={}),
        replace(own, predictions=moved),
    ):
        assert other != own


def test_files_of_another_kind_are_refused(scores, tmp_path):
    (tmp_path / "other.json").write_text('{"records": []}')
    with pytest.raises(ValueError, match=r"other.json: expected a file of LayerScores.to_json"):
        LayerScores.from_json(tmp_path / "other.json")
    (tmp_path / "other.csv").write_text("layer,score\na,1\n")
    with pytest.raises(ValueError, match=r"other.csv: expected a file of LayerScores.to_csv"):
        LayerScores.from_csv(tmp_path / "other.csv")
    with pytest.raises(ValueError, match="give a file name"):
        scores["rate"].to_json(tmp_path / "scores.json", predictions="elsewhere/p.csv")
    scores["rate"].to_json(tmp_path / "scores.json", predictions="p.csv")
    (tmp_path / "p.csv").unlink()
    with pytest.raises(FileNotFoundError, match="it was written beside the JSON file"):
        LayerScores.from_json(tmp_path / "scores.json")
