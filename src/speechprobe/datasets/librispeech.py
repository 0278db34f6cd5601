"""LibriSpeech: read English audio books, 1,000 hours, 2,484 speakers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from speechprobe.datasets._libri import Labels, chapters_of, choose_subsets
from speechprobe.datasets._scan import corpus_of_rows, require_folder
from speechprobe.datasets.corpus import Corpus

_LAYOUT = "LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac"


def load_librispeech(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    transcripts: Literal["required", "optional"] = "required",
) -> Corpus:
    """Load LibriSpeech, or some of its subsets.

    Panayotov, Chen, Povey, Khudanpur: "LibriSpeech: an ASR corpus based on public domain audio
    books", ICASSP 2015, https://www.openslr.org/12, CC BY 4.0, 16 kHz, English. 292,367
    utterances of 2,484 readers: 28,539 and 251 in train-clean-100, 104,014 and 921 in
    train-clean-360, 148,688 and 1,166 in train-other-500, 2,703 and 40 in dev-clean, 2,864 and 33
    in dev-other, 2,620 and 40 in test-clean, 2,939 and 33 in test-other. Layout::

        LibriSpeech/
        ├── SPEAKERS.TXT                    readers: sex, subset, minutes, name
        ├── CHAPTERS.TXT, BOOKS.TXT          titles and authors (optional)
        ├── dev-clean/
        │   └── 84/                          speaker
        │       └── 121123/                  chapter of a book
        │           ├── 84-121123-0000.flac
        │           └── 84-121123.trans.txt
        └── train-clean-100/ ...

    The first number of a file name is the speaker, the second the chapter: two chapters of one
    speaker are not two speakers. "clean" and "other" are by the word error rate of a recogniser,
    so the subsets differ in voice and accent too. Texts are in upper case without punctuation,
    apostrophes kept. Some readers were recorded through MP3 with a noise gate.

    Parameters
    ----------
    root
        The folder that holds the subsets and SPEAKERS.TXT.
    subsets
        Names of subsets; all that are there by default.
    transcripts
        "required": every sound file must have its line in a trans.txt and every line its sound
        file. "optional": `text` is None where there is no line, and lines without a sound file
        are passed over with one warning.

    Returns
    -------
    corpus
        Labels: speaker, gender ("F" or "M"), reader (name), minutes (of the reader's speech in the
        corpus), text, subset, chapter, chapter_title, book, book_id, author (None where CHAPTERS
        or BOOKS.TXT is not there or silent), language, duration (seconds), sample_rate (Hz),
        channels.

    Raises
    ------
    FileNotFoundError
        If the folder, a subset, SPEAKERS.TXT or (where required) a transcript is missing; the
        message names it and the layout.
    ValueError
        If a file name does not fit its folders, a speaker is not in SPEAKERS.TXT, CHAPTERS.TXT
        gives a chapter to another reader, or (where required) a transcript line has no sound.

    Examples
    --------
    >>> corpus = load_librispeech("LibriSpeech", subsets=["dev-clean"])  # doctest: +SKIP
    >>> corpus  # doctest: +SKIP
    Corpus('librispeech', 2703 utterances, 40 speakers)
    """
    if transcripts not in ("required", "optional"):
        raise ValueError(f"transcripts must be 'required' or 'optional', got {transcripts!r}")
    folder = require_folder(root, _LAYOUT, source="download_librispeech fetches it")
    labels = Labels(folder, _LAYOUT)
    rows: list[dict[str, Any]] = []
    for subset in choose_subsets(folder, subsets, _LAYOUT):
        rows += _rows_of_subset(folder / subset, labels, required=transcripts == "required")
    return corpus_of_rows("librispeech", rows)


def _rows_of_subset(folder: Path, labels: Labels, *, required: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    orphans, without = [], []
    for speaker, chapter, names in chapters_of(folder):
        place = folder / speaker / chapter
        text = _read_transcripts(place, names)
        sounds = [name[:-5] for name in names if name.endswith(".flac") and name[:2] != "._"]
        facts = labels.of(place / f"{sounds[0]}.flac") if sounds else {}
        rows += [_row(place, name, text.get(name), facts) for name in sounds]
        without += [name for name in sounds if name not in text]
        orphans += sorted(text.keys() - set(sounds))
    if not rows:
        raise FileNotFoundError(f"{folder}: holds no FLAC file. Layout: {_LAYOUT}")
    if required and without:
        raise FileNotFoundError(_without_transcript(folder, without))
    if orphans:
        message = (
            f"{folder}: {len(orphans)} transcript lines have no sound file, "
            f"first {orphans[0]}.flac; fetch the subset again"
        )
        if required:
            raise ValueError(message + ", or load with transcripts='optional'")
        warnings.warn(message, stacklevel=3)
    return rows


def _without_transcript(folder: Path, without: list[str]) -> str:
    chapters = sorted({name.rsplit("-", 1)[0] for name in without})
    listed = ", ".join(chapters[:5]) + (", ..." if len(chapters) > 5 else "")
    return (
        f"{folder}: {len(without)} sound files in {len(chapters)} chapters have no transcript "
        f"({listed}), first {without[0]}. Expected <speaker>-<chapter>.trans.txt beside them; "
        "load with transcripts='optional' if you do not need text"
    )


def _read_transcripts(place: Path, names: list[str]) -> dict[str, str]:
    lines = {}
    for name in names:
        if name.endswith(".trans.txt") and name[:2] != "._":
            for line in (place / name).read_text(encoding="utf-8").splitlines():
                if line.strip():
                    key, _, text = line.partition(" ")
                    lines[key] = text.strip()
    return lines


def _row(place: Path, name: str, text: str | None, facts: dict[str, Any]) -> dict[str, Any]:
    numbers = name.split("-")
    fits = len(numbers) == 3 and all(each.isascii() and each.isdigit() for each in numbers)
    if not fits or numbers[:2] != [facts["speaker"], facts["chapter"]]:
        raise ValueError(
            f"{place / name}.flac: the name does not fit its folders. Layout: {_LAYOUT}"
        )
    return {"id": name, "path": f"{place}{os.sep}{name}.flac", **facts, "text": text}
