"""Measure `KaldiFbank` against torchaudio's Kaldi filter bank, on the same sound in the same run.

    python -m benchmarks.frontends

With one thread (time of the processor) and with all (time on the clock), in processes of their own;
medians of runs taken in turns. torchaudio takes one signal at a time, so a batch is a loop of its
calls. On a busy machine the rows of several threads measure how long these wait for each other;
trust those of one thread.

The Fourier transforms of the windows stand beside: no filter bank that uses them is faster, so what
they leave of torchaudio's time bounds every ratio.
"""

from __future__ import annotations

import os
import time

import torch
import torchaudio

from benchmarks.timing import REPEATS, Row, alone, clock, in_turns, run
from speechprobe.extractors.kaldi import KaldiFbank

SECONDS = 10
SAMPLE_RATE = 16_000
WANTED = "at least 15 times"


def noise(n_signals: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_signals, SECONDS * SAMPLE_RATE, generator=generator) * 0.1


def torchaudios(signal: torch.Tensor) -> torch.Tensor:
    return torchaudio.compliance.kaldi.fbank(
        signal[None] * 32768, num_mel_bins=80, window_type="hamming", sample_frequency=SAMPLE_RATE
    )


@torch.inference_mode()
def measure(n_signals: int, repeats: int) -> dict[str, float]:
    """Return the median milliseconds of ours, torchaudio's and the transforms alone."""
    waveforms, front = noise(n_signals), KaldiFbank(n_mels=80)
    frames = torch.nn.functional.pad(waveforms.unfold(-1, 400, 160), (0, 112))

    def theirs() -> torch.Tensor:
        return torch.stack([torchaudios(signal) for signal in waveforms])

    difference = (front(waveforms) - theirs()).abs().max().item()
    times = in_turns(
        lambda: front(waveforms), theirs, lambda: torch.fft.rfft(frames),
        repeats=repeats, clock=clock(),
    )  # fmt: skip
    names = ("ours", "torchaudio", "transforms")
    return {name: 1e3 * each for name, each in zip(names, times, strict=True)} | {
        "difference": difference
    }


def first_call(name: str) -> float:
    """Return the milliseconds of the first call in this process."""
    signal = noise(1)[0]
    ours = KaldiFbank(n_mels=80)
    started = time.perf_counter()
    _ = ours(signal[None]) if name == "ours" else torchaudios(signal)
    return 1e3 * (time.perf_counter() - started)


def against_torchaudio(n_signals: int, n_threads: int, *, quick: bool) -> Row:
    call = f"benchmarks.frontends:measure({n_signals}, {5 if quick else REPEATS})"
    found = alone(call, threads=n_threads)
    signals = f"one signal of {SECONDS} s" if n_signals == 1 else f"{n_signals} of them"
    note = f"values differ by {found['difference']:.0e}"
    if n_signals == 1:
        bound = found["torchaudio"] / found["transforms"]
        note = (
            f"the Fourier transforms alone take {found['transforms']:.2f} ms, so {bound:.1f} times "
            f"is the bound; the rest is windows, power, bands and logarithm; {note}"
        )
    threads = "one thread" if n_threads == 1 else f"{n_threads} threads"
    name = f"`KaldiFbank`, {signals}, {threads}, ms, against torchaudio"
    wanted = WANTED if n_signals == 1 else ""
    return Row(name, found["ours"], found["torchaudio"], wanted, note)


def rows(*, quick: bool = False) -> list[Row]:
    """Return one signal and batches, with one thread and with all, and the first call."""
    found = [
        against_torchaudio(n_signals, n_threads, quick=quick)
        for n_threads in sorted({1, os.cpu_count() or 1})
        for n_signals in ((1,) if quick else (1, 16, 64))
    ]
    first = [
        min(alone(f"benchmarks.frontends:first_call({name!r})") for _ in range(3))
        for name in ("ours", "torchaudio")
    ]
    note = "tables are made, and parts of torch loaded"
    name = "The first `KaldiFbank` of a process, ms, against torchaudio"
    return [*found, Row(name, first[0], first[1], "", note)]


if __name__ == "__main__":
    run(
        "frontends",
        rows,
        what=f"Signals of {SECONDS} s at {SAMPLE_RATE} Hz, 80 bands, Hamming window, no dither.",
    )
