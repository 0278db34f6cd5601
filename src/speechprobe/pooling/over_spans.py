"""Pooling over spans of an utterance: its phones, syllables or words, in seconds.

A span of `start` to `end` seconds covers the frames from ``floor(start * frame_rate)`` up to, and
without, ``ceil(end * frame_rate)``: at least one frame, and none beyond the valid ones. The network
has seen the whole utterance. The frame rate is what the layer's strides say; where nothing says it,
the number of frames over the length of the signal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from speechprobe.pooling.names import name_of, resolve
from speechprobe.pooling.plain import Pooling
from speechprobe.pooling.ragged import is_ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Seconds = NDArray[np.float64]

# Hand labels and aligners round, so that the last span may end a little behind the sound.
SLACK = 0.02
# Values that are gathered at once, so that many long spans do not fill the memory.
_AT_ONCE = 1 << 24


def spans(
    seconds: Mapping[str, Sequence[Sequence[Any]]],
    *,
    pool: str | Pooling = "mean",
    part: Literal["whole", "middle"] = "whole",
) -> Spans:
    """Return a pooling over stretches of each utterance, one vector a span.

    Parameters
    ----------
    seconds
        {utterance id: [(start, end), ...]}; what follows in a tuple, such as a label, is passed
        over, so a column of phones does as well.
    pool
        How the frames of a span become a vector: "mean", "mean_std", "max", or any pooling that
        gives one vector.
    part
        "middle" pools over the middle third of each span, away from its neighbours.

    Returns
    -------
    pooling
        For ``extract(corpus, model, pool=...)``: layers that are ragged, with the spans of an
        utterance as its rows, (n_spans, D').

    Raises
    ------
    ValueError
        If an utterance has no span, a span ends before it begins or starts before 0, or the
        pooling is ragged itself.

    Examples
    --------
    >>> words = spans({"u1": [(0.0, 0.02), (0.02, 0.04)]})
    >>> batch = words.for_batch(["u1"], [0.04])  # as `extract` does for the utterances of a batch
    >>> batch(torch.tensor([[[1.0], [3.0], [5.0], [7.0]]]), torch.tensor([4]))
    [tensor([[2.],
            [6.]])]
    """
    if part not in ("whole", "middle"):
        raise ValueError(f"part must be 'whole' or 'middle', got {part!r}")
    checked = {str(key): _as_seconds(key, listed) for key, listed in seconds.items()}
    if part == "middle":
        checked = {key: middle(each) for key, each in checked.items()}
    return Spans(checked, resolve(pool))


@dataclass(frozen=True, eq=False)
class Spans:
    """A pooling over spans of utterances that are known by their id; `spans` makes it.

    Parameters
    ----------
    seconds
        {utterance id: array (n_spans, 2)} of starts and ends.
    pool
        A pooling that gives one vector.
    """

    ragged: ClassVar[bool] = True
    seconds: Mapping[str, Seconds]
    pool: Pooling

    def __post_init__(self) -> None:
        if is_ragged(self.pool):
            raise ValueError(
                f"a span is pooled to one vector, which {name_of(self.pool)!r} does not give; take "
                "'mean', 'mean_std' or 'max'"
            )

    @property
    def digest(self) -> str:
        """A hash of all spans, for provenance."""
        told = hashlib.sha256()
        for key, each in sorted(self.seconds.items()):
            told.update(f"{key} {each.tolist()}\n".encode())
        return told.hexdigest()

    def require(self, utterance: str, duration: float) -> None:
        """Raise ValueError if an utterance has no spans, or one that lies outside of it."""
        if utterance not in self.seconds:
            raise ValueError(
                f"utterance {utterance!r} has no spans; give some, or leave it out of the corpus"
            )
        require_inside(utterance, self.seconds[utterance], duration)

    def for_batch(self, ids: Sequence[str], durations: Sequence[float]) -> BatchSpans:
        """Return the pooling for a batch of these utterances, with their lengths in seconds."""
        return BatchSpans([self.seconds[key] for key in ids], list(durations), self.pool)

    def __call__(self, frames: Tensor, lengths: Tensor) -> list[Tensor]:  # noqa: ARG002 the form of a pooling
        """Raise: without ids nobody can say whose frames these are."""
        raise ValueError(
            "spans are known by utterance id: give this pooling to extract(), or ask it for "
            "spans.for_batch(ids, durations)"
        )


@dataclass(frozen=True, eq=False)
class BatchSpans:
    """A pooling over the spans of the signals of one batch.

    Parameters
    ----------
    seconds
        For each signal an array (n_spans, 2) of starts and ends.
    durations
        Seconds of each signal.
    pool
        A pooling that gives one vector.
    """

    ragged: ClassVar[bool] = True
    seconds: Sequence[Seconds]
    durations: Sequence[float]
    pool: Pooling

    def at(self, rows: Sequence[int], frame_rate: float | None) -> Pooling:
        """Return the pooling for some of the signals; see `bind`."""

        def pooled(frames: Tensor, lengths: Tensor) -> list[Tensor]:
            bounds = [
                frame_bounds(self.seconds[row], frame_rate or n / self.durations[row], n)
                for row, n in zip(rows, lengths.tolist(), strict=True)
            ]
            return _pool_each(frames, bounds, self.pool)

        pooled.ragged = True  # type: ignore[attr-defined]
        return pooled

    def __call__(self, frames: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return the vectors of the spans of every signal of the batch."""
        if len(frames) != len(self.seconds):
            raise ValueError(
                f"this pooling has the spans of {len(self.seconds)} signals and was given the "
                f"frames of {len(frames)}; say which ones by pooling.bind(pool, rows, frame_rate)"
            )
        return list(self.at(range(len(frames)), None)(frames, lengths))


def for_batch(pool: Pooling, ids: Sequence[str], durations: Sequence[float]) -> Pooling:
    """Return the pooling for a batch of utterances; most are the same for every batch.

    Parameters
    ----------
    pool
        A pooling; without a method `for_batch` it comes back as it is.
    ids
        Utterance ids of the signals.
    durations
        Seconds of the signals.
    """
    method = getattr(pool, "for_batch", None)
    return pool if method is None else method(ids, durations)


def bind(pool: Pooling, rows: Sequence[int], frame_rate: float | None) -> Pooling:
    """Return the pooling for some rows of a batch; most are the same for all rows.

    An extractor with batches of its own calls it before it pools frames that are not those of the
    whole batch.

    Parameters
    ----------
    pool
        A pooling; without a method `at` it comes back as it is.
    rows
        Positions, in the batch's list of signals, of the rows of the frames it will be given.
    frame_rate
        Frames a second of the layer; None where it is not known.

    Examples
    --------
    >>> batch = spans({"a": [(0, 0.1)], "b": [(0, 0.2)]}).for_batch(["a", "b"], [0.3, 0.3])
    >>> bind(batch, [1], 10.0)(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([3]))
    [tensor([[2.]])]
    """
    at = getattr(pool, "at", None)
    return pool if at is None else at(rows, frame_rate)


def frame_bounds(seconds: Seconds, frame_rate: float, n_frames: int) -> NDArray[np.int64]:
    """Return the frames that spans cover.

    Parameters
    ----------
    seconds
        Shape (n_spans, 2), starts and ends.
    frame_rate
        Frames a second.
    n_frames
        Valid frames there are.

    Returns
    -------
    bounds
        Shape (n_spans, 2): the first frame of each span, and the one behind its last.

    Examples
    --------
    >>> frame_bounds(np.array([[0.012, 0.03], [0.5, 0.9]]), 100.0, 60).tolist()
    [[1, 3], [50, 60]]
    """
    start = np.clip(np.floor(seconds[:, 0] * frame_rate), 0, n_frames - 1)
    stop = np.clip(np.ceil(seconds[:, 1] * frame_rate), start + 1, n_frames)
    return np.stack([start, stop], axis=1).astype(np.int64)


def middle(seconds: Seconds) -> Seconds:
    """Return the middle third of each span, shape (n_spans, 2)."""
    third = (seconds[:, 1] - seconds[:, 0]) / 3
    return np.stack([seconds[:, 0] + third, seconds[:, 1] - third], axis=1)


def require_inside(utterance: str, seconds: Seconds, duration: float) -> None:
    """Raise ValueError unless all spans lie in an utterance of some seconds."""
    start, end = seconds[:, 0], seconds[:, 1]
    wrong = ~((start >= 0) & (start < end) & (start < duration) & (end <= duration + SLACK))
    if wrong.any():
        first, last = seconds[wrong][0]
        lies = "is empty" if first >= last else f"lies outside of its {duration:.3f} s"
        raise ValueError(
            f"utterance {utterance!r}: the span from {first:.3f} to {last:.3f} s {lies}; times are "
            "in seconds from the beginning, each end behind its start"
        )


def _as_seconds(utterance: str, listed: Sequence[Sequence[Any]]) -> Seconds:
    try:
        seconds = np.array([[float(span[0]), float(span[1])] for span in listed]).reshape(-1, 2)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"utterance {utterance!r}: spans are a list of (start, end) in seconds, got {listed!r}"
        ) from error
    if not len(seconds):
        raise ValueError(f"utterance {utterance!r} has an empty list of spans; leave it out")
    require_inside(utterance, seconds, np.inf)
    return seconds


def _pool_each(frames: Tensor, bounds: Sequence[NDArray[np.int64]], pool: Pooling) -> list[Tensor]:
    """Return the vectors of the spans of each row, pooled together with spans of like length."""
    row = torch.from_numpy(np.repeat(np.arange(len(bounds)), [len(each) for each in bounds]))
    start, stop = torch.from_numpy(np.concatenate(bounds)).T
    lengths = stop - start
    parts, order = [], []
    for chosen in _alike(lengths, frames.shape[2]):
        time = torch.arange(int(lengths[chosen].max()))
        # Behind its end a span repeats its last frame, so that nothing foreign is read.
        place = torch.minimum(start[chosen, None] + time, stop[chosen, None] - 1)
        rows, places = row[chosen, None].to(frames.device), place.to(frames.device)
        parts.append(pool(frames[rows, places], lengths[chosen]))
        order.append(chosen)
    vectors = torch.cat(parts)[torch.argsort(torch.cat(order)).to(frames.device)]
    return list(torch.split(vectors, [len(each) for each in bounds]))


def _alike(lengths: Tensor, n_dims: int) -> Iterator[Tensor]:
    """Yield positions of spans whose lengths differ by less than half, not too many at once."""
    octave = torch.log2(lengths.double()).floor()
    for each in sorted(set(octave.tolist())):
        same = (octave == each).nonzero()[:, 0]
        at_once = max(1, _AT_ONCE // (int(lengths[same].max()) * n_dims))
        yield from torch.split(same, at_once)
