"""IEMOCAP: English dialogues of ten actors, improvised and scripted, 10,039 evaluated turns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from speechprobe.datasets._names import parse
from speechprobe.datasets._scan import corpus_of_rows, require_folder, sound_files
from speechprobe.datasets.corpus import Corpus

_EMOTIONS = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "happiness",
    "fea": "fear",
    "fru": None,
    "hap": "happiness",
    "neu": "neutral",
    "oth": None,
    "sad": "sadness",
    "sur": "surprise",
    "xxx": None,
}
_FOUR = ("ang", "exc", "hap", "neu", "sad")
_SCENARIOS = {"impro": "improvised", "script": "scripted"}
_TURN = re.compile(
    "(?P<dialog>Ses0(?P<session>[1-5])[FM]_(?P<scenario>impro|script)[0-9]{2}(?:_[0-9])?[a-z]?)"
    "_(?P<gender>[FM])(?P<number>[0-9]{3}|XX[0-9])"
)
_NUMBER = "[0-9]+(?:[.][0-9]+)?"
_EVALUATION = re.compile(
    rf"\[(?P<start>{_NUMBER}) - (?P<end>{_NUMBER})\]\s+(?P<turn>\S+)\s+(?P<code>\S+)\s+"
    rf"\[(?P<valence>{_NUMBER}), (?P<activation>{_NUMBER}), (?P<dominance>{_NUMBER})\]\s*"
)
_NUMBERS = ("valence", "activation", "dominance", "start", "end")
_TRANSCRIPT = re.compile(rf"(?P<turn>\S+) \[{_NUMBER}-{_NUMBER}\]:(?P<text>.*)")
_LAYOUT = (
    "IEMOCAP_full_release/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav with "
    "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
)
_SOURCE = "Ask for the corpus with the release form at https://sail.usc.edu/iemocap/"


def load_iemocap(root: str | Path, emotions: Literal["four", "all"] = "four") -> Corpus:
    """Load IEMOCAP, the Interactive Emotional Dyadic Motion Capture database.

    Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan: "IEMOCAP: interactive
    emotional dyadic motion capture database", Language Resources and Evaluation 42(4), 2008,
    doi 10.1007/s10579-008-9076-6. For research, under the licence of the release form at
    https://sail.usc.edu/iemocap/; it is not downloaded here. English, 16 kHz, about 12 hours of
    dialogue between a woman and a man in each of 5 sessions, 10 speakers. Layout::

        IEMOCAP_full_release/
        ├── Session1/
        │   ├── dialog/
        │   │   ├── EmoEvaluation/Ses01F_impro01.txt      emotion, valence, ... of each turn
        │   │   └── transcriptions/Ses01F_impro01.txt     words of each turn (optional)
        │   └── sentences/wav/Ses01F_impro01/
        │       ├── Ses01F_impro01_F000.wav               the woman's first turn
        │       └── Ses01F_impro01_M000.wav               the man's
        └── Session2/ ...

    The speaker of a turn is its session with its LAST letter. The letter after the session says
    who wears the markers in that recording, not who speaks. SERAB (2021) took the session with
    that letter: both people of every test session were also in training.

    The codes: ang anger, hap happiness, exc excitement, sad sadness, neu neutral, fru
    frustration, fea fear, sur surprise, dis disgust, oth other, xxx no agreement. The usual four
    classes merge hap and exc: 5,531 turns, 1,103 anger, 1,636 happiness, 1,708 neutral, 1,084
    sadness. Scripted dialogues are performed in every session, so words give emotions away
    there.

    Sessions that are absent are left out. Hidden files (`._Ses01F_impro01.txt`) are passed over,
    and so are sounds of the unevaluated turns that are numbered XX0, XX1, ...

    Parameters
    ----------
    root
        The folder that holds Session1 to Session5.
    emotions
        "four": turns of anger, happiness (with excitement), neutral and sadness. "all": every
        evaluated turn, 10,039; `emotion` is None for fru, oth and xxx.

    Returns
    -------
    corpus
        Labels: speaker ("Ses01F" to "Ses05M"), gender ("F" or "M"), emotion, emotion_code (three
        letters), valence, activation, dominance (means of the listeners, 1 to 5), text (None
        without transcript), session ("1" to "5"), dialog, scenario ("improvised" or "scripted"),
        start, end (seconds in the dialogue), language, duration (seconds), sample_rate (Hz),
        channels.

    Raises
    ------
    FileNotFoundError
        If the folder, a session's sounds or its evaluations are missing, or a turn's sound is.
    ValueError
        If `emotions` is unknown, a file name does not fit its folder, a line of an evaluation
        cannot be read, a sound has no evaluation, or no turn has one of the four emotions.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> session = Path(tempfile.mkdtemp(), "Session1")
    >>> (session / "sentences/wav/Ses01F_impro01").mkdir(parents=True)
    >>> (session / "dialog/EmoEvaluation").mkdir(parents=True)
    >>> sound = session / "sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav"
    >>> speechprobe.audio.write(sound, np.zeros(1600), 16_000)
    >>> line = "[0.5 - 0.6] Ses01F_impro01_M000 exc [4.0, 3.5, 3.0]"
    >>> n = (session / "dialog/EmoEvaluation/Ses01F_impro01.txt").write_text(line)
    >>> utterance = load_iemocap(session.parent)["Ses01F_impro01_M000"]
    >>> utterance["speaker"], utterance["emotion"], utterance["emotion_code"]
    ('Ses01M', 'happiness', 'exc')
    """
    if emotions not in ("four", "all"):
        raise ValueError(f"emotions must be 'four' or 'all', got {emotions!r}")
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    sessions = [path for n in range(1, 6) if (path := folder / f"Session{n}").is_dir()]
    if not sessions:
        raise FileNotFoundError(f"{folder}: holds no Session1 to 5. Layout: {_LAYOUT}. {_SOURCE}")
    codes = _FOUR if emotions == "four" else tuple(_EMOTIONS)
    rows = [row for session in sessions for row in _rows_of_session(session, codes)]
    if not rows:
        raise ValueError(f"{folder}: no turn has one of the codes {codes}; try emotions='all'")
    return corpus_of_rows("iemocap", rows)


def _rows_of_session(session: Path, codes: tuple[str, ...]) -> list[dict[str, Any]]:
    sounds = _sounds(session)
    evaluations = _evaluations(session)
    texts = _texts(session)
    chosen = [turn for turn, labels in evaluations.items() if labels["emotion_code"] in codes]
    missing = [turn for turn in chosen if turn not in sounds]
    if missing:
        raise FileNotFoundError(
            f"{session}: {len(missing)} evaluated turns have no sound in sentences/wav, "
            f"first {missing[:3]}; unpack the archive again"
        )
    odd = [turn for turn in sounds if turn not in evaluations and "XX" not in turn]
    if odd:
        raise ValueError(
            f"{session}: {len(odd)} sounds have no line in dialog/EmoEvaluation, first {odd[:3]}; "
            "unpack the archive again"
        )
    return [_row(sounds[turn], evaluations[turn], texts.get(turn)) for turn in sorted(chosen)]


def _sounds(session: Path) -> dict[str, Path]:
    sounds: dict[str, Path] = {}
    for path in sound_files(session / "sentences" / "wav", _LAYOUT, source=_SOURCE):
        parts = parse(_TURN, path, _LAYOUT)
        if [path.parent.name, session.name] != [parts["dialog"], f"Session{parts['session']}"]:
            raise ValueError(f"{path}: the name does not fit its folders. Layout: {_LAYOUT}")
        if path.stem in sounds:
            raise ValueError(f"{path.stem} is there twice: {sounds[path.stem]} and {path}")
        sounds[path.stem] = path
    return sounds


def _evaluations(session: Path) -> dict[str, dict[str, Any]]:
    folder = session / "dialog" / "EmoEvaluation"
    evaluations: dict[str, dict[str, Any]] = {}
    for file in _text_files(folder):
        for line in _lines(file):
            # Below each such line stand those of the single listeners, which begin otherwise.
            if line.startswith("["):
                turn, labels = _evaluation(file, line)
                if turn in evaluations:
                    raise ValueError(f"{file}: evaluates {turn} a second time")
                evaluations[turn] = labels
    if not evaluations:
        raise FileNotFoundError(f"{folder}: holds no evaluation. Layout: {_LAYOUT}. {_SOURCE}")
    return evaluations


def _evaluation(file: Path, line: str) -> tuple[str, dict[str, Any]]:
    match = _EVALUATION.fullmatch(line)
    if not match or match["code"] not in _EMOTIONS or not match["turn"].startswith(f"{file.stem}_"):
        raise ValueError(
            f"{file}: expected '[start - end] {file.stem}_F000 code [valence, activation, "
            f"dominance]' with a code of {sorted(_EMOTIONS)}, got {line!r}"
        )
    code = match["code"]
    numbers = {name: float(match[name]) for name in _NUMBERS}
    return match["turn"], {"emotion": _EMOTIONS[code], "emotion_code": code, **numbers}


def _texts(session: Path) -> dict[str, str]:
    lines = [
        _TRANSCRIPT.fullmatch(line)
        for file in _text_files(session / "dialog" / "transcriptions")
        for line in _lines(file)
    ]
    return {match["turn"]: match["text"].strip() for match in lines if match}


def _text_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.txt") if not file.name.startswith("."))


def _lines(file: Path) -> list[str]:
    # A stray byte must not hide a turn; it becomes a replacement character.
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def _row(path: Path, evaluation: dict[str, Any], text: str | None) -> dict[str, Any]:
    parts = parse(_TURN, path, _LAYOUT)
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": f"Ses0{parts['session']}{parts['gender']}",
        "gender": parts["gender"],
        **evaluation,
        "text": text,
        "session": parts["session"],
        "dialog": parts["dialog"],
        "scenario": _SCENARIOS[parts["scenario"]],
        "language": "en",
    }
