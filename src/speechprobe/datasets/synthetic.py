"""A spoken corpus made on the spot with espeak-ng, for examples, tests and sanity checks.

Conventions
-----------
A speaker is a variant of espeak-ng (its formants and its glottis), an accent of English and a base
pitch. No two speakers share variant and accent. The gender is the one that the variant's own file
declares; speakers alternate F, M, F, M. Nine variants of each gender are used, each with eight
accents. Left out of espeak-ng's own list: variants that declare no gender, whisper and robots;
those that draw breath noise, which is not reproducible (f2, f3, f5, Alicia, sandro, victor); those
that stretch or shorten vowels, so that their rate is not the one asked for (Andrea, anika,
antonio, Marco, AnxiousAndy, Lee); and near copies of another (steph3, miguel, Diogo, Henrique).

The words per minute of an utterance are drawn uniformly from 120 to 240, apart from voice, gender
and text. The base pitch setting of a speaker is drawn from 25 to 75, that of an utterance within
5 of it; 50 is the variant's own pitch, 25 lowers it by 15 to 21 %, 75 raises it by 21 to 35 %.

Files are 16 kHz mono FLAC of 16 bits with a peak of 0.9 and no digital silence at either end. The
same arguments and the same versions of espeak-ng, SciPy and libsndfile give the same bytes.

This is synthetic speech: a score on it says that a pipeline works, not what a model knows of
people.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.signal import resample_poly
from tqdm.auto import tqdm

from speechprobe import audio
from speechprobe._files import PARTIAL, hide_progress, replacing
from speechprobe.datasets import _espeak
from speechprobe.datasets._sentences import SENTENCES
from speechprobe.datasets.corpus import Corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
PEAK = 0.9
WORDS_PER_MINUTE = (120, 240)
BASE_PITCH = (25, 75)
PITCH_CHANGE = 5

VARIANTS = {
    "F": ("f1", "f4", "Annie", "linda", "steph", "grandma", "belinda", "aunty", "steph2"),
    "M": ("m1", "m7", "m4", "m8", "m3", "Denis", "m2", "travis", "m6"),
}
ACCENTS = (
    *("en", "en-us", "en-gb-scotland", "en-029"),
    *("en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd"),
)
MAX_VOICES = 2 * len(VARIANTS["F"]) * len(ACCENTS)

_TABLE = "synthetic.csv"
_RECORD = "synthetic.json"  # the arguments; written last, so that it marks a finished corpus
_BEGUN = "synthetic.begun.json"  # the same before that


def load_synthetic(
    folder: str | Path,
    *,
    n_voices: int = 40,
    n_utterances: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> Corpus:
    """Make a corpus of synthetic English speech in a folder, or load the one made there before.

    Parameters
    ----------
    folder
        Where the corpus lies or shall lie: new, empty, or made by this function with the same
        arguments. A call that was interrupted is finished by the next one.
    n_voices
        Number of speakers, at most 144; half of them female (one more if the number is odd).
    n_utterances
        Utterances of each speaker. A speaker repeats no sentence within the first 60.
    seed
        Seed of sentences, speaking rates and pitches.
    progress
        Show a progress bar where the output is a terminal.

    Returns
    -------
    corpus
        `n_voices * n_utterances` utterances with the labels speaker, gender ("F" or "M"), text,
        words_per_minute, pitch_setting (0 to 99), voice (espeak-ng's name), language (the accent)
        and duration (seconds). The same table, with paths relative to the folder, is written to
        `synthetic.csv`.

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.
    ValueError
        If a number is out of range, or if the folder holds other files or a corpus made with
        other arguments.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     corpus = load_synthetic(folder, n_voices=4, n_utterances=2)
    >>> corpus.table[["gender", "words_per_minute", "language"]]
            gender  words_per_minute language
    id
    f01-000      F               148       en
    f01-001      F               215       en
    m01-000      M               224       en
    m01-001      M               129       en
    f02-000      F               179    en-us
    f02-001      F               218    en-us
    m02-000      M               125    en-us
    m02-001      M               206    en-us
    """
    plan = _plan(n_voices, n_utterances, np.random.default_rng(seed))
    arguments = {"n_voices": n_voices, "n_utterances": n_utterances, "seed": seed}
    made_with = {name: int(value) for name, value in arguments.items()}
    folder = Path(folder).absolute()
    _claim(folder, json.dumps(made_with | {"espeak": _espeak.version()}), plan)
    rows = plan.to_dict("records")
    missing = [row for row in rows if not (folder / row["path"]).is_file()]
    for row in tqdm(missing, "speech", unit="file", disable=hide_progress(progress)):
        signal = _speak(row["text"], row["voice"], row["words_per_minute"], row["pitch_setting"])
        _write_flac(folder / row["path"], signal)
    return _finish(folder, plan)


def _plan(n_voices: int, n_utterances: int, generator: np.random.Generator) -> pd.DataFrame:
    if not 1 <= n_voices <= MAX_VOICES:
        raise ValueError(
            f"n_voices must be from 1 to {MAX_VOICES}, the number of distinct voices, "
            f"got {n_voices}"
        )
    if n_utterances < 1:
        raise ValueError(f"n_utterances must be at least 1, got {n_utterances}")
    speakers = [
        _plan_speaker(index // 2, "FM"[index % 2], n_utterances, generator)
        for index in range(n_voices)
    ]
    return pd.concat(speakers)


def _plan_speaker(
    index: int, gender: str, n_utterances: int, generator: np.random.Generator
) -> pd.DataFrame:
    speaker = f"{gender.lower()}{index + 1:02d}"
    names = [f"{speaker}-{number:03d}" for number in range(n_utterances)]
    lap, place = divmod(index, len(VARIANTS[gender]))
    # Each lap shifts the accents by one, so that no variant meets an accent twice.
    accent = ACCENTS[(lap + place) % len(ACCENTS)]
    base_pitch = generator.integers(*BASE_PITCH, endpoint=True)
    changes = generator.integers(-PITCH_CHANGE, PITCH_CHANGE, n_utterances, endpoint=True)
    columns = {
        "path": [f"audio/{speaker}/{name}.flac" for name in names],
        "speaker": speaker,
        "gender": gender,
        "text": _draw_sentences(n_utterances, generator),
        "words_per_minute": generator.integers(*WORDS_PER_MINUTE, n_utterances, endpoint=True),
        "pitch_setting": base_pitch + changes,
        "voice": f"{accent}+{VARIANTS[gender][place]}",
        "language": accent,
    }
    return pd.DataFrame(columns, index=pd.Index(names, name="id"))


def _draw_sentences(n_sentences: int, generator: np.random.Generator) -> list[str]:
    n_laps = math.ceil(n_sentences / len(SENTENCES))
    order = np.concatenate([generator.permutation(len(SENTENCES)) for _ in range(n_laps)])
    return [SENTENCES[number] for number in order[:n_sentences]]


def _claim(folder: Path, record: str, plan: pd.DataFrame) -> None:
    """Make the folder ours for these arguments, or raise if it holds something else."""
    for found in (folder / _RECORD, folder / _BEGUN):
        if found.is_file():
            _require_same(found, record)
            return
    _refuse_strays(folder, plan)
    # Nothing says which arguments made the audio that lies here, so it is made anew.
    for path in plan["path"]:
        (folder / path).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / _BEGUN) as part:
        part.write_text(record, encoding="utf-8")


def _require_same(found: Path, record: str) -> None:
    made_with = found.read_text(encoding="utf-8")
    if made_with != record:
        raise ValueError(
            f"{found.parent} holds a synthetic corpus made with {made_with}, but {record} was "
            "asked for; give another folder, or delete this one to make it anew"
        )


def _refuse_strays(folder: Path, plan: pd.DataFrame) -> None:
    ours = {*plan["path"], _TABLE, _BEGUN}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in ours and not name.endswith(PARTIAL):
            raise ValueError(
                f"{folder} holds {name}, which is no part of the synthetic corpus asked for; "
                "give a new or an empty folder"
            )


def _speak(text: str, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.int16]:
    samples, sample_rate = _espeak.synthesise(
        text, voice=voice, words_per_minute=words_per_minute, pitch=pitch
    )
    common = math.gcd(SAMPLE_RATE, sample_rate)
    signal = resample_poly(samples / 2**15, SAMPLE_RATE // common, sample_rate // common)
    scaled = np.rint(signal * (PEAK / np.abs(signal).max() * 2**15)).astype(np.int16)
    return np.trim_zeros(scaled)


def _write_flac(path: Path, signal: NDArray[np.int16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        audio.write(part, signal, SAMPLE_RATE, kind="FLAC")


def _finish(folder: Path, plan: pd.DataFrame) -> Corpus:
    durations = [audio.read_header(folder / path).duration for path in plan["path"]]
    table = plan.assign(duration=durations)
    with replacing(folder / _TABLE) as part:
        table.to_csv(part)
    if (folder / _BEGUN).is_file():
        (folder / _BEGUN).replace(folder / _RECORD)
    return Corpus(
        name="synthetic", table=table.assign(path=[str(folder / path) for path in plan["path"]])
    )
