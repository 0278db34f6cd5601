"""LibriSpeech: read English audio books, 1,000 hours, 2,484 speakers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from speechprobe.datasets._scan import corpus_of_rows, require_folder
from speechprobe.datasets.corpus import Corpus

SUBSETS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)
_LAYOUT = "LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac"


def load_librispeech(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    transcripts: Literal["required", "optional"] = "required",
) -> Corpus:
    """Load LibriSpeech, or some of its subsets.

    Panayotov, Chen, Povey, Khudanpur: "LibriSpeech: an ASR corpus based on public domain audio
    books", ICASSP 2015, https://www.openslr.org/12, CC BY 4.0, 16 kHz, English. Layout::

        LibriSpeech/
        ├── SPEAKERS.TXT
        ├── dev-clean/
        │   └── 84/                          speaker
        │       └── 121123/                  chapter of a book
        │           ├── 84-121123-0000.flac
        │           └── 84-121123.trans.txt
        └── train-clean-100/ ...

    The first number of a file name is the speaker, the second the chapter: two chapters of one
    speaker are not two speakers.

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
        Labels: speaker, gender ("F" or "M"), text, subset, chapter, reader (name), language,
        duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder, a subset, SPEAKERS.TXT or (where required) a transcript is missing; the
        message names it and the layout.
    ValueError
        If a file name does not fit, a speaker is not in SPEAKERS.TXT, or (where required) a
        transcript line has no sound file.

    Examples
    --------
    >>> corpus = load_librispeech("LibriSpeech", subsets=["dev-clean"])  # doctest: +SKIP
    >>> corpus  # doctest: +SKIP
    Corpus('librispeech', 2703 utterances, 40 speakers)
    """
    if transcripts not in ("required", "optional"):
        raise ValueError(f"transcripts must be 'required' or 'optional', got {transcripts!r}")
    folder = require_folder(root, _LAYOUT)
    speakers = _read_speakers(folder)
    rows: list[dict[str, Any]] = []
    for subset in _choose_subsets(folder, subsets):
        rows += _rows_of_subset(folder / subset, speakers, required=transcripts == "required")
    return corpus_of_rows("librispeech", rows)


def _choose_subsets(folder: Path, subsets: Sequence[str] | None) -> list[str]:
    present = [subset for subset in SUBSETS if (folder / subset).is_dir()]
    if isinstance(subsets, str):
        subsets = [subsets]
    chosen = present if subsets is None else list(subsets)
    missing = [subset for subset in chosen if subset not in present]
    if missing or not chosen:
        wanted = missing or "any subset"
        raise FileNotFoundError(
            f"{folder}: {wanted} not found; present are {present or 'none'}. Layout: {_LAYOUT}"
        )
    return chosen


def _read_speakers(folder: Path) -> dict[str, dict[str, str]]:
    file = folder / "SPEAKERS.TXT"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: missing; it gives the sex of each reader and ships with every subset. The "
            f"root is the folder that holds it. Layout: {_LAYOUT}"
        )
    speakers = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith(";"):
            # One reader's name holds a "|", so only the first four separate.
            fields = [field.strip() for field in line.split("|", maxsplit=4)]
            if len(fields) != 5 or fields[1] not in ("F", "M"):
                raise ValueError(
                    f"{file}: expected 'id | F or M | subset | minutes | name', got {line!r}"
                )
            speakers[fields[0]] = {"gender": fields[1], "reader": fields[4]}
    return speakers


def _rows_of_subset(
    folder: Path, speakers: dict[str, dict[str, str]], *, required: bool
) -> list[dict[str, Any]]:
    chapters = sorted(path for path in folder.glob("*/*") if path.is_dir())
    rows, orphans, without = [], [], []
    for chapter in chapters:
        text = _read_transcripts(chapter)
        sounds = sorted(chapter.glob("*.flac"))
        rows += [_row(path, text.get(path.stem), folder.name, speakers) for path in sounds]
        without += [path.stem for path in sounds if path.stem not in text]
        orphans += [key for key in text if not (chapter / f"{key}.flac").is_file()]
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


def _read_transcripts(chapter: Path) -> dict[str, str]:
    lines = {}
    for file in chapter.glob("*.trans.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.strip():
                key, _, text = line.partition(" ")
                lines[key] = text.strip()
    return lines


def _row(
    path: Path, text: str | None, subset: str, speakers: dict[str, dict[str, str]]
) -> dict[str, Any]:
    numbers = path.stem.split("-")
    place = [path.parent.parent.name, path.parent.name]
    if len(numbers) != 3 or not all(map(str.isdigit, numbers)) or numbers[:2] != place:
        raise ValueError(f"{path}: the name does not fit its folder. Layout: {_LAYOUT}")
    if numbers[0] not in speakers:
        raise ValueError(f"{path}: speaker {numbers[0]} is not in SPEAKERS.TXT")
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": numbers[0],
        **speakers[numbers[0]],
        "text": text,
        "subset": subset,
        "chapter": numbers[1],
        "language": "en",
    }
