"""Labels that are not the question, taken out before it is asked.

- The probe is given the nuisance labels beside every layer, and the nuisance labels alone are a
  floor of their own, called "nuisance". The gain over it is what the layer adds: a layer that knows
  a property only through the nuisance adds nothing.
- Numbers: first the target is replaced by what is left of it after a linear regression on the
  nuisance labels, fitted on the items that the probe is fitted on. Probe, floors and metrics see
  that residual only, so that r2 is a share of what the nuisance leaves (a squared partial
  correlation, with a linear probe), and the nuisance floor is near 0 unless the probe bends.
- Classes: residuals of classes are not classes, so the target stays, and the floor tells what the
  nuisance alone gives.

Numbers enter as they are, everything else as one column of 0 and 1 a value, for a probe that
standardises its dimensions as those of `probes` do. Nothing is fitted on validation or test items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Standard deviations of what is left of a target, in those of the target: below is rounding.
NOTHING_LEFT = 1e-6


class Nuisance:
    """Nuisance labels as columns of numbers.

    Parameters
    ----------
    items
        The labels of all items.
    names
        The nuisance labels.
    target, groups
        What cannot be one of them.

    Raises
    ------
    KeyError
        If there is no such label.
    ValueError
        If a nuisance label is the target or the groups, or an item has none.
    """

    def __init__(
        self, items: pd.DataFrame, names: Sequence[str], *, target: str, groups: str | None
    ) -> None:
        if isinstance(names, str):
            raise TypeError(f"control_for is a list of labels; write control_for=[{names!r}]")
        for name in names:
            if name not in items:
                raise KeyError(f"no label {name!r} among {list(items.columns)}")
            if name == target:
                raise ValueError(f"control_for holds the target {target!r} itself")
            if name == groups:
                raise ValueError(
                    f"control_for holds the groups {groups!r}: no probe is fitted on the groups "
                    "that it is tested on, so nothing of them can be taken out"
                )
        self.columns = np.hstack([_columns(items, name) for name in names])

    def beyond(self, target: NDArray[Any], fit: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return what is left of a target (n_items,) after a regression fitted on some rows.

        Parameters
        ----------
        target
            Target of every item.
        fit
            Rows to fit on; no other row has any influence on the fit.
        """
        known = self.columns[fit]
        centre, scale = known.mean(axis=0), known.std(axis=0)
        # A value that no fitted item has is a constant column: it gets no weight.
        scaled = (self.columns - centre) / np.where(scale > 0, scale, 1)
        scaled[:, scale == 0] = 0
        mean = target[fit].mean()
        weights = np.linalg.lstsq(scaled[fit], target[fit] - mean, rcond=None)[0]
        left: NDArray[np.float64] = target - mean - scaled @ weights
        if left[fit].std() < NOTHING_LEFT * target[fit].std():
            raise ValueError(
                "the labels of control_for tell the target exactly, so nothing is left beyond them "
                "to ask about; is one of them a copy of it?"
            )
        return left

    def beside(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a layer (n_items, n_dims) with the nuisance columns to its right."""
        return np.hstack([matrix, self.columns.astype(np.float32)])


def _columns(items: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = items[name].infer_objects()
    if values.isna().any():
        lost = items.index[values.isna()]
        raise ValueError(
            f"nuisance label {name!r}: {len(lost)} of {len(items)} items have none, first "
            f"{lost[0]!r}"
        )
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        column = values.to_numpy(dtype=np.float64)[:, None]
        if not np.isfinite(column).all():
            raise ValueError(f"nuisance label {name!r} holds infinite values")
        return column
    codes, found = pd.factorize(values, sort=True)
    return np.eye(len(found))[codes]
