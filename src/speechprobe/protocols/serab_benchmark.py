"""SERAB, the benchmark of speech emotion recognition: nine corpora, five classifiers, one figure.

Scheidwasser-Clow, Kegler, Beckmann, Cernak: "SERAB: a multi-lingual benchmark for speech emotion
recognition", ICASSP 2022, https://arxiv.org/abs/2110.03414.

Conventions
-----------
Every utterance is one vector. Speakers are in train, validation or test (`splits.serab`). Within
each part and speaker every dimension is brought to mean 0 and standard deviation 1; the test part
by its own statistics, so the protocol is transductive. LDA, LR, QDA, RF and SVC are tuned over
SERAB's grids from train to validation, fitted to both, and scored on test: accuracy and unweighted
average recall (UAR) in %.

===================  =================================  =================================
what                 edition "corrected"                edition "2021"
===================  =================================  =================================
speakers of ShEMO    true ones                          the number of the utterance
speakers of IEM4     true ones                          session and actor with the markers
CaFE                 936 utterances                     864, without the neutral ones
a task's accuracy    the classifier best on validation  the classifier best on TEST
sounds               `audio.read`                       16 bits, / 32767, resampy 0.2.2
window of BYOL       the extractor's                    400 samples
===================  =================================  =================================

Both figures of a task are always in the result: choosing on test moved the published RAVDESS
entries by up to 8.6 points, and flipped the order of two models.

Departures from the original, in both editions: QDA raises in today's scikit-learn where a class has
no more items than dimensions, and is then a row without score (it used to warn and score 10 to 57
%); the forest depends on the order of files by 2 to 5 points, and files are sorted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from speechprobe import _fingerprint
from speechprobe.extractors.base import check_facts
from speechprobe.protocols._serab.classifiers import SEED, classifier_names
from speechprobe.protocols._serab.embedding import layers_of
from speechprobe.protocols._serab.picture import plot_serab
from speechprobe.protocols._serab.result import (
    CHOSEN_BY,
    RUN,
    SerabResult,
    best_of,
    compare_serab,
    means,
)
from speechprobe.protocols._serab.run import Run, Settings, run_task
from speechprobe.protocols._serab.tasks import NINE, Edition, Root, wanted_tasks, why_missing

if TYPE_CHECKING:
    from speechprobe.extractors.base import Extractor

__all__ = ["SerabResult", "compare_serab", "plot_serab", "serab"]

_ALWAYS = (
    "test items are normalised by their own speakers' statistics, as in the original "
    "(transductive)",
    "QDA raises in today's scikit-learn where a class has no more items than dimensions and has no "
    "score then, where it warned and scored badly in 2021",
)
_RULES = {
    "corrected": (
        *_ALWAYS,
        "the classifier is chosen on validation, in 2021 it was chosen on test",
        "sounds are read by audio.read, in 2021 as 16-bit numbers with resampy 0.2.2",
    ),
    "2021": (
        *_ALWAYS,
        "the classifier is chosen on test, so a task's figure is too good",
    ),
}


def serab(
    extractor: Extractor,
    roots: Mapping[str, Root],
    *,
    edition: Edition = "corrected",
    tasks: Sequence[str] | None = None,
    model_selection: Literal["predefined"] | None = "predefined",
    layer: str | Sequence[str] | None = None,
    classifiers: Sequence[str] | None = None,
    store: str | Path | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
) -> SerabResult:
    """Run SERAB on the corpora that are there.

    Parameters
    ----------
    extractor
        Any extractor. A BYOL network of `load_byol_a` gets the two constants of each corpus,
        whatever constants it was loaded with.
    roots
        {task: folder or corpus}; the tasks are aesdd, cafe, crema_d, emodb, emovo, iem4, ravdess,
        savee and shemo, and subesco as the tenth. A corpus needs the label `emotion`.
    edition
        "corrected", or "2021", which repeats the known mistakes of the original.
    tasks
        Which tasks; all nine and what `roots` has by default. Those without a folder are named in
        `result.missing`.
    model_selection
        "predefined" tries SERAB's grids on the validation part; None takes the classifiers as they
        are.
    layer
        Names or patterns of layers, each of which is scored; the last one by default. Frames are
        averaged; ``embedding`` of the BYOL networks is one vector, maximum plus mean over time.
    classifiers
        Some of LDA, LR, QDA, RF and SVC; all by default.
    store
        Folder for the vectors, one below it for each model, edition and task. A killed run is
        taken up there.
    n_jobs
        Settings of a grid tried at once, as in joblib.
    progress
        Show progress bars where the output is a terminal.

    Returns
    -------
    result
        Test figures have 95 % bootstrap intervals: by speaker from ten test speakers on, else by
        file, which are too narrow; `interval` says which. `floor` is the accuracy of naming the
        largest class.

    Raises
    ------
    ValueError
        If an argument is unknown, no task has a folder, or none of those that have one could be
        run; the message says why for each.
    TypeError
        If the object is no extractor, or `roots` is no mapping of tasks to folders or corpora.

    Examples
    --------
    A made-up corpus of loud and soft noise, in the place of SAVEE:

    >>> import itertools, tempfile
    >>> import numpy as np
    >>> import speechprobe as sp
    >>> generator, rows = np.random.default_rng(0), []
    >>> levels = {"anger": 0.3, "sadness": 0.01}
    >>> for speaker, emotion, take in itertools.product("abcde", levels, "123"):
    ...     path = f"{tempfile.mkdtemp()}/{take}.wav"
    ...     sp.audio.write(path, generator.normal(scale=levels[emotion], size=8_000), 16_000)
    ...     rows.append({"path": path, "speaker": speaker, "emotion": emotion})
    >>> corpus = sp.datasets.Corpus("noise", pd.DataFrame(rows).rename(index=str))
    >>> result = serab(sp.extractors.LogMel(n_mels=8), {"savee": corpus}, classifiers=["LDA", "LR"])
    >>> result.table()[["task", "accuracy_by_validation", "accuracy_by_test", "floor", "n_test"]]
        task  accuracy_by_validation  accuracy_by_test  floor  n_test
    0  savee                   100.0             100.0   50.0       6
    >>> result.missing[:3]
    ('aesdd', 'cafe', 'crema_d')
    """
    check_facts(extractor)
    if edition not in CHOSEN_BY:
        raise ValueError(f"edition must be 'corrected' or '2021', got {edition!r}")
    if model_selection not in ("predefined", None):
        raise ValueError(f"model_selection must be 'predefined' or None, got {model_selection!r}")
    layers_of(extractor, layer)
    wanted = wanted_tasks(roots, tasks)
    settings = Settings(
        extractor, edition, model_selection, layer, classifier_names(classifiers), store, n_jobs,
        progress,
    )  # fmt: skip
    reasons = {task: why_missing(roots.get(task)) for task in wanted}
    if all(reasons.values()):
        raise ValueError(f"no task of SERAB has a folder: {_joined(reasons)}")
    runs = [run_task(task, roots.get(task), settings) for task in wanted]
    if not any(run.status == "ran" for run in runs):
        failed = {run.task: run.reason for run in runs if run.status == "failed"}
        raise ValueError(f"no task of SERAB could be run: {_joined(failed)}")
    return _result(runs, settings)


def _joined(reasons: Mapping[str, str]) -> str:
    return "; ".join(
        why if why.startswith(f"{task}:") else f"{task}: {why}" for task, why in reasons.items()
    )


def _not_run(ran: Iterable[str]) -> tuple[str, ...]:
    lost = [task for task in NINE if task not in ran]
    return (f"of the nine tasks {', '.join(lost)} did not run",) if lost else ()


def _result(runs: Sequence[Run], settings: Settings) -> SerabResult:
    rows = pd.DataFrame([row for run in runs for row in run.rows])
    classifiers = rows[[*RUN, "task", *(name for name in rows if name not in (*RUN, "task"))]]
    best = best_of(classifiers)
    ran = {run.task: run for run in runs if run.status == "ran"}
    deviations = (
        *_RULES[settings.edition],
        *_not_run(ran),
        *dict.fromkeys(run.provenance["front_end"] for run in ran.values()),
        *(note for run in runs for note in run.notes),
    )
    tables = {
        "best": best,
        "classifiers": classifiers,
        "means": means(best),
        "tasks": pd.DataFrame([_told(run) for run in runs]),
    }
    pictures = {"tasks": partial(plot_serab, best)}
    provenance = _provenance(ran, settings)
    return SerabResult("serab", settings.edition, deviations, tables, pictures, provenance)


def _told(run: Run) -> dict[str, Any]:
    return {"task": run.task, "status": run.status, **run.facts, "reason": run.reason}


def _provenance(ran: Mapping[str, Run], settings: Settings) -> dict[str, Any]:
    return {
        "model": settings.extractor.name,
        "model_selection": settings.model_selection,
        "seed": SEED,
        "splits": "speechprobe.datasets.splits.serab, numpy.random.RandomState(0)",
        "normalisation": "each dimension by part and speaker, transductive",
        "interval": "95 % percentile bootstrap, 1000 resamples",
        "front_end": {task: run.provenance["front_end"] for task, run in ran.items()},
        "extraction": {task: run.provenance["extraction"] for task, run in ran.items()},
        "versions": _fingerprint.versions(),
    }
