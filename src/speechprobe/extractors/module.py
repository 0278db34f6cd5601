"""Any torch network as an extractor: hooked, pooled in the hook, and exact under batching.

Padding
-------
A padded batch often gives other numbers than single signals (group norms, convolutions whose
borders see the padding, attention without a mask). Before the first batch of unequal lengths, the
extractor runs three noises of 0.6 to 1.1 s alone and padded together. Where every layer agrees to
1e-4 relative, batches are padded and only the valid frames pooled; elsewhere signals of equal
length are batched and all others run alone. Both ways, a stored vector is the one-signal vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechprobe import _fingerprint, pooling
from speechprobe.extractors.base import check_signals
from speechprobe.extractors.batching import BatchedNetwork
from speechprobe.extractors.channels import (
    is_map_channels_last,
    lay_channels_last,
    mean_of_maps,
)
from speechprobe.extractors.compiling import compiled_forwards
from speechprobe.extractors.describe import table_of_layers
from speechprobe.extractors.memory import Fitting
from speechprobe.extractors.padding import noise
from speechprobe.extractors.reducing import kept, require_finite

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling

    Signals = Sequence[NDArray[np.float32]]


class ModuleExtractor(BatchedNetwork):
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
        Type for autocast (`torch.bfloat16`, ...); none by default. Pooling stays in float32, and
        a layer that overflows is an error. Batches then agree with single signals as far as the
        type's rounding goes; whether padding is exact is measured in float32.
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
        super().__init__(
            module,
            layers=layers,
            sample_rate=sample_rate,
            preprocess=preprocess,
            name=name,
            device=device,
            dtype=dtype,
            padding=padding,
        )
        self._fitting = Fitting()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers in depth order."""
        return tuple(self._layouts)

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

    def compile(self, *, backend: str = "inductor") -> None:
        """Let `torch.compile` compile the captured modules, from now on.

        The first batch takes longer, for tens of seconds; vectors change by rounding. Outside
        the extractor the network runs as before.

        Parameters
        ----------
        backend
            As in `torch.compile`.

        Examples
        --------
        >>> net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.ReLU()).eval()
        >>> extractor = ModuleExtractor(
        ...     net, layers="*", sample_rate=16_000, preprocess=lambda waveforms: waveforms[:, None]
        ... )
        >>> extractor.compile(backend="eager")
        >>> extractor(np.zeros(16_000, np.float32))["1"].shape
        (98, 4)
        """
        _ = self._layouts  # found on the network as it is
        self._compiled = compiled_forwards(self.module, self._names, backend=backend)
        self.padding_error = self._batch_error = None

    def channels_last(self) -> None:
        """Lay the weights of 2-D convolutions channels last in memory, from now on.

        The weights are the same, and vectors change by rounding. On a CPU many 2-D networks are
        faster so, some twice as fast, and the loaders of the library's own do it by themselves; on
        a GPU it was not measured.

        Examples
        --------
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval()
        >>> extractor = ModuleExtractor(
        ...     net, layers="*", sample_rate=16_000, preprocess=lambda x: x.view(len(x), 1, 10, -1)
        ... )
        >>> extractor.channels_last()
        """
        lay_channels_last(self.module)

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
            "dtype": str(self.dtype or "float32"),
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
        check_signals([signal])
        layouts = self._layouts
        n_samples = len(signal)
        sums: dict[str, Tensor] = {}

        def reduce(layer: str, output: Tensor) -> Tensor:
            frames = layouts[layer].frames(output, 1)[0]
            # A copy: a later layer may write into this one's output.
            valid = frames[: self._count(layer, frames.shape[0], n_samples)]
            if self.dtype is not None:
                sums[layer] = valid.float().sum()[None]
            return valid.to(torch.float32, copy=True)

        captured = self._run([signal], reduce)
        require_finite(sums, [n_samples], self.name, self.dtype)
        return {layer: captured[layer].cpu().numpy() for layer in layouts}

    def extract_batch(self, signals: Signals, pool: Pooling) -> dict[str, Any]:
        """Return the pooled layers of several signals, each as if it were alone.

        A batch that does not fit into memory is halved, and later ones are cut to that size.

        Parameters
        ----------
        signals
            Arrays (n_samples,) of any lengths.
        pool
            A pooling, see `speechprobe.pooling`.

        Returns
        -------
        layers
            {layer: (n_signals, n_dims')}, float32, in depth order; for a ragged pooling a list
            of n_signals arrays (n_rows, n_dims').

        Raises
        ------
        ValueError
            If a signal is too short for a layer, or a layer overflows under autocast.
        MemoryError
            If a signal alone does not fit into memory.
        """
        check_signals(signals)
        lengths = [len(signal) for signal in signals]
        parts = [
            part
            for rows in self._groups(lengths)
            for part in self._fitting.run(rows, lengths, lambda few: self._pool(signals, few, pool))
        ]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        found = [{layer: pooled[layer] for layer in self._layouts} for _, pooled in parts]
        return dict(pooling.join_layers(found, order))

    def _pool(self, signals: Signals, rows: list[int], pool: Pooling) -> dict[str, Any]:
        layouts, chosen = self._layouts, [signals[row] for row in rows]
        samples = [len(signal) for signal in chosen]
        # Found before the hooks are set: it may take dry runs.
        rates = {layer: self._frame_rate(layer) if hasattr(pool, "at") else None
                 for layer in layouts}  # fmt: skip
        sums: dict[str, Tensor] = {}

        def reduce(layer: str, output: Tensor) -> Any:
            layout, own = layouts[layer], pooling.bind(pool, rows, rates[layer])
            if own is pooling.mean and is_map_channels_last(output, layout):
                extent = output.shape[layout.time_axis or 0]
                lengths = torch.tensor(self._lengths(layer, extent, samples))
                vectors = mean_of_maps(output, layout, lengths)
                if self.dtype is not None:
                    sums[layer] = vectors.sum(1)
                return vectors
            frames = layout.frames(output, len(chosen))
            lengths = torch.tensor(self._lengths(layer, frames.shape[1], samples))
            vectors = kept(own(frames, lengths), frames)
            if self.dtype is not None:
                means = vectors if own is pooling.mean else pooling.mean(frames, lengths)
                sums[layer] = means.sum(1)
            return vectors

        pooled = self._run(chosen, reduce)
        require_finite(sums, samples, self.name, self.dtype)
        return pooled
