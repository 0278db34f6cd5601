"""Any torch network as an extractor: hooked, pooled in the hook, and exact under batching.

Padding
-------
A padded batch often gives other numbers than single signals (group norms, convolutions whose
borders see the padding, attention without a mask). Before the first batch of unequal lengths, the
extractor runs two noises of 0.6 and 1.1 s alone and padded together. Where every layer agrees to
1e-4 relative, batches are padded and only the valid frames pooled; elsewhere signals of equal
length are batched and all others run alone. Both ways, a stored vector is the one-signal vector.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechprobe import _fingerprint
from speechprobe.extractors.base import padded, relative_error
from speechprobe.extractors.describe import table_of_layers
from speechprobe.extractors.hooks import capture, module_layers, require_eval
from speechprobe.extractors.layout import Layout, Shapes, find_axes, with_arithmetic
from speechprobe.extractors.padding import (
    TOLERANCE,
    copied,
    measure_padding,
    noise,
    why_not_pad,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling

    Signals = Sequence[NDArray[np.float32]]


class ModuleExtractor:
    """Layers of any `torch.nn.Module`.

    Where time and batch lie in each layer is found by dry runs on noise of about a second, and so
    is the exact number of valid frames for any length, where it is needed.

    Parameters
    ----------
    module
        The network, in eval mode. It is used as it is, not copied.
    layers
        Module paths or patterns, as in `capture`.
    sample_rate
        Samples per second that the network wants.
    preprocess
        Function of waveforms (n_signals, n_samples), full scale at 1.0, giving the network's
        input: a tensor, a tuple of arguments, or a mapping of keyword arguments. The waveforms
        themselves by default.
    name
        Short name; the class of the network by default.
    device
        Where to run; the network is moved there. Where it is by default.
    dtype
        Type for autocast (`torch.bfloat16`, ...); none by default. Pooling stays in float32.
    padding
        "measure" pads only where that is measured to be exact, "never" does not pad, "allow" pads
        in any case and keeps the measured error in the provenance.

    Attributes
    ----------
    module : torch.nn.Module
        The network.
    layers : tuple of str
        The names of its layers in depth order.
    padding_error : dict or None
        Relative error of a padded batch for each layer, once measured.

    Raises
    ------
    ValueError
        If the network is in train mode, a pattern matches nothing, or a layer has no frames.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.ReLU()).eval()
    >>> extractor = ModuleExtractor(
    ...     net, layers="*", sample_rate=16_000, preprocess=lambda waveforms: waveforms[:, None]
    ... )
    >>> {layer: x.shape for layer, x in extractor(np.zeros(16_000, np.float32)).items()}
    {'0': (98, 4), '1': (98, 4)}
    """

    max_seconds: float | None = None
    _final_norm: str | None = None

    def __init__(
        self,
        module: nn.Module,
        *,
        layers: str | Sequence[str],
        sample_rate: int,
        preprocess: Callable[[Tensor], Any] | None = None,
        name: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        padding: Literal["measure", "never", "allow"] = "measure",
    ) -> None:
        if padding not in ("measure", "never", "allow"):
            raise ValueError(f"padding must be 'measure', 'never' or 'allow', got {padding!r}")
        require_eval(module)
        self.module = module if device is None else module.to(device)
        self.sample_rate = int(sample_rate)
        self.name = name or type(module).__name__
        self.padding = padding
        self.padding_error: dict[str, float] | None = None
        self._names = module_layers(module, layers)
        self._preprocess = preprocess
        self._dtype = dtype

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        return self._find_layouts()

    def _find_layouts(self) -> dict[str, Layout]:
        try:
            layouts = find_axes(self._dry_run, self.sample_rate)
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"{self.name}: a dry run on noise failed: {error}. Unless `preprocess` makes other "
                "input, the network is given waveforms (n_signals, n_samples); for one channel "
                "axis give preprocess=lambda waveforms: waveforms[:, None]"
            ) from error
        folded = {layer: layout for layer, layout in layouts.items() if layout.is_folded}
        if folded:
            self._require_signal_by_signal(folded)
        return layouts

    def _require_signal_by_signal(self, folded: Mapping[str, Layout]) -> None:
        """Raise if frames that share an axis with the signals are not in the order of these."""
        sounds = [noise(self.sample_rate + k)[: self.sample_rate] for k in range(2)]

        def first(n_signals: int) -> Callable[[str, Tensor], Any]:
            return lambda layer, output: (
                copied(folded[layer].frames(output, n_signals)[0]) if layer in folded else None
            )

        alone, together = self._run(sounds[:1], first(1)), self._run(sounds, first(2))
        for layer in folded:
            error = relative_error(together[layer].ravel(), alone[layer].ravel())
            if error > TOLERANCE:
                raise ValueError(
                    f"layer {layer!r}: frames and signals share one axis, but not signal by signal "
                    f"(relative error {error:.1e}); leave it out or capture a module around it"
                )

    @cached_property
    def _arithmetic(self) -> dict[str, Layout] | None:
        if all(layout.stride or layout.time_axis is None for layout in self._layouts.values()):
            return self._layouts
        return with_arithmetic(self._layouts, self._dry_run, self.sample_rate)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers in depth order."""
        return tuple(self._layouts)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        first = next(self.module.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def describe(self) -> pd.DataFrame:
        """Return a table of the layers, in depth order.

        Returns
        -------
        layers
            Indexed by layer: `module` (its class, "(input)" where the layer is what enters it),
            `n_dims` of a frame, `frame_rate` (Hz) and `stride` (samples from frame to frame), both
            missing for a layer without time, and `final_norm`: "before" or "after" the norm behind
            the last block, None where the network has none.

        Examples
        --------
        >>> net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.ReLU()).eval()
        >>> extractor = ModuleExtractor(
        ...     net, layers="*", sample_rate=16_000, preprocess=lambda waveforms: waveforms[:, None]
        ... )
        >>> extractor.describe()[["module", "n_dims", "frame_rate"]]
               module  n_dims  frame_rate
        layer
        0      Conv1d       4       100.0
        1        ReLU       4       100.0
        """
        layouts = self._arithmetic or self._layouts
        widths = self._run(
            [noise(self.sample_rate)],
            lambda layer, output: layouts[layer].frames(output, 1).shape[-1],
        )
        return table_of_layers(
            self.module,
            layouts,
            widths,
            sample_rate=self.sample_rate,
            final_norm=self._final_norm,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self._names)} layers)"

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: weights, layers, front end, padding."""
        preprocess = _fingerprint.of_object(self._preprocess) if self._preprocess else None
        return {
            "name": self.name,
            "class": f"{type(self.module).__module__}.{type(self.module).__qualname__}",
            "weights_sha256": _fingerprint.of_module(self.module),
            "sample_rate": self.sample_rate,
            "layers": self._names,
            "preprocess": preprocess,
            "dtype": str(self._dtype or "float32"),
            "padding": self.padding,
        }

    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the frames of every layer of one signal.

        Parameters
        ----------
        signal
            Shape (n_samples,), at `sample_rate`.

        Returns
        -------
        layers
            {layer: (n_frames, n_dims)}, float32, in depth order. A layer without a time axis
            has one frame.
        """
        layouts = self._layouts
        n_samples = len(signal)

        def reduce(layer: str, output: Tensor) -> Tensor:
            frames = layouts[layer].frames(output, 1)[0]
            # A copy: a later layer may write into this one's output.
            valid = frames[: self._count(layer, frames.shape[0], n_samples)]
            return valid.to(torch.float32, copy=True)

        captured = self._run([signal], reduce)
        return {layer: captured[layer].cpu().numpy() for layer in layouts}

    def extract_batch(self, signals: Signals, pool: Pooling) -> dict[str, NDArray[np.float32]]:
        """Return the pooled layers of several signals, each as if it were alone.

        Parameters
        ----------
        signals
            Arrays (n_samples,) of any lengths.
        pool
            A pooling, see `speechprobe.pooling`.

        Returns
        -------
        layers
            {layer: (n_signals, n_dims')}, float32, in depth order.
        """
        groups = self._groups([len(signal) for signal in signals])
        pooled = [self._pool([signals[row] for row in rows], pool) for rows in groups]
        order = np.argsort(np.concatenate(groups))
        return {
            layer: torch.cat([part[layer] for part in pooled]).cpu().numpy()[order]
            for layer in self._layouts
        }

    def _groups(self, lengths: list[int]) -> list[list[int]]:
        """Return the rows that run together: all of them, or those of equal length."""
        if len(set(lengths)) == 1 or self._may_pad():
            return [list(range(len(lengths)))]
        return [[k for k, n in enumerate(lengths) if n == same] for same in sorted(set(lengths))]

    def _pool(self, signals: Signals, pool: Pooling) -> dict[str, Tensor]:
        layouts, samples = self._layouts, [len(signal) for signal in signals]
        ragged = len(set(samples)) > 1

        def reduce(layer: str, output: Tensor) -> Tensor:
            frames = layouts[layer].frames(output, len(signals))
            extent = frames.shape[1]
            lengths = [
                min(extent, self._known(layer).n_frames(n)) if ragged else
                self._count(layer, extent, n) for n in samples
            ]  # fmt: skip
            if min(lengths) < 1:
                raise ValueError(
                    f"a signal of {min(samples)} samples is too short for layer {layer!r} of "
                    f"{self.name}: it gives no frame"
                )
            return pool(frames, torch.tensor(lengths)).float()

        return self._run(signals, reduce)

    def _known(self, layer: str) -> Layout:
        if self._arithmetic is None:
            raise ValueError(
                f"{self.name}: the number of frames of layer {layer!r} follows no rule"
            )
        return self._arithmetic[layer]

    def _count(self, layer: str, extent: int, n_samples: int) -> int:
        # Alone, every frame is valid, unless the network pads to a window of its own.
        layout = self._layouts[layer]
        known = layout.stride and layout.time_axis is not None
        return max(1, min(extent, layout.n_frames(n_samples))) if known else extent

    def _run(self, signals: Signals, reduce: Callable[[str, Tensor], Any]) -> dict[str, Any]:
        with torch.inference_mode(), self._autocast(), capture(
            self.module, self._names, reduce
        ) as captured:  # fmt: skip
            self._forward(self._inputs(signals))
        return captured

    def _inputs(self, signals: Signals) -> Any:
        batch = padded(signals).to(self.device, non_blocking=True)
        return batch if self._preprocess is None else self._preprocess(batch)

    def _forward(self, inputs: Any) -> None:
        if isinstance(inputs, Mapping):
            self.module(**inputs)
        elif isinstance(inputs, tuple):
            self.module(*inputs)
        else:
            self.module(inputs)

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        if self._dtype is None:
            yield
        else:
            with torch.autocast(self.device.type, self._dtype):
                yield

    def _dry_run(self, n_signals: int, n_samples: int) -> Shapes:
        sounds = [noise(n_samples) for _ in range(n_signals)]
        return self._run(sounds, lambda _layer, output: tuple(output.shape))

    def _may_pad(self) -> bool:
        if self.padding == "never":
            return False
        if self.padding_error is None:
            self.padding_error = measure_padding(self, self._run, self._layouts, self.sample_rate)
            reason = why_not_pad(self.padding_error, has_rule=self._arithmetic is not None)
            if reason and (self.padding == "measure" or self._arithmetic is None):
                warnings.warn(
                    f"{self.name}: {reason}, so signals of unequal length run one by one "
                    "(said once)",
                    stacklevel=4,
                )
        exact = max(self.padding_error.values()) <= TOLERANCE
        return (exact or self.padding == "allow") and self._arithmetic is not None
