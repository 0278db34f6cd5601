"""What LibriSpeech and LibriTTS share: subsets, and the lists of readers, chapters and books."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SUBSETS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)


def choose_subsets(folder: Path, subsets: str | Sequence[str] | None, layout: str) -> list[str]:
    """Return the subsets asked for, or all that are there.

    Raises
    ------
    FileNotFoundError
        If one is not there, or none is.
    """
    present = [subset for subset in SUBSETS if (folder / subset).is_dir()]
    chosen = present if subsets is None else [subsets] if isinstance(subsets, str) else [*subsets]
    chosen = list(dict.fromkeys(chosen))
    missing = [subset for subset in chosen if subset not in present]
    if missing or not chosen:
        raise FileNotFoundError(
            f"{folder}: {missing or 'any subset'} not found; present are {present or 'none'}. "
            f"Layout: {layout}"
        )
    return chosen


def _list_of_readers(folder: Path, layout: str) -> Path:
    found = _present(folder, ("SPEAKERS.TXT", "SPEAKERS.txt", "speakers.tsv"))
    if not found:
        raise FileNotFoundError(
            f"{folder / 'SPEAKERS.TXT'}: missing; it gives the sex of each reader and ships with "
            "every subset (in LibriTTS SPEAKERS.txt or speakers.tsv). The root is the folder that "
            f"holds it. Layout: {layout}"
        )
    return found[0]


def _reader(file: Path, line: str) -> tuple[str, dict[str, Any]]:
    """Return a reader's number, and gender, minutes (None in LibriTTS's speakers.tsv) and name."""
    try:
        if file.suffix == ".tsv":
            number, gender, _, name = (field.strip() for field in line.split("\t", maxsplit=3))
            minutes = None
        else:
            # One reader's name holds a "|", so only the first four separate.
            number, gender, _, time, name = (each.strip() for each in line.split("|", maxsplit=4))
            minutes = float(time)
        if gender not in ("F", "M"):
            raise ValueError
    except ValueError:
        form = (
            "'id, F or M, subset, name' between tabs"
            if file.suffix == ".tsv"
            else ("'id | F or M | subset | minutes | name'")
        )
        raise ValueError(f"{file}: expected {form}, got {line!r}") from None
    return number, {"gender": gender, "minutes": minutes, "reader": name}


def read_chapters(folder: Path) -> dict[str, dict[str, Any]]:
    """Return reader, title and book of each chapter; nothing where the lists are not there."""
    books = _read_books(folder)
    chapters = {}
    for file in _present(folder, ("CHAPTERS.TXT", "CHAPTERS.txt")):
        for line in _lines(file):
            # id | reader | minutes | subset | project | book | chapter title | project title
            fields = [field.strip() for field in line.split("|", maxsplit=7)]
            if len(fields) != 8:
                raise ValueError(f"{file}: expected 8 fields between '|', got {line!r}")
            number, reader, _, _, _, book, title, project = fields
            chapters[number] = {
                "reader": reader,
                "labels": {
                    "chapter_title": title,
                    "book_id": book,
                    "book": books.get(book, {"book": project})["book"],
                    "author": books.get(book, {}).get("author") or None,
                },
            }
    return chapters


NO_CHAPTER = {"chapter_title": None, "book_id": None, "book": None, "author": None}


def _read_books(folder: Path) -> dict[str, dict[str, str]]:
    books = {}
    for file in _present(folder, ("BOOKS.TXT", "BOOKS.txt")):
        for line in _lines(file):
            # id | title | authors, of which some lines have none.
            number, *rest = (" ".join(field.split()) for field in line.split("|", maxsplit=2))
            if rest:
                books[number] = {"book": rest[0], "author": "".join(rest[1:])}
    return books


def _present(folder: Path, names: Sequence[str]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()][:1]


def _lines(file: Path) -> list[str]:
    # A lone carriage return parts title and subtitle in BOOKS.TXT, so only "\n" ends a line.
    lines = file.read_bytes().decode("utf-8-sig").split("\n")
    header = ("READER", ";") if file.suffix == ".tsv" else (";",)
    return [line for line in lines if line.strip() and not line.startswith(header)]


def chapters_of(subset: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Give speaker, chapter and sorted file names of each chapter's folder."""
    for speaker in _folders(subset):
        for chapter in _folders(speaker.path):
            yield speaker.name, chapter.name, sorted(os.listdir(chapter.path))


def _folders(path: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return sorted((each for each in entries if each.is_dir()), key=lambda each: each.name)


class Labels:
    """Labels that follow from a chapter's place, checked against the lists.

    Parameters
    ----------
    folder
        The corpus, which holds the lists.
    layout
        For messages.
    """

    def __init__(self, folder: Path, layout: str) -> None:
        self._source = _list_of_readers(folder, layout)
        self._readers = dict(_reader(self._source, line) for line in _lines(self._source))
        self._chapters = read_chapters(folder)

    def of(self, sound: Path) -> dict[str, Any]:
        """Return the labels of a chapter's utterances, one of which is `sound`.

        Raises
        ------
        ValueError
            If the reader is unknown, or the list of chapters gives the chapter to another.
        """
        chapter, speaker, subset = (place.name for place in list(sound.parents)[:3])
        if speaker not in self._readers:
            raise ValueError(
                f"{sound}: speaker {speaker} is not in {self._source.name}; the first folder below "
                "a subset is the speaker, the second the chapter"
            )
        known = self._chapters.get(chapter, {"reader": speaker, "labels": NO_CHAPTER})
        if known["reader"] != speaker:
            raise ValueError(
                f"{sound}: the list of chapters gives chapter {chapter} to reader "
                f"{known['reader']}, not {speaker}"
            )
        return {
            "speaker": speaker,
            **self._readers[speaker],
            "subset": subset,
            "chapter": chapter,
            **known["labels"],
            "language": "en",
        }
