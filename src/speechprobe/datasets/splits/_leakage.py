"""Looks for what stands on two sides of a split although its groups do not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from speechprobe import audio
from speechprobe._files import hide_progress
from speechprobe._headers import read_headers
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.splits._split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BEGINNING = 4000  # samples that tell most sounds apart


@dataclass(frozen=True, eq=False)
class LeakageReport:
    """What a split lets through; frozen.

    Parameters
    ----------
    straddling
        One row a group (an utterance where there are no groups) that stands in several parts:
        `group` and `parts`.
    same_audio
        One row an utterance whose samples another utterance has too: `id`, `part`, and `copy`, a
        number that copies share. Copies within one part are listed too: they count twice.
    same_text
        One row an utterance whose text is also said by the same speaker in another part: `id`,
        `part`, `speaker`, `text`.
    unread
        Ids of utterances whose sound cannot be read.
    """

    straddling: pd.DataFrame
    same_audio: pd.DataFrame
    same_text: pd.DataFrame
    unread: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """True if a group, a sound or a speaker's sentence stands in two parts."""
        across = self.same_audio.groupby("copy")["part"].nunique().gt(1).any()
        return bool(len(self.straddling) or len(self.same_text) or across)

    def __str__(self) -> str:
        n_copies = self.same_audio["copy"].nunique()
        across = int(self.same_audio.groupby("copy")["part"].nunique().gt(1).sum())
        lines = [
            f"{len(self.straddling)} groups stand in several parts",
            f"{n_copies} sounds are there under several names, {across} of them in several parts",
            f"{len(self.same_text)} utterances repeat a speaker's text in another part",
        ]
        if self.unread:
            lines.append(f"{len(self.unread)} sounds cannot be read, first {self.unread[0]!r}")
        return "\n".join(lines)


def leakage_report(
    corpus: Corpus, split: Split, *, groups: str | None = "speaker", progress: bool = True
) -> LeakageReport:
    """Return what stands in two parts of a split: groups, sounds, and a speaker's sentences.

    Two utterances have the same sound if their decoded samples, rate and channels are the same,
    whatever their names and containers. Only sounds of the same length are compared, by their
    beginning first, so that few are decoded whole. Texts are compared without regard to case and
    white space.

    Parameters
    ----------
    corpus
        The utterances that the split is of.
    split
        Rows of train, validation and test.
    groups
        Label that should not straddle, or None.
    progress
        Show a progress bar where the output is a terminal.

    Raises
    ------
    IndexError
        If the split has rows that the corpus does not have.
    KeyError
        If there is no such label.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> noise = np.random.default_rng(0).normal(scale=0.1, size=8000)
    >>> for name in ("a", "b"):
    ...     audio.write(f"{folder}/{name}.wav", noise, 16_000)
    >>> table = pd.DataFrame(
    ...     {"path": [f"{folder}/a.wav", f"{folder}/b.wav"], "speaker": ["s1", "s2"]},
    ...     index=["a", "b"],
    ... )
    >>> split = Split(np.array([0]), np.array([], int), np.array([1]))
    >>> report = leakage_report(Corpus("copies", table), split)
    >>> report.leaks, report.same_audio["id"].tolist()
    (True, ['a', 'b'])
    """
    highest = max((int(rows.max()) for _, rows in _parts(split)), default=-1)
    if highest >= len(corpus):
        raise IndexError(
            f"the split has row {highest}, but {corpus.name!r} has {len(corpus)} utterances; give "
            "the corpus that it was made of"
        )
    used = pd.concat([corpus.table.iloc[rows].assign(part=part) for part, rows in _parts(split)])
    once = used[~used.index.duplicated()]
    copies, unread = _copies(once["path"].tolist(), progress=progress)
    # An utterance that stands in two parts is a copy of itself.
    numbers = pd.Series(copies, index=once.index).reindex(used.index)
    twice = numbers.lt(0) & used.index.duplicated(keep=False)
    numbers[twice] = len(used) + pd.factorize(used.index[twice])[0]
    found = pd.DataFrame({"id": used.index, "part": used["part"].array, "copy": numbers.array})
    found = found[found["copy"] >= 0].sort_values(["copy", "id"], ignore_index=True)
    found["copy"] = pd.factorize(found["copy"])[0]
    return LeakageReport(
        _straddling(used, groups), found, _same_text(used), tuple(once.index[unread])
    )


def _parts(split: Split) -> list[tuple[str, NDArray[np.intp]]]:
    return [(part, rows) for part, rows in split._asdict().items() if len(rows)]


def _straddling(used: pd.DataFrame, groups: str | None) -> pd.DataFrame:
    if groups is not None and groups not in used:
        raise KeyError(f"no label {groups!r} among {list(used.columns)}")
    keys = used.index if groups is None else used[groups]
    parts = used["part"].groupby(keys.to_numpy()).unique()
    several = parts[parts.map(len) > 1]
    joined = [" and ".join(each) for each in several]
    return pd.DataFrame({"group": several.index.tolist(), "parts": joined})


def _same_text(used: pd.DataFrame) -> pd.DataFrame:
    columns = ["id", "part", "speaker", "text"]
    if "text" not in used:
        return pd.DataFrame(columns=columns)
    said = used[used["text"].fillna("").astype(str).str.strip() != ""]
    plain = [" ".join(str(text).casefold().split()) for text in said["text"]]
    n_parts = said.groupby([said["speaker"].astype(str), np.array(plain)])["part"].transform(
        "nunique"
    )
    return said[n_parts > 1].rename_axis("id").reset_index()[columns]


def _copies(paths: Sequence[str], *, progress: bool) -> tuple[NDArray[np.intp], list[int]]:
    """Return a number for each sound that is there again, -1 for the others, and what failed."""
    headers = read_headers(paths, progress=progress)
    keys: list[Any] = [
        (each.n_samples, each.sample_rate, each.channels)
        if isinstance(each, audio.Header)
        else None
        for each in headers
    ]
    for n_samples in (_BEGINNING, None):
        rows = _shared(keys)
        digests = _digests([paths[row] for row in rows], n_samples, progress=progress)
        for row, digest in zip(rows, digests, strict=True):
            keys[row] = None if digest is None else (keys[row], digest)
    rows = _shared(keys)
    copies = np.full(len(paths), -1)
    copies[rows] = pd.factorize(np.array([hash(keys[row]) for row in rows]))[0]
    return copies, [row for row, key in enumerate(keys) if key is None]


def _shared(keys: Sequence[Any]) -> list[int]:
    counts = pd.Series([hash(key) for key in keys]).value_counts()
    return [r for r, key in enumerate(keys) if key is not None and counts[hash(key)] > 1]


def _digests(paths: Sequence[str], n_samples: int | None, *, progress: bool) -> list[str | None]:
    def attempt(path: str) -> str | None:
        try:
            return audio.digest(path, n_samples)
        except (OSError, ValueError):
            return None

    hidden = hide_progress(progress and len(paths) > 1000)
    with ThreadPoolExecutor(max_workers=8) as pool:
        work = pool.map(attempt, paths)
        return list(tqdm(work, "sounds compared", len(paths), unit="file", disable=hidden))
