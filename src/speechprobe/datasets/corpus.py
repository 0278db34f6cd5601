"""A corpus: a frozen, columnar table of utterances.

Conventions
-----------
The table is a pandas DataFrame indexed by utterance id (strings, unique), one row an utterance.
Columns `path` (the sound file) and `speaker` always exist; `duration` is in seconds; every other
column is a label. Methods return new corpora; nothing is changed in place. Rows may also be spans
of utterances, see `Corpus.spans`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from speechprobe.datasets._study import chosen, to_study
from speechprobe.datasets.selection import rows_of
from speechprobe.datasets.spans import holds_spans, spans_of
from speechprobe.datasets.utterance import Columns, Utterance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Corpus:
    """A named table of utterances.

    Parameters
    ----------
    name
        Short name, kept in provenance.
    table
        Indexed by utterance id, with at least the columns `path` and `speaker`.

    Raises
    ------
    ValueError
        If a needed column is missing, the table is empty, or an id occurs twice.
    TypeError
        If the table is no DataFrame.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["a.wav", "b.wav"], "speaker": [1, 2]}, index=["a", "b"])
    >>> corpus = Corpus("mine", table).label("gender", ["F", "M"])
    >>> len(corpus), corpus.select(corpus.column("gender") == "F").table.index.tolist()
    (2, ['a'])
    """

    name: str
    table: pd.DataFrame

    def __post_init__(self) -> None:
        if not isinstance(self.table, pd.DataFrame):
            raise TypeError(
                f"corpus {self.name!r}: expected a pandas DataFrame, got "
                f"{type(self.table).__name__}; load_table reads a CSV file"
            )
        missing = [column for column in ("path", "speaker") if column not in self.table]
        if missing:
            raise ValueError(
                f"corpus {self.name!r}: the table lacks the column(s) {missing}; "
                f"it has {list(self.table.columns)}"
            )
        if self.table.empty:
            raise ValueError(f"corpus {self.name!r} holds no utterance")
        table = self.table.copy(deep=False)
        table.index = _as_ids(table.index, self.name)
        object.__setattr__(self, "table", table)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self.table)

    def __iter__(self) -> Iterator[Utterance]:
        columns = self._columns
        for row, key in enumerate(self.table.index.tolist()):
            yield Utterance(key, columns, row)

    def __getitem__(self, id: str) -> Utterance:  # noqa: A002 the contract's name
        row = int(self.table.index.get_indexer(pd.Index([id]))[0])
        if row < 0:
            raise KeyError(f"corpus {self.name!r} has no utterance {id!r}")
        return Utterance(id, self._columns, row)

    def column(self, name: str) -> NDArray[Any]:
        """Return one label of every utterance, shape (n_utterances,).

        Raises
        ------
        KeyError
            If the corpus has no such label.
        """
        if name not in self.table:
            raise KeyError(
                f"corpus {self.name!r} has no label {name!r}; it has {list(self.table.columns)}. "
                f"Add it with corpus.label({name!r}, function_or_values)"
            )
        return self._columns[name]

    def label(
        self, name: str, function_or_values: Callable[[Utterance], Any] | ArrayLike
    ) -> Corpus:
        """Return a corpus with one more label (or with that label replaced).

        Parameters
        ----------
        name
            Name of the label.
        function_or_values
            A function Utterance -> value, or the values: a sequence in the order of the corpus,
            or a pandas Series indexed by utterance id.

        Raises
        ------
        ValueError
            If the number of values is not the number of utterances, or the function fails; the
            message names the utterance.
        """
        if callable(function_or_values):
            values: Any = self._evaluate(function_or_values, name)
        elif isinstance(function_or_values, pd.Series):
            values = self._aligned(function_or_values, name)
        else:
            values = function_or_values
            if np.ndim(values) != 1 or len(values) != len(self):
                raise ValueError(
                    f"label {name!r}: expected {len(self)} values, one an utterance, "
                    f"got shape {np.shape(values)}"
                )
        return Corpus(self.name, self.table.assign(**{name: values}))

    def _evaluate(self, function: Callable[[Utterance], Any], name: str) -> list[Any]:
        # What `labels.from_sound` makes is measured on all cores and remembered.
        measure = getattr(function, "measure", None)
        paths = self.column("path").tolist() if measure else []
        measured = measure.all(paths) if measure else itertools.repeat(None)
        combine = function.combine if measure else lambda utterance, _: function(utterance)  # type: ignore[attr-defined]
        values: list[Any] = []
        try:
            for utterance, value in zip(self, measured, strict=False):
                values.append(combine(utterance, value))
        except Exception as error:
            raise ValueError(
                f"label {name!r} failed on utterance {self.table.index[len(values)]!r} "
                f"of {self.name!r}: {error}"
            ) from error
        return values

    def _aligned(self, series: pd.Series[Any], name: str) -> NDArray[Any]:
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()][0]
            raise ValueError(f"label {name!r}: the Series has two values for utterance {twice!r}")
        missing = self.table.index.difference(series.index)
        if len(missing):
            raise ValueError(
                f"label {name!r}: the Series has no value for {len(missing)} of {len(self)} "
                f"utterances, first {missing[0]!r}"
            )
        return series.reindex(self.table.index).to_numpy()

    def select(self, keep: Callable[[Utterance], bool] | ArrayLike) -> Corpus:
        """Return the utterances to keep.

        Parameters
        ----------
        keep
            A function Utterance -> bool, a boolean mask (n_utterances,), or a list of ids. A
            boolean Series is matched by utterance id, and a missing value in it is False.

        Raises
        ------
        ValueError
            If nothing is left, or the mask has another length.
        KeyError
            If an id is unknown.
        """
        if callable(keep):
            keep = np.fromiter((bool(keep(u)) for u in self), dtype=bool, count=len(self))
        return Corpus(
            self.name, self.table.iloc[rows_of(self.table, keep, f"corpus {self.name!r}")]
        )

    def sample(self, n: int, seed: int) -> Corpus:
        """Return `n` utterances drawn without replacement, in the order of the corpus.

        Raises
        ------
        ValueError
            If there are fewer than `n`.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"cannot sample {n} of the {len(self)} utterances of {self.name!r}")
        rows = np.random.default_rng(seed).choice(len(self), n, replace=False)
        return Corpus(self.name, self.table.iloc[np.sort(rows)])

    def spans(
        self, column: str, *, part: Literal["whole", "middle"] = "whole", label: str | None = None
    ) -> Corpus:
        """Return a corpus with one row a span: every phone, syllable or word of the utterances.

        Parameters
        ----------
        column
            Label that holds, for each utterance, a list of (start, end, label) with times in
            seconds, as `phones` of `load_emodb`. Utterances without one are left out, with one
            warning that says how many.
        part
            "middle" takes the middle third of each span, away from its neighbours.
        label
            Name of the spans' label; the column's without its "s" by default, so `phone`.

        Returns
        -------
        spans
            Ids ``utterance#k``, k from 0 in the order of the list. Labels: `utterance`,
            `span_start` and `span_end` (seconds), the spans' own label, and all labels of the
            utterance but the lists. `path`, `duration` and the sound are those of the recording.

        Raises
        ------
        KeyError
            If there is no such column.
        ValueError
            If no utterance has spans, one is not (start, end, label), or a label would be replaced.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": ["a.wav"], "speaker": ["s1"]}, index=["a"])
        >>> corpus = Corpus("mine", table.assign(words=[[(0.0, 0.4, "good"), (0.5, 1.1, "day")]]))
        >>> corpus.spans("words").table[["speaker", "span_start", "word"]]
            speaker  span_start  word
        id
        a#0      s1         0.0  good
        a#1      s1         0.5   day
        """
        name = f"corpus {self.name!r}"
        return Corpus(self.name, spans_of(self.table, column, part=part, label=label, name=name))

    def to_csv(self, path: str | Path, columns: Sequence[str] | None = None) -> None:
        """Write the table as CSV, with the column names of the speaking-rate study.

        First audio_path, text, cps, speaker_id, chapter_id and audio_id, as far as the corpus has
        them, then every other label under its own name. `cps` is the speaking rate in characters a
        second wherever there is a text. `load_table` reads the file back.

        Parameters
        ----------
        path
            The file to write.
        columns
            Which columns, in this order, by these names or the corpus's own; all by default.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        frame = to_study(self.table)
        if columns is not None:
            frame = chosen(frame, [columns] if isinstance(columns, str) else columns)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(path, index=False)

    def __repr__(self) -> str:
        n_speakers = self.table["speaker"].nunique()
        rows = "spans" if holds_spans(self.table) else "utterances"
        return f"Corpus({self.name!r}, {len(self)} {rows}, {n_speakers} speakers)"


def _as_ids(index: pd.Index[Any], name: str) -> pd.Index[str]:
    if index.isna().any():
        row = int(np.flatnonzero(index.isna())[0])
        raise ValueError(f"corpus {name!r}: row {row} has no utterance id")
    # As it is where it can be: an index remembers that it is unique.
    ready = index.dtype == "str" and index.name == "id"
    ids: pd.Index[str] = index if ready else pd.Index(index.astype(str), name="id")
    if not ids.is_unique:
        raise ValueError(
            f"corpus {name!r}: the utterance id {ids[ids.duplicated()][0]!r} occurs twice"
        )
    return ids
