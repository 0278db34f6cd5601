"""LibriTTS and LibriTTS-R: LibriSpeech cut into sentences, at 24 kHz, with punctuation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from speechprobe.datasets._libri import Labels, chapters_of, choose_subsets
from speechprobe.datasets._scan import corpus_of_rows, require_folder
from speechprobe.datasets.corpus import Corpus

_LAYOUT = (
    "LibriTTS/<subset>/<speaker>/<chapter>/<speaker>_<chapter>_<paragraph>_<sentence>.wav with "
    "<the same>.normalized.txt and .original.txt"
)
_SOURCE = "download_libritts fetches it"


def load_libritts(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    transcripts: Literal["required", "optional"] = "required",
) -> Corpus:
    """Load LibriTTS or LibriTTS-R, or some subsets.

    Zen, Dang, Clark, Zhang, Weiss, Jia, Chen, Wu: "LibriTTS: A corpus derived from LibriSpeech for
    text-to-speech", Interspeech 2019, https://www.openslr.org/60. Koizumi and others: "LibriTTS-R:
    A restored multi-speaker text-to-speech corpus", Interspeech 2023, https://www.openslr.org/141,
    the same utterances with the sound restored by a network. Both CC BY 4.0, English, 24 kHz, 585
    hours of 2,456 readers. Layout::

        LibriTTS/                                       or LibriTTS_R/
        ├── SPEAKERS.txt                                or speakers.tsv
        ├── CHAPTERS.txt, BOOKS.txt                     titles and authors (optional)
        └── train-clean-100/
            └── 103/                                    speaker
                └── 1241/                               chapter of a book
                    ├── 103_1241_000000_000001.wav
                    ├── 103_1241_000000_000001.normalized.txt
                    └── 103_1241_000000_000001.original.txt

    The speaker is the FIRST folder, the second is the chapter. The original text has numbers and
    abbreviations as printed ("Mr. 5"), the normalised one as spoken ("Mister five"); speaking
    rates differ by which is counted, and `text` is the normalised one. Faults: where a clip of
    LibriSpeech was cut wrongly the sentence is too, and LibriTTS-R holds a few damaged files
    (a reader's list names 1092_134562_000013_000004); restoration changes noise and, rarely, the
    voice, so its speakers and pitch are the network's as well.

    Parameters
    ----------
    root
        The folder that holds the subsets and the list of readers.
    subsets
        Names of subsets, as LibriSpeech's; all that are there by default.
    transcripts
        "required": every sound file must have its normalised text. "optional": `text` is None
        where it has none.

    Returns
    -------
    corpus
        Labels: speaker, gender ("F" or "M"), reader (name), minutes (None with speakers.tsv),
        text (normalised), text_original (None where there is none), subset, chapter,
        chapter_title, book, book_id, author (None where the lists are not there), language,
        duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder, a subset, the list of readers or (where required) a text is missing.
    ValueError
        If a file name does not fit its folders, a speaker is not in the list, or a chapter belongs
        to another reader.

    Examples
    --------
    >>> corpus = load_libritts("LibriTTS", subsets=["test-clean"])  # doctest: +SKIP
    >>> corpus  # doctest: +SKIP
    Corpus('libritts', 4837 utterances, 39 speakers)
    """
    if transcripts not in ("required", "optional"):
        raise ValueError(f"transcripts must be 'required' or 'optional', got {transcripts!r}")
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    labels = Labels(folder, _LAYOUT)
    rows: list[dict[str, Any]] = []
    for subset in choose_subsets(folder, subsets, _LAYOUT):
        rows += _rows_of_subset(folder / subset, labels, required=transcripts == "required")
    return corpus_of_rows("libritts", rows)


def _rows_of_subset(folder: Path, labels: Labels, *, required: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for speaker, chapter, names in chapters_of(folder):
        place = folder / speaker / chapter
        there = set(names)
        sounds = [name[:-4] for name in names if name.endswith(".wav") and name[:2] != "._"]
        facts = labels.of(place / f"{sounds[0]}.wav") if sounds else {}
        rows += [_row(place, name, there, facts) for name in sounds]
    if not rows:
        raise FileNotFoundError(f"{folder}: holds no WAV file. Layout: {_LAYOUT}")
    without = [row["id"] for row in rows if row["text"] is None]
    if required and without:
        raise FileNotFoundError(
            f"{folder}: {len(without)} sound files have no text, first {without[0]}. Expected "
            f"{without[0]}.normalized.txt beside it; load with transcripts='optional' if you do "
            "not need text"
        )
    return rows


def _row(place: Path, name: str, there: set[str], facts: dict[str, Any]) -> dict[str, Any]:
    numbers = name.split("_")
    fits = len(numbers) == 4 and all(each.isascii() and each.isdigit() for each in numbers)
    if not fits or numbers[:2] != [facts["speaker"], facts["chapter"]]:
        raise ValueError(
            f"{place / name}.wav: the name does not fit its folders. Layout: {_LAYOUT}"
        )
    return {
        "id": name,
        "path": f"{place}{os.sep}{name}.wav",
        **facts,
        "text": _text(place, f"{name}.normalized.txt", there),
        "text_original": _text(place, f"{name}.original.txt", there),
    }


def _text(place: Path, name: str, there: set[str]) -> str | None:
    return (place / name).read_text(encoding="utf-8").strip() if name in there else None
