"""ShEMO: Persian emotional speech from radio plays, 87 speakers, 3,000 utterances."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "A": "anger",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
    "W": "surprise",
}
_GENDER_OF_FOLDER = {"female": "F", "male": "M"}
_NAME = re.compile("(?P<speaker>(?P<gender>[FM])[0-9]{2})(?P<code>[A-Z])(?P<utterance>[0-9]{2,3})")
_TRANSCRIPTS = "modified_shemo.json"
_LAYOUT = "female/F03S02.wav (woman 03, emotion S, utterance 02) and male/M01A01.wav"
_SOURCE = "The corpus is at https://github.com/pariajm/sharif-emotional-speech-dataset"


def load_shemo(root: str | Path) -> Corpus:
    """Load ShEMO, the Sharif Emotional Speech Database.

    Mohamad Nezami, Jamshid Lou, Karami: "ShEMO: a large-scale validated database for Persian
    speech emotion detection", Language Resources and Evaluation 53, 2019,
    doi 10.1007/s10579-018-9427-x. From https://github.com/pariajm/sharif-emotional-speech-dataset,
    free of charge for academic purposes (the authors' copy on Hugging Face says Apache-2.0).
    Persian, 3,000 utterances cut from radio plays (3 h 25 min) of 31 women and 56 men, labelled
    by twelve listeners. Layout (the two folders are optional, and so is the JSON file)::

        shemo/
        ├── female/
        │   └── F03S02.wav          woman 03, emotion S, second such utterance of hers
        ├── male/
        │   └── M01A01.wav
        └── modified_shemo.json     corrected transcripts

    The emotions: A anger, F fear, H happiness, N neutral, S sadness, W surprise. The first letter
    is the sex, so F03F01 is a woman in fear. Speakers are numbered within a sex, so the speaker
    is the first three characters. SERAB (2021) took the fifth and sixth, which number the
    utterance: its splits share speakers, and its scores on this corpus are too high.

    Known faults: 162 sounds have no transcript of their name and 162 transcripts no sound, and
    others lie under the name of another sound, so `shemo.json` of the corpus itself is not read.
    The text comes from `modified_shemo.json` of https://github.com/aliyzd95/modified_shemo, which
    matched them anew. It also finds that 163 sounds bear the wrong emotion in their name;
    `emotion` stays what the name says, which is what published results use.

    Parameters
    ----------
    root
        The folder that holds `female` and `male`, or the sound files themselves.

    Returns
    -------
    corpus
        Labels: speaker ("F01" and so on), gender ("F" or "M"), emotion, emotion_code (the
        letter), number (of the utterance), text (None without `modified_shemo.json`), language,
        duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit or disagrees with its folder, an utterance is there twice, or
        the JSON file has another form.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "female")
    >>> folder.mkdir()
    >>> speechprobe.audio.write(folder / "F03S02.wav", np.zeros(1600), 16_000)
    >>> utterance = load_shemo(folder.parent)["F03S02"]
    >>> utterance["speaker"], utterance["emotion"], utterance["text"]
    ('F03', 'sadness', None)
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    files = sound_files(folder, _LAYOUT, source=_SOURCE)
    texts = _read_texts(folder / _TRANSCRIPTS)
    rows = [_row(path, texts) for path in files]
    refuse_copies(rows)
    return corpus_of_rows("shemo", rows)


def _read_texts(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        # Some transcripts kept the byte-order mark of the file they were read from.
        return {name: entry["transcript"].strip("\ufeff ") for name, entry in entries.items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f'{file}: expected {{"F03S02.wav": {{"transcript": "...", ...}}, ...}}, '
            f"failed with {error!r}"
        ) from error


def _row(path: Path, texts: dict[str, str]) -> dict[str, Any]:
    parts = parse(_NAME, path, _LAYOUT, code=_EMOTIONS)
    folder = path.parent.name
    if _GENDER_OF_FOLDER.get(folder.lower(), parts["gender"]) != parts["gender"]:
        raise ValueError(
            f"{path}: the name begins with {parts['gender']}, the folder is {folder!r}"
        )
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": parts["speaker"],
        "gender": parts["gender"],
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "number": parts["utterance"],
        "text": texts.get(f"{path.stem}.wav"),
        "language": "fa",
    }
