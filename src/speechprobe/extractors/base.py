"""What an extractor is: two protocols, the check of a new one, and the choice of layers.

Conventions
-----------
Signals are float32 arrays of shape (n_samples,), full scale at 1.0, at the extractor's
`sample_rate` (Hz). Layers are named, never numbered, and given in depth order. A layer of one
signal has shape (n_frames, n_dims).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch

from speechprobe import pooling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooled, Pooling

    Frames = NDArray[np.floating[Any]]


@runtime_checkable
class Extractor(Protocol):
    """Facts and a call: all that `speechprobe.extract` needs.

    Attributes
    ----------
    name : str
        Short name, kept in provenance.
    sample_rate : int
        Samples per second that it wants.

    Examples
    --------
    >>> class Level:
    ...     name, sample_rate = "level", 16_000
    ...     def __call__(self, signal):
    ...         return {"level": np.abs(signal[: len(signal) // 160 * 160]).reshape(-1, 160)}
    >>> isinstance(Level(), Extractor)
    True
    """

    name: str
    sample_rate: int

    def __call__(self, signal: NDArray[np.float32]) -> Mapping[str, Frames]:
        """Return the frames of each layer, (n_frames, n_dims), of a signal (n_samples,)."""
        ...


@runtime_checkable
class BatchExtractor(Extractor, Protocol):
    """An extractor that takes several signals at once and pools them itself."""

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> Mapping[str, Any]:
        """Return the pooled layers, (n_signals, n_dims'), of signals of any lengths.

        A ragged pooling gives a list of n_signals arrays (n_rows, n_dims') for each layer.
        """
        ...


def takes_batches(extractor: Any) -> TypeGuard[BatchExtractor]:
    """Say whether an extractor takes several signals at once."""
    return callable(getattr(extractor, "extract_batch", None))


def select_layers(available: Iterable[str], patterns: str | Sequence[str]) -> list[str]:
    """Return the layer names that match, in the order they are available.

    Parameters
    ----------
    available
        All names.
    patterns
        One pattern or several. `*` stands for any text without a dot, `**` for any text, `?` for
        one character; ``"*"`` alone is every layer. ``"blocks.*"`` is ``blocks.0`` but not
        ``blocks.0.conv``.

    Raises
    ------
    ValueError
        If a pattern matches nothing; near names are listed.

    Examples
    --------
    >>> select_layers(["stem", "blocks.0", "blocks.1", "blocks.1.conv"], ["blocks.*"])
    ['blocks.0', 'blocks.1']
    """
    names = list(available)
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen: set[str] = set()
    for pattern in wanted:
        matched = [name for name in names if pattern in ("*", name) or _matches(name, pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern, names, n=5, cutoff=0.3) or names[:8]
            raise ValueError(f"no layer matches {pattern!r}; near names are {near}")
        chosen.update(matched)
    if not chosen:
        raise ValueError(f"no layer was asked for; there are {names[:8]}")
    return [name for name in names if name in chosen]


def _matches(name: str, pattern: str) -> bool:
    wild = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return (
        re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), name) is not None
    )


def check_signals(signals: Sequence[Any]) -> None:
    """Raise unless every signal is an array (n_samples,) of finite floats, not empty.

    Raises
    ------
    TypeError
        If the samples are whole numbers, or the array has another shape.
    ValueError
        If there is no signal, or one has no sample, NaN or infinity.
    """
    if not len(signals):
        raise ValueError("there is no signal")
    for number, signal in enumerate(signals):
        values = np.asarray(signal)
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.floating):
            raise TypeError(
                "a signal must be floats of shape (n_samples,) with full scale at 1.0, got "
                f"{values.dtype} of shape {values.shape}; average channels, and divide 16-bit "
                "samples by 32768"
            )
        if not values.size:
            raise ValueError(f"signal {number} has no samples")
        if not np.isfinite(values).all():
            raise ValueError(f"signal {number} holds NaN or infinity")


def padded(signals: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    """Return signals (n_samples,) as one tensor (n_signals, most samples), zeros behind each."""
    check_signals(signals)
    batch = torch.zeros(len(signals), max(map(len, signals)), dtype=torch.float32)
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = torch.from_numpy(np.require(signal, np.float32, ["C", "W"]))
    return batch


def pool_frames(frames: Frames, pool: Pooling) -> NDArray[Any]:
    """Pool the frames of one signal, (n_frames, n_dims), into one vector (n_dims',).

    A ragged pooling gives rows (n_rows, n_dims').
    """
    tensor = torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32))[None]
    vector: NDArray[Any] = pool(tensor, torch.tensor([len(frames)]))[0].numpy()
    return vector


def pool_signals(
    extractor: Extractor, signals: Sequence[NDArray[np.float32]], pool: Pooling
) -> dict[str, Pooled]:
    """Return the pooled layers of several signals by any extractor.

    Parameters
    ----------
    extractor
        Called with all signals if it takes batches, else with one after another.
    signals
        Arrays (n_samples,) of any lengths.
    pool
        A pooling.

    Returns
    -------
    layers
        {layer: (n_signals, n_dims')}, or lists of n_signals arrays (n_rows, n_dims') if the
        pooling is ragged.

    Raises
    ------
    ValueError
        If layers differ between signals, or a layer has another number of rows than signals.
    """
    if takes_batches(extractor):
        found = dict(extractor.extract_batch(signals, pool))
    else:
        found = _pool_singly(extractor, signals, pool)
    for layer, rows in found.items():
        if len(rows) != len(signals):
            raise ValueError(
                f"extractor {extractor.name!r}: layer {layer!r} of a batch of {len(signals)} "
                f"signals has {len(rows)} rows"
            )
    if pooling.is_ragged(pool):
        return {layer: list(rows) for layer, rows in found.items()}
    return found


def _pool_singly(
    extractor: Extractor, signals: Sequence[NDArray[np.float32]], pool: Pooling
) -> dict[str, Any]:
    found: dict[str, list[NDArray[Any]]] = {}
    for row, signal in enumerate(signals):
        layers = check_frames(extractor(signal), extractor.name)
        if row and list(layers) != list(found):
            raise ValueError(
                f"{extractor.name!r} gave layers {list(layers)} for one utterance and "
                f"{list(found)} for another"
            )
        own = pooling.bind(pool, [row], None)
        for layer, frames in layers.items():
            found.setdefault(layer, []).append(pool_frames(frames, own))
    return found if pooling.is_ragged(pool) else {k: np.stack(rows) for k, rows in found.items()}


def check_frames(layers: Any, name: str) -> dict[str, Frames]:
    """Return what an extractor gave for one signal, if it is what an extractor must give.

    Raises
    ------
    TypeError
        If it is not a mapping from layer names to 2-D arrays.
    ValueError
        If it is empty, a layer has no frame, or a value is NaN or infinite.
    """
    if not isinstance(layers, Mapping) or not all(isinstance(key, str) for key in layers):
        raise TypeError(
            f"extractor {name!r} must return a mapping {{layer name: frames}}, "
            f"got {type(layers).__name__}"
        )
    if not layers:
        raise ValueError(f"extractor {name!r} returned no layer")
    checked = {}
    for layer, value in layers.items():
        frames = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        if frames.ndim != 2 or not np.issubdtype(frames.dtype, np.number):
            raise TypeError(
                f"extractor {name!r}: layer {layer!r} must be numbers of shape "
                f"(n_frames, n_dims), got {frames.dtype} of shape {frames.shape}"
            )
        if not frames.size:
            raise ValueError(
                f"extractor {name!r}: layer {layer!r} has shape {frames.shape}: no frame; "
                "the signal may be shorter than one frame"
            )
        if not np.isfinite(frames).all():
            raise ValueError(f"extractor {name!r}: layer {layer!r} holds NaN or infinity")
        checked[layer] = frames
    return checked


def check_facts(extractor: Any) -> None:
    """Raise TypeError if an object lacks what every extractor has: name, sample_rate, a call."""
    kind = type(extractor).__name__
    if isinstance(extractor, type):
        raise TypeError(
            f"an extractor is an object, got the class {extractor.__name__}; did you forget the "
            f"brackets, {extractor.__name__}()?"
        )
    if not callable(extractor):
        raise TypeError(f"an extractor must be callable with a signal; {kind} is not")
    name, rate = getattr(extractor, "name", None), getattr(extractor, "sample_rate", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"an extractor needs a non-empty string `name`; {kind} has {name!r}")
    if not isinstance(rate, int | np.integer) or rate <= 0:
        raise TypeError(f"extractor {name!r} needs a whole `sample_rate` in Hz, got {rate!r}")


def relative_error(found: Frames, expected: Frames, *, smallest: float = 1e-12) -> float:
    """Largest L2 distance of rows, relative to the expected row's norm or at least `smallest`."""
    if found.shape != expected.shape:
        return float("inf")
    distance = np.linalg.norm(np.asarray(found, float) - expected, axis=-1)
    return float(
        np.max(distance / np.maximum(np.linalg.norm(expected, axis=-1), max(smallest, 1e-12)))
    )
