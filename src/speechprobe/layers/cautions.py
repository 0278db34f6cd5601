"""What to be careful with before believing the scores of layers, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from speechprobe.datasets import splits
from speechprobe.layers.fits import Plan
from speechprobe.layers.records import LayerScore
from speechprobe.layers.target import Target
from speechprobe.metrics.cautions import class_cautions, group_cautions

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The part of a label that groups tell from which on it is taken to belong to them.
BELONGS_TO_GROUP = 0.9


def cautions_of(
    records: Sequence[LayerScore],
    plan: Plan,
    task: Target,
    items: pd.DataFrame,
    groups: str | None,
    control: str | None,
) -> list[str]:
    """Return what limits the scores, one sentence a matter.

    Parameters
    ----------
    records
        The scores.
    plan
        What was fitted.
    task
        The target.
    items
        The labels of all items.
    groups
        Label of the groups.
    control
        Label of the types of the control task; None without one.
    """
    scored = items.iloc[plan.real.scored]
    of_items = None if groups is None else scored[groups].to_numpy()
    found: list[str] = []
    if task.classes is not None:
        found += class_cautions(task.decode(task.truth[plan.real.scored]), groups=of_items)
    if of_items is not None:
        found += group_cautions(of_items)
        found += _of_shuffle(task, splits.group_codes(items, groups))
    if control is not None:
        found += _of_control(plan, items, control)
    return found + _missing(records)


def _of_shuffle(task: Target, groups: NDArray[np.intp]) -> list[str]:
    """Say where a label nearly belongs to the group, and its floor is too sure of itself."""
    share = task.explained_by(groups)
    is_constant = task.shuffled_between(groups, within=False) != "items"
    if is_constant or len(np.unique(groups)) == len(groups) or share < BELONGS_TO_GROUP:
        return []
    return [
        f"the groups tell {100 * share:.0f} % of {task.name!r}, which is not quite the same within "
        "each: labels are shuffled between items for the floor, which is then too narrow; is one "
        "label wrong?"
    ]


def _of_control(plan: Plan, items: pd.DataFrame, control: str) -> list[str]:
    """Say how many types no probe could learn by heart, since it never saw them."""
    types = items[control].to_numpy()
    lost = sum(
        int((~np.isin(types[asked], types[fit])).sum()) for fit, asked, _ in plan.real.on_test
    )
    n_scored = len(plan.real.scored)
    if not lost:
        return []
    return [
        f"control {control!r}: {lost} of {n_scored} scored items are of types that were not "
        "trained on, whose label no probe can know; selectivity is too high"
    ]


def _missing(records: Sequence[LayerScore]) -> list[str]:
    found = []
    for what in ("score", "low", *(name for name, _ in records[0].floors), "control"):
        if what == "control" and not any(np.isfinite(record.control) for record in records):
            continue
        lost = [
            f"{record.metric} of {record.layer!r}"
            for record in records
            if np.isnan({**vars(record), **dict(record.floors)}[what])
        ]
        if lost:
            name = {"score": "score", "low": "interval", "control": "control score"}.get(
                what, f"floor {what!r}"
            )
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            found.append(f"no {name} exists for: {', '.join(lost[:5])}{more}")
    return found
