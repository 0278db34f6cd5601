"""EmoDB: acted German emotional speech, 10 actors, 10 fixed sentences, 535 utterances."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechprobe.datasets import _emodb_spans
from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
SEX_AND_AGE = {
    "03": ("M", 31),
    "08": ("F", 34),
    "09": ("F", 21),
    "10": ("M", 32),
    "11": ("M", 26),
    "12": ("M", 30),
    "13": ("F", 32),
    "14": ("F", 35),
    "15": ("M", 25),
    "16": ("F", 31),
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<code>[A-Z])(?P<version>[a-f])")
_LAYOUT = "emodb/wav/03a01Fa.wav (speaker 03, sentence a01, emotion F, version a)"


def load_emodb(root: str | Path) -> Corpus:
    """Load EmoDB, the Berlin Database of Emotional Speech.

    Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss: "A Database of German Emotional Speech",
    Interspeech 2005, doi 10.21437/Interspeech.2005-446. Free download from the corpus's site,
    whose files state no licence; on Zenodo (record 7447302) CC BY 4.0. German, 16 kHz, 535
    utterances of 10 actors: 127 anger, 81 boredom, 46 disgust, 69 fear, 71 happiness, 79 neutral,
    62 sadness. Layout::

        emodb/
        ├── wav/
        │   └── 03a01Fa.wav             speaker 03, sentence a01, emotion F (Freude), version a
        ├── lablaut/
        │   └── 03a01Faxx.lablaut       hand labels of phones (optional)
        └── silb/
            └── 03a01Fa.silb            of syllables (optional); both may lie in labels/

    The letters are German: W Wut is anger, L Langeweile boredom, E Ekel disgust, A Angst fear,
    F Freude happiness, T Trauer sadness, N neutral. Sad utterances are slow (about 4 s against
    2.5 s), so duration alone tells sadness; files are peak-normalised, so level tells nothing.

    Parameters
    ----------
    root
        The folder that holds `wav`, or `wav` itself.

    Returns
    -------
    corpus
        Labels: speaker, gender, age (years), emotion, emotion_code (the letter), text, sentence
        (its code), version, language, phones and syllables (lists of (start, end, label), times
        in seconds; None without hand labels, absent where no file has any), duration (seconds),
        sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit, or names an unknown speaker, sentence or emotion.

    Examples
    --------
    >>> load_emodb("emodb")  # doctest: +SKIP
    Corpus('emodb', 535 utterances, 10 speakers)
    """
    folder = require_folder(root, _LAYOUT, source="download_emodb fetches it")
    folder = folder / "wav" if (folder / "wav").is_dir() else folder
    rows = [_row(path) for path in sound_files(folder, _LAYOUT)]
    refuse_copies(rows)
    labels = _emodb_spans.find_folder(Path(root))
    if labels:
        for row in rows:
            row["phones"] = _emodb_spans.phones(labels, row["id"])
            row["syllables"] = _emodb_spans.syllables(labels, row["id"])
    return corpus_of_rows("emodb", rows)


def _row(path: Path) -> dict[str, Any]:
    parts = parse(_NAME, path, _LAYOUT, speaker=SEX_AND_AGE, sentence=SENTENCES, code=_EMOTIONS)
    gender, age = SEX_AND_AGE[parts["speaker"]]
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": parts["speaker"],
        "gender": gender,
        "age": age,
        "emotion": _EMOTIONS[parts["code"]],
        "emotion_code": parts["code"],
        "text": SENTENCES[parts["sentence"]],
        "sentence": parts["sentence"],
        "version": parts["version"],
        "language": "de",
    }
