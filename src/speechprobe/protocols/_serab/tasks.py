"""SERAB's corpora: what they are called, how they are loaded, and which utterance is in which part.

Published sizes are the utterances that the splits use: CREMA-D without the four and AESDD without
the one that SERAB leaves out. Of CaFE 864 were published, in six classes: the neutral ones lie one
folder higher and were overlooked.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from speechprobe import datasets
from speechprobe.datasets import Corpus, splits

# One place decides what the edition of 2021 took for the speakers.
from speechprobe.datasets.splits import _serab

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Words = NDArray[np.object_]

Edition = Literal["corrected", "2021"]
Root = str | Path | Corpus

EMOTION = "emotion"
PARTS = splits.Split._fields
_LISTED = 4  # speakers or classes in a message


@dataclass(frozen=True)
class Task:
    """A corpus of SERAB.

    Parameters
    ----------
    load
        Its loader: folder -> corpus.
    n_items, n_classes
        Utterances that are used, and their classes.
    constants
        Mean and standard deviation of the log-mel spectrogram, a mean over the training files of
        2021, window 400; None where none were published.
    """

    load: Callable[..., Corpus]
    n_items: int
    n_classes: int
    constants: tuple[float, float] | None = None


TASKS = {
    "aesdd": Task(datasets.load_aesdd, 604, 5, (-4.1785407, 4.3656462)),
    "cafe": Task(datasets.load_cafe, 936, 7, (-7.9731622, 5.1123400)),
    "crema_d": Task(datasets.load_cremad, 7438, 6, (-4.9937282, 3.1366026)),
    "emodb": Task(datasets.load_emodb, 535, 7, (-2.6927330, 4.1030712)),
    "emovo": Task(datasets.load_emovo, 588, 7, (-6.7016168, 4.6194077)),
    "iem4": Task(datasets.load_iemocap, 5531, 4, (-5.7522306, 3.4032545)),
    "ravdess": Task(datasets.load_ravdess, 1440, 8, (-10.3203478, 4.9995518)),
    "savee": Task(datasets.load_savee, 480, 7, (-7.3620586, 4.7177248)),
    "shemo": Task(datasets.load_shemo, 3000, 6, (-3.5331912, 4.0278716)),
    "subesco": Task(datasets.load_subesco, 7000, 7),
}
NINE = tuple(name for name in TASKS if name != "subesco")  # those with published figures
# Whose speakers were mistaken in 2021, so the training parts of the editions differ.
MISTAKEN = ("iem4", "shemo")


@dataclass(frozen=True, eq=False)
class Material:
    """The utterances of a task that are used.

    Parameters
    ----------
    task
        Its name.
    corpus
        The utterances in some part, in the order of the corpus.
    part
        "train", "validation" or "test" of each, (n_items,).
    voice
        Whose statistics each is normalised by, (n_items,): the speaker, or what the edition of
        2021 took for it.
    notes
        What is not as published, a sentence each.
    """

    task: str
    corpus: Corpus
    part: Words
    voice: Words
    notes: tuple[str, ...]

    def column(self, name: str) -> NDArray[Any]:
        """Return a label of every utterance, (n_items,)."""
        return self.corpus.column(name)

    def only(self, ids: Iterable[str]) -> Material:
        """Return the utterances of these ids; if some go, every class must still be in each part.

        Raises
        ------
        ValueError
            If a class is missing in a part now.
        """
        keep = self.corpus.table.index.isin(list(ids))
        if keep.all():
            return self
        corpus = self.corpus.select(keep)
        left = Material(self.task, corpus, self.part[keep], self.voice[keep], self.notes)
        return _complete(left, set(self.column(EMOTION)))

    @property
    def split(self) -> splits.Split:
        """Row positions of the parts."""
        return splits.Split(*(np.flatnonzero(self.part == name) for name in PARTS))


def wanted_tasks(roots: Mapping[str, Root], tasks: Sequence[str] | None) -> list[str]:
    """Return the tasks to run, in SERAB's order: those asked for, or the nine and all given.

    Raises
    ------
    ValueError
        If a name is no task's, with near ones, or none is asked for.
    TypeError
        If the folders are not given by task, or one is neither folder nor corpus.
    """
    _require_roots(roots)
    asked = [tasks] if isinstance(tasks, str) else list(tasks or [])
    for name in (*roots, *asked):
        if name not in TASKS:
            near = difflib.get_close_matches(str(name), TASKS, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"SERAB has no task {name!r}{hint}; there are {', '.join(TASKS)}")
    if tasks is not None and not asked:
        raise ValueError(f"no task is asked for; there are {', '.join(TASKS)}")
    wanted = set(asked) if tasks is not None else {*NINE, *roots}
    return [name for name in TASKS if name in wanted]


def _require_roots(roots: Any) -> None:
    if not isinstance(roots, Mapping):
        raise TypeError(
            "roots must be {task: folder or corpus}, such as {'emodb': 'data/emodb'}, got "
            f"{type(roots).__name__} {roots!r}"
        )
    for task, root in roots.items():
        if root is not None and not isinstance(root, Root):
            raise TypeError(f"{task}: expected a folder or a Corpus, got {type(root).__name__}")


def why_missing(root: Root | None) -> str:
    """Return why a task has no corpus, or nothing where it has one."""
    if root is None:
        return "no folder was given"
    return "" if isinstance(root, Corpus) or Path(root).is_dir() else f"{root} is no folder"


def material_of(task: str, root: Root, edition: Edition) -> Material:
    """Return the utterances of a task and their parts.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no such corpus, an utterance has no emotion, speakers are too few, or
        a class is missing in a part.
    """
    corpus = root if isinstance(root, Corpus) else TASKS[task].load(root)
    notes = []
    if task == "cafe" and edition == "2021":
        corpus = corpus.select(corpus.column(EMOTION) != "neutral")
        notes.append("cafe: the neutral utterances are left out, as they were overlooked in 2021")
    split, leak = _split(task, corpus.table, edition)
    notes += [leak] if leak else []
    rows = np.sort(np.concatenate(split))
    part = np.empty(len(corpus), dtype=object)
    for name, positions in split._asdict().items():
        part[positions] = name
    taken = _serab.voices_of_2021(corpus.table.index.tolist()) if edition == "2021" else None
    voice = corpus.column("speaker").astype(str) if taken is None else np.array(taken)
    used = Corpus(corpus.name, corpus.table.iloc[rows])
    notes += _sizes(task, used, edition)
    _require_emotions(task, used)
    material = Material(task, used, part[rows], voice[rows].astype(object), tuple(notes))
    return _complete(material, set(material.column(EMOTION)))


def _split(task: str, table: pd.DataFrame, edition: Edition) -> tuple[splits.Split, str]:
    """Return the split, and what it says of speakers on both sides."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            split = splits.serab(table, edition)
        except ValueError as error:
            raise ValueError(f"{task}: {error}") from error
    return split, "; ".join(f"{task}: {warning.message}" for warning in caught)


def _sizes(task: str, corpus: Corpus, edition: Edition) -> list[str]:
    facts, neutral = TASKS[task], 72
    n_items, n_classes = facts.n_items, facts.n_classes
    if task == "cafe" and edition == "2021":
        n_items, n_classes = n_items - neutral, n_classes - 1
    found = corpus.table[EMOTION].nunique() if EMOTION in corpus.table else 0
    if (len(corpus), found) == (n_items, n_classes):
        return []
    return [
        f"{task}: {len(corpus)} utterances in {found} classes are there, of {n_items} in "
        f"{n_classes}"
    ]


def _require_emotions(task: str, corpus: Corpus) -> None:
    missing = corpus.table.index[corpus.table[EMOTION].isna()] if EMOTION in corpus.table else None
    if missing is None:
        raise ValueError(f"{task}: corpus {corpus.name!r} has no label {EMOTION!r}")
    if len(missing):
        raise ValueError(
            f"{task}: {len(missing)} of {len(corpus)} utterances have no {EMOTION!r}, first "
            f"{missing[0]!r}; select those that have one"
        )


def _complete(material: Material, classes: set[str]) -> Material:
    """Return the material if each part has every class."""
    emotions, speakers = material.column(EMOTION), material.column("speaker")
    lacking = []
    for name in PARTS:
        rows = material.part == name
        missing = sorted(classes - set(emotions[rows]))
        if missing:
            who = _listed(sorted(set(map(str, speakers[rows]))))
            lacking.append(f"no utterance of {_listed(missing)} in {name} (speakers {who})")
    if lacking:
        raise ValueError(f"{material.task}: {'; '.join(lacking)}; SERAB needs every class in each")
    if len(classes) < 2:
        raise ValueError(f"{material.task}: all utterances are of one class, {emotions[0]!r}")
    return material


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more if names else "none"
