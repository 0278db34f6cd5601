"""The linear probes: `ridge` for numbers, `logistic` for classes."""

from __future__ import annotations

from speechprobe.probes.logistic import LogisticProbe
from speechprobe.probes.ridge import ALPHAS, RidgeProbe

__all__ = ["ALPHAS", "LogisticProbe", "RidgeProbe"]
