"""Tables of SERAB: the best classifier of each task by either choice, the means, models compared.

The choice alone moves figures by points, so both stand beside each other whatever the edition:
"validation" is the classifier with the best validation accuracy, "test" the one with the best test
accuracy, which is what was published and too good by choosing on test. Of equals the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.errors import EmptyDataError

from speechprobe._files import replacing
from speechprobe.protocols._serab.published import MEANS, published
from speechprobe.protocols._serab.tasks import NINE, TASKS
from speechprobe.protocols.study import Study

if TYPE_CHECKING:
    from os import PathLike

CHOICES = ("validation", "test")
CHOSEN_BY = {"corrected": "validation", "2021": "test"}
_SCORES = ("classifier", "accuracy", "accuracy_low", "accuracy_high", "uar", "validation_accuracy")
_SHARED = ("floor", "n_test", "n_speakers", "interval")
RUN = ("model", "layer", "edition", "model_selection")  # what a row of another run differs in
_TEXT = (*RUN, "task", "chosen_by", "interval", *(f"classifier_by_{each}" for each in CHOICES))
# Of the table "best", and of the files that `SerabResult.to_csv` writes.
COLUMNS = (
    *RUN, "task", "chosen_by", "accuracy", *_SHARED,
    *(f"{name}_by_{each}" for each in CHOICES for name in _SCORES),
)  # fmt: skip
_WITH_TENTH = "_with_subesco"


@dataclass(frozen=True, eq=False)
class SerabResult(Study):
    """What `serab` gives back; made by it.

    Tables: "best" (a row a task and layer: the edition's accuracy, and the classifier chosen on
    validation and the one chosen on test side by side), "classifiers" (a row a classifier, with
    those that could not be fitted), "means" (UM, WM and GM) and "tasks" (which ran). Scores are
    in %. Picture: "tasks".

    Examples
    --------
    >>> best = pd.DataFrame({"task": ["emodb"], "accuracy": [95.1]})
    >>> tasks = pd.DataFrame({"task": ["emodb", "savee"], "status": ["ran", "missing"]})
    >>> result = SerabResult("serab", "2021", (), {"best": best, "tasks": tasks})
    >>> result.missing
    ('savee',)
    """

    @property
    def missing(self) -> tuple[str, ...]:
        """Tasks that were asked for and whose folder is not there."""
        return self._with_status("missing")

    @property
    def failed(self) -> tuple[str, ...]:
        """Tasks that could not be run; the table "tasks" says why."""
        return self._with_status("failed")

    def _with_status(self, status: str) -> tuple[str, ...]:
        tasks = self.tables["tasks"]
        return tuple(tasks["task"][tasks["status"] == status])

    def to_csv(self, path: str | PathLike[str], *, append: bool = True) -> None:
        """Write the table "best", beside the rows of other models that the file has.

        Parameters
        ----------
        path
            The file. It is replaced whole, so an interrupted call leaves the old one.
        append
            Keep the rows that the file has, but for those of the same model, layer, edition,
            model selection and task; False starts anew.

        Raises
        ------
        ValueError
            If the file holds anything but such a table.
        IsADirectoryError
            If it is a folder.
        """
        target, table = Path(path), self.tables["best"]
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder; name the CSV file to write in it")
        if append and target.is_file():
            before = read_results(target)
            keys = [*RUN, "task"]
            mine = pd.MultiIndex.from_frame(table[keys].astype(str))
            old = pd.MultiIndex.from_frame(before[keys].astype(str)).isin(mine)
            # An empty table would make pandas guess the kind of its columns anew.
            table = table if old.all() else pd.concat([before[~old], table], ignore_index=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            table.to_csv(partial, index=False)


def read_results(path: str | PathLike[str]) -> pd.DataFrame:
    """Return the table that `SerabResult.to_csv` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty, or lacks a column.
    """
    try:
        columns = pd.read_csv(path, nrows=0).columns
    except EmptyDataError:
        raise ValueError(
            f"{path}: no table of SerabResult.to_csv, it is empty; delete it, or write it anew "
            "with append=False"
        ) from None
    lost = [name for name in COLUMNS if name not in columns]
    if lost:
        raise ValueError(f"{path}: no table of SerabResult.to_csv, it lacks the columns {lost}")
    text = dict.fromkeys(_TEXT, str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={
        name: [""] for name in columns if name not in _TEXT
    })  # fmt: skip


def compare_serab(
    results: SerabResult | str | PathLike[str] | Sequence[SerabResult | str | PathLike[str]],
    *,
    published_too: bool = False,
) -> pd.DataFrame:
    """Return accuracies of several models, a column a task, with the means UM, WM and GM.

    Parameters
    ----------
    results
        What `serab` gave, or CSV files of `SerabResult.to_csv`; one or several.
    published_too
        Add the published figures, as far as they are known per task.

    Returns
    -------
    table
        Indexed by model, layer, edition and how the classifier was chosen ("validation" or
        "test", a row each). Accuracy in %, NaN for a task that did not run. UM is the plain mean
        of the nine tasks that have published figures, WM weighted by the number of test items, GM
        the geometric mean; `over` names those of the nine that they are over, which must be the
        same where means are compared. Where SUBESCO ran, `UM_with_subesco`, `WM_with_subesco` and
        `GM_with_subesco` are of all tasks that ran.

    Examples
    --------
    >>> compare_serab([], published_too=True)[["emodb", "UM"]].loc["BYOL-S 512"]
                                                        emodb    UM
    layer     edition        chosen_on
    published 2021    test                               86.9  73.0
    """
    given = [results] if isinstance(results, SerabResult | str | Path) else list(results)  # type: ignore[arg-type]
    tables = [
        each.tables["best"] if isinstance(each, SerabResult) else read_results(each)
        for each in given
    ]
    rows: list[dict[Any, Any]] = [row for table in tables for row in _rows_of(table)]
    if published_too:
        rows += [
            {"model": model, "layer": "published", "edition": "2021", "chosen_on": "test"}
            | {**figures.dropna().to_dict(), "over": "all nine"}
            for model, figures in published().iterrows()
        ]
    index = ["model", "layer", "edition", "chosen_on"]
    there = {name for row in rows for name in row}
    known = (*TASKS, *MEANS, "over", *(f"{name}{_WITH_TENTH}" for name in MEANS))
    columns = [name for name in known if name in there]
    return pd.DataFrame(rows, columns=[*index, *columns]).set_index(index)


def _rows_of(best: pd.DataFrame) -> Iterable[dict[str, Any]]:
    for key, rows in _groups(best, RUN):
        told = dict(zip(RUN, key, strict=True))
        grid = told.pop("model_selection")
        told["edition"] += "" if grid == "predefined" else f", {grid}"
        for choice in CHOICES:
            scores = dict(zip(rows["task"], rows[f"accuracy_by_{choice}"], strict=True))
            yield told | {"chosen_on": choice} | scores | _means_beside(rows, choice)


def _means_beside(rows: pd.DataFrame, choice: str) -> dict[str, Any]:
    """Return the means of the nine tasks, and of all tasks where SUBESCO ran too."""
    nine = _of_the_nine(rows)
    found = means_of(nine, choice) if len(nine) else {"over": "none of the nine"}
    if len(nine) < len(rows):
        of_all = means_of(rows, choice)
        found |= {f"{name}{_WITH_TENTH}": of_all[name] for name in MEANS}
    return found


def _of_the_nine(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["task"].isin(NINE)]


def means_of(best: pd.DataFrame, choice: str) -> dict[str, Any]:
    """Return UM, WM and GM of the tasks of one model, and which tasks these are."""
    accuracy = best[f"accuracy_by_{choice}"].to_numpy(float)
    return {
        "UM": float(accuracy.mean()),
        "WM": float(np.average(accuracy, weights=best["n_test"])),
        "GM": float(np.prod(accuracy / 100) ** (1 / len(accuracy)) * 100),
        "over": "all nine" if set(best["task"]) == set(NINE) else ", ".join(best["task"]),
    }


def best_of(classifiers: pd.DataFrame) -> pd.DataFrame:
    """Return one row a task and layer: the classifier chosen on validation, and that on test."""
    rows = []
    for key, of_task in _groups(classifiers, (*RUN, "task")):
        told: dict[str, Any] = dict(zip((*RUN, "task"), key, strict=True))
        fitted = of_task[of_task["accuracy"].notna()]
        if fitted.empty:
            continue
        by: dict[str, Any] = {
            "validation": fitted.iloc[fitted["validation_accuracy"].argmax()],
            "test": fitted.iloc[fitted["accuracy"].argmax()],
        }
        told["chosen_by"] = CHOSEN_BY[told["edition"]]
        told["accuracy"] = by[told["chosen_by"]]["accuracy"]
        told |= {name: fitted.iloc[0][name] for name in _SHARED}
        told |= {f"{name}_by_{each}": by[each][name] for each in CHOICES for name in _SCORES}
        rows.append(told)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def means(best: pd.DataFrame) -> pd.DataFrame:
    """Return UM, WM and GM of each layer by either choice: of the nine, and of all if more ran."""
    rows = []
    for key, of_layer in _groups(best, RUN):
        nine = _of_the_nine(of_layer)
        sets = [each for each in (nine, of_layer) if len(each)]
        for tasks in sets if len(nine) != len(of_layer) else sets[:1]:
            rows += [
                dict(zip(RUN, key, strict=True))
                | {"chosen_on": choice}
                | means_of(tasks, choice)
                | {"n_tasks": len(tasks)}
                for choice in CHOICES
            ]
    return pd.DataFrame(rows)


def _groups(table: pd.DataFrame, names: Sequence[str]) -> Iterable[tuple[Any, pd.DataFrame]]:
    """Return the rows of each combination of values, in the order of the table."""
    return table.groupby(list(names), sort=False) if len(table) else ()
