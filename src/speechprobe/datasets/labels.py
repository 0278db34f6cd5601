"""Labels: functions of an utterance, for `Corpus.label`.

Each returns one number or string, states its unit, and raises where the utterance cannot have it.
Any function of your own with the same form does as well.
"""

from __future__ import annotations

import math

from speechprobe.datasets.corpus import Utterance


def duration(utterance: Utterance) -> float:
    """Length of the recording in seconds.

    Examples
    --------
    >>> import numpy as np
    >>> duration(Utterance("a", {"path": np.array(["a.wav"]), "duration": np.array([1.5])}, 0))
    1.5
    """
    return utterance.duration


def speaking_rate(utterance: Utterance) -> float:
    """Speaking rate in characters per second, the label of the WeSpeaker speaking-rate study.

    The number of letters and digits (`str.isalnum`) of the transcript over the length of the
    whole recording, pauses included; read speech gives about 8 to 18.

    Raises
    ------
    ValueError
        If the utterance has no transcript, or its length cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> row = {"path": ["a.wav"], "text": ["It's 5 o'clock"], "duration": [2.0]}
    >>> speaking_rate(Utterance("a", {k: np.array(v) for k, v in row.items()}, 0))
    5.0
    """
    text = utterance.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            "speaking_rate needs a transcript in the label 'text'; "
            "select the utterances that have one, or add it with corpus.label('text', ...)"
        )
    return sum(map(str.isalnum, text)) / utterance.duration


def gender(utterance: Utterance) -> str:
    """Sex of the speaker as the corpus states it, "F" or "M".

    Raises
    ------
    ValueError
        If the corpus does not state it for this speaker, or states something else.

    Examples
    --------
    >>> import numpy as np
    >>> gender(Utterance("a", {"path": np.array(["a.wav"]), "gender": np.array(["female"])}, 0))
    'F'
    """
    value = utterance.get("gender")
    stated = "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
    letter = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}.get(stated.strip().lower())
    if letter is None:
        raise ValueError(f"gender needs a label 'gender' of 'F' or 'M', got {value!r}")
    return letter
