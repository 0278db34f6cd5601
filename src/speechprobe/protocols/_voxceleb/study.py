"""What the verification study gives back: tables, pictures, and what differs from the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from speechprobe.datasets.corpus import Corpus
from speechprobe.features.table import Failure
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.layers.verification.trial_rows import rows_of_names
from speechprobe.layers.verification.trial_scoring import TEN_CROPS
from speechprobe.layers.verification.verifying import Settings
from speechprobe.protocols._voxceleb.asked import TOP_N
from speechprobe.protocols._voxceleb.lists import TrialList, with_published
from speechprobe.protocols.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINER_P_TARGET = 0.05
_NAME = "voxceleb"


@dataclass(frozen=True, eq=False)
class VerificationStudy(Study):
    """A study of speaker verification, with the score of every trial and layer.

    Parameters
    ----------
    scores
        What `verify_layers` gave.
    embedding
        The layer that the results are of.
    """

    scores: VerificationScores | None = None
    embedding: str = ""


def study_of(
    scores: VerificationScores,
    layer: str,
    listed: TrialList,
    corpus: Corpus,
    failures: Sequence[Failure],
    asked: Settings,
) -> VerificationStudy:
    """Return the study: its tables, pictures and deviations.

    Parameters
    ----------
    scores
        Of every layer.
    layer
        The one that the results are of.
    listed
        What the list of trials is.
    corpus
        Where the files of the trials were looked for.
    failures
        Files that gave no features.
    asked
        How they were scored.
    """
    record, scoring = scores.record(layer), str(scores.settings["scoring"])
    made_by = dict(scores.settings["features"].get("extractor") or {})
    if listed.n_speakers < 0:
        listed = listed._replace(n_speakers=record.n_speakers)
    facts = {"n_skipped": scores.settings["n_skipped"], "n_absent": len(scores.absent)}
    results = scores.table().loc[[layer]].reset_index()
    results.insert(0, "scoring", scoring)
    results.insert(0, "trials", listed.name)
    results["n_files"] = pd.concat([scores.trial_list[k] for k in ("enrol", "test")]).nunique()
    tables = {
        "results": results,
        "layers": scores.table(),
        "published": with_published(
            system=f"{made_by.get('name', 'extractor')}, layer {layer}",
            scoring=scoring,
            trials=listed,
            eer=record.eer,
            low=record.eer_low,
            high=record.eer_high,
        ),
        "trial_list": pd.DataFrame([listed._asdict() | facts]),
        "trials": scores.trial_list.assign(score=scores.scores[layer]),
    }
    if scores.absent:
        tables["absent"] = _absent(scores, corpus, failures)
    return VerificationStudy(
        _NAME,
        scoring,
        tuple(_deviations(scores, listed, asked)),
        tables,
        _pictures(scores, layer),
        {**scores.settings, "trial_list": listed._asdict(), "embedding": layer},
        scores,
        layer,
    )


def _absent(
    scores: VerificationScores, corpus: Corpus, failures: Sequence[Failure]
) -> pd.DataFrame:
    """Return the files that trials name and that gave nothing, with the reason."""
    reasons = {failure.path: failure.error for failure in failures}
    places = rows_of_names(np.array(scores.absent), corpus.table)
    paths = [None if row < 0 else str(corpus.column("path")[row]) for row in places]
    return pd.DataFrame(
        {
            "file": scores.absent,
            "reason": [reasons.get(path or "", "not in the corpus") for path in paths],
        }
    )


def _deviations(scores: VerificationScores, listed: TrialList, asked: Settings) -> list[str]:
    """Return what differs from the trainer's test on VoxCeleb1-O, a sentence each."""
    said = [
        "the EER is interpolated to where both rates are equal; the trainer's is the nearest point "
        "of the curve, at most one step away",
        "every layer is scored, those with frames after pooling; the trainer scores the embedding",
    ]
    if listed.name != "VoxCeleb1-O":
        said.append(
            f"the trials are no VoxCeleb1-O but {listed.name} ({listed.n_trials} trials of "
            f"{listed.n_files} files; {listed.note}), so that published figures cannot be compared"
        )
    if scores.settings["scoring"] != TEN_CROPS:
        said.append(
            f"scoring {scores.settings['scoring']!r}, where the trainer compares ten crops a file"
        )
    if asked.subtract_mean is not None:
        said.append("the mean of a cohort is subtracted")
    if asked.cohort is not None and asked.cohort.top_n != TOP_N:
        said.append(f"AS-norm with the {asked.cohort.top_n} nearest speakers, where 300 are usual")
    if asked.p_target != TRAINER_P_TARGET:
        said.append(f"minDCF at p_target={asked.p_target:g}; the trainer's is at 0.05")
    if scores.absent:
        said.append(
            f"{scores.settings['n_skipped']} trials are left out: {len(scores.absent)} files that "
            "they name are absent"
        )
    return said


def _pictures(scores: VerificationScores, layer: str) -> dict[str, Callable[[], Figure]]:
    def histogram() -> Figure:
        from speechprobe.plots.verification import plot_scores

        return plot_scores(scores, layer=layer)

    def det() -> Figure:
        from speechprobe.plots.verification import plot_det

        return plot_det(scores, layer=layer)

    def by_layer() -> Figure:
        from speechprobe.plots.layers import plot_layers

        return plot_layers(scores)

    return {"histogram": histogram, "det": det, "layers": by_layer}
