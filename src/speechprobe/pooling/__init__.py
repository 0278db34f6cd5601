"""Turns frames into one vector an utterance, or into several, over the valid frames only.

Conventions
-----------
A pooling is any callable ``(frames, lengths) -> vectors``: `frames` a tensor (B, T, D), `lengths`
an integer tensor (B,), on any device, with the number of valid frames of each row
(1 <= length <= T), the result (B, D'). It runs where the frames are, inside the hook. Sums are
taken in float32 or wider. Frames beyond a row's length never count, whatever they hold, NaN
included.

A ragged pooling (`frames`, `frames_as`, `spans`) has an attribute ``ragged = True`` and gives a
list of B tensors (n_rows, D') instead, whose number of rows may differ. A pooling that must know
whose frames it is given, and how many there are a second, has methods ``for_batch(ids, durations)``
and ``at(rows, frame_rate)``; whoever calls a pooling asks for them with `for_batch` and `bind`.
"""

from speechprobe.pooling.names import name_of, resolve
from speechprobe.pooling.over_spans import Spans, bind, for_batch, frame_bounds, spans
from speechprobe.pooling.plain import (
    Pooling,
    energy_mean,
    first,
    last,
    maximum,
    mean,
    mean_std,
    segments,
)
from speechprobe.pooling.ragged import Pooled, frames, frames_as, is_ragged, join, join_layers

__all__ = [
    "Pooled",
    "Pooling",
    "Spans",
    "bind",
    "energy_mean",
    "first",
    "for_batch",
    "frame_bounds",
    "frames",
    "frames_as",
    "is_ragged",
    "join",
    "join_layers",
    "last",
    "maximum",
    "mean",
    "mean_std",
    "name_of",
    "resolve",
    "segments",
    "spans",
]
