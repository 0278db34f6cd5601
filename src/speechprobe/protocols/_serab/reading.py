"""What an extractor is given in SERAB: sounds as they were read in 2021, and corpus constants.

In 2021 sounds were 16-bit whole numbers, channels averaged and cut to the whole number below,
divided by 32767, and resampled by resampy 0.2.2. That puts the largest sample at 1.0, which the
opensmile package takes for 32768 and turns into -32768: half of EmoDB's files have such clicks in
SERAB's openSMILE row. The log-mel spectrogram of the BYOL networks had a window of 400 samples and
was brought to mean 0 and standard deviation 1 by two constants a corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from speechprobe import audio
from speechprobe._headers import read_headers
from speechprobe.extractors.base import pool_signals
from speechprobe.extractors.masked import FrontEnd, MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.nets.byol import AudioNTT2020
from speechprobe.extractors.nets.cvt import CvT
from speechprobe.extractors.opensmile import OpenSmile
from speechprobe.extractors.wrapped import Wrapped
from speechprobe.protocols._serab.resampler import resample_as_in_2021
from speechprobe.protocols._serab.tasks import MISTAKEN, TASKS, Edition, Material

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.extractors.base import Extractor
    from speechprobe.pooling import Pooling

    Signal = NDArray[np.float32]

_WINDOW = 400  # samples
_FULL_SCALE = 32768
_ITS_OWN = (
    "the front end is the extractor's own, so the edition concerns speakers, the choice of the "
    "classifier and the reading of sounds"
)


class ReadAsIn2021(Wrapped):
    """An extractor that is given each sound as SERAB read it in 2021.

    Parameters
    ----------
    extractor
        Any extractor.
    sample_rate
        Samples per second of the sound files; the extractor inside gets its own.
    """

    def __init__(self, extractor: Extractor, sample_rate: int) -> None:
        super().__init__(extractor)
        self.sample_rate = int(sample_rate)

    @property
    def max_seconds(self) -> float | None:
        """The longest signal that the extractor inside takes, in seconds."""
        longest: float | None = getattr(self.extractor, "max_seconds", None)
        return longest

    def __call__(self, signal: Signal) -> Mapping[str, NDArray[Any]]:
        """Return the frames of every layer of a signal at the rate of its file."""
        return self.extractor(self._read(signal))

    def extract_batch(self, signals: Sequence[Signal], pool: Pooling) -> Mapping[str, Any]:
        """Return the pooled layers of several signals at the rate of their files."""
        return pool_signals(self.extractor, [self._read(signal) for signal in signals], pool)

    def _read(self, signal: Signal) -> Signal:
        read = as_read_in_2021(signal, self.sample_rate, self.extractor.sample_rate)
        # Our OpenSmile cuts samples at full scale, so they are given as what they turned into.
        return wrapped_around(read) if isinstance(self.extractor, OpenSmile) else read

    def _settings(self) -> dict[str, Any]:
        return {"reading": "floor of the mean of int16 channels / 32767, resampy 0.2.2 kaiser_best"}


def as_read_in_2021(signal: Signal, sample_rate: int, wanted: int) -> Signal:
    """Return a signal, a mean of channels with full scale at 1.0, as it was read in 2021."""
    whole = np.floor(signal.astype(np.float64) * _FULL_SCALE) / (_FULL_SCALE - 1)
    return resample_as_in_2021(whole.astype(np.float32), sample_rate, wanted)


def wrapped_around(signal: Signal) -> Signal:
    """Return a signal whose samples at or beyond full scale are what 16 bits make of them."""
    over = (signal >= 1).astype(np.float32) - (signal < -1)
    return (signal - 2 * over).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Fitted:
    """An extractor made fit for a task, and what was done to it."""

    extractor: Extractor
    note: str


def fit_to(extractor: Extractor, material: Material, edition: Edition) -> Fitted:
    """Return the extractor with the front end of an edition and the constants of a corpus.

    Only the BYOL networks have such constants; the front end of all others stays as it is.
    """
    if not _is_byol(extractor):
        clicks = isinstance(extractor, OpenSmile) and edition == "2021"
        more = "; samples at full scale wrap around in openSMILE, as in 2021" if clicks else ""
        return Fitted(extractor, _ITS_OWN + more)
    assert isinstance(extractor, MaskedExtractor)
    front = extractor.frontend
    assert isinstance(front, MelSpectrogram)
    if edition == "2021":
        front = replace(front, window_seconds=_WINDOW / front.sample_rate)
    window = round(front.window_seconds * front.sample_rate)
    constants = TASKS[material.task].constants
    fits = window == _WINDOW and (edition == "2021" or material.task not in MISTAKEN)
    source = "published"
    if constants is None or not fits:
        constants, source = _measured(front, material, edition), "of the training part"
    told = f"window {window}, mean {constants[0]:.7f}, std {constants[1]:.7f} ({source})"
    return Fitted(_with(extractor, front, constants), f"{material.task}: log-mel with {told}")


def _is_byol(extractor: Extractor) -> bool:
    network = getattr(extractor, "module", None)
    return isinstance(extractor, MaskedExtractor) and isinstance(network, AudioNTT2020 | CvT)


def _with(
    extractor: MaskedExtractor, front: FrontEnd, constants: tuple[float, float]
) -> MaskedExtractor:
    mean, std = constants
    given: Any = extractor.normalise
    return MaskedExtractor(
        extractor.module,
        frontend=front,
        normalise=replace(given, mean=mean, std=std),
        layers=extractor.layers,
        name=extractor.name,
        max_frames=extractor.max_frames,
        dtype=extractor.dtype,
    )


def _measured(front: MelSpectrogram, material: Material, edition: Edition) -> tuple[float, float]:
    """Return mean and standard deviation of the log-mel spectrogram, a mean over training files."""
    paths = material.column("path")[material.part == "train"]
    found = [moments for path in map(str, paths) if (moments := _moments(front, path, edition))]
    if not found:
        raise ValueError(f"{material.task}: none of {len(paths)} training files can be read")
    mean, std = np.mean(found, axis=0)
    return float(mean), float(std)


def _moments(front: MelSpectrogram, path: str, edition: Edition) -> tuple[float, float] | None:
    """Return mean and standard deviation of a file; None of one that extraction will record."""
    try:
        if edition == "2021":
            rate = audio.read_header(path).sample_rate
            signal = as_read_in_2021(audio.read(path), rate, front.sample_rate)
        else:
            signal = audio.read(path, front.sample_rate)
        features = front(torch.from_numpy(signal)[None])
    except (OSError, ValueError):
        return None
    return float(features.mean()), float(features.std())


def rates_of(paths: Sequence[str]) -> NDArray[np.int64]:
    """Return the sample rate in Hz of each sound file, (n_files,).

    Files whose header cannot be read have that of the first one, so that extraction records them.
    """
    headers = read_headers(paths)
    known = [each.sample_rate for each in headers if isinstance(each, audio.Header)]
    if not known:
        raise ValueError(f"none of {len(paths)} sound files can be read, first: {headers[0]}")
    return np.array([getattr(each, "sample_rate", known[0]) for each in headers], np.int64)
