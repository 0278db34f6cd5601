"""Measures of a sound: voice, pitch, loudness and noise, each (signal, sample_rate) -> numbers.

A signal has shape (n_samples,), full scale at 1.0. NaN says that the sound has no such thing.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import dawsn, gamma

from speechprobe._optional import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signal = NDArray[np.float32]

VAD_RATE = 16_000  # Hz, what silero-vad hears
PAUSE = 0.2  # seconds; shorter silences, as of plosives, belong to articulation
_FLOOR, _CEILING = 50.0, 800.0  # Hz, of the first pass over the pitch
_SHAPE = 0.4  # of the gamma distribution of speech amplitudes (Kim and Stern 2008)


def speech_seconds(signal: Signal, sample_rate: int) -> float:
    """Return the seconds of speech, silences of at least `PAUSE` taken out, by silero-vad."""
    import torch

    vad, network = _silero()
    spans = vad.get_speech_timestamps(
        torch.from_numpy(np.ascontiguousarray(signal)),
        network,
        sampling_rate=sample_rate,
        min_silence_duration_ms=round(1000 * PAUSE),
    )
    n_samples: int = sum(span["end"] - span["start"] for span in spans)
    return n_samples / sample_rate


@functools.cache
def _silero() -> tuple[Any, Any]:
    import torch

    n_threads = torch.get_num_threads()
    with warnings.catch_warnings():
        # torch.jit, which silero-vad ships as, and how it finds its own file.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            vad = require("silero_vad", extra="vad")  # sets the threads of the process to one
            return vad, vad.load_silero_vad()
        finally:
            torch.set_num_threads(n_threads)


def pitch(signal: Signal, sample_rate: int) -> list[float]:
    """Return the 5th, 50th and 95th percentile of the pitch of the voiced frames, in Hz.

    Praat's autocorrelation method, in two passes: floor and ceiling of the second are 0.75 times
    the first quartile and 2.5 times the third quartile of the first (Hirst 2011), which keeps
    octave errors out of the percentiles and the wide range of emotional speech in.
    """
    parselmouth = require("parselmouth", extra="pitch")
    sound = parselmouth.Sound(signal.astype(np.float64), sample_rate)
    first = _voiced(sound, _FLOOR, _CEILING)
    if not len(first):
        return [float("nan")] * 3
    low, high = np.percentile(first, [25, 75])
    voiced = _voiced(sound, max(0.75 * low, _FLOOR), min(2.5 * high, _CEILING))
    if not len(voiced):
        return [float("nan")] * 3
    return [float(each) for each in np.percentile(voiced, [5, 50, 95])]


def _voiced(sound: Any, floor: float, ceiling: float) -> NDArray[np.float64]:
    # Praat's window holds three periods of the floor.
    if sound.duration < 3 / floor:
        return np.empty(0)
    track = sound.to_pitch_ac(pitch_floor=floor, pitch_ceiling=ceiling)
    frequencies: NDArray[np.float64] = track.selected_array["frequency"]
    return frequencies[frequencies > 0]


def loudness(signal: Signal, sample_rate: int) -> float:
    """Return the integrated loudness in LUFS (ITU-R BS.1770-4), by pyloudnorm."""
    meter = require("pyloudnorm", extra="loudness").Meter(sample_rate)
    if len(signal) < meter.block_size * sample_rate:
        return float("nan")
    with np.errstate(divide="ignore"):
        level = float(meter.integrated_loudness(signal.astype(np.float64)))
    return level if np.isfinite(level) else float("nan")


def wada_snr(signal: Signal, sample_rate: int) -> float:  # noqa: ARG001 the form of a measure
    """Return the signal-to-noise ratio in dB by waveform amplitude distribution analysis."""
    amplitudes = np.abs(signal[signal != 0].astype(np.float64))
    if not len(amplitudes):
        return float("nan")
    statistic = np.log(amplitudes.mean()) - np.log(amplitudes).mean()
    ratios, statistics = wada_curve()
    return float(np.interp(statistic, statistics, ratios))


@functools.cache
def wada_curve() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ratios in dB, -20 to 100, and what ln E|z| - E ln|z| is at each.

    z is speech with gamma-distributed amplitudes plus Gaussian noise of deviation s. Given the
    speech amplitude x, E|z| is that of a folded normal distribution, and E ln|z| is ln s + g(x/s)
    with g(0) = -(Euler's gamma + ln 2)/2 and g'(u) = sqrt(2) D(u/sqrt(2)), where D is Dawson's
    function. Both are averaged over x. Amplitudes are integrated on a logarithmic grid.
    """
    ratios = np.arange(-20.0, 101.0)
    log_x = np.linspace(-60, np.log(200), 20_000)
    x = np.exp(log_x)
    weights = np.exp(_SHAPE * log_x - x)
    weights /= weights.sum()
    power = gamma(_SHAPE + 2) / gamma(_SHAPE)
    statistics = [_statistic(x, weights, np.sqrt(power / 10 ** (each / 10))) for each in ratios]
    return ratios, np.array(statistics)


def _statistic(x: NDArray[np.float64], weights: NDArray[np.float64], noise: float) -> float:
    from scipy.special import erf

    u = x / noise
    folded = np.sqrt(2 / np.pi) * np.exp(-(u**2) / 2) + u * erf(u / np.sqrt(2))
    slope = np.sqrt(2) * dawsn(u / np.sqrt(2))
    # g by the trapezoidal rule, from u near 0 where it is flat.
    steps = np.diff(u) * (slope[1:] + slope[:-1]) / 2
    log_mean = -(np.euler_gamma + np.log(2)) / 2 + np.concatenate([[0], np.cumsum(steps)])
    return float(np.log(weights @ folded) - weights @ log_mean)
