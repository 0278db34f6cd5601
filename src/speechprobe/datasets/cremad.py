"""CREMA-D: acted English emotional speech, 91 actors, 12 fixed sentences, 7,442 utterances."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": None}
SENTENCES = {
    "DFA": "Don't forget a jacket.",
    "IEO": "It's eleven o'clock.",
    "IOM": "I'm on my way to the meeting.",
    "ITH": "I think I have a doctor's appointment.",
    "ITS": "I think I've seen this before.",
    "IWL": "I would like a new alarm clock.",
    "IWW": "I wonder what this is about.",
    "MTI": "Maybe tomorrow it will be cold.",
    "TAI": "The airplane is almost full.",
    "TIE": "That is exactly what happened.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
# VideoDemographics.csv of the corpus: sex and age of the actors 1001 to 1091, in this order.
_ACTORS = """
    M51 F21 F21 F42 M29 F58 F38 F46 F24 F27 M32 F23 F22 M24 M32 M61 M42 F25 M29 F61 F30 M22 M22
    F59 F48 M33 M44 F57 F33 F42 M31 M30 M31 M74 M48 M49 F45 M21 M51 M42 M42 M37 F25 M40 M22 F22
    F22 M38 F25 M62 M56 F33 F35 F36 F57 F52 M25 F36 M21 F28 F51 M56 F33 M53 M38 M25 M66 M34 M27
    M25 M41 F33 F24 F31 F40 F25 M20 F21 F21 M21 M30 F20 M45 F46 M34 M33 M62 M23 F24 M50 F29
"""
SEX_AND_AGE = {
    str(number): (actor[0], int(actor[1:])) for number, actor in enumerate(_ACTORS.split(), 1001)
}
# A slip in the corpus's names that its authors corrected in 2022.
_MISNAMED = {"1040_ITH_SAD_X": "1040_ITH_SAD_XX"}
_NAME = re.compile(
    "(?P<speaker>[0-9]{4})_(?P<sentence>[A-Z]{3})_(?P<code>[A-Z]{3})_(?P<intensity>[A-Z]{2})"
)
_LAYOUT = (
    "CREMA-D/AudioWAV/1001_IEO_ANG_HI.wav (actor 1001, sentence IEO, emotion ANG, intensity HI)"
)
_SOURCE = "download_cremad fetches it from https://github.com/CheyneyComputerScience/CREMA-D"


def load_cremad(root: str | Path) -> Corpus:
    """Load the sound of CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset.

    Cao, Cooper, Keutmann, Gur, Nenkova, Verma: "CREMA-D: Crowd-sourced Emotional Multimodal
    Actors Dataset", IEEE Transactions on Affective Computing 5(4), 2014, pages 377-390, doi
    10.1109/TAFFC.2014.2336244. At https://github.com/CheyneyComputerScience/CREMA-D, Open Database
    License. English, 16 kHz, 7,442 utterances (5.3 hours) of 48 men and 43 women, 20 to 74 years
    old. Layout::

        CREMA-D/
        └── AudioWAV/
            └── 1001_IEO_ANG_HI.wav      actor 1001, sentence IEO, emotion ANG, intensity HI

    The emotions: ANG anger, DIS disgust, FEA fear, HAP happiness, SAD sadness (1,271 utterances
    each), NEU neutral (1,087). The intensities: LO low, MD medium, HI high, XX not asked for; only
    sentence IEO was asked for three. The emotion is the one the actor was asked for: people who
    only hear the recording name that one in about 40 % of their answers.

    Known faults, all loaded. Three sounds are there under two emotions, byte for byte:
    1006_TIE_NEU_XX is 1006_TIE_HAP_XX, 1013_WSI_DIS_XX is 1013_WSI_SAD_XX and 1017_IWW_FEA_XX is
    1017_IWW_ANG_XX. SERAB leaves out the first of each pair, and 1040_ITH_SAD_XX, which copies
    from before October 2022 call `1040_ITH_SAD_X.wav`; it has the same id here in both. Reported
    as empty or silent are 1076_MTI_SAD_XX, 1076_MTI_NEU_XX and 1064_TIE_SAD_XX; 1064_IEO_DIS_MD is
    a minute with several emotions. A clone made without Git LFS holds small text files in place of
    the sounds: they are loaded with a NaN duration, and a warning.

    Parameters
    ----------
    root
        The folder that holds `AudioWAV`, or `AudioWAV` itself.

    Returns
    -------
    corpus
        Labels: speaker ("1001" to "1091"), gender ("F" or "M"), age (years), emotion, emotion_code
        (three letters), intensity ("low", "medium", "high", None for XX), text, sentence (three
        letters), language, and what the sound header says, such as duration (seconds) and
        sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit, or an utterance is there twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> root = Path(tempfile.mkdtemp())
    >>> speechprobe.audio.write(root / "1001_IEO_ANG_HI.wav", np.zeros(1600), 16_000)
    >>> utterance = load_cremad(root)["1001_IEO_ANG_HI"]
    >>> utterance["gender"], utterance["emotion"], utterance["intensity"], utterance["text"]
    ('M', 'anger', 'high', "It's eleven o'clock.")
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    folder = folder / "AudioWAV" if (folder / "AudioWAV").is_dir() else folder
    rows = [_row(path) for path in sound_files(folder, _LAYOUT, source=_SOURCE)]
    refuse_copies(rows)
    return corpus_of_rows("cremad", rows)


def _row(path: Path) -> dict[str, Any]:
    name = _MISNAMED.get(path.stem, path.stem)
    parts = parse(
        _NAME,
        path.with_name(name + path.suffix),
        _LAYOUT,
        speaker=SEX_AND_AGE,
        sentence=SENTENCES,
        code=_EMOTIONS,
        intensity=_INTENSITIES,
    )
    gender, age = SEX_AND_AGE[parts["speaker"]]
    return {
        "id": name,
        "path": str(path),
        "speaker": parts["speaker"],
        "gender": gender,
        "age": age,
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "intensity": _INTENSITIES[parts["intensity"]],
        "text": SENTENCES[parts["sentence"]],
        "sentence": parts["sentence"],
        "language": "en",
    }
