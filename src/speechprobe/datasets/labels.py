"""Labels: functions of an utterance, for `Corpus.label`.

Each returns one number or string, states its unit, and raises where the utterance cannot have it.
Any function of your own with the same form does as well.

Those measured from the sound (`articulation_rate`, `pause_ratio`, `median_pitch`, `pitch_range`,
`loudness`, `snr`, and what `from_sound` makes of a function of yours) run on all cores, show their
progress and are remembered between sessions. They are NaN where the sound has no such thing: no
voice, no speech, or too short; `corpus.select(np.isfinite(corpus.column(name)))` keeps the rest.
"""

from __future__ import annotations

import math

from speechprobe.datasets import _acoustics
from speechprobe.datasets._measure import Measure, from_sound, measured
from speechprobe.datasets._text import n_alphanumeric
from speechprobe.datasets.utterance import Utterance

__all__ = [
    "articulation_rate",
    "duration",
    "from_sound",
    "gender",
    "loudness",
    "median_pitch",
    "pause_ratio",
    "pitch_range",
    "snr",
    "speaking_rate",
    "text_length",
    "words_per_second",
]
_SPEECH = Measure(_acoustics.speech_seconds, _acoustics.VAD_RATE, package="silero-vad")
_PITCH = Measure(_acoustics.pitch, package="praat-parselmouth")
_LOUDNESS = Measure(_acoustics.loudness, package="pyloudnorm")
_NOISE = Measure(_acoustics.wada_snr)


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
    return n_alphanumeric(_text(utterance, "speaking_rate")) / _seconds(utterance)


def words_per_second(utterance: Utterance) -> float:
    """Words of the transcript, parted by white space, a second of the whole recording.

    Read English gives about 2 to 3.5. Scripts without spaces between words have no such count.

    Raises
    ------
    ValueError
        If the utterance has no transcript, or its length cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> row = {"path": ["a.wav"], "text": ["It's 5 o'clock"], "duration": [2.0]}
    >>> words_per_second(Utterance("a", {k: np.array(v) for k, v in row.items()}, 0))
    1.5
    """
    return len(_text(utterance, "words_per_second").split()) / _seconds(utterance)


def text_length(utterance: Utterance) -> int:
    """Length of the transcript: its letters and digits (`str.isalnum`).

    Raises
    ------
    ValueError
        If the utterance has no transcript.

    Examples
    --------
    >>> import numpy as np
    >>> row = {"path": ["a.wav"], "text": ["It's 5 o'clock"]}
    >>> text_length(Utterance("a", {k: np.array(v) for k, v in row.items()}, 0))
    10
    """
    return n_alphanumeric(_text(utterance, "text_length"))


@measured(_SPEECH)
def articulation_rate(utterance: Utterance, speech: float) -> float:
    """Characters a second of speech: `speaking_rate` with the pauses taken out.

    Silences of at least 0.2 s are pauses; silero-vad 6 (extra `vad`) finds the speech at 16 kHz,
    with its own threshold of 0.5. Never less than the speaking rate; NaN where no speech is found.

    Raises
    ------
    ValueError
        If the utterance has no transcript, or its sound cannot be read.
    ImportError
        If silero-vad is not installed.

    Examples
    --------
    >>> corpus.label("rate", articulation_rate)  # doctest: +SKIP
    """
    n = n_alphanumeric(_text(utterance, "articulation_rate"))
    return n / speech if speech else math.nan


@measured(_SPEECH)
def pause_ratio(utterance: Utterance, speech: float) -> float:
    """Share of the recording that is not speech, in [0, 1].

    What silero-vad does not take for speech, as in `articulation_rate`; silence before and after
    the words counts. 1 where no speech is found.

    Raises
    ------
    ValueError
        If the sound cannot be read.
    ImportError
        If silero-vad is not installed.

    Examples
    --------
    >>> corpus.label("pauses", pause_ratio)  # doctest: +SKIP
    """
    return max(0.0, 1 - speech / _seconds(utterance))


@measured(_PITCH)
def median_pitch(utterance: Utterance, quantiles: list[float]) -> float:  # noqa: ARG001
    """Median of the pitch of the voiced frames in Hz, by Praat (extra `pitch`).

    Praat's autocorrelation method in two passes, the second between 0.75 times the first quartile
    and 2.5 times the third of the first (Hirst 2011), within 50 to 800 Hz. Men speak at about 80
    to 160 Hz, women at about 150 to 250 Hz. NaN without a voiced frame.

    Raises
    ------
    ValueError
        If the sound cannot be read.
    ImportError
        If praat-parselmouth is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from speechprobe import audio
    >>> path = f"{tempfile.mkdtemp()}/a.wav"
    >>> audio.write(path, 0.5 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000), 16_000)
    >>> round(median_pitch(Utterance("a", {"path": np.array([path])}, 0)))
    200
    """
    return quantiles[1]


@measured(_PITCH)
def pitch_range(utterance: Utterance, quantiles: list[float]) -> float:  # noqa: ARG001
    """Range of the pitch in semitones, from the 5th to the 95th percentile of the voiced frames.

    12 log2 of their ratio, the pitch as in `median_pitch`; speech has about 4 to 20. NaN without a
    voiced frame.

    Raises
    ------
    ValueError
        If the sound cannot be read.
    ImportError
        If praat-parselmouth is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from speechprobe import audio
    >>> path = f"{tempfile.mkdtemp()}/a.wav"
    >>> audio.write(path, 0.5 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000), 16_000)
    >>> round(pitch_range(Utterance("a", {"path": np.array([path])}, 0)), 1)
    0.0
    """
    return 12 * math.log2(quantiles[2] / quantiles[0])


@measured(_LOUDNESS)
def loudness(utterance: Utterance, level: float) -> float:  # noqa: ARG001
    """Integrated loudness in LUFS (ITU-R BS.1770-4), by pyloudnorm (extra `loudness`).

    0 is about full scale, speech is often mastered to -23; 6 more is twice the amplitude. NaN for
    silence, and for less than the 0.4 s that the standard's window needs.

    Raises
    ------
    ValueError
        If the sound cannot be read.
    ImportError
        If pyloudnorm is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from speechprobe import audio
    >>> path = f"{tempfile.mkdtemp()}/a.wav"
    >>> audio.write(path, 0.999 * np.sin(2 * np.pi * 997 * np.arange(96_000) / 48_000), 48_000)
    >>> round(loudness(Utterance("a", {"path": np.array([path])}, 0)))
    -3
    """
    return level


@measured(_NOISE)
def snr(utterance: Utterance, ratio: float) -> float:  # noqa: ARG001
    """Signal-to-noise ratio in dB, estimated from the amplitudes alone (WADA-SNR), -20 to 100.

    Kim and Stern, "Robust signal-to-noise ratio estimation based on waveform amplitude
    distribution analysis", Interspeech 2008: clean speech has gamma-distributed amplitudes (shape
    0.4), noise is Gaussian. The paper's curve is computed here, not tabulated by simulation (they
    differ by up to 0.2 dB up to 30 dB). Samples that are zero are left out, where the
    usual script sets them to 1e-10. Music, hum and clipping break the assumption. NaN for digital
    silence.

    Raises
    ------
    ValueError
        If the sound cannot be read.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from speechprobe import audio
    >>> path = f"{tempfile.mkdtemp()}/a.wav"
    >>> audio.write(path, np.random.default_rng(0).normal(scale=0.1, size=160_000), 16_000)
    >>> snr(Utterance("noise", {"path": np.array([path])}, 0)) < 0
    True
    """
    return ratio


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


def _text(utterance: Utterance, label: str) -> str:
    text = utterance.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f"{label} needs a transcript in the label 'text'; "
            "select the utterances that have one, or add it with corpus.label('text', ...)"
        )
    return text


def _seconds(utterance: Utterance) -> float:
    seconds = utterance.duration
    if not seconds > 0:
        raise ValueError(f"expected a positive duration in seconds, got {seconds}")
    return seconds
