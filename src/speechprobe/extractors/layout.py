"""Finds where batch and time lie in a layer, and how many frames a signal of n samples gives.

Convolutions, pooling and framing turn n samples into floor((n + offset) / stride) frames, and any
chain of them does too, because floor(floor(x / a) / b) = floor(x / (a b)). So two whole numbers
say it exactly for every length. They are found from dry runs by bisection and checked at other
lengths; a network that follows another rule is never padded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
LONGEST = 10.0  # times the first length
DryRun = Callable[[int, int], Shapes]  # (n_signals, n_samples) -> shape of each layer


@dataclass(frozen=True)
class Layout:
    """Axes of one layer's output, and its frame arithmetic once that is known.

    Parameters
    ----------
    batch_axis
        Axis of the signals.
    time_axis
        Axis of the frames; equal to `batch_axis` where signals and frames share one axis (all
        frames of the first signal, then of the second); None where the layer has no time.
    stride, offset
        A signal of n samples has floor((n + offset) / stride) frames; stride 0 means not known.
    """

    batch_axis: int
    time_axis: int | None
    stride: int = 0
    offset: int = 0

    @property
    def is_folded(self) -> bool:
        """Whether signals and frames share one axis."""
        return self.time_axis == self.batch_axis

    def frames(self, output: Tensor, n_signals: int) -> Tensor:
        """Return the output as frames, shape (n_signals, n_frames, n_dims)."""
        if self.time_axis is None:
            return output.movedim(self.batch_axis, 0).reshape(n_signals, 1, -1)
        if self.is_folded:
            folded = output.movedim(self.batch_axis, 0)
            return folded.reshape(n_signals, len(folded) // n_signals, -1)
        return output.movedim((self.batch_axis, self.time_axis), (0, 1)).flatten(2) \
            if output.ndim > 2 \
            else output.movedim((self.batch_axis, self.time_axis), (0, 1))[..., None]  # fmt: skip

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a signal of n samples (1 where there is no time)."""
        if self.time_axis is None:
            return 1
        if not self.stride:
            raise ValueError("the frame arithmetic of this layer is not known")
        return (n_samples + self.offset) // self.stride


def find_axes(dry_run: DryRun, n_samples: int) -> dict[str, Layout]:
    """Find the axes of every layer from dry runs of one to three signals.

    Parameters
    ----------
    dry_run
        Function (n_signals, n_samples) -> {layer: shape}.
    n_samples
        A length that the network takes, about one second.

    Raises
    ------
    ValueError
        If a layer has no batch axis, or several axes that grow with the length.
    """
    base = dry_run(2, n_samples)
    wider = dry_run(3, n_samples)
    single = dry_run(1, n_samples)
    for layer, shape in single.items():
        if len(shape) != len(base[layer]):
            raise ValueError(
                f"layer {layer!r} has shape {shape} of one signal and {base[layer]} of two: an "
                "axis of length 1 is dropped, as squeeze() does; capture a module before it"
            )
    factor = 1.5
    longer = dry_run(2, int(factor * n_samples))
    while factor < LONGEST and _still(base, longer):
        factor *= 2
        longer = dry_run(2, int(factor * n_samples))
    for layer in _still(base, longer):
        warnings.warn(
            f"layer {layer!r} has shape {base[layer][1:]} for one second and for {factor:g}: no "
            "time axis was found, so all of it is one frame",
            stacklevel=2,
        )
    return {layer: _axes_of(layer, base[layer], longer[layer], wider[layer]) for layer in base}


def _still(base: Shapes, longer: Shapes) -> list[str]:
    """Return the layers with more than one axis a signal, none of which has grown."""
    return [name for name, shape in base.items() if len(shape) > 2 and longer[name] == shape]


def _axes_of(
    layer: str, base: tuple[int, ...], longer: tuple[int, ...], wider: tuple[int, ...]
) -> Layout:
    batch, time = _differing(layer, base, wider), _differing(layer, base, longer)
    if len(batch) != 1:
        raise ValueError(
            f"layer {layer!r}: expected one axis that grows with the batch, found {len(batch)} "
            f"(shape {base} of 2 signals, {wider} of 3); leave it out or capture a module around it"
        )
    if len(time) > 1:
        raise ValueError(
            f"layer {layer!r}: {len(time)} axes grow with the length of the signal (shape {base}, "
            f"then {longer}), as in attention maps; it has no frames to pool, so leave it out"
        )
    return Layout(batch[0], time[0] if time else None)


def _differing(layer: str, shape: tuple[int, ...], other: tuple[int, ...]) -> list[int]:
    if len(shape) != len(other):
        raise ValueError(
            f"layer {layer!r} changes its number of axes with its input: {shape} and {other}"
        )
    return [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]


def with_arithmetic(
    layouts: Mapping[str, Layout], dry_run: DryRun, n_samples: int
) -> dict[str, Layout] | None:
    """Return the layouts with stride and offset, or None if a layer follows another rule.

    Parameters
    ----------
    layouts
        From `find_axes`.
    dry_run
        Function (n_signals, n_samples) -> {layer: shape}; only n_signals = 1 is used.
    n_samples
        A length that the network takes, about one second.
    """
    run = cache(lambda n: dry_run(1, n))
    solved: dict[str, Layout] = {}
    for layer, layout in layouts.items():
        axis = layout.time_axis
        if axis is not None:
            found = _solve(lambda n, layer=layer, axis=axis: run(n)[layer][axis], n_samples)  # type: ignore[misc]
            if found is None:
                return None
            layout = replace(layout, stride=found[0], offset=found[1])  # noqa: PLW2901 the solved one
        solved[layer] = layout
    return solved


def _solve(count: Callable[[int], int], start: int) -> tuple[int, int] | None:
    stop = start * 3 // 2
    while count(stop) - count(start) < 2:
        if stop > 8 * start:
            return None
        stop *= 2
    first = _smallest(lambda n: count(n) > count(start), start, stop)
    last = _smallest(lambda n: count(n) >= count(stop), start, stop)
    n_steps = count(last) - count(first)
    if n_steps < 1 or (last - first) % n_steps:
        return None
    stride = (last - first) // n_steps
    offset = count(first) * stride - first
    # Elsewhere than where it was found: a rule that holds only there is not the rule.
    elsewhere = (start - 1, start + stride // 2, stop + 1, 2 * stop + 17, 3 * stop - 1)
    holds = all(count(n) == (n + offset) // stride for n in elsewhere)
    return (stride, offset) if holds else None


def _smallest(reached: Callable[[int], bool], below: int, above: int) -> int:
    """Return the smallest n in (below, above] for which `reached`, which never turns back."""
    while above - below > 1:
        middle = (below + above) // 2
        if reached(middle):
            above = middle
        else:
            below = middle
    return above
