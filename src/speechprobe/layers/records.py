"""The score of one layer by one metric, with its floors, interval and n."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

SHUFFLED = "shuffled"
CONSTANTS = ("majority", "mean")


@dataclass(frozen=True)
class LayerScore:
    """The score of one layer by one metric.

    Records are equal if all their fields are, NaN with NaN too.

    Parameters
    ----------
    layer, metric
        Names.
    score
        On the test items; mean over seeds.
    floor, floor_std
        Mean and standard deviation of the score over shuffled labels.
    validation
        Score on the validation items, by which the best layer is chosen; NaN without them.
    seed_std
        Standard deviation over seeds.
    n_items
        Scored items.
    n_dims
        Width of the layer.
    higher_is_better
        Which way the metric points.
    low, high
        Ends of the interval, groups drawn anew.
    n_groups
        Groups behind the interval.
    floors
        (name, score) of each floor: "shuffled" (as `floor`); "majority" or "mean", where the
        commonest class or the mean is always predicted; "nuisance"; the features given as floors.
    gap
        How much better the score is than the highest floor; positive is better whichever way the
        metric points.
    gap_low, gap_high
        Ends of its interval; the same resamples serve score and floor.
    control
        Score of the control task; NaN without one.
    selectivity
        How much better the score is than that of the control task; positive is better.
    """

    layer: str
    metric: str
    score: float
    floor: float
    floor_std: float
    validation: float
    seed_std: float
    n_items: int
    n_dims: int
    higher_is_better: bool
    low: float = float("nan")
    high: float = float("nan")
    n_groups: int = 0
    floors: tuple[tuple[str, float], ...] = ()
    gap: float = float("nan")
    gap_low: float = float("nan")
    gap_high: float = float("nan")
    control: float = float("nan")
    selectivity: float = float("nan")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LayerScore) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        """Return the fields with None for NaN, which equals itself."""
        own = vars(self) | {"floors": tuple((name, known(value)) for name, value in self.floors)}
        return tuple(map(known, own.values()))

    def with_interval(self, low: float, high: float, *, n_groups: int) -> LayerScore:
        """Return the score with the ends of its interval and the number of groups behind it."""
        return replace(self, low=low, high=high, n_groups=n_groups)


def known(value: Any) -> Any:
    """Return a value, None for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value
