"""Which rows of features the two sides of each trial are, and which files are absent.

A side is an utterance id, as `load_trials` and `make_trials` give it, or the path of the file, with
or without its extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from speechprobe import audio
from speechprobe.metrics._check import group_codes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Missing = Literal["raise", "skip"]
_NAMED = 5


@dataclass(frozen=True, eq=False)
class FoundTrials:
    """Trials both of whose files are there.

    Parameters
    ----------
    table
        Columns enrol, test, same, one row a trial that is scored.
    rows
        Rows of the items, (n_trials, 2).
    absent
        Names that are in trials but not among the items.
    n_skipped
        Trials left out for that.
    """

    table: pd.DataFrame
    rows: NDArray[np.intp]
    absent: tuple[str, ...] = ()
    n_skipped: int = 0

    @property
    def same(self) -> NDArray[np.bool_]:
        """Whether each trial is a target trial, (n_trials,)."""
        return self.table["same"].to_numpy(dtype=bool)

    def told(self) -> list[str]:
        """Return one sentence on what was left out, or none."""
        if not self.n_skipped:
            return []
        return [
            f"{self.n_skipped} of {self.n_skipped + len(self.table)} trials are left out: they "
            f"name {_listed(self.absent)}"
        ]


def find_trials(
    items: pd.DataFrame, trials: Any, missing: Missing, *, called: str = "trials"
) -> FoundTrials:
    """Return the trials with their rows.

    Parameters
    ----------
    items
        Labels of the items, indexed by id.
    trials
        Columns enrol, test, same.
    missing
        "raise" or "skip" where a trial names a file that is not among the items.
    called
        What messages call the trials.

    Raises
    ------
    TypeError
        If the trials are no DataFrame.
    ValueError
        If a column is missing, `same` is not True and False, files are absent, trials of one kind
        are left, or a trial contradicts the label `speaker`.
    """
    if missing not in ("raise", "skip"):
        raise ValueError(f"missing must be 'raise' or 'skip', got {missing!r}")
    same = _checked(trials, called)
    sides = trials[["enrol", "test"]].to_numpy(dtype=object)
    names, which = np.unique(sides.astype(str), return_inverse=True)
    places = rows_of_names(names, items)
    rows = places[which.reshape(sides.shape)]
    there: NDArray[np.bool_] = np.all(rows >= 0, axis=1)
    absent = tuple(names[places < 0].tolist())
    if absent and missing == "raise":
        raise ValueError(
            f"{int((~there).sum())} of {len(there)} {called} name {_listed(absent)}; "
            "missing='skip' leaves these trials out"
        )
    table = pd.DataFrame(sides[there].astype(str), columns=["enrol", "test"])
    table["same"] = same[there]
    _require_both_kinds(table["same"], len(there), called)
    found = FoundTrials(table, rows[there], absent, int((~there).sum()))
    _require_agreement(items, found, called)
    return found


def speakers_of(items: pd.DataFrame, groups: str, found: FoundTrials) -> NDArray[Any]:
    """Return the speaker of both sides of each trial, (n_trials, 2).

    Raises
    ------
    KeyError
        If there is no such label.
    ValueError
        If a file of a trial has none.
    """
    if groups not in items:
        raise KeyError(
            f"no label {groups!r} among {list(items.columns)}; intervals draw speakers, so name "
            "their label by groups=, or give groups=None for no interval"
        )
    labels = items[groups]
    used = np.unique(found.rows)
    lost = used[labels.iloc[used].isna().to_numpy()]
    if len(lost):
        raise ValueError(
            f"{len(lost)} files of trials have no {groups!r}, first {items.index[lost[0]]!r}"
        )
    named: NDArray[Any] = labels.astype(str).to_numpy(dtype=object)[found.rows]
    return named


def rows_of_names(names: NDArray[Any], items: pd.DataFrame) -> NDArray[np.intp]:
    """Return the row of each name, -1 where there is none: by id, else by path.

    Parameters
    ----------
    names
        Ids or paths, with or without the extension of a sound file, (n_names,).
    items
        The table, indexed by id.
    """
    columns = [items.index, *([items["path"]] if "path" in items else [])]
    found = np.full(len(names), -1, dtype=np.intp)
    for column in columns:
        text = [str(value) for value in column]
        for keys, asked in ((text, names), ([*map(_stem, text)], [*map(_stem, names)])):
            lost = found < 0
            if lost.any():
                rows = pd.Series(np.arange(len(keys)), index=keys)
                rows = rows[~rows.index.duplicated(keep=False)]  # two files are no answer
                wanted = pd.Index(np.asarray(asked, dtype=object)[lost])
                found[lost] = rows.index.get_indexer(wanted)
                known = lost & (found >= 0)
                found[known] = rows.to_numpy()[found[known]]
    return found


def codes_of(speakers: NDArray[Any]) -> NDArray[np.intp]:
    """Return a whole number from 0 for each speaker, (n_trials, 2)."""
    return group_codes(speakers.ravel(), speakers.size).reshape(speakers.shape)


def require_others(speakers: ArrayLike, others: ArrayLike, called: str) -> None:
    """Raise ValueError if speakers of the trials are among those who must be others.

    Parameters
    ----------
    speakers
        Of the trials.
    others
        Speakers of the cohort, or of validation trials.
    called
        What these are.
    """
    both = sorted({str(name) for name in np.ravel(speakers)} & {str(x) for x in np.ravel(others)})
    if both:
        raise ValueError(
            f"{len(both)} speakers of the trials are in the {called} too, first {both[0]!r}; "
            f"take other speakers for the {called}"
        )


def _checked(trials: Any, called: str) -> NDArray[np.bool_]:
    """Return what the trials say of the speakers, if they are trials."""
    if not isinstance(trials, pd.DataFrame):
        raise TypeError(
            f"{called} must be a DataFrame with the columns enrol, test and same, as "
            f"datasets.load_trials gives, got {type(trials).__name__}"
        )
    lost = [column for column in ("enrol", "test", "same") if column not in trials]
    if lost:
        raise ValueError(
            f"{called} need the columns enrol, test and same, but lack {lost}; they have "
            f"{list(trials.columns)}"
        )
    if not len(trials):
        raise ValueError(f"there are no {called}")
    labels = trials["same"]
    odd = labels[~labels.isin([True, False])].tolist()
    if odd:
        raise ValueError(
            f"{called}: `same` must be True (same speaker) or False for each, but {len(odd)} are "
            f"not, first {odd[0]!r}"
        )
    return labels.to_numpy(dtype=bool)


def _stem(name: str) -> str:
    path = PurePath(name)
    known = path.suffix.lower() in audio.EXTENSIONS
    return str(path.with_suffix("")) if known else str(path)


def _require_both_kinds(same: pd.Series[bool], n_listed: int, called: str) -> None:
    if same.nunique() == 2:
        return
    left = f"{len(same)} of the {n_listed}" if len(same) < n_listed else f"all {n_listed}"
    kind = "none" if not len(same) else f"only {'' if same.iloc[0] else 'non-'}target trials"
    raise ValueError(
        f"{called}: error rates need target trials (one speaker) and non-target trials (two); "
        + (f"no file of the {n_listed} is there" if not len(same) else f"{left} are {kind}")
    )


def _require_agreement(items: pd.DataFrame, found: FoundTrials, called: str) -> None:
    """Raise if labels say one speaker where a trial says two, or the other way round."""
    if "speaker" not in items:
        return
    named = items["speaker"].astype(str).to_numpy(dtype=object)[found.rows]
    known = items["speaker"].notna().to_numpy()[found.rows].all(axis=1)
    wrong = np.flatnonzero(known & ((named[:, 0] == named[:, 1]) != found.same))
    if len(wrong):
        row = found.table.iloc[wrong[0]]
        raise ValueError(
            f"{len(wrong)} of {len(found.table)} {called} contradict the label 'speaker', first "
            f"({row['enrol']}, {row['test']}): the trial says "
            f"{'one speaker' if row['same'] else 'two speakers'}, the labels "
            f"{named[wrong[0], 0]!r} and {named[wrong[0], 1]!r}. Is 1 the same speaker in the list?"
        )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED]))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} files that are not there: {shown}{more}"
