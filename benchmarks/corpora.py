"""A LibriSpeech of 280,000 files (links to a few), and a corpus of a million rows."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechprobe import audio
from speechprobe.datasets import Corpus, labels, load_librispeech

SPEAKERS, CHAPTERS, UTTERANCES = 1_400, 4, 50  # 280,000 files


def tree(root: Path) -> Path:
    """Make LibriSpeech's layout with links to ten short sound files."""
    generator = np.random.default_rng(0)
    sounds = [root / f"{number}.flac" for number in range(10)]
    for sound in sounds:
        audio.write(sound, generator.normal(scale=0.1, size=16_000), 16_000)
    corpus = root / "LibriSpeech"
    corpus.mkdir()
    lines = [f"{s} | {'FM'[s % 2]} | train-other-500 | 25.0 | Reader {s}\n" for s in range(SPEAKERS)]
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
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPEECHPROBE_CACHE"] = f"{folder}/cache"
        root = tree(Path(folder))
        cold = seconds(lambda: load_librispeech(root))
        warm = seconds(lambda: load_librispeech(root))
        del os.environ["SPEECHPROBE_CACHE"]
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


def rows() -> list[str]:
    """Return the rows of this benchmark's table."""
    return scan() + million()


if __name__ == "__main__":
    print("\n".join(rows()))
