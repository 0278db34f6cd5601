"""What to be careful with before believing rates of verification, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from speechprobe.layers.verification.scores import VerificationScore
from speechprobe.layers.verification.trial_rows import FoundTrials
from speechprobe.metrics.cautions import group_cautions

_ERRORS = 30  # errors, and a rate is known to within 30 % (with a confidence of 90 %)
_COARSE = 0.1  # of the largest cost


def verification_cautions(
    records: Sequence[VerificationScore],
    found: FoundTrials,
    items: pd.DataFrame,
    groups: str | None,
) -> list[str]:
    """Return what limits the rates, one sentence a matter.

    Named are: what `metrics.group_cautions` says of the speakers; trials of a file with itself;
    too few non-target trials for minDCF; and layers that miss fewer than 30 target trials, whose
    rate is known to no better than 30 % (Doddington, Przybocki, Martin, Reynolds: "The NIST
    speaker recognition evaluation", Speech Communication 31, 2000).

    Parameters
    ----------
    records
        The rates.
    found
        The trials.
    items
        Labels of the files.
    groups
        Label of the speaker; None where there are no intervals.
    """
    first, same = records[0], found.same
    said = ["there is no interval: groups is None"] if groups is None else []
    if groups is not None:
        used = np.unique(found.rows)
        said += group_cautions(items[groups].iloc[used].astype(str).to_numpy(dtype=object))
    alone = int((found.rows[:, 0] == found.rows[:, 1]).sum())
    if alone:
        said.append(f"{alone} trials compare a file with itself")
    step = (1 - first.p_target) / min(first.p_target, 1 - first.p_target) / int((~same).sum())
    if step > _COARSE:
        said.append(
            f"one false accept moves minDCF at p_target={first.p_target:g} by {step:.2f}: there "
            f"are {int((~same).sum())} non-target trials"
        )
    few = [record.layer for record in records if record.eer * first.n_target < _ERRORS]
    if few:
        said.append(
            f"fewer than {_ERRORS} target trials are missed at the equal error rate of "
            f"{len(few)} of {len(records)} layers, first {few[0]!r}: too few to tell it to within "
            "30 %"
        )
    return said
