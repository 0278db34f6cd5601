"""Long recordings: cut to a beginning, or into windows whose vectors are averaged.

Both wrap any extractor and are extractors themselves. Windows are all of one length, so they run
in large batches that are exact for every network, and memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe import pooling
from speechprobe.extractors.base import check_frames, pool_signals
from speechprobe.extractors.wrapped import Wrapped, refuse_spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.extractors.base import Extractor
    from speechprobe.pooling import Pooling

    Signal = NDArray[np.float32]
    Signals = Sequence[Signal]

# Seconds of windows that run at once.
_AT_ONCE = {"cpu": 30.0}
_AT_ONCE_ON_DEVICES = 240.0


class Windowed(Wrapped):
    """An extractor that sees long signals through windows and averages what it sees.

    Windows start every `hop_seconds`; the last one ends where the signal ends, so it overlaps the
    one before by more. Each window is pooled on its own, and the vectors of an utterance are
    averaged. A signal of one window or less is seen as it is.

    Parameters
    ----------
    extractor
        Any extractor.
    window_seconds
        Length of a window in seconds.
    hop_seconds
        Step from window to window in seconds, at most the window; the window by default.

    Raises
    ------
    ValueError
        If the window or the hop is not positive, or the hop leaves gaps.

    Examples
    --------
    >>> from speechprobe.extractors import LogMel
    >>> windowed = Windowed(LogMel(n_mels=8), window_seconds=0.5)
    >>> windowed.extract_batch([np.zeros(36_000, np.float32)], pooling.mean)["logmel"].shape
    (1, 8)
    >>> windowed(np.zeros(36_000, np.float32))["logmel"].shape  # 5 windows of 48 frames
    (240, 8)
    """

    def __init__(
        self, extractor: Extractor, *, window_seconds: float, hop_seconds: float | None = None
    ) -> None:
        super().__init__(extractor)
        self.window_seconds = float(window_seconds)
        self.hop_seconds = self.window_seconds if hop_seconds is None else float(hop_seconds)
        self._window = round(self.window_seconds * self.sample_rate)
        self._hop = round(self.hop_seconds * self.sample_rate)
        if not 0 < self._hop <= self._window:
            raise ValueError(
                "a window needs a positive length and a hop of at most that, got window_seconds="
                f"{window_seconds}, hop_seconds={hop_seconds}"
            )
        longest = getattr(extractor, "max_seconds", None)
        if longest is not None and self.window_seconds > longest:
            raise ValueError(
                f"{self.name} takes {longest:g} s, so window_seconds={window_seconds} is too long"
            )

    def __call__(self, signal: Signal) -> dict[str, NDArray[Any]]:
        """Return the frames of every layer, those of one window behind those of another."""
        parts = [check_frames(self.extractor(part), self.name) for part in self._windows(signal)]
        return {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}

    def extract_batch(self, signals: Signals, pool: Pooling) -> dict[str, Any]:
        """Return the pooled layers of several signals, averaged over each signal's windows.

        For a ragged pooling, such as `pooling.frames`, the rows of the windows follow each other.

        Raises
        ------
        ValueError
            If the pooling is over spans, whose frames would lie in several windows.
        """
        refuse_spans(pool, self)
        found: list[list[Mapping[str, Any]]] = [[] for _ in signals]
        for rows, batch in self._batches(signals):
            vectors = pool_signals(self.extractor, batch, pool)
            for k, row in enumerate(rows):
                found[row].append({layer: values[k] for layer, values in vectors.items()})
        join = _end_to_end if pooling.is_ragged(pool) else _averaged
        return {layer: join([[part[layer] for part in parts] for parts in found])
                for layer in found[0][0]}  # fmt: skip

    def _batches(self, signals: Signals) -> Iterator[tuple[list[int], list[Signal]]]:
        """Yield signals that are short, and then windows of one length, with their rows."""
        short = [row for row, signal in enumerate(signals) if len(signal) <= self._window]
        if short:
            yield short, [signals[row] for row in short]
        kind = getattr(self.device, "type", "cpu")
        seconds = _AT_ONCE.get(kind, _AT_ONCE_ON_DEVICES)
        at_once = max(1, int(seconds / self.window_seconds))
        rows: list[int] = []
        batch: list[Signal] = []
        for row in sorted(set(range(len(signals))) - set(short)):
            for part in self._windows(signals[row]):
                rows.append(row)
                batch.append(part)
                if len(batch) == at_once:
                    yield rows, batch
                    rows, batch = [], []
        if batch:
            yield rows, batch

    def _windows(self, signal: Signal) -> Iterator[Signal]:
        last = max(0, len(signal) - self._window)
        for start in (*range(0, last, self._hop), last):
            yield signal[start : start + self._window]

    def _settings(self) -> dict[str, Any]:
        return {"window_seconds": self.window_seconds, "hop_seconds": self.hop_seconds}

    def __repr__(self) -> str:
        return (
            f"Windowed({self.extractor!r}, window_seconds={self.window_seconds:g}, "
            f"hop_seconds={self.hop_seconds:g})"
        )


class Cropped(Wrapped):
    """An extractor that sees the beginning of each signal only.

    Parameters
    ----------
    extractor
        Any extractor.
    max_seconds
        Samples beyond this are dropped.

    Raises
    ------
    ValueError
        If `max_seconds` is not positive.

    Examples
    --------
    >>> from speechprobe.extractors import LogMel
    >>> Cropped(LogMel(n_mels=8), max_seconds=1)(np.zeros(36_000, np.float32))["logmel"].shape
    (98, 8)
    """

    def __init__(self, extractor: Extractor, *, max_seconds: float) -> None:
        super().__init__(extractor)
        self._most = round(max_seconds * self.sample_rate)
        if self._most < 1:
            raise ValueError(f"max_seconds must be positive, got {max_seconds}")

    def __call__(self, signal: Signal) -> Mapping[str, NDArray[Any]]:
        """Return the frames of every layer of the signal's beginning."""
        return self.extractor(signal[: self._most])

    def extract_batch(self, signals: Signals, pool: Pooling) -> Mapping[str, Any]:
        """Return the pooled layers of the beginnings of several signals.

        Raises
        ------
        ValueError
            If the pooling is over spans, which may lie beyond the beginning.
        """
        refuse_spans(pool, self)
        return pool_signals(self.extractor, [signal[: self._most] for signal in signals], pool)

    def _settings(self) -> dict[str, Any]:
        return {"max_seconds": self._most / self.sample_rate}

    def __repr__(self) -> str:
        return f"Cropped({self.extractor!r}, max_seconds={self._most / self.sample_rate:g})"


def _averaged(rows: list[list[NDArray[np.float32]]]) -> NDArray[np.float32]:
    means = [np.mean(vectors, axis=0, dtype=np.float64) for vectors in rows]
    return np.stack(means).astype(np.float32)


def _end_to_end(rows: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    return [np.concatenate(parts) for parts in rows]
