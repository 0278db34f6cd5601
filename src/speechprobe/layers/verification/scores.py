"""Scores of layers in speaker verification: rates with interval, floor and n, and every trial's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechprobe.layers import record_files
from speechprobe.layers.records import SHUFFLED, LayerScore, known
from speechprobe.layers.scores import LayerScores
from speechprobe.layers.verification import files

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS = (
    "eer", "eer_low", "eer_high", "eer_floor", "min_dcf", "min_dcf_low", "min_dcf_high",
    "p_target", "threshold", "n_trials", "n_target", "n_speakers",
)  # fmt: skip


@dataclass(frozen=True)
class VerificationScore:
    """The error rates of one layer. Lower is better for all.

    Records are equal if all their fields are, NaN with NaN too.

    Parameters
    ----------
    layer
        Its name.
    eer
        Equal error rate, a fraction in [0, 1].
    threshold
        Score at which it is reached.
    min_dcf
        Smallest detection cost, normalised, in [0, 1].
    p_target
        Share of target trials that this cost assumes.
    n_trials, n_target, n_speakers
        Trials scored, those of one speaker, and the speakers in them.
    n_dims
        Width of an embedding.
    eer_low, eer_high, min_dcf_low, min_dcf_high
        Ends of the intervals, speakers drawn anew; NaN without speakers.
    eer_floor, min_dcf_floor
        Mean over shuffled labels.
    validation
        Equal error rate on the validation trials, by which the best layer is chosen; NaN without.
    floors
        (name, equal error rate) of the features given as floors.
    gap
        How much lower the equal error rate is than the lowest floor; positive is better.
    gap_low, gap_high
        Ends of its interval; the same resamples serve score and floor, but for that of shuffled
        labels, which is taken as known.
    """

    layer: str
    eer: float
    threshold: float
    min_dcf: float
    p_target: float
    n_trials: int
    n_target: int
    n_speakers: int
    n_dims: int
    eer_low: float = float("nan")
    eer_high: float = float("nan")
    min_dcf_low: float = float("nan")
    min_dcf_high: float = float("nan")
    eer_floor: float = float("nan")
    min_dcf_floor: float = float("nan")
    validation: float = float("nan")
    floors: tuple[tuple[str, float], ...] = ()
    gap: float = float("nan")
    gap_low: float = float("nan")
    gap_high: float = float("nan")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerificationScore) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        own = vars(self) | {"floors": tuple((name, known(value)) for name, value in self.floors)}
        return tuple(map(known, own.values()))


@dataclass(frozen=True, eq=False)
class VerificationScores:
    """How well the vectors of every layer tell speakers apart.

    Scores are equal if records, trials, scores, cautions, settings and absent files are.

    Parameters
    ----------
    records
        One a layer, in depth order.
    trial_list
        Columns enrol, test, same, one row a scored trial.
    scores
        {layer: score of each trial, (n_trials,)}.
    settings
        How they came about: scoring, cohort, p_target, groups, and the provenance of the features.
    cautions
        What to be careful with, in words. Also in ``table().attrs["cautions"]``.
    absent
        Names in trials that were left out because no such file is among the features.

    Examples
    --------
    >>> record = VerificationScore("fc", 0.02, 0.4, 0.3, 0.01, 900, 450, 10, 256, 0.01, 0.04)
    >>> scores = VerificationScores((record,), pd.DataFrame(), {})
    >>> scores.table()[["eer", "eer_low", "eer_high", "p_target", "n_speakers"]]
            eer  eer_low  eer_high  p_target  n_speakers
    layer
    fc     0.02     0.01      0.04      0.01          10
    """

    records: tuple[VerificationScore, ...]
    trial_list: pd.DataFrame
    scores: Mapping[str, NDArray[Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def layers(self) -> list[str]:
        """Names of the layers in depth order."""
        return [record.layer for record in self.records]

    @property
    def trials(self) -> pd.DataFrame:
        """Every score: columns enrol, test, same, layer, score; a row a layer and trial."""
        parts = [
            self.trial_list.assign(layer=layer, score=score) for layer, score in self.scores.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def record(self, layer: str) -> VerificationScore:
        """Return the record of a layer.

        Raises
        ------
        KeyError
            If there is no such layer.
        """
        if layer not in self.layers:
            raise KeyError(f"no layer {layer!r} among {self.layers}")
        return self.records[self.layers.index(layer)]

    def table(self) -> pd.DataFrame:
        """Return rates with intervals and floor, threshold and n of each layer, to 4 decimals.

        Where floors of your own were given, each stands in it, and the gap to the lowest.
        """
        rows = [asdict(record) | dict(record.floors) for record in self.records]
        columns = [*_COLUMNS]
        if self.records[0].floors:
            columns[4:4] = [*(name for name, _ in self.records[0].floors), "gap"]
        frame = pd.DataFrame.from_records(rows).set_index("layer")[columns].round(4)
        frame.attrs["cautions"] = list(self.cautions)
        return frame

    def best(self) -> VerificationScore:
        """Return the layer with the lowest equal error rate on the validation trials.

        Its rates are those of the other trials, whose speakers had no part in the choice.

        Raises
        ------
        ValueError
            If there are no validation trials.
        """
        chosen = [record for record in self.records if record.validation == record.validation]
        if not chosen:
            raise ValueError(
                "the best layer is chosen on validation trials, and there are none: give "
                "verify_layers validation=, trials of speakers that the others do not have. The "
                "lowest of many rates on the same trials would be the luckiest one"
            )
        return min(chosen, key=lambda record: record.validation)

    def layer_scores(self) -> LayerScores:
        """Return both rates as scores such as `probe_layers` gives, for pictures and reports."""
        metrics = ("equal_error_rate", "min_dcf")
        records = [self._as_score(record, metric) for record in self.records for metric in metrics]
        settings = {**self.settings, "target": "speaker verification"}
        return LayerScores(tuple(records), pd.DataFrame(), settings, cautions=self.cautions)

    def _as_score(self, record: VerificationScore, metric: str) -> LayerScore:
        short = "eer" if metric == "equal_error_rate" else metric
        of_eer = short == "eer"
        floor, nan = getattr(record, f"{short}_floor"), float("nan")
        return LayerScore(
            layer=record.layer,
            metric=metric if of_eer else f"minDCF (p = {record.p_target:g})",
            score=getattr(record, short),
            floor=floor,
            floor_std=nan,
            validation=record.validation if of_eer else nan,
            seed_std=nan,
            n_items=record.n_trials,
            n_dims=record.n_dims,
            higher_is_better=False,
            low=getattr(record, f"{short}_low"),
            high=getattr(record, f"{short}_high"),
            n_groups=record.n_speakers,
            floors=((SHUFFLED, floor), *(record.floors if of_eer else ())),
            gap=record.gap if of_eer else nan,
            gap_low=record.gap_low if of_eer else nan,
            gap_high=record.gap_high if of_eer else nan,
        )

    def to_csv(self, path: str | Path) -> None:
        """Write the records, in full precision, one a row; a column a floor."""
        record_files.write_csv(Path(path), self.records)

    @classmethod
    def from_csv(cls, path: str | Path) -> VerificationScores:
        """Return scores with the records of a file that `to_csv` wrote; nothing else is in it.

        Raises
        ------
        ValueError
            If the file is none of `to_csv`.
        """
        records = record_files.read_csv(Path(path), VerificationScore, "VerificationScores.to_csv")
        return cls(records, pd.DataFrame(), {})

    def to_json(self, path: str | Path, *, trials: str | bool = True) -> None:
        """Write records, cautions, settings and absent files; NaN becomes null.

        Parameters
        ----------
        path
            The JSON file.
        trials
            Name of a CSV file in the same folder for the trials with the scores of all layers: that
            of `path` with ".trials.csv" by default. False leaves them out.

        Raises
        ------
        ValueError
            If the trials would go into another folder.
        """
        name = Path(path).stem + ".trials.csv" if trials is True else trials or None
        if name and Path(name).name != name:
            raise ValueError(f"trials go beside {path}; give a file name, got {trials}")
        content = {
            "settings": dict(self.settings),
            "records": self.records,
            "cautions": self.cautions,
            "absent": self.absent,
        }
        wide = files.wide(self.trial_list, self.scores) if name else None
        files.write_json(Path(path), content, wide, name)

    @classmethod
    def from_json(cls, path: str | Path) -> VerificationScores:
        """Return the scores that `to_json` wrote, and the trials if they are beside.

        Raises
        ------
        ValueError
            If the file is none of `to_json`.
        FileNotFoundError
            If the trials that were written beside are not there.
        """
        return cls(**files.read_json(Path(path), VerificationScore))

    def to_latex(self, path: str | Path | None = None) -> str:
        """Return the table in LaTeX (package booktabs), and write it if a path is given."""
        return record_files.latex(self.table().reset_index(), path, n_words=1, form=".4g")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VerificationScores):
            return NotImplemented
        ours, theirs = (
            (each.records, each.cautions, each.absent, _as_json(each.settings))
            for each in (self, other)
        )
        wide = [files.wide(e.trial_list, e.scores) for e in (self, other)]
        return ours == theirs and wide[0].equals(wide[1])

    __hash__ = None  # type: ignore[assignment]  # frames have no hash

    def __repr__(self) -> str:
        told = f", {len(self.cautions)} cautions" if self.cautions else ""
        n_trials = self.records[0].n_trials if self.records else 0
        return (
            f"VerificationScores({self.settings.get('scoring')!r}, {len(self.layers)} layers, "
            f"{n_trials} trials{told})"
        )


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), default=record_files.as_json, sort_keys=True)
