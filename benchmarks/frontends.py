"""Measure `KaldiFbank` against torchaudio's Kaldi filter bank, on the same sound in the same run.

    python -m benchmarks.frontends

Each row is the median of seven runs taken in turns, with the threads of torch as they come and with
one. torchaudio takes one signal at a time, so a batch is a loop of its calls. On a busy machine the
rows of several threads measure how long these wait for each other; trust those of one thread.
"""

import os
import platform
from datetime import date
from importlib.metadata import version

import torch
import torchaudio

from benchmarks.__main__ import REPEATS, in_turns
from speechprobe.extractors.kaldi import KaldiFbank

SECONDS = 10
SAMPLE_RATE = 16_000


def ours_against_torchaudio(n_signals: int) -> tuple[float, float, float]:
    """Return the median seconds of both, and the largest difference of their values."""
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(n_signals, SECONDS * SAMPLE_RATE, generator=generator) * 0.1
    front = KaldiFbank(n_mels=80)

    def theirs() -> torch.Tensor:
        return torch.stack([_torchaudios(signal) for signal in waveforms])

    with torch.inference_mode():
        difference = (front(waveforms) - theirs()).abs().max().item()
        return *in_turns(lambda: front(waveforms), theirs), difference


def _torchaudios(signal: torch.Tensor) -> torch.Tensor:
    return torchaudio.compliance.kaldi.fbank(
        signal[None] * 32768, num_mel_bins=80, window_type="hamming", sample_frequency=SAMPLE_RATE
    )


def main() -> None:
    """Print the table."""
    print(
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), torch "
        f"{version('torch')}, torchaudio {version('torchaudio')}. Median of {REPEATS} runs in "
        f"turns, signals of {SECONDS} s, 80 bands.\n\n"
        "| signals | threads | ours, ms | torchaudio, ms | torchaudio / ours | difference |\n"
        "|---|---|---|---|---|---|"
    )
    for n_threads in sorted({torch.get_num_threads(), 1}, reverse=True):
        torch.set_num_threads(n_threads)
        for n_signals in (1, 16):
            ours, theirs, difference = ours_against_torchaudio(n_signals)
            print(
                f"| {n_signals} | {n_threads} | {ours * 1e3:.2f} | {theirs * 1e3:.2f} | "
                f"{theirs / ours:.1f} | {difference:.1e} |"
            )


if __name__ == "__main__":
    main()
