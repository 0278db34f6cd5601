"""What every metric asks of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def pairs(
    truth: ArrayLike, prediction: ArrayLike, *, at_least: int = 1
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both as arrays (n_items,), or raise ValueError that says what is wrong."""
    a, b = np.asarray(truth), np.asarray(prediction)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"truth and prediction must both be (n_items,), got {a.shape} and {b.shape}"
        )
    if len(a) < at_least:
        raise ValueError(f"this metric needs at least {at_least} items, got {len(a)}")
    return a, b


def numbers(
    truth: ArrayLike, prediction: ArrayLike, *, at_least: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as float64 arrays (n_items,) without NaN, or raise ValueError."""
    a, b = (side.astype(np.float64) for side in pairs(truth, prediction, at_least=at_least))
    for name, side in (("truth", a), ("prediction", b)):
        if not np.isfinite(side).all():
            raise ValueError(
                f"{name} holds {int((~np.isfinite(side)).sum())} NaN or infinite values"
            )
    return a, b
