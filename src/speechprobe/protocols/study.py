"""What a study gives back: tables, pictures, and the facts that a reader needs to trust them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from speechprobe import _files
from speechprobe._version import __version__

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.figure import Figure

Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Study:
    """Tables and pictures of a published study, run again.

    Parameters
    ----------
    protocol
        Name of the study.
    edition
        Which of its rules were followed.
    deviations
        What differs from the original, a sentence each.
    tables
        {name: table}, the one with the results first.
    pictures
        {name: function that draws it}; drawn when asked for.
    provenance
        What made the numbers: extractors, corpora, settings, seeds, versions.

    Examples
    --------
    >>> study = Study("demo", "1", (), {"scores": pd.DataFrame({"score": [0.5]})})
    >>> study.table()
       score
    0    0.5
    """

    protocol: str
    edition: str
    deviations: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame]
    pictures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict, repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def table(self, name: str | None = None) -> pd.DataFrame:
        """Return a copy of a table; of the one with the results by default.

        Raises
        ------
        KeyError
            If there is no such table; the message names those there are.
        """
        name = next(iter(self.tables)) if name is None else name
        return _named(self.tables, name, "table").copy()

    def picture(self, name: str) -> Figure:
        """Draw a picture (needs the extra `plots`).

        Raises
        ------
        KeyError
            If there is no such picture; the message names those there are.
        """
        return _named(self.pictures, name, "picture")()

    def write(self, folder: str | PathLike[str], *, pictures: bool = True) -> list[Path]:
        """Write every table (CSV), every picture (SVG) and `study.json`, which says the rest.

        Parameters
        ----------
        folder
            Made if it is missing. Files of these names are replaced, others left.
        pictures
            Whether to draw; that needs the extra `plots`.

        Returns
        -------
        paths
            What was written.
        """
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        found = [root / f"{name}.csv" for name in self.tables]
        for path, table in zip(found, self.tables.values(), strict=True):
            with _files.replacing(path) as partial:
                table.to_csv(partial, index=_is_named(table.index))
        for name, draw in self.pictures.items() if pictures else ():
            found.append(root / f"{name}.svg")
            with _files.replacing(found[-1]) as partial:
                draw().savefig(partial, format="svg", bbox_inches="tight")
        found.append(root / "study.json")
        with _files.replacing(found[-1]) as partial:
            partial.write_text(self._told() + "\n", encoding="utf-8")
        return found

    def _told(self) -> str:
        told = {
            "protocol": self.protocol,
            "edition": self.edition,
            "deviations": list(self.deviations),
            "tables": list(self.tables),
            "pictures": list(self.pictures),
            "provenance": dict(self.provenance),
            "speechprobe": __version__,
        }
        return json.dumps(told, indent=2, ensure_ascii=False, default=_as_json)


def _named(found: Mapping[str, Part], name: str, kind: str) -> Part:
    if name not in found:
        raise KeyError(f"there is no {kind} {name!r}; there are {', '.join(found) or 'none'}")
    return found[name]


def _is_named(index: pd.Index[Any]) -> bool:
    return any(name is not None for name in index.names)


def _as_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
