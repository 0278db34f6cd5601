"""Reads and writes sound files; the only module that opens them.

Conventions
-----------
A signal is a float32 NumPy array of shape (n_samples,), one channel, full scale at 1.0.
Channels are averaged. Another sample rate is reached by windowed-sinc interpolation, the samples of
torchaudio's resampler at its "kaiser_best" setting (Kaiser window, 64 zero crossings); the file's
own rate is left untouched. Files are decoded by libsndfile (WAV, FLAC, OGG, MP3, AIFF, ...), and
those it cannot read (M4A, MP4, AAC) by PyAV, the extra `m4a`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from speechprobe import _aac, _resampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signal = NDArray[np.float32]

# What libsndfile reads by itself; headerless ".raw" is not among it.
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf"}
    | {".w64", ".rf64", ".sph", ".nist", ".sd2", ".voc"}
    | _aac.EXTENSIONS
)
_NOT_SOUND = (soundfile.LibsndfileError, RuntimeError, TypeError)
_FLOAT_SUBTYPES = {"FLOAT", "DOUBLE"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a sound file says of itself, read without decoding it.

    Parameters
    ----------
    n_samples
        Samples per channel.
    sample_rate
        Samples per second and channel.
    channels
        Number of channels.
    may_hold_nan
        True for encodings that store NaN and infinity as they are (floating-point PCM).
    """

    n_samples: int
    sample_rate: int
    channels: int
    may_hold_nan: bool = False

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def read(path: str | Path, sample_rate: int | None = None) -> Signal:
    """Read a sound file as one channel at the wanted rate.

    Parameters
    ----------
    path
        The file.
    sample_rate
        Samples per second of the result; None keeps the file's own.

    Returns
    -------
    signal
        Shape (n_samples,), float32, full scale at 1.0.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be decoded, holds no samples, or holds NaN or infinity.

    Warns
    -----
    UserWarning
        If every sample is zero.

    Examples
    --------
    >>> import tempfile, soundfile, numpy as np
    >>> from speechprobe import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/tone.wav", np.sin(np.arange(8000) / 5), 8000)
    ...     audio.read(f"{folder}/tone.wav", 16_000).shape
    (16000,)
    """
    _require_file(path)
    samples, rate = _aac.read(path) if _is_aac(path) else _decode(path)
    return _as_signal(samples, rate, path, sample_rate)


def read_part(path: str | Path, start: int, n_samples: int) -> Signal:
    """Read some samples of a sound file as one channel, at its own rate, without what is before.

    Parameters
    ----------
    path
        The file; M4A and AAC are decoded from their beginning.
    start, n_samples
        First sample, 0 or more, and number of samples, 1 or more.

    Returns
    -------
    signal
        Shape (n_samples,), float32, full scale at 1.0.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is no such part, the file cannot be decoded, is too short, or holds NaN or infinity
        there.

    Examples
    --------
    >>> import tempfile, soundfile, numpy as np
    >>> from speechprobe import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/ramp.wav", np.arange(8) / 8, 8000)
    ...     audio.read_part(f"{folder}/ramp.wav", 2, 3)
    array([0.25 , 0.375, 0.5  ], dtype=float32)
    """
    if start < 0 or n_samples < 1:
        raise ValueError(
            f"{path}: a part starts at sample 0 or later and has one or more, got start={start}, "
            f"n_samples={n_samples}"
        )
    _require_file(path)
    samples, _ = _aac.read(path) if _is_aac(path) else _decode(path, n_samples, start)
    samples = samples[start : start + n_samples] if _is_aac(path) else samples
    if len(samples) < n_samples or not np.isfinite(samples).all():
        raise ValueError(
            f"{path}: {n_samples} finite samples from {start} on were expected, got {len(samples)}"
        )
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def _is_aac(path: str | Path) -> bool:
    return os.path.splitext(path)[1].lower() in _aac.EXTENSIONS


def _decode(
    path: str | Path, n_samples: int = -1, start: int = 0
) -> tuple[NDArray[np.float32], int]:
    try:
        samples, rate = soundfile.read(
            _native(path), n_samples, start, dtype="float32", always_2d=True
        )
    except _NOT_SOUND as error:
        raise ValueError(f"{path}: cannot be decoded as sound ({_reason(error)})") from error
    return samples, int(rate)


def _as_signal(
    samples: NDArray[np.float32], rate: int, path: str | Path, wanted: int | None
) -> Signal:
    if not len(samples):
        raise ValueError(f"{path}: the file holds no samples; remove it from the corpus")
    n_bad = int((~np.isfinite(samples)).any(axis=1).sum())
    if n_bad:
        raise ValueError(
            f"{path}: {n_bad} of {len(samples)} samples are NaN or infinite; "
            "repair the file or remove it from the corpus"
        )
    signal = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not signal.any():
        warnings.warn(f"{path}: every sample is zero (digital silence)", stacklevel=3)
    return signal if wanted in (None, rate) else resample(signal, rate, int(wanted or rate))


def digest(path: str | Path, n_samples: int | None = None) -> str:
    """Return a hash of the decoded samples: the same for the same sound in another container.

    Parameters
    ----------
    path
        The file.
    n_samples
        How many samples from the beginning; all by default.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be decoded.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for kind in ("wav", "flac"):
    ...         write(f"{folder}/a.{kind}", np.full(8000, 0.5), 16_000)
    ...     digest(f"{folder}/a.wav") == digest(f"{folder}/a.flac")
    True
    """
    _require_file(path)
    samples, rate = _aac.read(path) if _is_aac(path) else _decode(path, n_samples or -1)
    told = f"{rate} {samples.shape[1]} ".encode() + np.ascontiguousarray(samples[:n_samples]).data
    return hashlib.sha256(told).hexdigest()


def write(
    path: str | Path, signal: NDArray[Any], sample_rate: int, *, kind: str | None = None
) -> None:
    """Write one channel with 16 bits a sample.

    Parameters
    ----------
    path
        The file to write.
    signal
        Shape (n_samples,), int16, or floating point with full scale at 1.0.
    sample_rate
        Samples per second.
    kind
        "WAV", "FLAC", ...; what the extension says by default.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/a.flac", np.zeros(8000, np.int16), 16_000)
    ...     read_header(f"{folder}/a.flac").n_samples
    8000
    """
    soundfile.write(path, signal, sample_rate, format=kind, subtype="PCM_16")


def resample(signal: Signal, sample_rate: int, wanted: int) -> Signal:
    """Resample a signal by windowed-sinc interpolation.

    Parameters
    ----------
    signal
        Shape (n_samples,).
    sample_rate, wanted
        Samples per second before and after.

    Returns
    -------
    signal
        Shape (ceil(n_samples * wanted / sample_rate),), float32.

    Raises
    ------
    ValueError
        If a rate is not a whole number of Hz from 1, or the signal has channels.

    Notes
    -----
    Up to 0.85 of half the lower rate, tones keep their amplitude to 1e-5 dB and the error lies 130
    dB below them; 0.1 dB are lost at 0.91. Tones from 1.02 of half the wanted rate on come out 135
    dB down or more, those between 1 and 1.02 at least 60 dB. soxr's VHQ keeps tones up to 0.93, and
    takes 150 dB off from 1 on; its samples and these agree to 135 dB within the band (from 44,100
    to 16,000 Hz to 88 dB: soxr's gain is 0.004 dB off there).

    resampy reads its filter from a table. With the same three numbers (64, 0.9476, 14.77; version
    0.2.2), a tone differs by 126 dB below itself from 8,000 to 16,000 Hz, but by 50 dB from 48,000
    to 16,000 Hz: resampy cuts its step through the table to whole entries, so its own gain is 0.3 %
    off. White noise differs by 36 to 51 dB below itself, nearly all of it in the last tenth of the
    band: resampy's filter ends after 64 samples of the lower rate, this one after 64 zero crossings
    of the filter.

    Examples
    --------
    >>> resample(np.zeros(441, np.float32), 44_100, 16_000).shape
    (160,)
    """
    return _resampling.resample(signal, sample_rate, wanted)


def read_header(path: str | Path) -> Header:
    """Read length, rate and channels of a sound file without decoding it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no sound file or holds no samples.

    Examples
    --------
    >>> import tempfile, soundfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/a.flac", np.zeros(8000), 16_000)
    ...     read_header(f"{folder}/a.flac").duration
    0.5
    """
    _require_file(path)
    header = Header(*_aac.header(path)) if _is_aac(path) else _header(path)
    if header.n_samples <= 0:
        raise ValueError(f"{path}: the file holds no samples; remove it from the corpus")
    return header


def _header(path: str | Path) -> Header:
    try:
        info = soundfile.info(_native(path))
    except _NOT_SOUND as error:
        raise ValueError(f"{path}: cannot be read as sound ({_reason(error)})") from error
    return Header(info.frames, info.samplerate, info.channels, info.subtype in _FLOAT_SUBTYPES)


def _native(path: str | Path) -> str | bytes:
    # As bytes where the system has them: a name need not be UTF-8, as soundfile expects of text.
    return os.fsencode(path) if os.name == "posix" else str(path)


def _require_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such sound file")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty (0 bytes); remove it from the corpus")


def _reason(error: Exception) -> str:
    return str(error).rsplit(": ", maxsplit=1)[-1].strip().rstrip(".")
