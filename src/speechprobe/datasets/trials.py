"""Trials of speaker verification: pairs of utterances, of the same speaker or not.

Conventions
-----------
Trials are a DataFrame, one row a trial: `enrol` and `test` are utterance ids (those of
`load_voxceleb` for its lists: the path without extension), `same` is True for the same speaker.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from speechprobe import audio
from speechprobe.datasets.corpus import Corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Published(NamedTuple):
    file: str
    n_trials: int
    n_speakers: int | None = None
    n_files: int | None = None


# https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html
PUBLISHED = {
    "O": _Published("veri_test.txt", 37_720, 40, 4_715),
    "O-cleaned": _Published("veri_test2.txt", 37_611, 40),
    "E": _Published("list_test_all.txt", 581_480, 1_251),
    "E-cleaned": _Published("list_test_all2.txt", 579_818),
    "H": _Published("list_test_hard.txt", 552_536, 1_190),
    "H-cleaned": _Published("list_test_hard2.txt", 550_894),
}
_SAME = {"1": True, "0": False, "target": True, "nontarget": False}

ListName = Literal["O", "O-cleaned", "E", "E-cleaned", "H", "H-cleaned"]


def load_trials(path: str | Path, name: ListName | None = None) -> pd.DataFrame:
    r"""Return the trials of a list: VoxCeleb's, or one of your own.

    A line is `1 enrol test` or `0 enrol test`, as VoxCeleb's lists have it, or `enrol test target`
    and `enrol test nontarget`, as Kaldi's have it. The lists of VoxCeleb1: O (37,720 trials of the
    40 test speakers), E (581,480 of all 1,251 speakers, so of dev and test folders), H (552,536
    between speakers of the same sex and nationality), and each cleaned of wrong labels (37,611,
    579,818 and 550,894). Which of them a score is on must be said: they differ by about 0.1 points
    of EER.

    Parameters
    ----------
    path
        The text file.
    name
        "O", "O-cleaned", "E", "E-cleaned", "H", "H-cleaned": the file must have the published
        numbers of trials and speakers. None: any list.

    Returns
    -------
    trials
        Columns enrol, test (ids: without the extension of a sound file) and same (bool).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line has no label or does not fit, a trial has both labels, the list is empty, the
        name is unknown, or the numbers are not the published ones.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "trials.txt")
    >>> n = path.write_text("1 a/x/1.wav a/y/2.wav\n0 a/x/1.wav b/z/3.wav\n")
    >>> load_trials(path)
       enrol   test   same
    0  a/x/1  a/y/2   True
    1  a/x/1  b/z/3  False
    """
    if name is not None and name not in PUBLISHED:
        raise ValueError(f"unknown list {name!r}; known are {list(PUBLISHED)}")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such list of trials; VoxCeleb's are at "
            "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
        )
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    trials = [_trial(file, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not trials:
        raise ValueError(f"{file}: holds no trial; expected lines '1 enrol test' or '0 enrol test'")
    table = pd.DataFrame(trials, columns=["enrol", "test", "same"])
    pair = np.sort(table[["enrol", "test"]].to_numpy(dtype=object), axis=1)
    labels = table["same"].groupby([pair[:, 0], pair[:, 1]]).nunique()
    if labels.max() > 1:
        raise ValueError(f"{file}: the trial {labels.idxmax()} is there with both labels")
    if name is not None:
        _check_counts(file, table, name)
    return table


def _trial(file: Path, number: int, line: str) -> tuple[str, str, bool]:
    fields = line.split()
    if len(fields) == 3 and fields[2] in ("target", "nontarget"):
        return _as_id(fields[0]), _as_id(fields[1]), _SAME[fields[2]]
    if len(fields) == 3 and fields[0] in ("0", "1"):
        return _as_id(fields[1]), _as_id(fields[2]), _SAME[fields[0]]
    if len(fields) == 2:
        raise ValueError(
            f"{file}, line {number}: {line!r} has no label; expected '1 enrol test' (same speaker) "
            "or '0 enrol test'. Without labels there is nothing to score"
        )
    raise ValueError(
        f"{file}, line {number}: expected '1 enrol test' or '0 enrol test', or 'enrol test target' "
        f"or 'nontarget', got {line!r}"
    )


def _as_id(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in audio.EXTENSIONS else name


def _check_counts(file: Path, trials: pd.DataFrame, name: str) -> None:
    published = PUBLISHED[name]
    ids = pd.concat([trials["enrol"], trials["test"]])
    found = {
        "trials": (len(trials), published.n_trials),
        "speakers": (ids.str.split("/").str[0].nunique(), published.n_speakers),
        "files": (ids.nunique(), published.n_files),
    }
    for what, (n, expected) in found.items():
        if expected is not None and n != expected:
            like = [each for each, facts in PUBLISHED.items() if facts.n_trials == len(trials)]
            hint = f"; it has the size of {like[0]!r}" if like and like[0] != name else ""
            raise ValueError(
                f"{file}: VoxCeleb1-{name} ({published.file}) has {expected} {what}, this file "
                f"{n}{hint}"
            )


def make_trials(
    corpus: Corpus, n: int, seed: int = 0, *, within: str | None = None
) -> pd.DataFrame:
    """Return balanced trials of a corpus: half of the same speaker, half of two speakers.

    Each pair of utterances is drawn at most once, and every pair of its kind is as probable as any
    other, so speakers with more utterances come more often.

    Parameters
    ----------
    corpus
        At least two speakers, one of them with two utterances.
    n
        Number of trials; one more of two speakers where it is odd.
    seed
        Seed of the draw.
    within
        Label that both sides of a trial share, as "gender" for trials that the sex of the voices
        does not decide.

    Returns
    -------
    trials
        Columns enrol, test (utterance ids) and same (bool), in random order.

    Raises
    ------
    ValueError
        If the corpus has too few pairs of a kind.
    KeyError
        If there is no such label.

    Examples
    --------
    >>> table = pd.DataFrame({"path": list("abcd"), "speaker": list("xxyy")}, index=list("abcd"))
    >>> make_trials(Corpus("small", table), 4)["same"].sum()
    np.int64(2)
    """
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    nameless = corpus.table["speaker"].isna().to_numpy()
    if nameless.any():
        raise ValueError(
            f"utterance {corpus.table.index[nameless][0]!r} of {corpus.name!r} has no speaker"
        )
    generator = np.random.default_rng(seed)
    classes = pd.factorize(corpus.column(within), sort=True)[0] if within else np.zeros(len(corpus))
    if (classes < 0).any():
        lost = corpus.table.index[classes < 0][0]
        raise ValueError(f"utterance {lost!r} of {corpus.name!r} has no {within!r}")
    speakers = pd.factorize(corpus.column("speaker").astype(str), sort=True)[0]
    order = np.lexsort((np.arange(len(corpus)), speakers, classes))
    speaker_end = _ends(classes[order] * (speakers.max() + 1) + speakers[order])
    rows = np.arange(len(order))
    # In this order the partners of a row stand together: behind it, up to the end of its speaker,
    # and from there up to the end of its class.
    inside = f" within one {within}" if within else ""
    same = _draw(generator, n // 2, rows + 1, speaker_end, f"the same speaker{inside}")
    other = _draw(
        generator, n - n // 2, speaker_end, _ends(classes[order]), f"two speakers{inside}"
    )
    pairs = generator.permuted(order[np.concatenate([same, other])], axis=1)
    table = pd.DataFrame(corpus.table.index.to_numpy()[pairs], columns=["enrol", "test"])
    table["same"] = np.arange(n) < len(same)
    return table.iloc[generator.permutation(n)].reset_index(drop=True)


def _ends(sorted_codes: NDArray[np.float64] | NDArray[np.intp]) -> NDArray[np.intp]:
    """Return, for each row, the position behind the last row with the same code."""
    return np.searchsorted(sorted_codes, sorted_codes, side="right")


def _draw(
    generator: np.random.Generator, n: int, first: NDArray[np.intp], end: NDArray[np.intp], of: str
) -> NDArray[np.intp]:
    """Draw n pairs (row, partner) without replacement, a row's partners being [first, end)."""
    total = np.cumsum(end - first)
    n_pairs = int(total[-1])
    if n_pairs < n:
        raise ValueError(f"the corpus has only {n_pairs} pairs of {of}, {n} are wanted")
    ranks = generator.choice(n_pairs, n, replace=False)
    rows = np.searchsorted(total, ranks, side="right")
    partners = end[rows] - (total[rows] - ranks)
    return np.stack([rows, partners], axis=1)
