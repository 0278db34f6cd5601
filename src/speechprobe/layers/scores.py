"""Scores of layers: frozen records that never come without their floor, interval and n."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ("score", "low", "high", "floor", "n_items", "n_groups")


@dataclass(frozen=True)
class LayerScore:
    """The score of one layer by one metric.

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

    def with_interval(self, low: float, high: float, *, n_groups: int) -> LayerScore:
        """Return the score with the ends of its interval and the number of groups behind it."""
        return replace(self, low=low, high=high, n_groups=n_groups)

    def with_validation(self, validation: float) -> LayerScore:
        """Return the score with another validation score."""
        return replace(self, validation=validation)


@dataclass(frozen=True, eq=False)
class LayerScores:
    """What every layer knows about one target.

    Parameters
    ----------
    records
        One a layer and metric, layers in depth order.
    predictions
        One row for each layer, seed and scored item: layer, seed, id, group, fold, truth,
        prediction.
    settings
        How the scores came about: target, groups, probe, folds, shuffles, seeds, and the
        provenance of the features.
    chosen
        For each metric, the score of the layers chosen on validation items; see `best`.

    Examples
    --------
    >>> record = LayerScore("block", "r2", 0.7, -0.1, 0.05, 0.68, 0.0, 100, 512, True)
    >>> record = record.with_interval(0.6, 0.8, n_groups=10)
    >>> LayerScores((record,), pd.DataFrame(), {"target": "rate"}).table()
           metric  score  low  high  floor  n_items  n_groups
    layer
    block      r2    0.7  0.6   0.8   -0.1      100        10
    """

    records: tuple[LayerScore, ...]
    predictions: pd.DataFrame
    settings: Mapping[str, Any] = field(default_factory=dict)
    chosen: tuple[LayerScore, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return list(dict.fromkeys(record.metric for record in self.records))

    @property
    def layers(self) -> list[str]:
        """Names of the layers in depth order."""
        return list(dict.fromkeys(record.layer for record in self.records))

    def by_metric(self, metric: str | Callable[..., float] | None = None) -> list[LayerScore]:
        """Return the records of one metric (the first by default), layers in depth order.

        Raises
        ------
        KeyError
            If there is no such metric.
        """
        name = getattr(metric, "__name__", metric) if metric is not None else self.metrics[0]
        if name not in self.metrics:
            raise KeyError(f"no metric {name!r} among {self.metrics}")
        return [record for record in self.records if record.metric == name]

    def table(self) -> pd.DataFrame:
        """Return score, interval, floor and n of each layer and metric, rounded to 3 decimals."""
        frame = pd.DataFrame.from_records([asdict(record) for record in self.records])
        return frame.set_index("layer")[["metric", *COLUMNS]].round(3)

    def best(self, metric: str | Callable[..., float] | None = None) -> LayerScore:
        """Return the best layer, chosen on validation items, with an honest score.

        Its `layer` is the one with the best validation score over all folds. Its `score`,
        interval and floor are those of the choice: in each fold, the layer that is best on the
        validation part predicts the test part. So they are not the largest of many, and with
        several folds they can differ from the record of that layer; with one split they are the
        same.

        Raises
        ------
        ValueError
            If there are no validation scores.
        """
        name = self.by_metric(metric)[0].metric
        for record in self.chosen:
            if record.metric == name:
                return record
        raise ValueError(
            "the best layer is chosen on validation items, and there are none: probe with "
            "select_on='validation' and enough groups, or with a split that has them"
        )

    def to_csv(self, path: str | Path) -> None:
        """Write the records, in full precision, one a row."""
        frame = pd.DataFrame.from_records([asdict(record) for record in self.records])
        frame.to_csv(path, index=False)

    def to_json(self, path: str | Path) -> None:
        """Write records, chosen layers and settings; NaN becomes null."""
        records, chosen = (
            [{name: None if _is_nan(value) else value for name, value in asdict(record).items()}
             for record in part]
            for part in (self.records, self.chosen)
        )  # fmt: skip
        content = {"settings": dict(self.settings), "records": records, "chosen": chosen}
        text = json.dumps(content, indent=2, default=str, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def to_latex(self, path: str | Path | None = None) -> str:
        """Return the table in LaTeX (package booktabs), and write it if a path is given."""
        frame = self.table().reset_index()
        lines = [
            r"\begin{tabular}{ll" + "r" * len(COLUMNS) + "}",
            r"\toprule",
            " & ".join(name.replace("_", " ") for name in frame.columns) + r" \\",
            r"\midrule",
            *(" & ".join(_latex(cell) for cell in row) + r" \\" for row in frame.to_numpy()),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        text = "\n".join(lines) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def __repr__(self) -> str:
        target = self.settings.get("target")
        return f"LayerScores(target={target!r}, {len(self.layers)} layers, metrics {self.metrics})"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _latex(cell: Any) -> str:
    text = f"{cell:.3f}" if isinstance(cell, float) else str(cell)
    return text.replace("_", r"\_")
