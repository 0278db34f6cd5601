"""The recordings that a speaker network learns from: in memory as 16-bit integers, or on the disk.

A crop is the same samples either way: 16-bit integers of the mean over channels. Files are not
resampled, for a crop is read by seeking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from speechprobe import _headers, audio
from speechprobe._files import hide_progress
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.spans import holds_spans
from speechprobe.engines.reading import Reader, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

_WORKERS = 2  # threads that decode; more than a disk and two cores feed does not help
_FULL_SCALE = 32_768
_BYTES = 2  # of a sample


@dataclass(frozen=True, eq=False)
class Recordings:
    """Sound files of known length and speaker.

    Parameters
    ----------
    ids, paths
        Of each file, (n_files,).
    speakers
        Name of each file's speaker, (n_files,), strings.
    n_samples
        Length of each file, (n_files,).
    sample_rate
        Samples per second of all files.
    sounds
        The samples of each file, or None where they stay on the disk.
    """

    ids: Sequence[str]
    paths: Sequence[str]
    speakers: NDArray[np.str_]
    n_samples: NDArray[np.int64]
    sample_rate: int
    sounds: Sequence[Samples] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: Recordings) -> Recordings:
        return Recordings(
            [*self.ids, *other.ids],
            [*self.paths, *other.paths],
            np.concatenate([self.speakers, other.speakers]),
            np.concatenate([self.n_samples, other.n_samples]),
            self.sample_rate,
        )

    def select(self, rows: NDArray[np.intp]) -> Recordings:
        """Return some of the files."""
        names = [self.ids[row] for row in rows], [self.paths[row] for row in rows]
        return Recordings(*names, self.speakers[rows], self.n_samples[rows], self.sample_rate)

    def loaded(self, most_bytes: int, *, progress: bool) -> Recordings:
        """Return the recordings with their samples in memory, if these take at most so many bytes.

        Raises
        ------
        ValueError
            If files cannot be decoded, or are shorter than their headers say.
        """
        if int(self.n_samples.sum()) * _BYTES > most_bytes:
            return self
        sources = [
            Source(*facts)
            for facts in zip(
                self.ids, self.paths, (self.n_samples / self.sample_rate).tolist(), strict=True
            )
        ]
        sounds, faults = [], []
        signals = Reader(self.sample_rate, _WORKERS).signals(sources)
        shown = tqdm(signals, "sounds", len(self), unit="file", disable=hide_progress(progress))
        for row, signal in enumerate(shown):
            if isinstance(signal, Exception):
                faults.append(str(signal))
            elif len(signal) < self.n_samples[row]:
                faults.append(f"{self.paths[row]}: {len(signal)} of {self.n_samples[row]} samples")
            else:
                sounds.append(_as_integers(signal[: self.n_samples[row]]))
        _require_none(faults, len(self), "cannot be read whole")
        return replace(self, sounds=sounds)

    def crop(self, row: int, start: int, n_samples: int) -> Samples:
        """Return samples of a file from `start` on, (n_samples,), repeated where the file ends."""
        end = min(start + n_samples, int(self.n_samples[row]))
        if self.sounds is not None:
            part = self.sounds[row][start:end]
        else:
            part = _as_integers(audio.read_part(self.paths[row], start, end - start))
        return part if len(part) == n_samples else np.resize(part, n_samples)


def find(corpus: Corpus, sample_rate: int, *, progress: bool) -> Recordings:
    """Return the recordings of a corpus, from the headers of its files.

    Raises
    ------
    ValueError
        If a row is a span, has no speaker, or a file cannot be read or has another sample rate.
    """
    if holds_spans(corpus.table):
        raise ValueError(
            f"corpus {corpus.name!r} holds spans; give the corpus of its whole recordings"
        )
    nameless = corpus.table["speaker"].isna().to_numpy()
    if nameless.any():
        raise ValueError(
            f"{nameless.sum()} of {len(corpus)} utterances of {corpus.name!r} have no speaker, "
            f"first {corpus.table.index[nameless][0]!r}"
        )
    paths = [str(path) for path in corpus.column("path")]
    headers = _headers.read_headers(paths, progress=progress)
    faults = [str(each) for each in headers if isinstance(each, Exception)]
    _require_none(faults, len(paths), "cannot be read")
    known = [each for each in headers if isinstance(each, audio.Header)]
    other = [
        f"{path} has {each.sample_rate} Hz"
        for path, each in zip(paths, known, strict=True)
        if each.sample_rate != sample_rate
    ]
    wanted = f"have not the {sample_rate} Hz that the front end wants; resample them first"
    _require_none(other, len(paths), wanted)
    return Recordings(
        corpus.table.index.tolist(),
        paths,
        corpus.column("speaker").astype(str),
        np.array([each.n_samples for each in known], dtype=np.int64),
        sample_rate,
    )


def _require_none(faults: list[str], n_files: int, what: str) -> None:
    if faults:
        raise ValueError(f"{len(faults)} of {n_files} files {what}: {listed(faults)}")


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _as_integers(signal: NDArray[np.float32]) -> Samples:
    return np.rint(signal * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
