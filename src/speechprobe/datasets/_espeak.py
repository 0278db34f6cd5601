"""Speaks text with espeak-ng, through ctypes and the wheel `espeakng-loader`.

Conventions
-----------
A voice is an espeak name, an accent and a variant joined by "+": "en-us+f1". Samples are int16,
one channel, at the rate that espeak-ng reports (22,050 Hz).

The same call gives the same samples in any process and in any order. espeak-ng alone does not:
its pitch flutter, its noise generator and the gender of the last voice live in static variables
that no function resets. So every call loads a private copy of the library and unloads it after
the utterance (about 4 ms). The private copy also stays apart from another package that uses
espeak-ng in the same process. What a copy cannot cover is C's own `rand()`, from which espeak-ng
draws breath noise: a variant whose file has a non-zero "breath" line is not reproducible.
"""

from __future__ import annotations

import ctypes
import locale
import os
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe._optional import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from numpy.typing import NDArray

# Names and values of speak_lib.h of espeak-ng 1.52.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE, _PITCH = 1, 3
_RATES = (80, 450)
_PITCHES = (0, 99)
_ERRORS = {-1: "internal error", 1: "buffer full", 2: "not found"}

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_SIGNATURES: dict[str, list[Any]] = {
    "espeak_Initialize": [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int],
    "espeak_SetSynthCallback": [_Callback],
    "espeak_SetVoiceByName": [ctypes.c_char_p],
    "espeak_SetParameter": [ctypes.c_int, ctypes.c_int, ctypes.c_int],
    "espeak_Synth": [
        *(ctypes.c_char_p, ctypes.c_size_t),  # text, its bytes with the final zero
        *(ctypes.c_uint, ctypes.c_int, ctypes.c_uint),  # start, kind of position, end
        *(ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),  # flags, identifier, user data
    ],
    "espeak_Info": [ctypes.c_void_p],
}

# espeak_Initialize changes the locale of the whole process, so one thread at a time sets it back.
_LOCK = threading.Lock()


def synthesise(
    text: str, *, voice: str, words_per_minute: int, pitch: int
) -> tuple[NDArray[np.int16], int]:
    """Return the samples of a spoken text and their sample rate.

    Parameters
    ----------
    text
        What is said.
    voice
        Accent and variant, for example "en-us+f1", or an accent alone.
    words_per_minute
        Speaking rate, 80 to 450.
    pitch
        espeak-ng's pitch setting, 0 to 99; 50 leaves the pitch of the voice as it is.

    Returns
    -------
    samples
        Shape (n_samples,), int16.
    sample_rate
        Samples per second.

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.
    ValueError
        If the voice does not exist, a setting is out of range, or nothing is spoken.
    RuntimeError
        If espeak-ng reports an error.

    Examples
    --------
    >>> samples, sample_rate = synthesise("Hello.", voice="en+m3", words_per_minute=160, pitch=50)
    >>> samples.ndim, sample_rate
    (1, 22050)
    """
    _check_range("words_per_minute", words_per_minute, _RATES)
    _check_range("pitch", pitch, _PITCHES)
    with _fresh_library() as (library, sample_rate):
        _set_voice(library, voice)
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch)):
            _check(library.espeak_SetParameter(parameter, value, 0), f"set {value} for {voice!r}")
        samples = _speak(library, text)
    if not samples.any():
        raise ValueError(f"voice {voice!r} says nothing for the text {text!r}; give words")
    return samples, sample_rate


def version() -> str:
    """Return the version of the espeak-ng library.

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.

    Examples
    --------
    >>> version()[:2]
    '1.'
    """
    with _fresh_library() as (library, _):
        library.espeak_Info.restype = ctypes.c_char_p
        found: bytes = library.espeak_Info(None)
    return found.decode()


@contextmanager
def _fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    loader = _loader()
    # A new folder each time: where unloading is put off, the same path would give the old copy.
    with (
        _LOCK,
        _locale_kept(),
        tempfile.TemporaryDirectory(prefix="espeak-", ignore_cleanup_errors=True) as folder,
    ):
        library = _load(shutil.copy(loader.get_library_path(), folder))
        try:
            rate = _start(library, loader.get_data_path())
            try:
                yield library, rate
            finally:
                library.espeak_Terminate()
        finally:
            _unload(library)


def _start(library: ctypes.CDLL, data: str) -> int:
    rate: int = library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), _INITIALIZE_DONT_EXIT
    )
    if rate <= 0:
        raise RuntimeError(
            f"espeak-ng does not start with the data folder {data} (code {rate}); "
            "install espeakng-loader again"
        )
    return rate


def _loader() -> ModuleType:
    return require("espeakng_loader", extra="demo")


def _load(path: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise RuntimeError(
            f"espeak-ng does not load from {path} ({error}); if programs may not be run from that "
            "folder, set the environment variable TMPDIR to one where they may"
        ) from error
    for name, arguments in _SIGNATURES.items():
        getattr(library, name).argtypes = arguments
    return library


def _unload(library: ctypes.CDLL) -> None:
    import _ctypes  # the only way to unload; ctypes itself never does

    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


@contextmanager
def _locale_kept() -> Iterator[None]:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _set_voice(library: ctypes.CDLL, voice: str) -> None:
    variant = voice.partition("+")[2]
    # espeak-ng takes an unknown variant for no variant, without an error.
    known = not variant or (Path(_loader().get_data_path()) / "voices" / "!v" / variant).is_file()
    if not known or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(
            f"espeak-ng has no voice {voice!r}; expected an accent such as 'en-us' alone or with "
            "a variant, such as 'en-us+f1'"
        )


def _speak(library: ctypes.CDLL, text: str) -> NDArray[np.int16]:
    chunks: list[bytes] = []

    def collect(samples: int | None, n_samples: int, _events: int | None) -> int:
        if samples and n_samples > 0:
            chunks.append(ctypes.string_at(samples, n_samples * 2))
        return 0  # 1 would stop the synthesis

    callback = _Callback(collect)  # bound to a name: the library does not keep it alive
    library.espeak_SetSynthCallback(callback)
    spoken = text.encode() + b"\0"
    status = library.espeak_Synth(
        spoken, len(spoken), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
    )
    _check(status, f"speak {text!r}")
    _check(library.espeak_Synchronize(), f"finish {text!r}")
    return np.frombuffer(b"".join(chunks), dtype=np.int16)


def _check(status: int, what: str) -> None:
    if status != 0:
        reason = _ERRORS.get(status, "unknown error")
        raise RuntimeError(f"espeak-ng could not {what}: code {status} ({reason})")


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{name} must be from {limits[0]} to {limits[1]}, got {value}")
