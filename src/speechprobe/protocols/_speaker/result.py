"""What training a speaker network gives back: a study with the network and its extractors."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from speechprobe._files import replacing
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.metrics.verification import equal_error_rate
from speechprobe.protocols._speaker.batches import n_rounds
from speechprobe.protocols._speaker.files import Recordings
from speechprobe.protocols._speaker.parts import Parts
from speechprobe.protocols._speaker.settings import SpeakerTraining
from speechprobe.protocols._speaker.validation import Validation
from speechprobe.protocols.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Scores = Mapping[str, NDArray[np.float64]]

COLUMNS = (
    *("epoch", "split", "loss", "accuracy", "eer"),
    *("learning_rate", "gradient_norm", "seconds"),
)


_AXES = {
    "loss": "loss (cross-entropy in nats)",
    "accuracy": "accuracy (fraction)",
    "eer": "equal error rate (fraction)",
    "seconds": "duration of the epoch (s)",
}
_TRAINER_CROP = 2.015  # seconds: 200 frames of 10 ms and the 15 ms that the last one needs
_TRAINER_DECAY_EVERY = 10


class Data(NamedTuple):
    """The recordings of a run, their use, its trials (None without), and the samples of a crop."""

    recordings: Recordings
    parts: Parts
    validation: Validation | None
    n_crop: int


@dataclass(frozen=True, eq=False)
class TrainedSpeakerNet(Study):
    """What `train_speaker_net` gives: tables and pictures, the network and its extractors.

    Tables: `results` (untrained and trained network: epoch, loss and accuracy of that epoch, EER on
    the held-out speakers with its interval), `curves` (by epoch and split), `speakers` (who was
    trained on, who held out), `left_out` (files that were not used).

    Parameters
    ----------
    network
        The trained network, in eval mode.
    loss
        The loss with its own weights, of the same epoch.
    extractor
        Its layers, ready for `extract`; the embedding is the last.
    untrained
        The same of the network as it began: the control.
    """

    network: nn.Module = field(kw_only=True, repr=False)
    loss: nn.Module = field(kw_only=True, repr=False)
    extractor: ModuleExtractor = field(kw_only=True, repr=False)
    untrained: ModuleExtractor = field(kw_only=True, repr=False)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the weights as voxceleb_trainer does, so that `load_voxceleb_trainer` reads them.

        Parameters
        ----------
        path
            The file, replaced as a whole; torch writes it, equal weights as equal bytes. Names of
            the network's weights begin with ``__S__.``, those of the loss with ``__L__.``.
        """
        parts = {"__S__.": self.network, "__L__.": self.loss}
        state = {
            prefix + name: value.detach().cpu()
            for prefix, part in parts.items()
            for name, value in part.state_dict().items()
        }
        # Into an open file: given a path, torch writes its name into the file.
        with replacing(Path(path)) as partial, partial.open("wb") as opened:
            torch.save(state, opened)


def table_of(curves: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows of the curves as a table with all columns."""
    return pd.DataFrame(curves, columns=list(COLUMNS))


def tables_of(
    curves: pd.DataFrame, best_epoch: int, data: Data, scores: Scores
) -> dict[str, pd.DataFrame]:
    """Return the tables of the study, by name."""
    return {
        "results": results_of(curves, best_epoch, data.validation, scores),
        "curves": curves,
        "speakers": speakers_of(data),
        "left_out": data.parts.left_out,
    }


def results_of(
    curves: pd.DataFrame, best_epoch: int, validation: Validation | None, scores: Scores
) -> pd.DataFrame:
    """Return a row each for the untrained and the trained network."""
    rows = []
    learnt = curves[curves["split"] == "train"].set_index("epoch")
    for name, epoch in (("untrained", 0), ("trained", best_epoch)):
        row: dict[str, Any] = {"network": name, "epoch": epoch}
        for column in ("loss", "accuracy"):
            row[column] = float(learnt[column].get(epoch, float("nan")))
        if validation is not None:
            low, high = validation.interval(scores[name])
            row |= {
                "eer": equal_error_rate(validation.same, scores[name]),
                "low": low,
                "high": high,
                "n_trials": len(validation.same),
                "n_speakers": len(set(validation.speakers.tolist())),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def pictures_of(
    curves: pd.DataFrame, validation: Validation | None, scores: Scores
) -> dict[str, Callable[[], Figure]]:
    """Return what draws the curves and, where there are trials, scores and DET curve."""

    def draw_curves() -> Figure:
        from speechprobe.plots.curves import plot_curves

        return plot_curves(curves.rename(columns=_AXES))

    if validation is None:
        return {"curves": draw_curves}
    same = validation.same

    def draw_scores() -> Figure:
        from speechprobe.plots.verification import plot_scores

        return plot_scores(same, scores["trained"])

    def draw_det() -> Figure:
        from speechprobe.plots.verification import plot_det

        return plot_det(same, scores)

    return {"curves": draw_curves, "scores": draw_scores, "det": draw_det}


def speakers_of(data: Data) -> pd.DataFrame:
    """Return a row a speaker: use, files, seconds."""
    recordings = data.recordings
    used = {"train": np.concatenate(data.parts.train), "validation": data.parts.validation}
    table = pd.concat([
        pd.DataFrame({
            "speaker": recordings.speakers[rows],
            "use": use,
            "seconds": recordings.n_samples[rows] / recordings.sample_rate,
        })
        for use, rows in used.items()
    ])  # fmt: skip
    grouped = table.groupby(["speaker", "use"])["seconds"]
    found: pd.DataFrame = grouped.agg(n_files="count", seconds="sum").reset_index()
    return found


def deviations_of(data: Data, settings: SpeakerTraining) -> tuple[str, ...]:
    """Return what differs from the study, a sentence each."""
    seconds = sum(data.recordings.n_samples[rows].sum() for rows in data.parts.train)
    hours = seconds / data.recordings.sample_rate / 3600
    told = [
        f"{len(data.parts.train)} speakers and {hours:.1f} hours, where the study had the dev set "
        "of VoxCeleb",
        "no augmentation",
        "a round takes every speaker once, whatever the number of files, and an epoch has "
        f"{n_rounds(data.parts.train, settings)}; the trainer's takes all files of a speaker, up "
        "to a number",
    ]
    if settings.crop_seconds != _TRAINER_CROP:
        told.append(f"crops of {settings.crop_seconds:g} s; the trainer's have {_TRAINER_CROP} s")
    if settings.decay_every != _TRAINER_DECAY_EVERY:
        often = "epoch" if settings.decay_every == 1 else f"{settings.decay_every} epochs"
        told.append(
            f"the learning rate falls every {often}; the trainer's every {_TRAINER_DECAY_EVERY}"
        )
    if data.validation is not None and not data.validation.whole:
        told.append(
            "the held-out speakers have too few files for trials between files: utterances of the "
            "trials are pieces of files, and those of one speaker may be of one recording"
        )
    return (*told, *data.parts.deviations)
