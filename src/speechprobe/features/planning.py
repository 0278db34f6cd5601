"""What an extraction would take: batches, padding, bytes and time, from a short trial."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speechprobe.engines.batching import Batches
from speechprobe.engines.reading import Source

if TYPE_CHECKING:
    from speechprobe.engines import Done, Serial
    from speechprobe.store.shards import Rows

# The trial goes on until it has run for so long, or has heard so much, after its first batch.
TRIAL_SECONDS = 10.0
TRIAL_SOUND = 240.0
_HOUR = 3600.0


@dataclass(frozen=True)
class Plan:
    """What an extraction would take; nothing is kept of the trial that says so.

    Parameters
    ----------
    extractor
        Its name.
    n_done, n_left
        Utterances that the store holds, and those that are left to run.
    sound_seconds
        Length of those left.
    batch_seconds
        Most seconds of sound in a batch; 0 is one by one.
    n_batches
        Batches left to run.
    padding
        Part of what the batches hold that is padding.
    n_bytes
        Size of the features of those left.
    speed
        Seconds of sound a second.
    trial_seconds
        Sound that the trial measured this on.

    Examples
    --------
    >>> print(Plan("crepe", 0, 1000, 7200.0, 40.0, 200, 0.03, 8_000_000, 60.0, 240.0))
    crepe: 1000 utterances (2.00 h) to run, 0 done
    200 batches of up to 40 s, 3.0 % padding
    8.0 MB of features
    about 0:02:00 at 60 times real time, measured on 240 s of sound
    """

    extractor: str
    n_done: int
    n_left: int
    sound_seconds: float
    batch_seconds: float
    n_batches: int
    padding: float
    n_bytes: int
    speed: float
    trial_seconds: float

    @property
    def seconds(self) -> float:
        """How long the extraction should take."""
        return self.sound_seconds / self.speed if self.sound_seconds else 0.0

    def __str__(self) -> str:
        hours = self.sound_seconds / _HOUR
        size = f"of up to {self.batch_seconds:g} s" if self.batch_seconds else "of one utterance"
        left = round(self.seconds)
        lines = [
            f"{self.extractor}: {self.n_left} utterances ({hours:.2f} h) to run, {self.n_done} done"
        ]
        if self.n_left:
            lines += [
                f"{self.n_batches} batches {size}, {100 * self.padding:.1f} % padding",
                f"{self.n_bytes / 1e6:.1f} MB of features",
                f"about {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} at {self.speed:.3g} "
                f"times real time, measured on {self.trial_seconds:.0f} s of sound",
            ]
        return "\n".join(lines)


def plan_of(
    extractor: Any,
    engine: Serial,
    sources: Sequence[Source],
    rows_of: Callable[[Iterator[Done]], Iterator[Rows]],
    n_done: int,
) -> Plan:
    """Run a trial and return the plan.

    Parameters
    ----------
    extractor
        What is run.
    engine
        Runs it.
    sources
        What is left to run.
    rows_of
        Checks what the engine has done, and gives its rows.
    n_done
        Utterances in the store.
    """
    if not sources:
        return Plan(extractor.name, n_done, 0, 0.0, 0.0, 0, 0.0, 0, float("inf"), 0.0)
    sound = sum(source.duration for source in sources)
    trial = _Trial(engine, sources)
    trial.run(rows_of)
    size = float(engine.batch_seconds)  # a number once it has settled
    cut = list(Batches(sources, size, extractor))
    padded = sum(len(batch) * max(source.duration for source in batch) for batch in cut)
    return Plan(
        extractor=extractor.name,
        n_done=n_done,
        n_left=len(sources),
        sound_seconds=sound,
        batch_seconds=size,
        n_batches=len(cut),
        padding=1 - sound / padded if padded else 0.0,
        n_bytes=round(trial.n_bytes * sound / trial.heard),
        speed=trial.speed,
        trial_seconds=trial.timed,
    )


class _Trial:
    """Runs the first utterances: those that "auto" wants, one batch more to warm up, and others."""

    def __init__(self, engine: Serial, sources: Sequence[Source]) -> None:
        self._engine, self._sources = engine, sources
        self.heard = self.timed = 0.0
        self.n_bytes, self.speed = 0, 0.0

    def run(self, rows_of: Callable[[Iterator[Done]], Iterator[Rows]]) -> None:
        begun = started = time.perf_counter()
        before = 0.0
        with contextlib.closing(self._counted()) as counted:
            for rows in rows_of(counted):
                self.n_bytes += rows.n_bytes
                now = time.perf_counter()
                if isinstance(self._engine.batch_seconds, str) or not before:
                    started, before = now, self.heard
                elif now - started > TRIAL_SECONDS or self.heard - before > TRIAL_SOUND:
                    break
        ended = time.perf_counter()
        if self.heard == before:  # there was one batch
            started, before = begun, 0.0
        self.timed = self.heard - before
        self.speed = self.timed / (ended - started)

    def _counted(self) -> Generator[Done]:
        with contextlib.closing(self._engine.run(self._sources)) as batches:
            for done in batches:
                self.heard += sum(source.duration for source in done.sources)
                yield done
