"""Labels measured from the sound: on all cores, with progress, and remembered between sessions.

A measure is a function (signal, sample_rate) -> numbers, of the sound alone. What it gives is kept
in the cache folder as long as the file, the measure's code and the version of what computes it
stay the same, so an interrupted run goes on where it stopped. NaN says that the sound has no such
thing (no voice, too short); a file that cannot be read is an error.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from tqdm.auto import tqdm

from speechprobe import _cache, _fingerprint, audio
from speechprobe._files import hide_progress
from speechprobe.datasets.utterance import Utterance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signal = NDArray[np.float32]

_ALONE = 2.0  # seconds of work that tell how long the rest will take
_WORTH = 10.0  # seconds of work left that are worth the start of other processes
_AT_ONCE = 16  # files handed to a process at a time


@dataclass(frozen=True)
class Measure:
    """What is measured of a sound, and with what.

    Parameters
    ----------
    function
        (signal, sample_rate) -> a number, or a list of numbers.
    sample_rate
        Hz the sound is brought to; None keeps the file's own.
    package
        The distribution that computes it, whose version counts.
    """

    function: Callable[[Signal, int], Any]
    sample_rate: int | None = None
    package: str = "speechprobe"

    @functools.cached_property
    def kind(self) -> str:
        """The name under which the cache keeps what was measured."""
        facts = [
            _fingerprint.of_object(self.function),
            _fingerprint.of_code(self.function),
            self.sample_rate,
            _version(self.package),
        ]
        told = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]
        return f"{self.name} {told}"

    @property
    def name(self) -> str:
        """The name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__).strip("_")

    def all(self, paths: Sequence[str]) -> list[Any]:
        """Return what was measured of each file, or the error it gave."""
        # Other processes may have started in another folder.
        paths = [os.path.abspath(path) for path in paths]
        stamps = [_stamp(path) for path in paths]
        values = _known(self, stamps)
        rows = [row for row, value in enumerate(values) if value is None]
        hidden = hide_progress(len(rows) > _AT_ONCE)
        with (
            tqdm(desc=self.name, total=len(rows), unit="file", disable=hidden) as bar,
            _cache.Keeping(self.kind) as keeping,
        ):
            for row, value in zip(rows, _compute(self, [paths[row] for row in rows]), strict=True):
                values[row] = value
                stamp = stamps[row]
                if stamp and not isinstance(value, Exception):
                    keeping.add(stamp, json.dumps(value))
                bar.update()
        return values

    def of(self, path: str) -> Any:
        """Measure a file now; numbers come as floats."""
        signal = audio.read(path, self.sample_rate)
        rate = self.sample_rate or audio.read_header(path).sample_rate
        return np.asarray(self.function(signal, rate), dtype=float).tolist()

    def attempt(self, paths: Sequence[str]) -> list[Any]:
        """Measure files; one that fails gives its error."""
        return [self._attempt(path) for path in paths]

    def _attempt(self, path: str) -> Any:
        try:
            return self.of(path)
        except ImportError:
            raise  # not the fault of the sound
        except Exception as error:
            return _portable(error)  # raised where its utterance is named


def _portable(error: Exception) -> Exception:
    """Return the error, or its text where it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 our own bytes
    except Exception:
        return RuntimeError(f"{error} ({type(error).__name__})")
    return error


def from_sound(
    measure: Callable[[Signal, int], Any],
    *,
    sample_rate: int | None = None,
) -> Callable[[Utterance], Any]:
    """Return a label that is measured from the sound of an utterance.

    `Corpus.label` computes such a label on all cores, with progress, and remembers it.

    Parameters
    ----------
    measure
        Function (signal, sample_rate) -> a number or a list of numbers, where `signal` has shape
        (n_samples,) with full scale at 1.0. It is known by its code, the values it uses and, if
        it is an object, its public attributes; change one of them and all is computed anew.
    sample_rate
        Hz the sound is brought to; None keeps the file's own.

    Raises
    ------
    TypeError
        If `measure` is no function.

    Examples
    --------
    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/a.wav"
    >>> audio.write(path, np.full(8000, 0.5), 8_000)
    >>> peak = from_sound(lambda signal, sample_rate: abs(signal).max())
    >>> peak(Utterance("a", {"path": np.array([path])}, 0))
    0.5
    """
    if not callable(measure):
        raise TypeError(f"expected a function (signal, sample_rate) -> numbers, got {measure!r}")
    whole = Measure(measure, sample_rate)

    def label(utterance: Utterance, value: Any) -> Any:  # noqa: ARG001 the form of such a function
        return value

    label.__name__, label.__doc__ = whole.name, measure.__doc__
    return measured(whole)(label)


def measured(
    measure: Measure,
) -> Callable[[Callable[[Utterance, Any], Any]], Callable[[Utterance], Any]]:
    """Make a label of a function of an utterance and of what was measured of its sound."""

    def decorate(function: Callable[[Utterance, Any], Any]) -> Callable[[Utterance], Any]:
        def combine(utterance: Utterance, value: Any) -> Any:
            if isinstance(value, Exception):
                raise value
            return function(utterance, value)

        @functools.wraps(function)
        def label(utterance: Utterance) -> Any:
            return combine(utterance, measure.all([utterance.path])[0])

        signature = inspect.signature(function)
        first = list(signature.parameters.values())[:1]
        label.__signature__ = signature.replace(parameters=first)  # type: ignore[attr-defined]
        label.measure, label.combine = measure, combine  # type: ignore[attr-defined]
        return label

    return decorate


def _known(measure: Measure, stamps: Sequence[_cache.Stamp | None]) -> list[Any]:
    texts = iter(_cache.recall(measure.kind, [stamp for stamp in stamps if stamp]))
    found = [next(texts) if stamp else None for stamp in stamps]
    return [None if text is None else json.loads(text) for text in found]


def _stamp(path: str) -> _cache.Stamp | None:
    try:
        return _cache.stamp(path)
    except OSError:
        return None  # reading it tells why


def _compute(measure: Measure, paths: Sequence[str]) -> Iterator[Any]:
    """Give the values in order: alone at first, then with all cores if much is left."""
    done, start = 0, time.monotonic()
    while done < len(paths):
        taken = time.monotonic() - start
        left = (len(paths) - done) * taken / max(done, 1)
        if taken >= _ALONE and left >= _WORTH:
            break
        yield measure.attempt(paths[done : done + 1])[0]
        done += 1
    rest = [paths[row : row + _AT_ONCE] for row in range(done, len(paths), _AT_ONCE)]
    if rest:
        parallel = joblib.Parallel(n_jobs=-1, return_as="generator")
        for values in parallel(joblib.delayed(measure.attempt)(batch) for batch in rest):
            yield from values


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
