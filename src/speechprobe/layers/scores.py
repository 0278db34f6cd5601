"""Scores of layers: frozen records that never come without their floors, interval and n."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from speechprobe.layers import files, record_files
from speechprobe.layers.differences import differences_of
from speechprobe.layers.records import CONSTANTS, SHUFFLED, LayerScore
from speechprobe.layers.target import name_of

__all__ = ["LayerScore", "LayerScores"]
COLUMNS = ("score", "low", "high", "floor", "n_items", "n_groups")


@dataclass(frozen=True, eq=False)
class LayerScores:
    """What every layer knows about one target.

    Scores are equal if records, choices, cautions, settings and predictions are.

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
    cautions
        What to be careful with, in words: classes of very different size or never trained on, few
        groups, scores that do not exist. Also in ``table().attrs["cautions"]``.
    functions
        {name: metric}, for `differences`; files do not keep them.

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
    cautions: tuple[str, ...] = ()
    functions: Mapping[str, Callable[..., float]] = field(default_factory=dict, repr=False)

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
        name = self.metrics[0] if metric is None else metric
        name = name_of(name) if callable(name) else name
        if name not in self.metrics:
            raise KeyError(f"no metric {name!r} among {self.metrics}")
        return [record for record in self.records if record.metric == name]

    def table(self) -> pd.DataFrame:
        """Return score, interval, floor and n of each layer and metric, rounded to 3 decimals.

        Where floors of your own or nuisance labels were given, every floor and the gap stand in
        it too, and with a control task the control score and the selectivity.
        """
        rows = [asdict(record) | dict(record.floors) for record in self.records]
        columns = [*COLUMNS]
        given = [name for name, _ in self.records[0].floors if name != SHUFFLED]
        if set(given) - set(CONSTANTS):
            columns[4:4] = [*given, "gap"]
        if any(pd.notna(record.control) for record in self.records):
            columns[-2:-2] = ["control", "selectivity"]
        return self._framed(rows, columns)

    def floors(self) -> pd.DataFrame:
        """Return score, every floor, and the gap to the highest with its interval, rounded.

        The gap is how much better the score is than the highest floor: positive is better
        whichever way the metric points. An interval that holds 0 says that the layer may know no
        more than the floor.
        """
        rows = [asdict(record) | dict(record.floors) for record in self.records]
        names = [name for name, _ in self.records[0].floors]
        return self._framed(rows, ["score", *names, "gap", "gap_low", "gap_high"])

    def _framed(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
        frame = pd.DataFrame.from_records(list(rows)).set_index("layer")
        frame = frame[["metric", *columns]].round(3).replace(-0.0, 0.0)
        frame.attrs["cautions"] = list(self.cautions)
        return frame

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

    def differences(
        self,
        other: LayerScores | None = None,
        *,
        metric: str | Callable[..., float] | None = None,
        pairs: Sequence[tuple[str, str]] | None = None,
        n_resamples: int | None = None,
    ) -> pd.DataFrame:
        """Return paired differences between layers, or between two models, with Holm's correction.

        Parameters
        ----------
        other
            Scores of another model for the same items and target; None compares layers of this
            one.
        metric
            A name, the first by default; a function where it is none of `speechprobe.metrics`.
        pairs
            Layers to compare, (layer, layer of the other). By default every layer with the best
            one, or with the layer of the same name in the other model. All pairs of many layers
            are `itertools.combinations(scores.layers, 2)`: they take long, and the correction for
            their number leaves little.
        n_resamples
            Resamples and exchanges of `metrics.paired_test`; by default 2,000, or 100 times the
            number of pairs if that is more, so that the correction can leave something.

        Returns
        -------
        table
            A row a pair: layer, other, difference (score of the first minus that of the second),
            low, high (with the confidence of the scores), p_value, p_holm, n_groups.
            ``attrs["cautions"]`` says what to be careful with.

        Raises
        ------
        KeyError
            If there is no such layer or metric.
        ValueError
            If items, their truth or the seeds of the two differ, there are no predictions, or no
            layers of one name.

        Examples
        --------
        >>> import numpy as np
        >>> from speechprobe import Features, metrics, probe_layers, probes
        >>> x = np.random.default_rng(0).normal(size=(2, 120, 4))
        >>> items = pd.DataFrame({"speaker": np.arange(120) % 12, "rate": x[0, :, 0]})
        >>> scores = probe_layers(
        ...     Features({"noise": x[1], "signal": x[0]}, items), target="rate", groups="speaker",
        ...     probe=probes.RidgeProbe(), metrics=metrics.r2)
        >>> found = scores.differences()
        >>> found[["layer", "other"]].to_numpy().tolist(), bool(found["high"].item() < 0)
        ([['noise', 'signal']], True)
        """
        name = self.by_metric(metric)[0].metric
        function = metric if callable(metric) else None
        return differences_of(self, other, name, function, pairs, n_resamples)

    def to_csv(self, path: str | Path) -> None:
        """Write the records, in full precision, one a row; a column a floor."""
        record_files.write_csv(Path(path), self.records)

    @classmethod
    def from_csv(cls, path: str | Path) -> LayerScores:
        """Return scores with the records of a file that `to_csv` wrote; nothing else is in it.

        Raises
        ------
        ValueError
            If the file is none of `to_csv`.
        """
        return cls(
            record_files.read_csv(Path(path), LayerScore, "LayerScores.to_csv"), pd.DataFrame()
        )

    def to_json(self, path: str | Path, *, predictions: str | Path | bool = True) -> None:
        """Write records, choices, cautions and settings; NaN becomes null.

        Parameters
        ----------
        path
            The JSON file.
        predictions
            Name of a CSV file in the same folder for the predictions: that of `path` with
            ".predictions.csv" by default. False leaves them out.

        Raises
        ------
        ValueError
            If the predictions would go into another folder.
        """
        name = Path(path).stem + ".predictions.csv" if predictions is True else predictions
        beside = Path(path).parent / Path(name).name if name and len(self.predictions) else None
        if name and Path(name).parent not in (Path(), Path(path).parent):
            raise ValueError(f"predictions go beside {path}; give a file name, got {predictions}")
        content = {
            "settings": dict(self.settings),
            "records": self.records,
            "chosen": self.chosen,
            "cautions": self.cautions,
        }
        files.write_json(Path(path), content, self.predictions, beside)

    @classmethod
    def from_json(cls, path: str | Path) -> LayerScores:
        """Return the scores that `to_json` wrote, and the predictions if they are beside.

        Raises
        ------
        ValueError
            If the file is none of `to_json`.
        FileNotFoundError
            If the predictions that were written beside are not there.
        """
        content, predictions = files.read_json(Path(path))
        return cls(predictions=predictions, **content)

    def to_latex(self, path: str | Path | None = None) -> str:
        """Return the table in LaTeX (package booktabs), and write it if a path is given."""
        return record_files.latex(self.table().reset_index(), path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LayerScores):
            return NotImplemented
        ours, theirs = (
            (each.records, each.chosen, each.cautions, _as_json(each.settings))
            for each in (self, other)
        )
        return ours == theirs and _alike(self.predictions, other.predictions)

    __hash__ = None  # type: ignore[assignment]  # frames have no hash

    def __repr__(self) -> str:
        target = self.settings.get("target")
        told = f", {len(self.cautions)} cautions" if self.cautions else ""
        return (
            f"LayerScores(target={target!r}, {len(self.layers)} layers, metrics {self.metrics}"
            f"{told})"
        )


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), default=record_files.as_json, sort_keys=True)


def _alike(a: pd.DataFrame | None, b: pd.DataFrame | None) -> bool:
    """Say whether frames hold the same; none, and one without rows, are the same."""
    if a is None or b is None or not len(a) or not len(b):
        return all(each is None or not len(each) for each in (a, b))
    return a.equals(b)
