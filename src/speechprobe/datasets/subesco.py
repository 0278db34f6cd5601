"""SUBESCO: acted Bangla emotional speech, 20 actors, 10 fixed sentences, 7,000 utterances."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "ANGRY": "anger",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happiness",
    "NEUTRAL": "neutral",
    "SAD": "sadness",
    "SURPRISE": "surprise",
}
_NUMBERS = tuple(f"{number:02d}" for number in range(1, 11))
_SENTENCES = tuple(str(number) for number in range(1, 11))
_TAKES = tuple("12345")
# The one file of the published archive whose name has a slip.
_MISNAMED = {"F_02_MONIKA_S_2_SURPRISE_3]": "F_02_MONIKA_S_2_SURPRISE_3"}
_NAME = re.compile(
    "(?P<gender>[FM])_(?P<number>[0-9]{2})_(?P<actor>[A-Z]+)_S_(?P<sentence>[0-9]{1,2})"
    "_(?P<code>[A-Z]+)_(?P<take>[0-9])"
)
_LAYOUT = "SUBESCO/F_01_OISHI_S_1_ANGRY_1.wav (woman 01, Oishi, sentence 1, emotion ANGRY, take 1)"
_SOURCE = "SUBESCO.zip is at https://zenodo.org/records/4526477"


def load_subesco(root: str | Path) -> Corpus:
    """Load SUBESCO, the SUST Bangla Emotional Speech Corpus.

    Sultana, Rahman, Selim, Iqbal: "SUST Bangla Emotional Speech Corpus (SUBESCO): An audio-only
    emotional speech corpus for Bangla", PLoS ONE 16(4), 2021, doi 10.1371/journal.pone.0250173.
    At https://zenodo.org/records/4526477, CC BY 4.0. Bangla, 48 kHz, 7,000 utterances (7 h 40 min)
    of 10 women and 10 men: every actor says each of 10 sentences in 7 emotions, 5 takes each.
    Layout::

        SUBESCO/
        └── F_01_OISHI_S_1_ANGRY_1.wav    woman 01, Oishi, sentence 1, emotion, take 1

    The emotions: ANGRY, DISGUST, FEAR, HAPPY, NEUTRAL, SAD, SURPRISE, 1,000 utterances each.
    Actors are numbered within a sex: F_01 and M_01 are two people, so the speaker is the letter
    with the number. The five takes of a sentence are near-copies, so split by speaker.

    Known faults: one file is called `F_02_MONIKA_S_2_SURPRISE_3].wav`; it is read as take 3, and
    its id keeps the bracket. The archive names the sentences by number only: there is no text.

    Parameters
    ----------
    root
        The folder that holds the sound files, at any depth.

    Returns
    -------
    corpus
        Labels: speaker ("F01" to "F10", "M01" to "M10"), gender ("F" or "M"), actor (the name),
        emotion, emotion_code (the word of the file name), sentence ("1" to "10"), repetition
        ("1" to "5"), text (None), language, duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit, or gives a speaker another name than the files before it, or
        an utterance is there twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> root = Path(tempfile.mkdtemp())
    >>> speechprobe.audio.write(root / "F_01_OISHI_S_1_ANGRY_1.wav", np.zeros(4800), 48_000)
    >>> utterance = load_subesco(root)["F_01_OISHI_S_1_ANGRY_1"]
    >>> utterance["speaker"], utterance["actor"], utterance["emotion"], utterance["sentence"]
    ('F01', 'OISHI', 'anger', '1')
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    rows = [_row(path) for path in sound_files(folder, _LAYOUT, source=_SOURCE)]
    refuse_copies(rows)
    _refuse_two_names_of_a_speaker(rows)
    return corpus_of_rows("subesco", rows)


def _row(path: Path) -> dict[str, Any]:
    parts = parse(
        _NAME,
        path.with_name(_MISNAMED.get(path.stem, path.stem) + path.suffix),
        _LAYOUT,
        number=_NUMBERS,
        sentence=_SENTENCES,
        code=_EMOTIONS,
        take=_TAKES,
    )
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": parts["gender"] + parts["number"],
        "gender": parts["gender"],
        "actor": parts["actor"],
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "sentence": parts["sentence"],
        "repetition": parts["take"],
        "text": None,
        "language": "bn",
    }


def _refuse_two_names_of_a_speaker(rows: Sequence[dict[str, Any]]) -> None:
    actors: dict[str, str] = {}
    for row in rows:
        actor = actors.setdefault(row["speaker"], row["actor"])
        if actor != row["actor"]:
            raise ValueError(
                f"{row['path']}: speaker {row['speaker']} is {actor} in other files, "
                f"{row['actor']} in this one"
            )
