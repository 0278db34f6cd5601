"""Which signals may run together: measured, because networks do not say it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from speechprobe.extractors.padding import (
    TOLERANCE,
    measure_batching,
    measure_padding,
    why_not_pad,
)
from speechprobe.extractors.running import HookedNetwork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Padding = Literal["measure", "never", "allow"]


class BatchedNetwork(HookedNetwork, ABC):
    """A hooked network that knows which signals do not change each other in a batch.

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
        padding: Padding,
    ) -> None:
        if padding not in ("measure", "never", "allow"):
            raise ValueError(f"padding must be 'measure', 'never' or 'allow', got {padding!r}")
        super().__init__(
            module,
            layers=layers,
            sample_rate=sample_rate,
            preprocess=preprocess,
            name=name,
            device=device,
            dtype=dtype,
        )
        self.padding = padding
        self.padding_error: dict[str, float] | None = None
        self._batch_error: dict[str, float] | None = None

    @abstractmethod
    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the frames of every layer of one signal."""

    def _groups(self, lengths: list[int]) -> list[list[int]]:
        """Return the rows that run together: all of them, or those of equal length."""
        if len(lengths) > 1 and not self._may_batch():
            return [[row] for row in range(len(lengths))]
        if len(set(lengths)) == 1 or self._may_pad():
            return [list(range(len(lengths)))]
        return [[k for k, n in enumerate(lengths) if n == same] for same in sorted(set(lengths))]

    def _may_batch(self) -> bool:
        """Say whether signals of one length may run together."""
        if self._batch_error is None and self.padding != "allow":
            self._batch_error = self._in_float32(measure_batching)
            worst = max(self._batch_error, key=self._batch_error.__getitem__)
            if self._batch_error[worst] > TOLERANCE:
                warnings.warn(
                    f"{self.name}: signals of a batch change each other, layer {worst!r} by "
                    f"{self._batch_error[worst]:.1e} relative, so they run one by one (said once)",
                    stacklevel=4,
                )
        return self._batch_error is None or max(self._batch_error.values()) <= TOLERANCE

    def _may_pad(self) -> bool:
        if self.padding == "never":
            return False
        if self.padding_error is None:
            counts = None if self._arithmetic is None else (
                lambda layer, n: max(1, self._known(layer).n_frames(self._samples_run(n)))
            )  # fmt: skip
            self.padding_error = self._in_float32(measure_padding, counts)
            reason = why_not_pad(self.padding_error, has_rule=self._arithmetic is not None)
            if reason and (self.padding == "measure" or self._arithmetic is None):
                warnings.warn(
                    f"{self.name}: {reason}, so signals of unequal length run one by one "
                    "(said once)",
                    stacklevel=4,
                )
        exact = max(self.padding_error.values()) <= TOLERANCE
        return (exact or self.padding == "allow") and self._arithmetic is not None

    def _samples_run(self, n_samples: int) -> int:
        """Return how many samples the network is given of a signal of n, if it is changed first."""
        return n_samples

    def _in_float32(self, measure: Callable[..., dict[str, float]], *more: Any) -> dict[str, float]:
        # The rounding of half precision would hide what a batch does.
        dtype, self.dtype = self.dtype, None
        try:
            return measure(self, self._run, self._layouts, self.sample_rate, *more)
        finally:
            self.dtype = dtype
