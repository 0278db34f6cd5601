"""Corpora of a study from their folders: LibriSpeech or LibriTTS, whole or one of its subsets."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from speechprobe.datasets._libri import SUBSETS, chapters_of
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.librispeech import load_librispeech
from speechprobe.datasets.libritts import load_libritts

Given = Corpus | str | Path
Transcripts = Literal["required", "optional"]

# The subsets of the speaking-rate study, and what each was for.
PUBLISHED_PARTS = {"train": "train-clean-100", "validation": "dev-clean", "test": "test-clean"}


def corpus_of(given: Any, what: str, *, transcripts: Transcripts = "required") -> Corpus:
    """Return a corpus as it is, or load that of a folder.

    Parameters
    ----------
    given
        A corpus; or the folder of LibriSpeech or LibriTTS, which gives all its subsets, or that of
        one subset in it.
    what
        Its name in messages.
    transcripts
        "required" or "optional", as the loaders take it.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no such corpus in it.
    TypeError
        If it is neither.
    """
    if isinstance(given, Corpus):
        return given
    if not isinstance(given, str | PathLike):
        raise TypeError(
            f"{what} must be a Corpus, as datasets.load_librispeech gives, or the folder of "
            f"LibriSpeech or LibriTTS, or of a subset in it; got {type(given).__name__}"
        )
    folder = Path(given)
    is_subset = folder.name in SUBSETS
    root = folder.parent if is_subset else folder
    load = load_libritts if _holds_waves(root) else load_librispeech
    return load(root, [folder.name] if is_subset else None, transcripts)


def parts_of(given: Any) -> Corpus | Mapping[str, Corpus]:
    """Return the three subsets of the study as parts, or all of a folder that lacks one of them.

    Raises
    ------
    FileNotFoundError, TypeError
        As `corpus_of`.
    """
    if isinstance(given, str | PathLike):
        folders = {part: Path(given) / name for part, name in PUBLISHED_PARTS.items()}
        if all(folder.is_dir() for folder in folders.values()):
            return {part: corpus_of(folder, part) for part, folder in folders.items()}
    return corpus_of(given, "corpus")


def _holds_waves(root: Path) -> bool:
    """Say whether the first chapter with sounds has those of LibriTTS."""
    for subset in SUBSETS:
        for _, _, names in chapters_of(root / subset) if (root / subset).is_dir() else ():
            kinds = {Path(name).suffix for name in names} & {".wav", ".flac"}
            if kinds:
                return ".wav" in kinds
    return False
