"""The folder of a store: who it belongs to, what is done, and the record of a finished run."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechprobe._files import PARTIAL
from speechprobe.store import items as labels
from speechprobe.store.headers import read_header
from speechprobe.store.places import Place, place_of
from speechprobe.store.shards import (
    Rows,
    layers_of,
    list_shards,
    number_of,
    shard_name,
    write_shard,
)

if TYPE_CHECKING:
    from speechprobe.store.arrays import StoredLayer, StoredRaggedLayer

FORMAT = 1
_RECORD, _ITEMS, _FAILURES = "features.json", "items.csv", "failures-"


class Store:
    """Writes shards and knows what is already there.

    Several processes may write one store: each with its own `rank`, or workers of one process,
    which gives them names by `reserve`, lets them write with `write_shard`, and notes what they
    wrote by `adopt`.

    Parameters
    ----------
    folder
        The folder, or its address; made if it does not exist.
    identity
        What makes the features; JSON values only. A folder made by something else is refused.
    rank, world_size
        Which of how many processes writes: its shards have the numbers that leave `rank` when
        divided by `world_size`, so that no two processes take one.

    Attributes
    ----------
    place : Place
        The folder.
    done : dict
        Seconds of the recording of each item that a shard holds, by id.
    spans : dict
        (start, end) in seconds of each item that is a span, by id.

    Raises
    ------
    ValueError
        If the folder belongs to other features, or holds files that are no store; if a shard
        cannot be read; if the rank is not below the world size.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: Mapping[str, Any],
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(
                f"rank must be from 0 up to below world_size, got {rank} of {world_size}"
            )
        self.place = place_of(folder)
        self._rank, self._world_size = rank, world_size
        self._identity = as_json(identity)
        self._claim()
        self.done: dict[str, float] = {}
        self.spans: dict[str, tuple[float, float]] = {}
        self._ids: dict[str, Sequence[str]] = {}  # by shard
        self._next = rank
        self._mark = secrets.token_hex(4)
        self.refresh()

    def _claim(self) -> None:
        found = self._entries()
        if _RECORD not in found:
            self.place.make()
            self._begin()
        # Read back, for another may have begun it at the same time.
        self._require_ours()
        if self._world_size == 1:
            for name in found:
                if name.endswith(PARTIAL):
                    self.place.remove(name)

    def _entries(self) -> list[str]:
        for _ in range(2):  # while the first listing was made, another may have begun the store
            found = list(self.place.entries())
            if _RECORD in found or all(name.endswith(PARTIAL) for name in found):
                return found
        raise ValueError(
            f"{self.place} is not empty and holds no {_RECORD}; give a new or an empty folder"
        )

    def _begin(self) -> None:
        try:
            self._write_json(_RECORD, {"format": FORMAT, "identity": self._identity})
        except FileNotFoundError:
            # Another that begins at the same time took our partial file for a leftover.
            if _RECORD not in self.place.names():
                raise

    def _require_ours(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.place.read(_RECORD))
        _require_same(self.place, record["identity"], self._identity)
        return record

    def refresh(self) -> None:
        """Take in the shards that others have written since."""
        new = [name for name in list_shards(self.place) if name not in self._ids]
        found = self.place.each(lambda name: read_header(self.place, name)[:3], new)
        for name, (ids, durations, spans) in zip(new, found, strict=True):
            self.adopt(name, ids, durations, spans)

    def reserve(self) -> str:
        """Return a name for a worker's shard, which is not given again.

        It is this run's own: a worker of a run before, that nobody has ended, overwrites nothing.
        """
        return shard_name(self._take_number(), self._mark)

    def _take_number(self) -> int:
        number = self._next
        self._next += self._world_size
        return number

    def adopt(
        self,
        name: str,
        ids: Sequence[str],
        durations: Sequence[float],
        spans: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        """Note a shard that has been written: its ids, and what `Rows` tells of each."""
        self._ids[name] = ids
        # After the highest number: a lost shard leaves a gap, and none is ever written over.
        passed = number_of(name) - self._next
        if passed >= 0:
            self._next += (passed // self._world_size + 1) * self._world_size
        self.done.update(zip(ids, durations, strict=True))
        self.spans.update(zip(ids, spans or (), strict=spans is not None))

    def write(self, rows: Rows) -> None:
        """Write one shard: rows of all layers for ids that no other shard holds."""
        name = shard_name(self._take_number())
        write_shard(self.place, name, rows)
        self.adopt(name, rows.ids, rows.durations, rows.spans)

    def layers(self, ids: Sequence[str]) -> dict[str, StoredLayer | StoredRaggedLayer]:
        """Return every layer for these ids, in this order, left where it is.

        Raises
        ------
        ValueError
            If an id is in no shard.
        """
        names = sorted(self._ids, key=number_of)
        return layers_of(self.place, names, [self._ids[name] for name in names], ids)

    def note_failures(self, failures: Sequence[Mapping[str, str]]) -> None:
        """Note what failed in this process, in place of what it noted before.

        Parameters
        ----------
        failures
            id, path and error of each.
        """
        name = f"{_FAILURES}{self._rank:05d}.json"
        if failures:
            self._write_json(name, list(failures))
        else:
            self.place.remove(name)

    def failures(self) -> list[dict[str, str]]:
        """Return id, path and error of what failed in any process and is not done by now.

        What the record tells belongs to it: a process that ends later finds there what one that
        wrote the record has tidied up.
        """
        noted: dict[str, dict[str, str]] = {}
        for name in self._notes():
            try:
                told = json.loads(self.place.read(name))
            except FileNotFoundError:
                continue
            noted |= {each["id"]: each for each in told}
        for each in json.loads(self.place.read(_RECORD)).get("failures", ()):
            if "id" in each:
                noted.setdefault(each["id"], each)
        return [each for key, each in noted.items() if key not in self.done]

    def _notes(self) -> list[str]:
        names = self.place.names()
        return [name for name in names if name.startswith(_FAILURES) and name.endswith(".json")]

    def finish(
        self,
        items: pd.DataFrame,
        provenance: Mapping[str, Any],
        failures: Sequence[Mapping[str, str]],
    ) -> dict[str, Any]:
        """Write the labels and the record of the finished run, and return the record.

        Raises
        ------
        ValueError
            If the folder belongs to other features by now.
        """
        self._require_ours()
        with self.place.writing(_ITEMS) as path:
            columns = labels.write_items(items, path)
        record = {
            "format": FORMAT,
            "identity": self._identity,
            "provenance": as_json(provenance),
            "columns": columns,
            "failures": list(failures),
        }
        self._write_json(_RECORD, record)
        for name in self._notes():
            self.place.remove(name)
        return record

    def _write_json(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        self.place.write(name, text.encode())


def read_record(folder: str | Path | Place) -> dict[str, Any]:
    """Return the record of a finished store.

    Raises
    ------
    FileNotFoundError
        If the folder is no store.
    ValueError
        If its extraction has not finished.
    """
    try:
        record: dict[str, Any] = json.loads(place_of(folder).read(_RECORD))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder}: no features here; expected {_RECORD}, as extract() writes"
        ) from None
    if "provenance" not in record:
        raise ValueError(
            f"{folder}: the extraction has not finished; call extract() again with this store"
        )
    return record


def read_items(folder: str | Path | Place, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the labels with the types they had, which the record tells."""
    return labels.read_items(place_of(folder).local(_ITEMS), columns)


def read_layers(
    folder: str | Path | Place, ids: Sequence[str]
) -> dict[str, StoredLayer | StoredRaggedLayer]:
    """Return every layer for these ids, in this order, left where it is.

    Raises
    ------
    ValueError
        If an id is in no shard, or a shard cannot be read.
    """
    place = place_of(folder)
    names = list_shards(place)
    held = list(place.each(lambda name: read_header(place, name).ids, names))
    return layers_of(place, names, held, ids)


def _require_same(place: Place, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    differing = _differences(theirs, ours)
    if differing:
        listed = "; ".join(differing[:4]) + ("; ..." if len(differing) > 4 else "")
        raise ValueError(
            f"{place} holds features made otherwise: {listed}. Give another store folder, or "
            "delete this one"
        )


def _differences(theirs: Any, ours: Any, place: str = "") -> list[str]:
    """Say what differs, key by key."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = list(dict.fromkeys([*theirs, *ours]))
        parts = [(key, theirs.get(key), ours.get(key)) for key in keys]
        return [d for k, a, b in parts for d in _differences(a, b, f"{place}.{k}".strip("."))]
    return [] if theirs == ours else [f"{place} is {theirs!r} there and {ours!r} now"]


def as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON; what JSON has no name for is text."""
    return json.loads(json.dumps(value, default=str))
