"""Which crops an epoch learns from, in which order: drawn from the seed and the epoch alone.

So the plan of an epoch does not depend on what was run before, and a run that was stopped goes on
with the batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechprobe.protocols._speaker.files import Recordings
from speechprobe.protocols._speaker.settings import SpeakerTraining

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

_EPOCH = 2  # begins the seed of these draws, so that they are independent of all others
_THREADS = 4  # that read the crops of the next batch


class Plan(NamedTuple):
    """Crops of an epoch.

    Parameters
    ----------
    speakers
        Number of each speaker, (n_batches, n_speakers).
    files
        Row of the recording of each crop, (n_batches, n_speakers, n_utterances).
    starts
        First sample of each crop, of the same shape.
    """

    speakers: NDArray[np.intp]
    files: NDArray[np.intp]
    starts: NDArray[np.int64]


def plan_epoch(
    train: Sequence[Rows], n_samples: NDArray[np.int64], n_crop: int, settings: SpeakerTraining,
    epoch: int,
) -> Plan:  # fmt: skip
    """Return the crops of an epoch.

    Parameters
    ----------
    train
        Rows of each speaker's recordings.
    n_samples
        Length of each recording, (n_files,).
    n_crop
        Samples of a crop.
    settings
        How to train.
    epoch
        Its number.
    """
    generator = np.random.default_rng([_EPOCH, settings.seed, epoch])
    rounds = n_rounds(train, settings)
    n_batches = len(train) // settings.n_speakers
    taken = n_batches * settings.n_speakers
    order = np.stack([generator.permutation(len(train))[:taken] for _ in range(rounds)])
    groups = np.stack([_groups(rows, rounds, settings.n_utterances, generator) for rows in train])
    files = groups[order, np.arange(rounds)[:, None]]  # (rounds, taken, n_utterances)
    starts = _starts(files.reshape(-1, settings.n_utterances), n_samples, n_crop, generator)
    shape = (rounds * n_batches, settings.n_speakers)
    return Plan(order.reshape(shape), files.reshape(*shape, -1), starts.reshape(*shape, -1))


def n_rounds(train: Sequence[Rows], settings: SpeakerTraining) -> int:
    """Return how often an epoch takes every speaker."""
    if settings.rounds is not None:
        return settings.rounds
    median = float(np.median([len(rows) for rows in train]))
    return max(1, int(np.ceil(median / settings.n_utterances)))


def _groups(
    rows: Rows, rounds: int, n_utterances: int, generator: np.random.Generator
) -> NDArray[np.intp]:
    """Return the files of a speaker for each round, (rounds, n_utterances).

    No file comes twice in a round where there are enough, and none comes again before all but the
    rest that fills no round have come.
    """
    if len(rows) < n_utterances:
        copies = -(-n_utterances // len(rows))
        passes = [
            generator.permutation(np.tile(generator.permutation(rows), copies)[:n_utterances])
            for _ in range(rounds)
        ]
    else:
        used = len(rows) // n_utterances * n_utterances
        n_passes = -(-rounds * n_utterances // used)
        passes = [generator.permutation(rows)[:used] for _ in range(n_passes)]
    found: NDArray[np.intp] = np.concatenate(passes).reshape(-1, n_utterances)[:rounds]
    return found


def _starts(
    files: NDArray[np.intp],
    n_samples: NDArray[np.int64],
    n_crop: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return where crops start, (n_groups, n_utterances); those of one file in a group keep apart.

    Apart as far as the file is long enough: else they are drawn one by one.
    """
    room = np.maximum(n_samples[files] - n_crop, 0) + 1
    starts: NDArray[np.int64] = (generator.random(files.shape) * room).astype(np.int64)
    ordered = np.sort(files, axis=1)
    for group in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        for file in np.unique(files[group]):
            places = np.flatnonzero(files[group] == file)
            slack = int(n_samples[file]) - len(places) * n_crop
            if len(places) > 1 and slack >= 0:
                gaps = np.sort(generator.integers(slack + 1, size=len(places)))
                drawn = gaps + n_crop * np.arange(len(places))
                starts[group, places] = generator.permutation(drawn)
    return starts


def batches(recordings: Recordings, plan: Plan, n_crop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield waveforms (n_speakers * n_utterances, n_crop) and speakers (n_speakers,) of batches.

    The crops of the next batch are read while one is learnt from.
    """
    with ThreadPoolExecutor(_THREADS) as pool:

        def read(number: int) -> list[Future[NDArray[np.int16]]]:
            crops = zip(plan.files[number].flat, plan.starts[number].flat, strict=True)
            return [pool.submit(recordings.crop, int(f), int(s), n_crop) for f, s in crops]

        coming = read(0)
        for number, speakers in enumerate(plan.speakers):
            crops = [each.result() for each in coming]
            if number + 1 < len(plan.speakers):
                coming = read(number + 1)
            yield waveforms(crops), torch.from_numpy(speakers)


def waveforms(crops: Sequence[NDArray[np.int16]]) -> Tensor:
    """Return crops of one length as a tensor (n_crops, n_samples), full scale at 1.0."""
    return torch.from_numpy(np.stack(crops)).to(torch.float32) / 32_768
