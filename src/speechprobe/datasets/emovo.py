"""EMOVO: acted Italian emotional speech, 6 actors, 14 fixed sentences, 588 utterances."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import parse, refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
SEX_AND_AGE = {
    "f1": ("F", 28),
    "f2": ("F", 23),
    "f3": ("F", 25),
    "m1": ("M", 30),
    "m2": ("M", 27),
    "m3": ("M", 30),
}
SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}
_NAME = re.compile("(?P<code>[a-z]{3})-(?P<speaker>[a-z][0-9])-(?P<sentence>[a-z][0-9])")
_LAYOUT = "EMOVO/f1/dis-f1-b1.wav (emotion dis, speaker f1, sentence b1)"
_SOURCE = "The corpus is at http://voice.fub.it/activities/corpora/emovo/index.html"


def load_emovo(root: str | Path) -> Corpus:
    """Load EMOVO, the Italian emotional speech database.

    Costantini, Iaderola, Paoloni, Todisco: "EMOVO Corpus: an Italian Emotional Speech Database",
    LREC 2014, pages 3501-3504, https://aclanthology.org/L14-1478. From
    http://voice.fub.it/activities/corpora/emovo/index.html, for non-commercial use with
    acknowledgement. Italian, 48 kHz, most files with two channels, 588 utterances (0.5 hours):
    3 women and 3 men say 14 sentences in 7 emotions, once each. Layout, with or without the
    folders::

        EMOVO/
        ├── f1/
        │   └── dis-f1-b1.wav      emotion dis, speaker f1, sentence b1
        ├── f2/, f3/
        └── m1/, m2/, m3/

    The codes are Italian: dis disgusto is disgust, gio gioia happiness, neu neutro neutral, pau
    paura fear, rab rabbia anger, sor sorpresa surprise, tri tristezza sadness; 84 utterances each.
    The sentences: b are short, l long, d questions, n without meaning. Published lists of them
    differ in punctuation only, and so may `text`.

    Parameters
    ----------
    root
        The folder that holds the folders of the speakers, at any depth.

    Returns
    -------
    corpus
        Labels: speaker ("f1" to "f3", "m1" to "m3"), gender ("F" or "M"), age (years), emotion,
        emotion_code (three letters), text, sentence (its code), language, and what the sound
        header says, such as duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no WAV file.
    ValueError
        If a file name does not fit or disagrees with its folder, or an utterance is there twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "m3")
    >>> folder.mkdir()
    >>> speechprobe.audio.write(folder / "tri-m3-d1.wav", np.zeros(4800), 48_000)
    >>> utterance = load_emovo(folder.parent)["tri-m3-d1"]
    >>> utterance["speaker"], utterance["gender"], utterance["emotion"], utterance["text"]
    ('m3', 'M', 'sadness', 'Sabato sera cosa farà?')
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    rows = [_row(path) for path in sound_files(folder, _LAYOUT, source=_SOURCE)]
    refuse_copies(rows)
    return corpus_of_rows("emovo", rows)


def _row(path: Path) -> dict[str, Any]:
    parts = parse(_NAME, path, _LAYOUT, code=_EMOTIONS, speaker=SEX_AND_AGE, sentence=SENTENCES)
    folder = path.parent.name.lower()
    if folder in SEX_AND_AGE and folder != parts["speaker"]:
        raise ValueError(f"{path}: the name says speaker {parts['speaker']}, the folder {folder}")
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
        "language": "it",
    }
