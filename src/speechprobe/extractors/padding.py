"""Measures whether a padded batch gives what single signals give, and says why it is not used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from speechprobe.extractors.base import relative_error

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from speechprobe.extractors.layout import Layout

    Signal = NDArray[np.float32]
    Alone = Callable[[Signal], Mapping[str, Signal]]
    Run = Callable[[Sequence[Signal], Callable[[str, Tensor], Any]], Mapping[str, Any]]
    Counts = Callable[[str, int], int]

TOLERANCE = 1e-4


def measure_padding(
    alone: Alone, run: Run, layouts: Mapping[str, Layout], sample_rate: int, counts: Counts | None
) -> dict[str, float]:
    """Return the relative error of each layer when unequal noises are padded together.

    Parameters
    ----------
    alone
        One signal to the frames of every layer.
    run
        Signals and a function (layer, output) -> result, to the results of the padded batch.
    layouts
        Axes of each layer.
    sample_rate
        Samples per second; the noises last 0.6 to 1.1 s, and 0.15 s where the network takes that.
    counts
        Function (layer, n_samples) -> frames by the rule that was found; None where there is none.
        A signal with another number of frames makes the error infinite.
    """
    # Some networks are exact for odd numbers of frames and not for even ones, or the other way,
    # and some fill up short signals.
    signals = [noise(int(sample_rate * seconds)) for seconds in (0.6, 0.6425, 1.1)]
    single = [alone(signal) for signal in signals]
    short = noise(int(sample_rate * 0.15))
    with contextlib.suppress(RuntimeError, ValueError):
        single.append(alone(short))
        signals.append(short)
    errors = _errors(signals, single, run, layouts)
    for signal, found in zip(signals, single, strict=True):
        for layer, frames in found.items():
            if counts is not None and counts(layer, len(signal)) != len(frames):
                errors[layer] = float("inf")
    return errors


def measure_batching(
    alone: Alone, run: Run, layouts: Mapping[str, Layout], sample_rate: int
) -> dict[str, float]:
    """Return the relative error of each layer when two noises of one length run together.

    One is fifteen times as loud as the other, which a network shows that normalises a whole batch.
    """
    n = int(sample_rate * 0.6)
    signals = [0.2 * noise(n), 3 * noise(n + 1)[:n]]
    return _errors(signals, [alone(signal) for signal in signals], run, layouts)


def _errors(
    signals: Sequence[Signal],
    single: Sequence[Mapping[str, Signal]],
    run: Run,
    layouts: Mapping[str, Layout],
) -> dict[str, float]:
    n = len(signals)
    together = run(signals, lambda layer, output: copied(layouts[layer].frames(output, n)))
    return {
        layer: max(
            relative_error(together[layer][row, : len(frames)].ravel(), frames.ravel())
            for row, frames in enumerate(found[layer] for found in single)
        )
        for layer in layouts
    }


def why_not_pad(errors: Mapping[str, float], *, has_rule: bool) -> str:
    """Return why unequal signals are not padded together, or nothing where they may be."""
    if not has_rule:
        return "the number of frames follows no rule of the form floor((n + offset) / stride)"
    worst = max(errors, key=errors.__getitem__)
    if errors[worst] > TOLERANCE:
        return f"padding would change layer {worst!r} by {errors[worst]:.1e} relative"
    return ""


def noise(n_samples: int) -> Signal:
    """Return white noise, shape (n_samples,), the same for the same length."""
    values = np.random.default_rng(n_samples).normal(scale=0.1, size=n_samples)
    return values.astype(np.float32)


def copied(frames: Tensor) -> Signal:
    """Return frames as an array of their own: a later layer may write into this one's output."""
    values: Signal = frames.to(torch.float32, copy=True).cpu().numpy()
    return values
