"""The check of a new extractor: which rule it breaks, if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe import pooling
from speechprobe.extractors.base import (
    BatchExtractor,
    Extractor,
    check_facts,
    check_frames,
    pool_frames,
    relative_error,
    takes_batches,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.extractors.base import Frames


def check_extractor(extractor: Any) -> None:
    """Raise if an object breaks a rule that extractors must keep, and name the rule.

    It is called with noise of three lengths (0.5, 1.0 and 1.3 s): it must give the same layers
    and widths for each, finite frames, the same values when called again, and leave the signal
    as it is. A batch extractor's pooled batch must equal the pooled single calls to 1e-4.

    Parameters
    ----------
    extractor
        The object to check.

    Raises
    ------
    TypeError
        If an attribute or the result has a wrong type.
    ValueError
        If a rule about values is broken.

    Examples
    --------
    >>> class Silent:
    ...     name, sample_rate = "silent", 16_000
    ...     def __call__(self, signal):
    ...         return {}
    >>> check_extractor(Silent())
    Traceback (most recent call last):
        ...
    ValueError: extractor 'silent' returned no layer
    """
    check_facts(extractor)
    signals = _test_signals(extractor.sample_rate)
    results = [_check_call(extractor, signal) for signal in signals]
    widths = [{layer: frames.shape[1] for layer, frames in result.items()} for result in results]
    if any(list(found.items()) != list(widths[0].items()) for found in widths):
        raise ValueError(
            f"extractor {extractor.name!r}: layers, their order and widths must not depend on the "
            f"length of the signal, got {widths[0]} and {widths[1]}"
        )
    if takes_batches(extractor):
        _check_batch(extractor, signals, results)


def _test_signals(sample_rate: int) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    lengths = [int(seconds * sample_rate) for seconds in (0.5, 1.0, 1.3)]
    return [generator.normal(scale=0.1, size=n).astype(np.float32) for n in lengths]


def _check_call(extractor: Extractor, signal: NDArray[np.float32]) -> dict[str, Frames]:
    name, given = extractor.name, signal.copy()
    result = check_frames(extractor(given), name)
    if not np.array_equal(given, signal):
        raise ValueError(f"extractor {name!r} writes into the signal it is given")
    again = check_frames(extractor(given), name)
    if list(again) != list(result):
        raise ValueError(
            f"extractor {name!r} gives layers {list(again)} when called again with the same "
            f"signal, and {list(result)} before"
        )
    for layer, frames in result.items():
        if not np.array_equal(frames, again[layer]):
            raise ValueError(
                f"extractor {name!r}: layer {layer!r} differs when called again with the same "
                "signal; put the network in eval mode and seed what is random"
            )
    return result


def _check_batch(
    extractor: BatchExtractor,
    signals: Sequence[NDArray[np.float32]],
    results: Sequence[Mapping[str, Frames]],
) -> None:
    batch = extractor.extract_batch(signals, pooling.mean)
    if list(batch) != list(results[0]):
        raise ValueError(
            f"extractor {extractor.name!r}: a batch gives layers {list(batch)}, single signals "
            f"{list(results[0])}"
        )
    for layer in results[0]:
        single = np.stack([pool_frames(result[layer], pooling.mean) for result in results])
        # A layer may have a mean of zero, of which only rounding is left.
        typical = np.mean([np.linalg.norm(result[layer], axis=1).mean() for result in results])
        error = relative_error(batch[layer], single, smallest=0.1 * float(typical))
        if batch[layer].shape != single.shape or not error <= 1e-4:
            raise ValueError(
                f"extractor {extractor.name!r}: layer {layer!r} of a batch differs from single "
                f"signals by {error:.1e} relative; a batch must not change a vector by over 1e-4"
            )
