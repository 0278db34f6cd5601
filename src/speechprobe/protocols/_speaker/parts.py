"""Which speakers are trained on and which held out, and who has too few files for either."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from speechprobe.protocols._speaker.files import Recordings, listed
from speechprobe.protocols._speaker.settings import SpeakerTraining

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

_HELD_OUT = 1  # begins the seed of this draw, so that it is independent of all others


class Parts(NamedTuple):
    """Rows of recordings by their use.

    Parameters
    ----------
    train
        Rows of each speaker trained on, speakers sorted by name.
    validation
        Rows of the speakers held out.
    left_out
        Files left out: id, speaker and why.
    deviations
        What differs from a corpus with enough files, a sentence each.
    """

    train: tuple[Rows, ...]
    validation: Rows
    left_out: pd.DataFrame
    deviations: tuple[str, ...]


def split(recordings: Recordings, n_own: int, settings: SpeakerTraining) -> Parts:
    """Return who is trained on and who validates.

    Parameters
    ----------
    recordings
        Those of the corpus, then those of the validation corpus.
    n_own
        How many are of the corpus.
    settings
        How to train.

    Raises
    ------
    ValueError
        If a speaker is in both, there are too few speakers, or (few_files="raise") too few files.
    """
    own = np.arange(n_own)
    others = np.arange(n_own, len(recordings))
    both = np.intersect1d(recordings.speakers[own], recordings.speakers[others])
    if len(both):
        raise ValueError(
            f"{len(both)} speakers of the validation corpus are trained on: {listed(both.tolist())}"
        )
    rows, left_out, told = _enough(recordings, own, settings)
    names, codes = np.unique(recordings.speakers[rows], return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            "speakers are told apart, so there must be two or more; with enough sound there are "
            f"{len(names)} of the {len(np.unique(recordings.speakers[own]))} in the corpus"
        )
    n_held = 0 if len(others) else _n_held(len(names), settings)
    n_train = max(0, len(names) - n_held)
    if n_train < settings.n_speakers:
        raise ValueError(
            f"a batch takes n_speakers={settings.n_speakers}, but of {len(names)} speakers with "
            f"enough sound {n_train} are left to train on beside {n_held} held out; give more "
            "speakers, smaller batches or a smaller held_out"
        )
    generator = np.random.default_rng([_HELD_OUT, settings.seed])
    held = generator.permutation(len(names))[:n_held]
    train = [rows[codes == code] for code in range(len(names)) if code not in set(held.tolist())]
    validation = others if len(others) else rows[np.isin(codes, held)]
    return Parts(tuple(train), validation, left_out, told)


def _n_held(n_speakers: int, settings: SpeakerTraining) -> int:
    return max(2, round(settings.held_out * n_speakers)) if settings.held_out else 0


def _enough(
    recordings: Recordings, own: Rows, settings: SpeakerTraining
) -> tuple[Rows, pd.DataFrame, tuple[str, ...]]:
    """Return the rows to use, those left out, and what that deviates."""
    n_crop = round(settings.crop_seconds * recordings.sample_rate)
    short = recordings.n_samples[own] < n_crop
    names, codes = np.unique(recordings.speakers[own], return_inverse=True)
    n_long = np.bincount(codes[~short], minlength=len(names))
    poor = n_long < settings.n_utterances
    if settings.few_files == "raise":
        _refuse(recordings, own[short], [f"{name} ({n})" for name, n in
                zip(names[poor], n_long[poor], strict=True)], settings)  # fmt: skip
        return own, _left_out(recordings, own[:0], []), ()
    if settings.few_files == "leave_out":
        lost = short | poor[codes]
        why = np.where(short, "shorter than a crop", "speaker has too few files")
        return own[~lost], _left_out(recordings, own[lost], why[lost].tolist()), ()
    lost = short & (n_long > 0)[codes]
    n_files = np.bincount(codes[~lost], minlength=len(names))
    told = _told(int((n_files < settings.n_utterances).sum()), int((short & ~lost).sum()), settings)
    short_ones = ["shorter than a crop"] * int(lost.sum())
    return own[~lost], _left_out(recordings, own[lost], short_ones), told


def _refuse(
    recordings: Recordings, short: Rows, poor: list[str], settings: SpeakerTraining
) -> None:
    faults = []
    if len(short):
        names = [f"{recordings.ids[row]} ({recordings.n_samples[row] / recordings.sample_rate:.2f})"
                 for row in short]  # fmt: skip
        faults.append(
            f"{len(short)} files are shorter than a crop of {settings.crop_seconds} s: "
            f"{listed(names)}"
        )
    if poor:
        faults.append(
            f"{len(poor)} speakers have fewer than n_utterances={settings.n_utterances} files "
            f"that long: {listed(poor)}"
        )
    if faults:
        raise ValueError(
            "; ".join(faults) + ". few_files='leave_out' leaves them out, 'reuse' takes several "
            "crops of one file"
        )


def _left_out(recordings: Recordings, rows: Rows, why: list[str]) -> pd.DataFrame:
    names = {"id": [recordings.ids[row] for row in rows], "speaker": recordings.speakers[rows]}
    return pd.DataFrame({**names, "why": why}, dtype=str)


def _told(n_poor: int, n_short: int, settings: SpeakerTraining) -> tuple[str, ...]:
    told = []
    if n_poor:
        told.append(
            f"{n_poor} speakers have fewer than {settings.n_utterances} files, so several crops "
            "of one file serve as their utterances, and what is learnt of a speaker includes what "
            "is common to one recording"
        )
    if n_short:
        told.append(f"{n_short} files shorter than a crop are repeated up to its length")
    return tuple(told)
