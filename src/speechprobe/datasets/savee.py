"""SAVEE: acted British English emotional speech, 4 men, 480 utterances of TIMIT sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
_SPEAKERS = ("DC", "JE", "JK", "KL")
_NAME = re.compile("(?:(?P<speaker>[A-Z]{2})_)?(?P<code>[a-z]{1,2})(?P<number>[0-9]{2})")
_LAYOUT = (
    "AudioData/DC/a01.wav (speaker DC, emotion a, sentence 01), or the republished ALL/DC_a01.wav"
)
_SOURCE = "Ask its authors for access at http://kahlan.eps.surrey.ac.uk/savee/Download.html"


def load_savee(root: str | Path) -> Corpus:
    """Load the sound of SAVEE, the Surrey Audio-Visual Expressed Emotion database.

    Haq, Jackson: "Multimodal Emotion Recognition", in Wang (editor), Machine Audition: Principles,
    Algorithms and Systems, IGI Global, 2010, pages 398-423. For research, and not downloaded
    freely: ask its authors at http://kahlan.eps.surrey.ac.uk/savee/Download.html. British English,
    44.1 kHz, 480 utterances (0.5 hours) of 4 men, 27 to 31 years old. Layout, and the one of
    republished copies::

        SAVEE/                              SAVEE/
        └── AudioData/                      └── ALL/
            ├── DC/                             └── DC_a01.wav
            │   └── a01.wav
            ├── JE/
            ├── JK/
            └── KL/

    The letters: a anger, d disgust, f fear, h happiness, sa sadness, su surprise (15 sentences a
    speaker, 60 files each), n neutral (30 a speaker, 120 files). The sentences are of TIMIT. Of
    the 15, three are common to all emotions, two are specific to the emotion and ten are found in
    no other emotion; the neutral ones include the common and the specific ones. So the words tell
    much of the emotion. Which sentence `a01` is has no published list that could be checked, so
    `text` is None, and `sentence` must not be compared between emotions.

    All speakers are men: nothing about gender can be learnt or tested here.

    Parameters
    ----------
    root
        The folder that holds `AudioData` or `ALL`, or one of them.

    Returns
    -------
    corpus
        The id is speaker and name in both layouts: "DC_a01". Labels: speaker ("DC", "JE", "JK",
        "KL"), gender ("M"), emotion, emotion_code (one or two letters), text (None), sentence
        ("a01", within its emotion), language, and what the sound header says, such as duration
        (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit or disagrees with its folder, neither says who speaks, or an
        utterance is there twice, as in copies with a second `AudioData` inside the first.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "KL")
    >>> folder.mkdir()
    >>> speechprobe.audio.write(folder / "su04.wav", np.zeros(4410), 44_100)
    >>> utterance = load_savee(folder.parent)["KL_su04"]
    >>> utterance["speaker"], utterance["emotion"], utterance["sentence"]
    ('KL', 'surprise', 'su04')
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    inner = [folder / name for name in ("AudioData", "ALL") if (folder / name).is_dir()]
    files = sound_files(inner[0] if inner else folder, _LAYOUT, source=_SOURCE)
    rows = [_row(path) for path in files]
    refuse_copies(rows)
    return corpus_of_rows("savee", rows)


def _row(path: Path) -> dict[str, Any]:
    parts = parse(_NAME, path, _LAYOUT, code=_EMOTIONS)
    speaker, sentence = _speaker(path, parts["speaker"]), parts["code"] + parts["number"]
    if not 1 <= int(parts["number"]) <= (30 if parts["code"] == "n" else 15):
        raise ValueError(
            f"{path}: there is no sentence {sentence}; neutral has 30, every other emotion 15"
        )
    return {
        "id": f"{speaker}_{sentence}",
        "path": str(path),
        "speaker": speaker,
        "gender": "M",
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "text": None,
        "sentence": sentence,
        "language": "en",
    }


def _speaker(path: Path, named: str | None) -> str:
    folder = path.parent.name if path.parent.name in _SPEAKERS else None
    speaker = named or folder
    if speaker not in _SPEAKERS:
        raise ValueError(
            f"{path}: expected a speaker of {_SPEAKERS} in the name or as its folder, "
            f"got {speaker!r}. Layout: {_LAYOUT}"
        )
    if folder and folder != speaker:
        raise ValueError(f"{path}: the name says speaker {speaker}, the folder {folder}")
    return speaker
