"""BYOL-S of 48 kHz files, against SERAB's own way.

    OMP_NUM_THREADS=1 python -m benchmarks.serab_way [--quick] [LibriSpeech] [--weights FILE]

Their way is written from its description: all sounds are read and held as int64, then one after the
other is brought to 16 kHz by resampy (numba) with the filter of its version 0.2.2, made a log-mel
spectrogram by torchaudio, standardised with the corpus's two constants and embedded. The filter's
table is made once, and the network keeps torch's own layout of weights. The sounds are those of
LibriSpeech test-other brought to 48 kHz, 16 bits; noise without a folder. `FILE` is BYOL-S of 512
dimensions; random weights without it.

Ours is `extract`, once with the reading of 2021 (that of `protocols`, the same resampler), whose
vectors are theirs to 1e-4, and once as it comes, with the resampler of `audio.read`, whose vectors
are others by what the table tells. Memory is the peak of a process of its own, libraries included
but for resampy and numba in ours.
"""

from __future__ import annotations

import copy
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

import speechprobe as sp
from benchmarks.extraction import argument, given_folder, speech
from benchmarks.one_by_one import MEMORY_RETURNED
from benchmarks.timing import Row, alone, clock, in_turns, peak_mib, run
from speechprobe import audio
from speechprobe.protocols._serab.reading import ReadAsIn2021

RATE, FILE_RATE = 16_000, 48_000
MEAN, STD = -5.7522306, 3.4032545  # SERAB's constants of IEM4
ZEROS, PRECISION, ROLLOFF, BETA = 64, 9, 0.9475937167399596, 14.769656459379492
EPSILON = torch.finfo(torch.float32).eps
SIZES = (0.0, 10.0, 40.0, 120.0)
WAYS = ("libraries", "as in 2021", "as it comes")
WHY = (
    "Median of five runs in turns. Read as in 2021, a seventh of ours is the resampler of "
    "`protocols`, in double precision. What freed memory glibc keeps in the arenas of the "
    "reading threads is 300 to 1,000 MiB of the peaks, from run to run."
)


def byol(weights: str | None) -> Any:
    return sp.extractors.load_byol_a(
        weights, mean=MEAN, std=STD, layers="embedding", untrained=weights is None
    )


def files(folder: Path | None, place: str, n_files: int) -> sp.datasets.Corpus:
    """Return a corpus of 48 kHz files."""
    with tempfile.TemporaryDirectory() as noise:
        for path in speech(folder, n_files, noise).column("path"):
            at_48_khz = audio.resample(audio.read(str(path), RATE), RATE, FILE_RATE)
            name = Path(place) / f"{Path(str(path)).stem}.wav"
            soundfile.write(name, np.clip(at_48_khz, -1, 1), FILE_RATE, subtype="PCM_16")
    return sp.datasets.load_folder(place)


@functools.cache
def filter_of_022() -> tuple[NDArray[np.float64], int, float]:
    """Return what resampy 0.2.2 called kaiser_best, in the form that resampy takes."""
    import resampy
    from scipy.signal.windows import kaiser

    return resampy.filters.sinc_window(
        num_zeros=ZEROS, precision=PRECISION, rolloff=ROLLOFF, window=lambda n: kaiser(n, BETA)
    )


def serab_way(network: torch.nn.Module, paths: Sequence[str]) -> NDArray[np.float32]:
    """Return embeddings (n_files, 512) as SERAB makes them."""
    import resampy
    import torchaudio

    sounds = [soundfile.read(path, dtype="int16")[0].astype(np.int64) for path in paths]
    mel = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=1024, win_length=400, hop_length=160, n_mels=64, f_min=60, f_max=7800
    )
    found = []
    for sound in sounds:
        signal = resampy.resample(
            (sound / 32767).astype(np.float32), FILE_RATE, RATE, filter=filter_of_022
        )
        with torch.no_grad():
            features = ((mel(torch.from_numpy(signal)) + EPSILON).log() - MEAN) / STD
            found.append(network(features.mT[None])[0].numpy())
    return np.stack(found)


def ours(
    corpus: sp.datasets.Corpus,
    extractor: Any,
    *,
    as_in_2021: bool,
    batch_seconds: Any = "auto",
) -> sp.Features:
    reading = ReadAsIn2021(extractor, FILE_RATE) if as_in_2021 else extractor
    return sp.extract(corpus, reading, batch_seconds=batch_seconds, progress=False)


def difference(features: sp.Features, theirs: NDArray[np.float32]) -> float:
    """Return the largest relative distance of an embedding of ours from theirs."""
    distances = np.linalg.norm(features["embedding"] - theirs, axis=1)
    return float((distances / np.linalg.norm(theirs, axis=1)).max())


def end_to_end(corpus: sp.datasets.Corpus, extractor: Any, *, quick: bool) -> list[Row]:
    paths = [str(path) for path in corpus.column("path")]
    network = copy.deepcopy(extractor.module).to(memory_format=torch.contiguous_format)
    theirs = serab_way(network, paths)
    same, plain = (ours(corpus, extractor, as_in_2021=each) for each in (True, False))
    assert difference(same, theirs) < 1e-4, difference(same, theirs)
    *taken, other = in_turns(
        lambda: ours(corpus, extractor, as_in_2021=True),
        lambda: ours(corpus, extractor, as_in_2021=False),
        lambda: serab_way(network, paths),
        repeats=2 if quick else 5,
        clock=clock(),
    )
    sound = plain.provenance["sound_seconds"]
    names = ("read as in 2021, vectors equal to 1e-4", "resampler of audio.read")
    return [
        Row(
            f"BYOL-S of {sound:.0f} s at {FILE_RATE} Hz, against SERAB's way; {name}",
            seconds,
            other,
            "at least 3 times",
            f"{sound / seconds:.0f} s of sound a second, theirs {sound / other:.0f}; the vectors "
            f"differ by {difference(features, theirs):.0e}",
        )
        for name, features, seconds in zip(names, (same, plain), taken, strict=True)
    ]


def resampling_alone(corpus: sp.datasets.Corpus) -> Row:
    """The share of resampling: ours as in 2021 against theirs."""
    import resampy

    sounds = [audio.read(str(path)) for path in corpus.column("path")]
    reading = ReadAsIn2021(sp.extractors.LogMel(), FILE_RATE)
    seconds, other = in_turns(
        lambda: [reading._read(sound) for sound in sounds],
        lambda: [
            resampy.resample(sound, FILE_RATE, RATE, filter=filter_of_022) for sound in sounds
        ],
        repeats=3,
        clock=clock(),
    )
    return Row("Resampling alone, as in 2021", seconds, other, "", "part of the first row")


def sizes(corpus: sp.datasets.Corpus, extractor: Any, *, quick: bool) -> Row:
    """What "auto" takes, against the best of the sizes it tries."""
    ways: dict[Any, Callable[[], sp.Features]] = {
        size: functools.partial(ours, corpus, extractor, as_in_2021=False, batch_seconds=size)
        for size in ("auto", *SIZES)
    }
    chosen = [ways["auto"]().provenance["batch_seconds"] for _ in range(2 if quick else 3)]
    taken = in_turns(*ways.values(), repeats=2 if quick else 5, clock=clock())
    seconds = dict(zip(ways, taken, strict=True))
    told = ", ".join(f"{size:g} s: {seconds[size]:.3f}" for size in SIZES)
    return Row(
        'The size that batch_seconds="auto" chooses, against the best fixed size',
        max(seconds[size] for size in chosen),
        min(seconds[size] for size in SIZES),
        "at most 1.05 times",
        f"it chose {', '.join(f'{each:g}' for each in chosen)} in {len(chosen)} runs; {told} (0: "
        f"one by one); auto with its trial {seconds['auto']:.3f}",
    )


def peak(way: str, folder: str, weights: str | None) -> float:
    """Return the peak memory of this process in MiB after one way."""
    corpus, extractor = sp.datasets.load_folder(folder), byol(weights)
    _ = extractor.layers
    if way == "theirs":
        serab_way(extractor.module, [str(path) for path in corpus.column("path")])
    elif way != "libraries":
        ours(corpus, extractor, as_in_2021=way == "as in 2021")
    return peak_mib()


def memory(folder: str, weights: str | None) -> list[Row]:
    """Peaks as they come, and where glibc returns at once what is freed."""
    found = []
    for how, setting in (("", {}), (", freed memory returned", MEMORY_RETURNED)):
        with mock.patch.dict(os.environ, setting):
            peaks = {
                way: alone(f"benchmarks.serab_way:peak({way!r}, {folder!r}, {weights!r})")
                for way in (*WAYS, "theirs")
            }
        found += [
            Row(
                f"Peak memory in MiB, ours {way}, against SERAB's way{how}",
                peaks[way],
                peaks["theirs"],
                "under 1024",
                f"{peaks['libraries']:.0f} are libraries, the network and what finds its layers",
            )
            for way in WAYS[1:]
        ]
    return found


def rows(*, quick: bool = False) -> list[Row]:
    weights = argument("--weights", "") or None
    extractor = byol(weights)
    with tempfile.TemporaryDirectory() as place:
        corpus = files(given_folder(), place, 10 if quick else 100)
        return [
            *end_to_end(corpus, extractor, quick=quick),
            resampling_alone(corpus),
            sizes(corpus, extractor, quick=quick),
            *memory(place, weights),
        ]


if __name__ == "__main__":
    run("serab_way", rows, what=WHY)
