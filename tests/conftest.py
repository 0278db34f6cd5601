"""Fixtures of all tests: the shared data, small sound files, a miniature LibriSpeech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, settings

# The same examples on every run, however slow the machine, and no database beside the sources.
settings.register_profile(
    "speechprobe",
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("speechprobe")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is slow first, so that no worker ends with it alone."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


REPOSITORY = Path(__file__).resolve().parents[1]

SPEAKERS_TXT = """\
; This file lists the readers and their sex, as LibriSpeech's own file does.
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-100  | 25.03 | Kristin LeMoine
60   | M | train-clean-100  | 20.18 | |CBW|Simon
84   | F | dev-clean        | 8.02  | Christie Nowak
174  | M | dev-clean        | 8.04  | Peter Eastman
"""

# (subset, speaker, chapter, texts of its utterances); speaker 60 reads two chapters.
CHAPTERS = (
    ("train-clean-100", "14", "208", ("CHAPTER ONE", "IT IS A TRUTH")),
    ("train-clean-100", "60", "121082", ("HE SAID NOTHING",)),
    ("train-clean-100", "60", "121550", ("IN THE AFTERNOON", "I'M 60")),
    ("dev-clean", "84", "121123", ("GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES")),
    ("dev-clean", "174", "50561", ("FORGOTTEN TOO",)),
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real speech and networks beside the checkout; tests using it are marked shared."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the real speech and networks of {folder} are not there")
    return folder


@pytest.fixture(scope="session")
def write_sound() -> Callable[..., Path]:
    """Give a function that writes a small tone, its format taken from the file's extension."""

    def write(
        path: str | Path,
        seconds: float = 0.5,
        sample_rate: int = 16_000,
        frequency: float = 440.0,
        amplitude: float = 0.5,
    ) -> Path:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * sample_rate)) / sample_rate
        soundfile.write(path, amplitude * np.sin(2 * np.pi * frequency * time), sample_rate)
        return path

    return write


@pytest.fixture(scope="session")
def librispeech_tree(write_sound) -> Callable[[Path], Path]:
    """Give a function that builds a miniature LibriSpeech in its real layout below a folder."""

    def build(folder: Path) -> Path:
        root = folder / "LibriSpeech"
        for subset, speaker, chapter, texts in CHAPTERS:
            place = root / subset / speaker / chapter
            names = [f"{speaker}-{chapter}-{number:04d}" for number in range(len(texts))]
            for name in names:
                write_sound(place / f"{name}.flac", seconds=0.5)
            lines = [f"{name} {text}\n" for name, text in zip(names, texts, strict=True)]
            (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8")
        (root / "SPEAKERS.TXT").write_text(SPEAKERS_TXT, encoding="utf-8")
        return root

    return build
