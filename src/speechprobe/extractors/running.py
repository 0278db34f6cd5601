"""A network run on signals with hooks in it, and what dry runs tell of its layers."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speechprobe.extractors.base import padded, relative_error
from speechprobe.extractors.compiling import using
from speechprobe.extractors.dryrun import fake_shapes
from speechprobe.extractors.hooks import (
    came_from_a_hook,
    capturing,
    module_layers,
    require_eval,
)
from speechprobe.extractors.layout import Layout, Shapes, find_axes, with_arithmetic
from speechprobe.extractors.memory import is_out_of_memory
from speechprobe.extractors.padding import TOLERANCE, copied, noise
from speechprobe.extractors.spectral import SpectralFrontEnd

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Signals = Sequence[NDArray[np.float32]]

# From here on dry runs by shapes alone are tried: torch loads 150 MiB for them, in a second or two.
_SLOW_SECONDS = 0.1


class HookedNetwork:
    """Runs a network with hooks on its layers and finds out how these are laid out.

    `ModuleExtractor` documents the parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        layers: str | Sequence[str],
        sample_rate: int,
        preprocess: Callable[[Tensor], Any] | None,
        name: str | None,
        device: str | torch.device | None,
        dtype: torch.dtype | None,
    ) -> None:
        _require_usable(module, dtype)
        require_eval(module)
        if int(sample_rate) != sample_rate or sample_rate < 1:
            raise ValueError(f"sample_rate must be whole Hz, got {sample_rate!r}")
        wanted = getattr(preprocess, "sample_rate", sample_rate)
        if wanted != sample_rate:
            raise ValueError(
                f"preprocess takes {wanted} Hz and the extractor {sample_rate} Hz; give both the "
                "same sample_rate"
            )
        self.module = module if device is None else module.to(device)
        self.sample_rate = int(sample_rate)
        self.name = name or type(module).__name__
        self._names = module_layers(module, layers)
        self._preprocess = preprocess
        self.dtype = dtype
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._shapes_suffice: bool | None = None  # not known before the first dry run

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        first = next(itertools.chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        return self._find_layouts()

    def _find_layouts(self) -> dict[str, Layout]:
        try:
            layouts = find_axes(self._dry_run, self.sample_rate)
        except (RuntimeError, TypeError, IndexError) as error:
            if came_from_a_hook(error):
                raise
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

    def _known(self, layer: str) -> Layout:
        if self._arithmetic is None:
            raise ValueError(
                f"{self.name}: the number of frames of layer {layer!r} follows no rule"
            )
        return self._arithmetic[layer]

    def _lengths(self, layer: str, extent: int, samples: list[int]) -> list[int]:
        """Return the valid frames of each row of a layer that has `extent` of them."""
        if len(set(samples)) > 1:
            lengths = [min(extent, self._known(layer).n_frames(n)) for n in samples]
        else:
            lengths = [self._count(layer, extent, n) for n in samples]
        if min(lengths) < 1:
            raise ValueError(
                f"a signal of {min(samples)} samples is too short for layer {layer!r} of "
                f"{self.name}: it gives no frame"
            )
        return lengths

    def _frame_rate(self, layer: str) -> float | None:
        layout = (self._arithmetic or self._layouts)[layer]
        timed = layout.time_axis is not None and layout.stride
        return self.sample_rate / layout.stride if timed else None

    def _count(self, layer: str, extent: int, n_samples: int) -> int:
        # Alone, every frame is valid, unless the network pads to a window of its own.
        layout = self._layouts[layer]
        known = layout.stride and layout.time_axis is not None
        return max(1, min(extent, layout.n_frames(n_samples))) if known else extent

    def _run(self, signals: Signals, reduce: Callable[[str, Tensor], Any]) -> dict[str, Any]:
        # Not inference_mode: what a network keeps for later calls must stay usable for training.
        with (
            torch.no_grad(),
            self._autocast(),
            using(self.module, self._compiled),
            capturing(self.module, self._names, reduce) as captured,
        ):
            inputs = self._inputs(signals)
            try:
                self._forward(inputs)
            except RuntimeError as error:
                if came_from_a_hook(error) or is_out_of_memory(error):
                    raise
                lengths = sorted({len(signal) for signal in signals})
                raise RuntimeError(
                    f"{self.name} fails on {len(signals)} signals of {lengths[0]} to {lengths[-1]} "
                    f"samples, which may be too few: {error}"
                ) from error
        return captured

    def _inputs(self, signals: Signals) -> Any:
        batch = self._waveforms(signals)
        if isinstance(self._preprocess, SpectralFrontEnd):
            # Ours look only at each row's own samples, if they know how many these are.
            n_samples = torch.tensor([len(signal) for signal in signals], device=self.device)
            return self._preprocess(batch, n_samples)
        return batch if self._preprocess is None else self._preprocess(batch)

    def _waveforms(self, signals: Signals) -> Tensor:
        """Return signals as one padded tensor (n_signals, most samples) on the device."""
        batch = padded(signals)
        # From pinned memory the copy runs beside the device's work.
        pinned = batch.pin_memory() if self.device.type == "cuda" else batch
        return pinned.to(self.device, non_blocking=True)

    def _forward(self, inputs: Any) -> None:
        if isinstance(inputs, Mapping):
            self.module(**inputs)
        elif isinstance(inputs, tuple):
            self.module(*inputs)
        else:
            self.module(inputs)

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        if self.dtype is None:
            yield
        else:
            with torch.autocast(self.device.type, self.dtype):
                yield

    def _dry_run(self, n_signals: int, n_samples: int) -> Shapes:
        sounds = [noise(n_samples) for _ in range(n_signals)]
        if self._shapes_suffice:
            shapes = self._fake_run(sounds)
            if shapes is not None:
                return shapes
        real: Shapes
        real, seconds = _timed(self._real_run, sounds)
        if self._shapes_suffice is None and seconds > _SLOW_SECONDS:
            # Not always faster: recurrent layers take every time step by itself.
            shapes, fake_seconds = _timed(self._fake_run, sounds)
            self._shapes_suffice = shapes == real and fake_seconds < seconds
        return real

    def _fake_run(self, sounds: Signals) -> Shapes | None:
        with torch.no_grad():
            inputs = self._inputs(sounds)
        return fake_shapes(self.module, self._names, inputs, self._forward)

    def _real_run(self, sounds: Signals) -> Shapes:
        return self._run(sounds, _shape_of)


def _shape_of(layer: str, output: Tensor) -> tuple[int, ...]:
    if output.is_complex():
        raise ValueError(
            f"layer {layer!r} is complex; capture a module behind its magnitude or its parts"
        )
    return tuple(output.shape)


def _require_usable(module: Any, dtype: Any) -> None:
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"expected a torch.nn.Module, got {type(module).__name__}; hooks need the Python "
            "network, not its name and not TorchScript"
        )
    if dtype not in (None, torch.bfloat16, torch.float16):
        raise ValueError(
            f"dtype must be torch.bfloat16, torch.float16 or None (no autocast), got {dtype!r}"
        )


def _timed(run: Callable[[Signals], Any], sounds: Signals) -> tuple[Any, float]:
    started = time.perf_counter()
    return run(sounds), time.perf_counter() - started
