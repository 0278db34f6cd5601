"""What a study gives back, and the files it is written as."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from speechprobe.protocols import Study

TABLES = {
    "scores": pd.DataFrame({"layer": ["conv1", "conv2"], "r2": [0.25, 1 / 3]}),
    "tasks": pd.DataFrame({"uar": [0.5]}, index=pd.Index(["emodb"], name="task")),
}


def drawn():
    pyplot = pytest.importorskip("matplotlib.figure")
    figure = pyplot.Figure()
    figure.add_subplot().plot([0, 1])
    return figure


@pytest.fixture
def study():
    made = {"seed": np.int64(3), "at": np.ones(2)}
    return Study("demo", "2021", ("no pauses",), TABLES, {"line": drawn}, made)


def test_the_first_table_has_the_results_and_is_a_copy(study):
    taken = study.table()
    taken["r2"] = 0.0
    assert study.table()["r2"].tolist() == [0.25, 1 / 3]
    assert study.table("tasks").index.tolist() == ["emodb"]


@pytest.mark.parametrize(("ask", "message"), [("table", "scores, tasks"), ("picture", "line")])
def test_an_unknown_part_names_those_there_are(study, ask, message):
    with pytest.raises(KeyError, match=f"no {ask} 'loss'; there are {message}"):
        getattr(study, ask)("loss")


def test_all_is_written_and_tables_come_back_equal(study, tmp_path):
    paths = study.write(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["scores.csv", "tasks.csv", "line.svg", "study.json"]
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), TABLES["scores"], rtol=0)
    pd.testing.assert_frame_equal(pd.read_csv(paths[1], index_col="task"), TABLES["tasks"])
    assert "<svg" in paths[2].read_text(encoding="utf-8")
    told = json.loads(paths[3].read_text(encoding="utf-8"))
    assert (told["protocol"], told["edition"]) == ("demo", "2021")
    assert told["deviations"] == ["no pauses"]
    assert told["provenance"] == {"seed": 3, "at": [1.0, 1.0]}


def test_pictures_are_left_out_on_request(study, tmp_path):
    paths = study.write(tmp_path, pictures=False)
    assert [path.suffix for path in paths] == [".csv", ".csv", ".json"]
