"""One recording of a corpus: a view of a row, as light as a million of them need."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe import audio

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Utterance:
    """One recording of a corpus: a light view of a row.

    Attributes
    ----------
    id : str
        The utterance id.
    path : str
        The sound file.

    Examples
    --------
    >>> import pandas as pd
    >>> from speechprobe.datasets import Corpus
    >>> table = pd.DataFrame({"path": ["a.wav"], "speaker": ["s1"], "text": ["hi"]}, index=["a"])
    >>> utterance = next(iter(Corpus("mine", table)))
    >>> utterance.id, utterance["text"]
    ('a', 'hi')
    """

    __slots__ = ("_columns", "_row", "id")

    def __init__(self, id: str, columns: Mapping[str, NDArray[Any]], row: int) -> None:  # noqa: A002 the contract's name
        self.id = id
        self._columns = columns
        self._row = row

    @property
    def path(self) -> str:
        """The sound file."""
        return str(self["path"])

    @property
    def duration(self) -> float:
        """Length in seconds: the corpus's own column, or else read from the file's header."""
        known = self.get("duration")
        seconds = math.nan if known is None else float(known)
        return audio.read_header(self.path).duration if math.isnan(seconds) else seconds

    def __getitem__(self, label: str) -> Any:
        try:
            return self._columns[label][self._row]
        except KeyError:
            raise KeyError(
                f"utterance {self.id!r} has no label {label!r}; it has {sorted(self._columns)}"
            ) from None

    def __contains__(self, label: str) -> bool:
        return label in self._columns

    def get(self, label: str, default: Any = None) -> Any:
        """Return a label, or the default where the corpus does not have it."""
        try:
            return self._columns[label][self._row]
        except KeyError:
            return default

    def signal(self, sample_rate: int | None = None) -> NDArray[np.float32]:
        """Read the sound, one channel, shape (n_samples,), at `sample_rate` or the file's own."""
        return audio.read(self.path, sample_rate)

    def __repr__(self) -> str:
        return f"Utterance({self.id!r}, path={self.path!r})"


class Columns(dict[str, "NDArray[Any]"]):
    """The columns of a table as read-only arrays, each made when it is first asked for."""

    def __init__(self, table: pd.DataFrame) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, name: str) -> NDArray[Any]:
        values = self._table[name].to_numpy().view()
        values.flags.writeable = False
        self[name] = values
        return values

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, self._table))
