"""What every metric asks of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FEW_GROUPS = 10  # below, percentile intervals are plainly too narrow


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


def classes(truth: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both as class labels (n_items,) of one kind, none missing, or raise ValueError."""
    a, b = pairs(truth, prediction)
    for name, side in (("truth", a), ("prediction", b)):
        missing = pd.isna(side)
        if missing.any():
            raise ValueError(f"{name} holds {int(missing.sum())} missing values (None or NaN)")
    for name, side in (("truth", a), ("prediction", b)):
        if np.issubdtype(side.dtype, np.floating) and (side != np.rint(side)).any():
            raise ValueError(f"{name} holds fractional numbers; this metric wants classes")
    is_text = [isinstance(side.flat[0], str) for side in (a, b)]
    if is_text[0] != is_text[1]:
        raise ValueError(
            f"truth and prediction must be classes of one kind, got {a.flat[0]!r} and {b.flat[0]!r}"
        )
    return a, b


def require_share(name: str, value: float, example: float) -> None:
    """Raise ValueError unless a value is strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, such as {example:g}, got {value}")


def group_codes(groups: ArrayLike, n_items: int) -> NDArray[np.intp]:
    """Return a whole number for the group of each item, or raise ValueError."""
    values = np.asarray(groups)
    if values.shape != (n_items,):
        raise ValueError(f"groups must be ({n_items},), one an item, got {values.shape}")
    codes = pd.factorize(values, sort=True)[0]
    if (codes < 0).any():
        raise ValueError(f"{int((codes < 0).sum())} items have no group")
    return codes.astype(np.intp)


def numbers(
    truth: ArrayLike, prediction: ArrayLike, *, at_least: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as float64 arrays (n_items,) without NaN, or raise ValueError."""
    a, b = pairs(truth, prediction, at_least=at_least)
    return _finite("truth", a), _finite("prediction", b)


def target_and_other(
    truth: ArrayLike, score: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of target and of non-target trials, each sorted, or raise ValueError."""
    labels, scores = pairs(truth, score)
    is_target = labels == 1
    odd = labels[~(is_target | (labels == 0))]
    if len(odd):
        raise ValueError(
            "truth must be 1 (same speaker) or 0 (another) for each trial, got "
            f"{odd[:1].tolist()[0]!r}; truth comes first, then the score"
        )
    if is_target.all() or not is_target.any():
        kind = "target" if is_target.all() else "non-target"
        raise ValueError(f"all {len(labels)} trials are {kind} trials; error rates need both kinds")
    values = _finite("score", scores)
    return np.sort(values[is_target]), np.sort(values[~is_target])


def _finite(name: str, side: NDArray[Any]) -> NDArray[np.float64]:
    values = side.astype(np.float64)
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ValueError(f"{name} holds {int(wrong.sum())} NaN or infinite values")
    return values
