"""How much sound a batch holds: as much as was asked for, or what is measured to be fastest.

"auto" runs the first utterances of a corpus in batches of several sizes: one by one, 10 s, 40 s and
120 s of sound, on an accelerator also 480 s. They are neighbours in length around the median, so
that no size has the easier ones. Each size is timed twice, where that can be told without what
other programs take of the processor, and its better time a second of sound counts; larger sizes are
not tried once one is not 5 % faster than those before. The fastest is used from then on, of those
within 5 % of it the smallest, and batches at all only where they save a tenth. What the trial ran
is kept. A trial takes a third of the sound at most: a corpus too small for one runs one by one, on
an accelerator in batches of 120 s.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from speechprobe.engines.reading import Source
from speechprobe.extractors.base import takes_batches

# A window holds at least so many utterances, and so many batches, that neighbours are alike.
WINDOW, BATCHES = 256, 8
SIZES = (10.0, 40.0, 120.0)
ACCELERATOR_SIZES = (*SIZES, 480.0)
ACCELERATOR_DEFAULT = 120.0
_TIMES = 2  # each size is timed
_SINGLES = 4  # utterances that are timed together, one by one
_SHARE = 1 / 3
_SAVING, _TIE = 0.9, 1.05


class Round(NamedTuple):
    """Batches that are timed together; those of no size warm up."""

    size: float | None
    batches: list[list[Source]]


class Batches:
    """Cuts sources into batches, and finds out how large they should be.

    Parameters
    ----------
    sources
        The utterances in the order of the corpus.
    wanted
        Seconds of sound in a batch, or "auto".
    extractor
        Whoever runs them.

    Attributes
    ----------
    seconds : float
        Most seconds of sound in a batch, padding included; one utterance may exceed it.
    settled : float or str
        The same, or "auto" while it is being found out.
    order : list of Source
        The utterances in the order in which they are run.
    """

    def __init__(self, sources: Sequence[Source], wanted: float | str, extractor: Any) -> None:
        on_accelerator = device_type(extractor) != "cpu"
        self._trial: list[Round] = []
        if not isinstance(wanted, str):
            self.seconds = wanted
        elif not takes_batches(extractor):
            self.seconds = 0.0
        else:
            self.seconds = ACCELERATOR_DEFAULT if on_accelerator else 0.0
            sizes = ACCELERATOR_SIZES if on_accelerator else SIZES
            self._trial, sources = plan_trial(sources, sizes)
        largest = max([self.seconds, *(each.size or 0.0 for each in self._trial)])
        self._windows = _windows(sources, largest)
        self.order = [*_sources(self._trial), *itertools.chain.from_iterable(self._windows)]
        self._spent = 0.0
        self._costs: dict[float, float] = {}
        self.settled: float | Literal["auto"] = "auto" if self._trial else self.seconds

    def __iter__(self) -> Iterator[list[Source]]:
        left = deque(self._trial)
        while left and not self._has_seen_enough(left[0].size):
            each = left.popleft()
            self._spent = 0.0
            yield from each.batches
            self._note(each)
        if self._trial:
            self.settled = self.seconds = self._fastest()
        for window in (_sources(left), *self._windows):
            yield from cut(window, self.seconds)

    def tell(self, seconds: float) -> None:
        """Note how long the last batch took; infinity where it did not run as one."""
        self._spent += seconds

    def _note(self, each: Round) -> None:
        if each.size is not None:
            cost = self._spent / sum(map(_duration, _sources([each])))
            self._costs[each.size] = min(cost, self._costs.get(each.size, math.inf))

    def _has_seen_enough(self, size: float | None) -> bool:
        if not size or size in self._costs:
            return False
        *before, last = self._costs.values()
        return bool(before) and _TIE * last > min(before)

    def _fastest(self) -> float:
        best = min(self._costs.values())
        if not best < _SAVING * self._costs[0.0]:
            return 0.0
        return min(size for size, cost in self._costs.items() if cost <= _TIE * best)


class Given:
    """Batches that are cut already, of at most some seconds; otherwise as `Batches`."""

    def __init__(self, batches: Sequence[Sequence[Source]], seconds: float) -> None:
        self._batches, self.seconds, self.settled = batches, seconds, seconds
        self.order = [source for batch in batches for source in batch]

    def __iter__(self) -> Iterator[list[Source]]:
        return (list(batch) for batch in self._batches)

    def tell(self, seconds: float) -> None:
        """Nothing is measured."""


def trial_sound(*, on_accelerator: bool) -> float:
    """Return the seconds of sound from which on a trial tries every size, of usual utterances."""
    sizes = ACCELERATOR_SIZES if on_accelerator else SIZES
    return 1.2 * _TIMES * sum(sizes) / _SHARE


def plan_trial(
    sources: Sequence[Source], sizes: Sequence[float]
) -> tuple[list[Round], list[Source]]:
    """Return the rounds of a trial, none where the corpus is too small for one, and the rest."""
    sizes, seconds = _affordable([source.duration for source in sources], sizes)
    if not sizes:
        return [], list(sources)
    # More than is needed, so that it has neighbours in length.
    until = itertools.accumulate(map(_duration, sources))
    n_first = sum(1 for _ in itertools.takewhile(lambda passed: passed < 2 * seconds, until)) + 1
    first = sorted(sources[: max(WINDOW, n_first)], key=_duration)
    outwards = sorted(range(len(first)), key=lambda rank: abs(rank - len(first) // 2))
    near = deque(first[rank] for rank in outwards)
    rounds = [
        Round(None, _take(near, [0.0])),
        *(Round(0.0, _take(near, [0.0] * _SINGLES)) for _ in range(_TIMES)),
        *(Round(size, _take(near, [size])) for size in sizes for _ in range(_TIMES)),
    ]
    used = {source.id for source in _sources(rounds)}
    return rounds, [source for source in sources if source.id not in used]


def _affordable(durations: Sequence[float], sizes: Sequence[float]) -> tuple[list[float], float]:
    """Return the sizes that a corpus has enough sound to try, and the seconds that it takes."""
    median = sorted(durations)[len(durations) // 2] if durations else math.inf
    # A batch that holds one utterance is no batch.
    found = [size for size in sizes if size >= 2 * median]
    while found:
        seconds = (1 + _TIMES * _SINGLES) * median + _TIMES * sum(found)
        if seconds <= _SHARE * sum(durations):
            return found, seconds
        found.pop()
    return [], 0.0


def _windows(sources: Sequence[Source], largest: float) -> list[list[Source]]:
    """Return stretches of the corpus, each from long to short, for batches of so many seconds."""
    total = sum(map(_duration, sources))
    n_windows = math.ceil(total / (BATCHES * largest)) if largest else len(sources)
    size = max(WINDOW, math.ceil(len(sources) / max(1, n_windows)))
    parts = [sources[start : start + size] for start in range(0, len(sources), size)]
    return [_by_length(part) for part in parts]


def cut(sources: Sequence[Source], seconds: float) -> Iterator[list[Source]]:
    """Yield batches of neighbours, each of at most some seconds with its padding."""
    waiting = deque(sources)
    while waiting:
        yield from _take(waiting, [seconds])


def pack(sources: Sequence[Source], batch_seconds: float) -> list[list[Source]]:
    """Sort by length and pack into batches of at most `batch_seconds`, padding included."""
    return list(cut(_by_length(sources), batch_seconds))


def resolve_batch_seconds(wanted: float | str) -> float | Literal["auto"]:
    """Return the seconds of a batch as a number, or "auto".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if wanted == "auto":
        return "auto"
    if isinstance(wanted, str) or not wanted >= 0:
        raise ValueError(f"batch_seconds must be 'auto' or seconds, got {wanted!r}")
    return float(wanted)


def _take(waiting: deque[Source], sizes: Sequence[float]) -> list[list[Source]]:
    """Take a batch of each size from the front, as many as there are."""
    batches = []
    for size in sizes:
        batch: list[Source] = []
        longest = 0.0
        while waiting:
            longest = max(longest, waiting[0].duration)
            if batch and (len(batch) + 1) * longest > size:
                break
            batch.append(waiting.popleft())
        batches += [batch] if batch else []
    return batches


def _sources(rounds: Sequence[Round] | deque[Round]) -> list[Source]:
    return [source for each in rounds for batch in each.batches for source in batch]


def _by_length(sources: Sequence[Source]) -> list[Source]:
    # The longest first: what does not fit into memory shows at once, and what follows finds room in
    # what it has left (BYOL-S, 100 files: 1.0 GiB at most, with growing lengths 1.3).
    return sorted(sources, key=_duration, reverse=True)


def _duration(source: Source) -> float:
    return source.duration


def device_type(extractor: Any) -> str:
    """Return where an extractor runs, "cpu" where it does not say."""
    device = getattr(extractor, "device", None)
    return str(getattr(device, "type", device or "cpu")).split(":")[0]
