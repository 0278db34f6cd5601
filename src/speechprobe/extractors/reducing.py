"""What is kept of a layer when it fires: memory of its own, and finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def kept(pooled: Any, frames: Tensor) -> Any:
    """Return what a pooling gave, copied where it is still a part of the layer's own memory.

    A later layer may write into this one's output.
    """
    rows = pooled if isinstance(pooled, list) else [pooled]
    if not all(isinstance(row, Tensor) and row.ndim for row in rows):
        raise TypeError(
            "a pooling must give a tensor (B, n_dims), or a ragged one a list of B tensors, got "
            f"{type(rows[0]).__name__}" + f" of shape {tuple(getattr(rows[0], 'shape', ()))}"
        )
    place = frames.untyped_storage().data_ptr()

    def own(value: Tensor) -> Tensor:
        return value.clone() if value.untyped_storage().data_ptr() == place else value

    return [own(each) for each in pooled] if isinstance(pooled, list) else own(pooled).float()


def require_finite(
    sums: Mapping[str, Tensor], samples: list[int], name: str, dtype: torch.dtype | None
) -> None:
    """Raise ValueError if a layer's sum over a row's frames is NaN or infinite."""
    if not sums:
        return
    good = torch.stack(list(sums.values())).isfinite().cpu()
    if not good.all():
        layer, row = (int(place) for place in (~good).nonzero()[0])
        raise ValueError(
            f"layer {list(sums)[layer]!r} of {name} is NaN or infinite in {dtype} for a signal of "
            f"{samples[row]} samples; use torch.bfloat16, which has the range of float32, or none"
        )
