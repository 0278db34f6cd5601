"""The equal error rate of a network on speakers that it is not trained on.

Utterances are whole files where every held-out speaker has two or more. Else each file is cut into
pieces as long as a training crop, one behind the other; then the two sides of a trial of one
speaker may be of one recording, which makes it easier. The score of a trial is the cosine of the
two embeddings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.trials import make_trials
from speechprobe.metrics.trial_scores import cosine_scores
from speechprobe.metrics.uncertainty import bootstrap_interval
from speechprobe.metrics.verification import equal_error_rate
from speechprobe.protocols._speaker.batches import waveforms
from speechprobe.protocols._speaker.files import Recordings, listed
from speechprobe.protocols._speaker.settings import SpeakerTraining

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

_AT_ONCE = 64  # pieces of one length


@dataclass(frozen=True, eq=False)
class Validation:
    """Utterances of held-out speakers, and trials between them.

    Parameters
    ----------
    pieces
        Row of the recording, first sample and number of samples of each utterance.
    speakers
        Speaker of each utterance.
    pairs
        Positions of both sides of each trial, (n_trials, 2).
    same
        Whether one speaker speaks in both, (n_trials,).
    whole
        Whether utterances are whole files.
    """

    pieces: NDArray[np.int64]
    speakers: NDArray[np.str_]
    pairs: NDArray[np.intp]
    same: NDArray[np.bool_]
    whole: bool

    def scores(
        self, network: nn.Module, frontend: Callable[[Tensor], Tensor], recordings: Recordings
    ) -> NDArray[np.float64]:
        """Return the cosine of every trial, (n_trials,), by a network in eval mode.

        Raises
        ------
        FloatingPointError
            If an embedding is not finite.
        ValueError
            If an embedding is all zeros.
        """
        place = next(network.parameters())
        found: list[Tensor | None] = [None] * len(self.pieces)
        with torch.inference_mode():
            for length in np.unique(self.pieces[:, 2]):
                rows = np.flatnonzero(self.pieces[:, 2] == length)
                for some in np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE)):
                    crops = [recordings.crop(*self.pieces[row].tolist()) for row in some]
                    features = frontend(waveforms(crops).to(place.device)).to(place.dtype)
                    for row, embedding in zip(some, network(features).cpu(), strict=True):
                        found[row] = embedding
        embeddings = torch.stack([each for each in found if each is not None]).double()
        self._require_directions(embeddings, network, recordings)
        return cosine_scores(embeddings.numpy(), self.pairs)

    def _require_directions(
        self, embeddings: Tensor, network: nn.Module, recordings: Recordings
    ) -> None:
        finite, zero = embeddings.isfinite().all(1), (embeddings == 0).all(1)
        for wrong, what, kind in (
            (~finite, "an embedding that is not finite", FloatingPointError),
            (zero, "an embedding that is all zeros, so it cannot be compared", ValueError),
        ):
            rows = self.pieces[wrong.numpy(), 0]
            if len(rows):
                raise kind(
                    f"{type(network).__name__} gives {recordings.ids[rows[0]]!r}, of a held-out "
                    f"speaker, {what}"
                )

    def interval(self, scores: NDArray[np.float64]) -> tuple[float, float]:
        """Return the 95 % interval of the equal error rate; speakers of the enrolment are drawn."""
        groups = self.speakers[self.pairs[:, 0]]
        if len(np.unique(groups)) < 2:
            return float("nan"), float("nan")
        with warnings.catch_warnings():
            # The number of speakers stands beside it.
            warnings.simplefilter("ignore", UserWarning)
            return bootstrap_interval(self.same, scores, equal_error_rate, groups=groups)


def make_validation(
    recordings: Recordings, rows: Rows, n_crop: int, settings: SpeakerTraining
) -> Validation | None:
    """Return the validation by some recordings; None where there are none.

    Raises
    ------
    ValueError
        If there are no two utterances of one speaker, or of two.
    """
    if not len(rows):
        return None
    names, counts = np.unique(recordings.speakers[rows], return_counts=True)
    whole = bool((counts > 1).all())
    pieces = _whole(recordings, rows) if whole else _cut(recordings, rows, n_crop)
    speakers = recordings.speakers[pieces[:, 0]]
    n_each = np.unique(speakers, return_counts=True)[1]
    n_same = int((n_each * (n_each - 1) // 2).sum())
    n_other = len(speakers) * (len(speakers) - 1) // 2 - n_same
    if not n_same or not n_other:
        raise ValueError(
            f"the {len(names)} speakers held out ({listed(names.tolist())}) give {n_same} pairs "
            f"of one speaker and {n_other} of two; both are needed, so hold out more speakers, "
            "give a validation corpus, or set held_out=0"
        )
    table = pd.DataFrame({"path": "", "speaker": speakers}, index=range(len(speakers)))
    n_trials = min(settings.n_trials, 2 * n_same, 2 * n_other)
    trials = make_trials(Corpus("held out", table), n_trials, settings.seed)
    pairs = trials[["enrol", "test"]].astype(int).to_numpy(np.intp)
    return Validation(pieces, speakers, pairs, trials["same"].to_numpy(bool), whole)


def _whole(recordings: Recordings, rows: Rows) -> NDArray[np.int64]:
    return np.stack([rows, np.zeros_like(rows), recordings.n_samples[rows]], axis=1)


def _cut(recordings: Recordings, rows: Rows, n_crop: int) -> NDArray[np.int64]:
    cut = [
        (row, start, n_crop)
        for row in rows
        for start in range(0, max(1, int(recordings.n_samples[row]) - n_crop + 1), n_crop)
    ]
    return np.array(cut, dtype=np.int64)
