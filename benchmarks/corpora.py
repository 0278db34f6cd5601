"""How corpora scale: 280,000 files (links to ten), a million rows, labels on all cores.

python -m benchmarks.corpora
"""

from __future__ import annotations

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from speechprobe import audio
from speechprobe.datasets import Corpus, labels, load_folder, load_librispeech

SPEAKERS, CHAPTERS, UTTERANCES = 1_400, 4, 50  # 280,000 files


def tree(root: Path) -> Path:
    """Make LibriSpeech's layout with links to ten short sound files."""
    generator = np.random.default_rng(0)
    sounds = [root / f"{number}.flac" for number in range(10)]
    for sound in sounds:
        audio.write(sound, generator.normal(scale=0.1, size=16_000), 16_000)
    corpus = root / "LibriSpeech"
    corpus.mkdir()
    lines = [
        f"{s} | {'FM'[s % 2]} | train-other-500 | 25.0 | Reader {s}\n" for s in range(SPEAKERS)
    ]
    (corpus / "SPEAKERS.TXT").write_text("".join(lines), encoding="utf-8")
    for speaker in range(SPEAKERS):
        for chapter in range(speaker * 10, speaker * 10 + CHAPTERS):
            folder = corpus / "train-other-500" / str(speaker) / str(chapter)
            folder.mkdir(parents=True)
            names = [f"{speaker}-{chapter}-{number:04d}" for number in range(UTTERANCES)]
            for number, name in enumerate(names):
                os.symlink(sounds[number % 10], folder / f"{name}.flac")
            text = "".join(f"{name} HE SAID NOTHING AND WENT ON TO THE HOUSE\n" for name in names)
            (folder / f"{speaker}-{chapter}.trans.txt").write_text(text, encoding="utf-8")
    return corpus


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def scan() -> list[str]:
    """Return the table rows of loading the big tree without and with the cache."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHPROBE_CACHE", f"{folder}/cache")
        root = tree(Path(folder))
        cold = seconds(lambda: load_librispeech(root))
        warm = seconds(lambda: load_librispeech(root))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        f"| `load_librispeech`, 280,000 files, first time | {cold:.0f} s |",
        f"| the same, headers in the cache | {warm:.0f} s |",
        f"| peak memory of both | {peak:.1f} GiB |",
    ]


def million() -> list[str]:
    """Return the table rows of what a corpus of a million rows does."""
    n = 1_000_000
    table = pd.DataFrame(
        {
            "path": [f"/corpus/{i}.flac" for i in range(n)],
            "speaker": [f"s{i % 5000}" for i in range(n)],
            "text": ["HE SAID NOTHING AND WENT ON TO THE HOUSE ACROSS THE STREET"] * n,
            "duration": np.full(n, 5.0),
        },
        index=pd.Index([f"u{i}" for i in range(n)]),
    )
    corpus = Corpus("million", table)
    uses: dict[str, Callable[[], Any]] = {
        "`len(corpus)`": lambda: len(corpus),
        "`corpus.column('path')`": lambda: corpus.column("path"),
        "`corpus.select(mask)`": lambda: corpus.select(np.arange(n) % 2 == 0),
        "`corpus.select(ids)`, a third": lambda: corpus.select([f"u{i}" for i in range(0, n, 3)]),
        "`corpus.select(function)`": lambda: corpus.select(lambda u: u["speaker"] == "s7"),
        "`corpus.label(name, values)`": lambda: corpus.label("x", np.arange(n)),
        "`corpus.label(name, function)`": lambda: corpus.label("x", lambda u: u["speaker"]),
        "`corpus.label('rate', speaking_rate)`": lambda: corpus.label("x", labels.speaking_rate),
    }
    return [f"| {name} | {seconds(use):.2f} s |" for name, use in uses.items()]


def cores() -> list[str]:
    """Return the table rows of finding speech in 1,000 sounds, with and without help."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHPROBE_CACHE", f"{folder}/cache")
        for number in range(1000):
            time_axis = np.arange(96_000) / 16_000
            tone = sum(np.sin(2 * np.pi * 120 * k * time_axis) / k for k in range(1, 20))
            noise = generator.normal(scale=0.1, size=96_000)
            audio.write(Path(folder, f"{number}.wav"), 0.1 * (tone + noise), 16_000)
        corpus = load_folder(folder, "*.wav")
        measure = labels.pause_ratio.measure
        alone = seconds(lambda: measure.attempt(corpus.column("path")))
        helped = seconds(lambda: corpus.label("pauses", labels.pause_ratio))
        again = seconds(lambda: corpus.label("pauses", labels.pause_ratio))
    return [
        f"| `pause_ratio` of 1,000 sounds of 6 s, one process | {alone:.1f} s |",
        f"| the same by `corpus.label`, all cores, their start included | {helped:.1f} s |",
        f"| the same again, from the cache | {again:.2f} s |",
    ]


def main() -> None:
    """Run all, print the table, and keep it with the machine."""
    lines = [
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, pandas {version('pandas')}. One run each.",
        "",
        "| what | time |",
        "|---|---|",
        *scan(),
        *million(),
        *cores(),
    ]
    print("\n".join(lines))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "corpora.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
