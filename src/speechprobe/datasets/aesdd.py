"""AESDD: acted Greek emotional speech, 6 actors, 20 utterances in 5 emotions, 605 files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}
_SPEAKERS = tuple("123456")
_SENTENCES = tuple(f"{number:02d}" for number in range(1, 21))
_NAME = re.compile(
    r"(?P<code>[a-z])(?P<sentence>[0-9]{2}) \(0?(?P<speaker>[0-9])\)(?P<version>[a-z]?)"
)
_LAYOUT = "aesdd/anger/a03 (4).wav (emotion a, utterance 03, speaker 4)"
_SOURCE = "The archive is at http://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition"


def load_aesdd(root: str | Path) -> Corpus:
    """Load AESDD, the Acted Emotional Speech Dynamic Database.

    Vryzas, Kotsakis, Liatsou, Dimoulas, Kalliris: "Speech Emotion Recognition for Performance
    Interaction", Journal of the Audio Engineering Society 66(6), 2018, pages 457-467. Free
    download from http://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition; republished
    copies name licences that contradict each other, so ask there. Greek, 44.1 kHz, 605 files
    (0.7 hours) of 6 actors. Layout, with or without the folders::

        aesdd/
        ├── anger/
        │   ├── a03 (4).wav      emotion a, utterance 03, speaker 4
        │   └── a06 (5)b.wav     a second take of "a06 (5).wav"
        ├── disgust/
        ├── fear/
        ├── happiness/
        └── sadness/

    The letters: a anger (121 files), d disgust (122), f fear (120), h happiness (119), s sadness
    (123). Utterances 01 to 19 are fixed sentences, the same in every emotion; 20 is improvised,
    so its words differ. A letter after the speaker tells takes apart; a name without one is take
    a. The description of version 1.0 counts 5 actors (3 women); a sixth came later, who speaks
    at about half the pace of the others, so duration alone tells speaker 6. Who is a woman, and
    the words, are not published.

    Known faults: `sadness/s05 (3).wav` has no sound data; it is loaded with a NaN duration, and
    leaving it out gives the 604 files of SERAB. `sadness/s19 (6).wav` is 12.7 s, mostly silence.
    Five names write speaker 1 as `(01)`, such as `f10 (01).wav`. `f02 (4)`, `h11 (3)` and
    `d18 (5)` do not exist.

    Parameters
    ----------
    root
        The folder that holds the folders of the emotions, at any depth.

    Returns
    -------
    corpus
        The id is the file name without ".wav". Labels: speaker ("1" to "6"), gender (None),
        emotion, emotion_code (the letter), sentence ("01" to "20"), version (the letter of the
        take, "a" where the name has none), text (None), language, and what the sound header says,
        such as duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit or disagrees with its folder, or an utterance is there twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "anger")
    >>> folder.mkdir()
    >>> speechprobe.audio.write(folder / "a03 (4).wav", np.zeros(4410), 44_100)
    >>> utterance = load_aesdd(folder.parent)["a03 (4)"]
    >>> utterance["speaker"], utterance["emotion"], utterance["sentence"]
    ('4', 'anger', '03')
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    rows = [_row(path) for path in sound_files(folder, _LAYOUT, source=_SOURCE)]
    refuse_copies(rows)
    return corpus_of_rows("aesdd", rows)


def _row(path: Path) -> dict[str, Any]:
    known = {"code": _EMOTIONS, "sentence": _SENTENCES, "speaker": _SPEAKERS}
    parts = parse(_NAME, path, _LAYOUT, **known)
    emotion, folder = _EMOTIONS[parts["code"]], path.parent.name.lower()
    if folder in _EMOTIONS.values() and folder != emotion:
        raise ValueError(f"{path}: the name says {emotion}, the folder {folder}")
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": parts["speaker"],
        "gender": None,
        "emotion": emotion,
        "emotion_code": parts["code"],
        "sentence": parts["sentence"],
        "version": parts["version"] or "a",
        "text": None,
        "language": "el",
    }
