"""RAVDESS: acted North American English, 24 actors who speak and sing two fixed sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_CHANNELS = {"01": "speech", "02": "song"}
_INTENSITIES = {"01": "normal", "02": "strong"}
_ACTORS = tuple(f"{number:02d}" for number in range(1, 25))
# What the actors did not record, so that a name which says so is wrong.
_NOT_SUNG = ("07", "08")
_SINGS_NOT = "18"
_NAME = re.compile(
    "(?P<modality>[0-9]{2})-(?P<channel>[0-9]{2})-(?P<code>[0-9]{2})-(?P<intensity>[0-9]{2})"
    "-(?P<statement>[0-9]{2})-(?P<repetition>[0-9]{2})-(?P<actor>[0-9]{2})"
)
_ACTOR_FOLDER = re.compile("Actor_([0-9]{2})")
_LAYOUT = (
    "Actor_12/03-01-06-01-02-01-12.wav (audio only 03, speech 01, emotion 06, intensity 01, "
    "statement 02, repetition 01, actor 12)"
)
_SOURCE = (
    "Audio_Speech_Actors_01-24.zip and Audio_Song_Actors_01-24.zip are at "
    "https://zenodo.org/records/1188976; download_ravdess fetches them"
)


def load_ravdess(root: str | Path, channel: Literal["speech", "song", "both"] = "speech") -> Corpus:
    """Load RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song.

    Livingstone, Russo: "The Ryerson Audio-Visual Database of Emotional Speech and Song
    (RAVDESS): A dynamic, multimodal set of facial and vocal expressions in North American
    English", PLoS ONE 13(5), 2018, doi 10.1371/journal.pone.0196391. Sound and video at
    https://zenodo.org/records/1188976, CC BY-NC-SA 4.0. English, 48 kHz, 24 actors (12 women),
    1,440 spoken and 1,012 sung utterances. Layout, with or without the two outer folders::

        ravdess/
        ├── Audio_Speech_Actors_01-24/
        │   └── Actor_12/
        │       └── 03-01-06-01-02-01-12.wav
        └── Audio_Song_Actors_01-24/
            └── Actor_12/
                └── 03-02-06-01-02-01-12.wav

    The seven fields of a name: modality (03 is sound alone; 01 and 02 are the videos, .mp4),
    channel (01 speech, 02 song), emotion (01 neutral, 02 calm, 03 happy, 04 sad, 05 angry,
    06 fearful, 07 disgust, 08 surprised), intensity (01 normal, 02 strong), statement (01 kids,
    02 dogs), repetition (01 or 02), actor (odd are men). Neutral has no strong form, song has
    neither disgust nor surprise, and actor 18 did not sing. So an actor speaks neutral 4 times
    and everything else 8 times, which makes neutral half as frequent as any other emotion.

    Some copies hold every file twice, in an inner folder that repeats the tree. They are refused:
    an utterance would be in train and test at once.

    Parameters
    ----------
    root
        The folder that holds the folders of the actors, at any depth.
    channel
        "speech", "song" or "both".

    Returns
    -------
    corpus
        Labels: speaker ("01" to "24"), gender ("F" or "M"), emotion (calm is its own),
        emotion_code (two digits), intensity ("normal" or "strong"), text, statement ("01" or
        "02"), repetition ("01" or "02"), vocal_channel ("speech" or "song"), language, duration
        (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist, or holds no WAV file of a channel asked for.
    ValueError
        If `channel` is unknown, a file name does not fit or disagrees with its folder, a WAV file
        is not of modality 03, or an utterance is there twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "Actor_12")
    >>> folder.mkdir()
    >>> speechprobe.audio.write(folder / "03-01-06-01-02-01-12.wav", np.zeros(4800), 48_000)
    >>> utterance = load_ravdess(folder.parent)["03-01-06-01-02-01-12"]
    >>> utterance["speaker"], utterance["gender"], utterance["emotion"], utterance["text"]
    ('12', 'F', 'fear', 'Dogs are sitting by the door.')
    """
    if channel not in ("speech", "song", "both"):
        raise ValueError(f"channel must be 'speech', 'song' or 'both', got {channel!r}")
    wanted = {"speech", "song"} if channel == "both" else {channel}
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    found = [_row(path) for path in sound_files(folder, _LAYOUT, source=_SOURCE)]
    present = {row["vocal_channel"] for row in found}
    if wanted - present:
        raise FileNotFoundError(
            f"{folder}: asked for channel={channel!r}, but it holds no {min(wanted - present)}, "
            f"only {' and '.join(sorted(present))}. {_SOURCE}"
        )
    rows = [row for row in found if row["vocal_channel"] in wanted]
    refuse_copies(rows)
    return corpus_of_rows("ravdess", rows)


def _row(path: Path) -> dict[str, Any]:
    parts = _parts(path)
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": parts["actor"],
        "gender": "M" if int(parts["actor"]) % 2 else "F",
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "intensity": _INTENSITIES[parts["intensity"]],
        "text": SENTENCES[parts["statement"]],
        "statement": parts["statement"],
        "repetition": parts["repetition"],
        "vocal_channel": _CHANNELS[parts["channel"]],
        "language": "en",
    }


def _parts(path: Path) -> dict[str, str]:
    parts = parse(
        _NAME,
        path,
        _LAYOUT,
        channel=_CHANNELS,
        code=_EMOTIONS,
        intensity=_INTENSITIES,
        statement=SENTENCES,
        repetition=("01", "02"),
        actor=_ACTORS,
    )
    if parts["modality"] != "03":
        raise ValueError(
            f"{path}: modality {parts['modality']} is video; only 03, sound alone, is a WAV file"
        )
    folder = _ACTOR_FOLDER.fullmatch(path.parent.name)
    if folder and folder[1] != parts["actor"]:
        raise ValueError(f"{path}: the name says actor {parts['actor']}, the folder {folder[1]}")
    _refuse_what_was_not_recorded(path, parts)
    return parts


def _refuse_what_was_not_recorded(path: Path, parts: dict[str, str]) -> None:
    song = parts["channel"] == "02"
    reason = ""
    if parts["code"] == "01" and parts["intensity"] == "02":
        reason = "neutral has no strong intensity"
    elif song and parts["code"] in _NOT_SUNG:
        reason = f"there is no song with {_EMOTIONS[parts['code']]}"
    elif song and parts["actor"] == _SINGS_NOT:
        reason = f"actor {_SINGS_NOT} did not sing"
    if reason:
        raise ValueError(f"{path}: the name cannot be right, for {reason}")
