"""What scores are measured against: their floors and the control task, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from speechprobe.layers.records import CONSTANTS, SHUFFLED, LayerScore

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

CONTROL = "control task"
Line = str | tuple[int, tuple[int, ...]]

_LINES: tuple[Line, ...] = (":", "-.", (0, (1, 4)), (0, (8, 3)), (0, (3, 1)))
_CONSTANT_COLOUR = "0.45"  # the same for every model, so it has no model's colour


def floors_of(record: LayerScore) -> dict[str, float]:
    """Return every floor of a score that is known, by name, that of shuffled labels first."""
    floors = {SHUFFLED: record.floor} | dict(record.floors)
    return {name: value for name, value in floors.items() if math.isfinite(value)}


def references_of(record: LayerScore) -> dict[str, float]:
    """Return what a picture draws beside a score: its floors, and the score of the control task."""
    known = floors_of(record)
    return known | ({CONTROL: record.control} if math.isfinite(record.control) else {})


def lines_of(records: Iterable[LayerScore]) -> dict[str, Line]:
    """Return a kind of line for each name among the references of all scores."""
    names = dict.fromkeys(name for record in records for name in references_of(record))
    ordered = sorted(names, key=lambda name: name != SHUFFLED)
    return {name: _LINES[number % len(_LINES)] for number, name in enumerate(ordered)}


def colour_of(name: str, colour: str) -> str:
    """Return the colour of a reference: that of its model, or grey where it knows none."""
    return _CONSTANT_COLOUR if name in CONSTANTS else colour


def entries_of(axes: Axes, lines: dict[str, Line]) -> dict[str, Artist]:
    """Return what a legend says of the references."""
    entries: dict[str, Artist] = {}
    for name, line in lines.items():
        (entries[_words(name)],) = axes.plot([], [], color="0.3", linestyle=line, linewidth=1.2)
    return entries


def gap_of(record: LayerScore) -> tuple[float, float]:
    """Return how much better a score is than its highest floor, and the low end of the interval.

    Records made by hand may lack the paired interval; the end of the score's own interval that is
    nearer to the floor stands in for it.
    """
    if math.isfinite(record.gap):
        return record.gap, record.gap_low
    sign, floors = (1 if record.higher_is_better else -1), floors_of(record).values()
    if not floors:
        return math.nan, math.nan
    highest = max(sign * floor for floor in floors)
    nearer = record.low if record.higher_is_better else record.high
    return sign * record.score - highest, sign * nearer - highest


def _words(name: str) -> str:
    told: dict[Any, str] = {SHUFFLED: "shuffled labels"} | {
        each: f"always the {each}" for each in CONSTANTS
    }
    return name if name == CONTROL else f"floor ({told.get(name, name)})"
