"""Reads the sound files that libsndfile cannot: AAC in an MP4 container, as VoxCeleb2 ships.

Decoded by PyAV (FFmpeg inside its wheel), the extra `m4a`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe._optional import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTENSIONS = frozenset({".m4a", ".mp4", ".aac"})


def read(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Return the samples, shape (n_samples, n_channels), full scale at 1.0, and their rate.

    Raises
    ------
    ValueError
        If the file cannot be decoded.
    ImportError
        If PyAV is not installed.
    """
    av = require("av", extra="m4a")
    try:
        with av.open(os.path.abspath(path)) as container:
            stream = _stream(container, path)
            planar = av.AudioResampler(format="fltp", rate=stream.rate)
            frames = [
                part.to_ndarray()
                for frame in container.decode(stream)
                for part in planar.resample(frame)
            ]
            rate = int(stream.rate)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded as sound ({error.strerror})") from error
    samples = np.concatenate(frames, axis=1) if frames else np.empty((1, 0), np.float32)
    return samples.T, rate


def header(path: str | Path) -> tuple[int, int, int]:
    """Return samples per channel, rate and channels as the container states them.

    The stated length counts the encoder's padding of up to 2,048 samples, or not, as the encoder
    chose.

    Raises
    ------
    ValueError
        If the file cannot be read.
    ImportError
        If PyAV is not installed.
    """
    av = require("av", extra="m4a")
    try:
        with av.open(os.path.abspath(path)) as container:
            stream = _stream(container, path)
            seconds = _seconds(container, stream)
            return round(seconds * stream.rate), int(stream.rate), int(stream.channels)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be read as sound ({error.strerror})") from error


def _stream(container: Any, path: str | Path) -> Any:
    if not container.streams.audio:
        raise ValueError(f"{path}: cannot be read as sound (it holds no audio)")
    return container.streams.audio[0]


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6  # microseconds
