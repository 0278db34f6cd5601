"""The folds of a probing, checked, with or without a part to choose layers on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split
from speechprobe.layers.target import Target


def folds_of(
    items: pd.DataFrame,
    split: Split | Sequence[Any] | None,
    *,
    groups: str | None,
    n_folds: int,
    stratify: str | None,
) -> list[Split]:
    """Return the folds asked for, checked; `splits.k_fold` where no split is given."""
    if split is None:
        return splits.k_fold(items, n_folds=n_folds, groups=groups, stratify=stratify)
    listed = [split] if isinstance(split, Split) else list(split)
    if not listed:
        raise ValueError("the split has no fold")
    return [splits.check(_as_split(fold), items, groups=groups) for fold in listed]


def _as_split(fold: Any) -> Split:
    parts = [np.asarray(part) for part in fold]
    if len(parts) not in (2, 3):
        raise ValueError(
            f"a fold is a Split or a pair (train, test) of row positions, got {len(parts)} parts"
        )
    rows = [np.flatnonzero(p) if p.dtype == bool else p.astype(np.intp) for p in parts]
    return Split(rows[0], rows[1] if len(rows) == 3 else np.empty(0, np.intp), rows[-1])


def validated(
    folds: Sequence[Split],
    task: Target,
    items: pd.DataFrame,
    groups: str | None,
    select_on: str | None,
) -> tuple[list[Split], list[str]]:
    """Return the folds with a validation part to choose layers on, if wanted, and cautions."""
    cautions: list[str] = []
    if select_on == "validation":
        wanted = [splits.with_validation(fold, items, groups=groups) for fold in folds]
        if task.can_validate(wanted):
            return wanted, cautions
        cautions.append(
            f"too few groups to choose a layer: without those held out for validation, a fold "
            f"would train on one class of {task.name!r} only. Scores are not affected; "
            "select_on=None silences this"
        )
        warnings.warn(cautions[0], stacklevel=3)
    return [splits.without_validation(fold, items, groups=groups) for fold in folds], cautions
