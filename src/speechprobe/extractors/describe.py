"""What the layers of an extractor are: class, width, frame rate, place before the final norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import nn

if TYPE_CHECKING:
    from speechprobe.extractors.layout import Layout


def table_of_layers(
    module: nn.Module,
    layouts: Mapping[str, Layout],
    widths: Mapping[str, int],
    *,
    sample_rate: int,
    final_norm: str | None,
) -> pd.DataFrame:
    """Return one row a layer, in depth order.

    Parameters
    ----------
    module
        The network.
    layouts
        Axes and frame arithmetic of each layer.
    widths
        Dimensions of a frame of each layer.
    sample_rate
        Samples per second.
    final_norm
        Module path of the norm behind the last block, None where there is none.
    """
    parts = dict(module.named_modules())
    rows = []
    for layer, layout in layouts.items():
        path, _, side = layer.partition(":")
        rows.append(
            {
                "layer": layer,
                "module": type(parts[path]).__name__ + (f" ({side})" if side else ""),
                "n_dims": widths[layer],
                **_pace(layout, sample_rate),
                "final_norm": _side(path, final_norm),
            }
        )
    return pd.DataFrame(rows).set_index("layer")


def _pace(layout: Layout, sample_rate: int) -> dict[str, Any]:
    if layout.time_axis is None or not layout.stride:
        return {"frame_rate": float("nan"), "stride": pd.NA}
    return {"frame_rate": sample_rate / layout.stride, "stride": layout.stride}


def _side(path: str, final_norm: str | None) -> str | None:
    if final_norm is None:
        return None
    return "after" if path == final_norm else "before"
