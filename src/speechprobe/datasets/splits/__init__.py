"""Splits: which items train, validate and test; no group ever straddles them.

Conventions
-----------
A `Split` holds three arrays of row positions. Probes are fitted on `train` to be chosen on
`validation`, and fitted again on both to be scored on `test`. `groups` is the name of a label
(speaker by default), or None where items are independent and you say so. Every function raises
if a group would stand on two sides; only the edition of 2021 of `serab`, which repeats such a
mistake, warns instead. The same table and seed give the same split.
"""

from speechprobe.datasets.splits._draw import (
    by_group,
    k_fold,
    leave_one_group_out,
    stratified_by_group,
    with_validation,
    without_validation,
)
from speechprobe.datasets.splits._leakage import LeakageReport, leakage_report
from speechprobe.datasets.splits._official import predefined
from speechprobe.datasets.splits._serab import serab
from speechprobe.datasets.splits._split import Split, check, group_codes, load

__all__ = [
    "LeakageReport",
    "Split",
    "by_group",
    "check",
    "group_codes",
    "k_fold",
    "leakage_report",
    "leave_one_group_out",
    "load",
    "predefined",
    "serab",
    "stratified_by_group",
    "with_validation",
    "without_validation",
]
