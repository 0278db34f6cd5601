"""CaFE: acted Canadian French emotional speech, 12 actors, 6 sentences, 936 utterances."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
_INTENSITIES = {"1": "weak", "2": "strong"}
SEX_AND_AGE = {
    "01": ("M", 46),
    "02": ("F", 64),
    "03": ("M", 18),
    "04": ("F", 50),
    "05": ("M", 22),
    "06": ("F", 34),
    "07": ("M", 15),
    "08": ("F", 25),
    "09": ("M", 42),
    "10": ("F", 20),
    "11": ("M", 35),
    "12": ("F", 37),
}
SENTENCES = {
    "1": "Un cheval fou dans mon jardin.",
    "2": "Deux ânes aigris au pelage brun.",
    "3": "Trois cygnes aveugles au bord du lac.",
    "4": "Quatre vieilles truies éléphantesques.",
    "5": "Cinq pumas fiers et passionnés.",
    "6": "Six ours aimants domestiqués.",
}
_NAME = re.compile("(?P<speaker>[0-9]{2})-(?P<code>[A-Z])-(?P<intensity>[0-9])-(?P<sentence>[0-9])")
# What a folder says. Unzipping often garbles accents, and a Mac writes them as two characters.
_FOLDERS = tuple(
    (part, says, re.compile(pattern, re.IGNORECASE))
    for part, says, pattern in (
        ("code", "C", "col.{1,8}re"),
        ("code", "D", "d.{1,8}go.{1,8}t"),
        ("code", "J", "joie"),
        ("code", "N", "neutre"),
        ("code", "P", "peur"),
        ("code", "S", "surprise"),
        ("code", "T", "tristesse"),
        ("intensity", "1", "faible"),
        ("intensity", "2", "fort"),
    )
)
_LAYOUT = (
    "CaFE/Colère/Fort/01-C-2-6.wav (actor 01, emotion C, intensity 2, sentence 6), and "
    "CaFE/Neutre/01-N-1-6.wav"
)
_SOURCE = (
    "CaFE_48k.zip, CaFE_192k_1.zip and CaFE_192k_2.zip are at https://zenodo.org/records/1478765; "
    "download_cafe fetches the first"
)


def load_cafe(root: str | Path) -> Corpus:
    """Load CaFE, the Canadian French Emotional speech dataset.

    Gournay, Lahaie, Lefebvre: "A Canadian French Emotional Speech Dataset", ACM Multimedia
    Systems Conference 2018, pages 399-402, doi 10.1145/3204949.3208121. At
    https://zenodo.org/records/1478765, CC BY-NC-SA 4.0. French as spoken in Quebec, 936 utterances
    (1.2 hours) of 6 men and 6 women, as WAV at 48 kHz or AIFF at 192 kHz. Layout of both, with or
    without the folders::

        CaFE/
        ├── Colère/
        │   ├── Faible/
        │   │   └── 01-C-1-6.wav      actor 01, emotion C, intensity 1, sentence 6
        │   └── Fort/
        │       └── 01-C-2-6.wav
        ├── Dégoût/, Joie/, Peur/, Surprise/, Tristesse/      as Colère
        └── Neutre/
            └── 01-N-1-6.wav          neutral has no folders of intensity

    The letters are French: C colère is anger, D dégoût disgust, J joie happiness, N neutre
    neutral, P peur fear, S surprise surprise, T tristesse sadness. Intensity 1 is faible (weak),
    2 fort (strong); neutral has one form only, whose name says 1. Odd actors are men. So there
    are 72 neutral utterances and 144 of every other emotion.

    Whoever reads only the files two folders down, as the first release of SERAB did, finds 864:
    all but the neutral ones.

    Parameters
    ----------
    root
        The folder that holds the folders of the emotions, at any depth. Give one sample rate at a
        time: both have the same names.

    Returns
    -------
    corpus
        Labels: speaker ("01" to "12"), gender ("F" or "M"), age (years), emotion, emotion_code
        (the letter), intensity ("weak", "strong", None for neutral), text, sentence ("1" to "6"),
        language, and what the sound header says, such as duration (seconds),
        sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV or AIFF file.
    ValueError
        If a file name does not fit or disagrees with its folders, or an utterance is there twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "Peur", "Fort")
    >>> folder.mkdir(parents=True)
    >>> speechprobe.audio.write(folder / "12-P-2-6.wav", np.zeros(4800), 48_000)
    >>> utterance = load_cafe(folder.parent.parent)["12-P-2-6"]
    >>> utterance["gender"], utterance["emotion"], utterance["intensity"], utterance["text"]
    ('F', 'fear', 'strong', 'Six ours aimants domestiqués.')
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    suffixes = (".wav", ".aiff", ".aif")
    files = sound_files(folder, _LAYOUT, suffixes=suffixes, source=_SOURCE)
    rows = [_row(path, folder) for path in files]
    refuse_copies(rows)
    return corpus_of_rows("cafe", rows)


def _row(path: Path, root: Path) -> dict[str, Any]:
    parts = _parts(path, path.relative_to(root).parts[:-1])
    gender, age = SEX_AND_AGE[parts["speaker"]]
    neutral = parts["code"] == "N"
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": parts["speaker"],
        "gender": gender,
        "age": age,
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "intensity": None if neutral else _INTENSITIES[parts["intensity"]],
        "text": SENTENCES[parts["sentence"]],
        "sentence": parts["sentence"],
        "language": "fr",
    }


def _parts(path: Path, folders: Sequence[str]) -> dict[str, str]:
    known = {"code": _EMOTIONS, "intensity": _INTENSITIES, "sentence": SENTENCES}
    parts = parse(_NAME, path, _LAYOUT, speaker=SEX_AND_AGE, **known)
    if parts["code"] == "N" and parts["intensity"] != "1":
        raise ValueError(f"{path}: the name cannot be right, for neutral has no strong intensity")
    for folder in folders[-2:]:
        for part, says, pattern in _FOLDERS:
            fits = pattern.fullmatch(folder)
            if fits and parts[part] != says:
                raise ValueError(f"{path}: the name says {part} {parts[part]}, the folder {folder}")
    return parts
