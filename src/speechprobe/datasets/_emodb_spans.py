"""EmoDB's hand labels: when each phone and each syllable of an utterance begins and ends.

`lablaut/NAMExx.lablaut` is a header up to a line "#", then lines of time, colour and label in the
form of xlabel; `silb/NAME.silb` has lines of time and syllable. A time is where its label begins;
what ends it is the next line. A line without a label, or with a mark of voice quality alone
("+lar", "-sth"), says that something changes within the phone before it, and belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Span(NamedTuple):
    """A labelled piece of an utterance.

    Parameters
    ----------
    start, end
        Seconds from the beginning of the utterance.
    label
        The phone, syllable or word.
    """

    start: float
    end: float
    label: str


_LINE = re.compile(r"\s*([0-9]+(?:[.][0-9]+)?)\s+(?:-?[0-9]+(?:\s|$))?(.*)")


def find_folder(root: Path) -> Path | None:
    """Return the folder that holds `lablaut` and `silb`, as published or in `labels`."""
    for folder in (root, root / "labels", root.parent, root.parent / "labels"):
        if (folder / "lablaut").is_dir() or (folder / "silb").is_dir():
            return folder
    return None


def phones(folder: Path, name: str) -> list[Span] | None:
    """Return the phones of an utterance in EmoDB's narrow alphabet, None where it has no labels.

    Pauses are the label "("; a stop is its closure ("t"), release ("!t") and aspiration ("tasp").
    """
    for file in (folder / "lablaut" / f"{name}xx.lablaut", folder / "lablaut" / f"{name}.lablaut"):
        if file.is_file():
            lines = _read(file)
            if "#" not in lines:
                raise ValueError(f"{file}: expected a header that ends with a line '#'")
            return _spans(file, lines[lines.index("#") + 1 :], skip_marks=True) or None
    return None


def syllables(folder: Path, name: str) -> list[Span] | None:
    """Return the syllables of an utterance, None where it has no labels."""
    file = folder / "silb" / f"{name}.silb"
    lines = _read(file) if file.is_file() else []
    return _spans(file, lines, skip_marks=False) if lines else None


def _read(file: Path) -> list[str]:
    lines = file.read_text(encoding="latin-1").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _spans(file: Path, lines: Sequence[str], *, skip_marks: bool) -> list[Span]:
    begun: list[tuple[float, str]] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{file}: expected a time and a label, got {line!r}")
        time, label = float(match[1]), (match[2].split() or [""])[0]
        phone = re.split("[+-]", label)[0] if skip_marks else label
        if phone or not begun:
            begun.append((time, phone or label))
    ends = [time for time, _ in begun[1:]]
    # The last line says where speech ends; a label there, of a sound cut short, has no end.
    return [Span(time, end, label) for (time, label), end in zip(begun[:-1], ends, strict=True)]
