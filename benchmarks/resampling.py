"""Measure `audio.resample` against torchaudio, soxr and resampy: time, memory and quality.

    pip install soxr resampy
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.resampling

Times are those of the processor, the least of many runs taken in turns on 10 s of noise. Quality is
that of tones whose samples are known: the sweep is compared with the sine itself, and tones above
half the wanted rate must vanish. Memory is the growth of a process of its own over an hour of sound
at 44,100 Hz.
"""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import resampy
import soxr
import torch
import torchaudio
from numpy.typing import NDArray
from scipy.signal.windows import kaiser

from benchmarks.timing import REPEATS, least_seconds
from speechprobe import _resampling, audio

SECONDS = 10
PAIRS = (
    (44_100, 16_000),
    (48_000, 16_000),
    (96_000, 16_000),
    (22_050, 16_000),
    (24_000, 16_000),
    (8_000, 16_000),
    (44_100, 16_001),
)
Resampler = Callable[[NDArray[np.float32], int, int], NDArray[np.floating]]


def with_torchaudio(sample_rate: int, wanted: int) -> Resampler:
    """Return torchaudio's resampler with our filter, its kernel made before."""
    resampler = torchaudio.transforms.Resample(
        sample_rate,
        wanted,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=_resampling.ZEROS,
        rolloff=_resampling.ROLLOFF,
        beta=_resampling.BETA,
    )
    return lambda signal, *_: resampler(torch.from_numpy(signal)).numpy()


def with_soxr(signal: NDArray[np.float32], sample_rate: int, wanted: int) -> NDArray[np.floating]:
    return soxr.resample(signal, sample_rate, wanted, quality="VHQ")


def with_resampy(
    signal: NDArray[np.float32], sample_rate: int, wanted: int
) -> NDArray[np.floating]:
    """Return what resampy gives with the filter of its version 0.2.2."""
    return resampy.resample(
        signal,
        sample_rate,
        wanted,
        filter="sinc_window",
        num_zeros=_resampling.ZEROS,
        precision=9,
        rolloff=_resampling.ROLLOFF,
        window=lambda n: kaiser(n, _resampling.BETA),
    )


def noise(n_samples: int) -> NDArray[np.float32]:
    samples = np.random.default_rng(0).standard_normal(n_samples, np.float32)
    samples *= 0.1
    return samples


def decibels(ratio: float) -> float:
    return 20 * np.log10(max(ratio, 1e-12))


def interior(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """Leave out the edges, where the filters reach beyond the signal."""
    return signal[len(signal) // 8 : -(len(signal) // 8)].astype(np.float64)


def tone(hertz: float, sample_rate: int, seconds: float = 1.0) -> NDArray[np.float32]:
    seconds_in = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * hertz * seconds_in)).astype(np.float32)


def left_of(resample: Resampler, hertz: float, sample_rate: int, wanted: int) -> float:
    """Return what is left of a tone in decibels, at whatever frequency it comes out."""
    left = interior(resample(tone(hertz, sample_rate), sample_rate, wanted))
    return decibels(left.std() / interior(tone(hertz, sample_rate)).std())


def gain(resample: Resampler, hertz: float, sample_rate: int, wanted: int) -> float:
    """Return the gain of a tone at its own frequency in decibels."""
    seconds_in = np.arange(wanted) / wanted
    waves = np.stack([part(2 * np.pi * hertz * seconds_in) for part in (np.sin, np.cos)], axis=1)
    found = interior(resample(tone(hertz, sample_rate), sample_rate, wanted))
    parts = np.linalg.lstsq(waves[len(waves) // 8 : -(len(waves) // 8)], found, rcond=None)[0]
    return decibels(np.hypot(*parts) / 0.5)


def sweep(sample_rate: int, wanted: int, at: int) -> NDArray[np.float64]:
    """Return a sweep up to 0.85 of the band of both rates, sampled at one of them."""
    top, t = 0.85 * min(sample_rate, wanted) / 2, np.arange(SECONDS * at) / at
    return 0.5 * np.sin(2 * np.pi * (20 * t + (top - 20) / SECONDS * t**2 / 2))


def ratio_of(signal: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return how far below a signal its difference from another lies, in decibels."""
    return decibels(interior(signal).std() / (interior(signal) - interior(other)).std())


def times(sample_rate: int, wanted: int) -> str:
    signal = noise(SECONDS * sample_rate)

    def ours() -> object:
        return audio.resample(signal, sample_rate, wanted)

    def soxrs() -> object:
        return with_soxr(signal, sample_rate, wanted)

    if wanted == 16_001:
        least = least_seconds(ours, soxrs, clock=time.process_time)
        cells = [*(f"{seconds * 1e3:.2f}" for seconds in least), "not run: a kernel of 2.8 GB", ""]
    else:
        other = with_torchaudio(sample_rate, wanted)
        least = least_seconds(ours, soxrs, lambda: other(signal), clock=time.process_time)
        difference = np.abs(ours() - other(signal)).max()
        cells = [*(f"{seconds * 1e3:.2f}" for seconds in least), f"{difference:.0e}"]
    return f"| {sample_rate} | {wanted} | " + " | ".join(cells) + " |"


def quality(name: str, resample: Resampler, sample_rate: int, wanted: int) -> str:
    half = min(sample_rate, wanted) / 2
    given = sweep(sample_rate, wanted, sample_rate).astype(np.float32)
    found = resample(given, sample_rate, wanted)
    to_sine = ratio_of(sweep(sample_rate, wanted, wanted), found)
    soxrs = with_soxr(given, sample_rate, wanted)
    to_soxr = f"{ratio_of(soxrs, found):.0f}" if name == "ours" else ""

    def at(share: float, measure: Callable[..., float] = gain) -> float:
        return measure(resample, share * half, sample_rate, wanted)

    ripple = max(abs(at(share)) for share in np.linspace(0.02, 0.85, 30))
    edge = min(share for share in np.linspace(0.85, 0.99, 57) if at(share) < -0.1)
    row = f"| {sample_rate} | {wanted} | {name} | {to_sine:.0f} | {to_soxr} | {ripple:.0e} | "
    row += f"{edge:.2f} |"
    if sample_rate < wanted:
        return f"{row} | |"
    beyond = max(at(share, left_of) for share in np.linspace(1.02, 0.99 * sample_rate / wanted, 30))
    return f"{row} {at(1.002, left_of):.0f} | {beyond:.0f} |"


def apart(sample_rate: int, wanted: int) -> str:
    """Return how far below the signal the difference from resampy lies, for a tone and noise."""
    levels = []
    for signal in (tone(0.25 * min(sample_rate, wanted), sample_rate), noise(4 * sample_rate)):
        theirs = with_resampy(signal, sample_rate, wanted)
        ours = audio.resample(signal, sample_rate, wanted)[: len(theirs)]
        levels.append(f"{-ratio_of(ours, theirs):.0f}")
    return f"| {sample_rate} | {wanted} | " + " | ".join(levels) + " |"


def hour(name: str) -> None:
    """Print by how much the peak memory grows over an hour of sound, and the seconds it takes."""
    resample = {"ours": audio.resample, "torchaudio": with_torchaudio(44_100, 16_000)}[name]
    signal = noise(3600 * 44_100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    resample(signal, 44_100, 16_000)
    taken = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(f"{grown:.2f} GiB in {taken:.1f} s")


def hour_alone(name: str) -> str:
    """Return what `hour` prints in a process of its own."""
    code = f"from benchmarks.resampling import hour; hour({name!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    """Run all, print the tables, and keep them with the machine."""
    names = ("numpy", "torch", "torchaudio", "soxr", "resampy")
    compared = (("ours", audio.resample), ("soxr VHQ", with_soxr))
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{torch.get_num_threads()} threads of torch, "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + f". `python -m benchmarks.resampling`, least of {REPEATS} runs in turns, load average "
        f"{os.getloadavg()[0]:.1f}.",
        "",
        f"Processor time for {SECONDS} s of noise, in ms. The last column is the largest "
        "difference of a",
        "sample from torchaudio's, of noise with a standard deviation of 0.1.",
        "",
        "| from, Hz | to, Hz | ours | soxr VHQ | torchaudio, same filter | difference |",
        "|---|---|---|---|---|---|",
        *(times(*pair) for pair in PAIRS),
        "",
        "What an hour from 44,100 to 16,000 Hz adds to the peak memory, 0.21 GiB of it the result:",
        f"ours {hour_alone('ours')}, torchaudio {hour_alone('torchaudio')}.",
        "",
        "Quality. The band is half the lower rate. Sine, soxr: how far below a sweep up to 0.85",
        "of the band its difference from the true sweep and from soxr's lies, dB. Ripple: largest",
        "gain or loss there, dB; soxr's explains all of its difference. Edge: share of the band",
        "where 0.1 dB are lost. Then what is left of a tone at 1.002 times the band, and the most",
        "that is left of one from 1.02 times on, dB.",
        "",
        "| from, Hz | to, Hz | resampler | sine | soxr | ripple | edge | at 1.002 | from 1.02 |",
        "|---|---|---|---|---|---|---|---|---|",
        *(quality(name, one, *pair) for pair in PAIRS[:-1] for name, one in compared),
        "",
        "Difference from resampy with the numbers of its 0.2.2 `kaiser_best`, dB below the signal.",
        "",
        "| from, Hz | to, Hz | tone at half the band | white noise |",
        "|---|---|---|---|",
        *(apart(*pair) for pair in PAIRS[:-1]),
    ]
    print("\n".join(lines))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "resampling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
