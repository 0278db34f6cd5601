"""Measure `KaldiFbank` against torchaudio's Kaldi filter bank, on the same sound in the same run.

    python -m benchmarks.frontends

Each row is the least of many runs taken in turns, with the threads of torch as they come (time on
the clock) and with one (time of the processor). torchaudio takes one signal at a time, so a batch
is a loop of its calls. On a busy machine the rows of several threads measure how long these wait
for each other; trust those of one thread.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import torchaudio

from benchmarks.timing import REPEATS, least_seconds
from speechprobe.extractors.kaldi import KaldiFbank

SECONDS = 10
SAMPLE_RATE = 16_000


def noise(n_signals: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_signals, SECONDS * SAMPLE_RATE, generator=generator) * 0.1


def ours_against_torchaudio(n_signals: int) -> tuple[float, float, float]:
    """Return the least seconds of both, and the largest difference of their values."""
    waveforms, front = noise(n_signals), KaldiFbank(n_mels=80)

    def theirs() -> torch.Tensor:
        return torch.stack([torchaudios(signal) for signal in waveforms])

    with torch.inference_mode():
        difference = (front(waveforms) - theirs()).abs().max().item()
        ours, other = least_seconds(lambda: front(waveforms), theirs, clock=clock())
        return ours, other, difference


def clock() -> Callable[[], float]:
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def torchaudios(signal: torch.Tensor) -> torch.Tensor:
    return torchaudio.compliance.kaldi.fbank(
        signal[None] * 32768, num_mel_bins=80, window_type="hamming", sample_frequency=SAMPLE_RATE
    )


def transform_alone() -> float:
    """Return the least seconds of the Fourier transforms of one signal's windows."""
    frames = torch.nn.functional.pad(noise(1)[0].unfold(-1, 400, 160), (0, 112))
    with torch.inference_mode():
        return least_seconds(lambda: torch.fft.rfft(frames), clock=clock())[0]


def first_call(name: str) -> None:
    """Print the milliseconds of the first call in this process."""
    signal = noise(1)[0]
    ours = KaldiFbank(n_mels=80)
    started = time.perf_counter()
    _ = ours(signal[None]) if name == "ours" else torchaudios(signal)
    print(f"{(time.perf_counter() - started) * 1e3:.0f}")


def first_call_alone(name: str) -> str:
    """Return the least that `first_call` prints in three processes of its own."""
    code = f"from benchmarks.frontends import first_call; first_call({name!r})"
    command = [sys.executable, "-c", code]
    return min(
        (subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
         for _ in range(3)), key=float,
    )  # fmt: skip


def main() -> None:
    """Print the table, and keep it with the machine."""
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), torch "
        f"{version('torch')}, torchaudio {version('torchaudio')}.",
        "`python -m benchmarks.frontends`, least of "
        f"{REPEATS} runs in turns; signals of {SECONDS} s at {SAMPLE_RATE} Hz, 80 bands,",
        "Hamming window, no dither. torchaudio takes the signals of a batch one after another.",
        f"Load average {os.getloadavg()[0]:.1f}. Several threads: time on the clock, which above a",
        "load of the cores is mostly waiting. One thread: time of the processor.",
        "",
        "| signals | threads | ours, ms | torchaudio, ms | torchaudio / ours | difference |",
        "|---|---|---|---|---|---|",
    ]
    transforms = []
    for n_threads in sorted({torch.get_num_threads(), 1}, reverse=True):
        torch.set_num_threads(n_threads)
        for n_signals in (1, 16, 64):
            ours, theirs, difference = ours_against_torchaudio(n_signals)
            lines.append(
                f"| {n_signals} | {n_threads} | {ours * 1e3:.2f} | {theirs * 1e3:.2f} | "
                f"{theirs / ours:.1f} | {difference:.1e} |"
            )
        transforms.append(f"{transform_alone() * 1e3:.2f} ms with {n_threads}")
    lines += [
        "",
        f"The first call of a process takes {first_call_alone('ours')} ms, torchaudio's "
        f"{first_call_alone('torchaudio')} ms: the tables are made and",
        "parts of torch loaded. The Fourier transforms of one signal's windows alone take",
        f"{', '.join(transforms)} (threads): the bound of any filter bank that uses them.",
    ]
    print("\n".join(lines))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "frontends.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
