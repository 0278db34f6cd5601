"""Extraction of 400 frames a file, against the script of the speaking-rate study.

    OMP_NUM_THREADS=1 python -m benchmarks.one_by_one [--quick] [--device cuda] [folder]

The script is written from its description: one file after the other, torchaudio's Kaldi filter
bank, the mean subtracted, 400 frames by cutting or filling up with zeros, a hook on every layer
that copies the whole activation to NumPy, means over time of these. It runs under `torch.no_grad`.
The network is SimAM-ResNet34 with one set of random weights: WeSpeaker's own module where that
package is installed, and ours. All sides give the same vectors to 1e-4. Ours is measured as it is,
after `compile`, whose own time is told and not counted, and in bfloat16, whose vectors differ by
what its row tells. On a CPU our loaders lay weights channels last; the script's network keeps
torch's own layout. The limit is the network alone on the same features: on a CPU its convolutions
are about 70 % of a pass, so that at equal work the script's copies and its filter bank are all that
can be saved.

Memory is the peak of a process of its own above the peak of the network's own passes in the same
process, after one file without hooks, so that all libraries are loaded. It is what either way holds
beside the network's work: activations there, sound read ahead here. The description does not say
when the means are taken, so the script is measured both ways: after each file, and after the last.
What finding the layers loads once (FakeTensor and its like, 150 MiB) is there in both.
"""

from __future__ import annotations

import copy
import functools
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray
from torch import nn

import speechprobe as sp
from benchmarks.extraction import argument, bare, calls_of, given_folder, simam, speech
from benchmarks.timing import NAN, Row, alone, clock, in_turns, peak_mib, run
from speechprobe import audio, pooling
from speechprobe.extractors.wespeaker_package import build

N_FRAMES = 400
WAYS = ("ours", "after each file", "at the end")
# glibc gives back at once what is freed, so that a peak is what was held.
MEMORY_RETURNED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
Layers = dict[str, NDArray[np.floating]]
WHY = (
    "Median of five runs in turns. Missed on a CPU in single precision, as the network alone takes "
    "nine tenths of the script's time and its convolutions about 70 % of that."
)


def packaged(network: nn.Module) -> nn.Module | None:
    """Return WeSpeaker's own module with the weights of ours, if the package is installed."""
    try:
        theirs = build("SimAM_ResNet34_ASP", {}, 80).network
    except ImportError:
        return None
    state = network.state_dict()
    theirs.load_state_dict({name: state[name] for name in theirs.state_dict() if name in state})
    return theirs.to(next(network.parameters()).device)


def whole_layers(network: nn.Module, layers: Sequence[str], path: str) -> Layers:
    """Return whole activations (F or C F, T) of one file, as the script does."""
    samples, rate = soundfile.read(path, dtype="float32")
    device = next(network.parameters()).device
    features = torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(samples)[None] * 32768,
        num_mel_bins=80,
        frame_length=25,
        frame_shift=10,
        window_type="hamming",
        sample_frequency=rate,
    )
    features = (features - features.mean(0))[:N_FRAMES]
    features = nn.functional.pad(features, (0, 0, 0, N_FRAMES - len(features)))
    held: Layers = {}

    def keep(name: str, output: Any) -> None:
        held[name] = output.detach().cpu().numpy().copy()

    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: keep(name, output)
        )
        for name in layers
    ]
    with torch.no_grad():
        network(features[None].to(device))
    for handle in handles:
        handle.remove()
    return held


def mean_over_time(activation: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean over the last axis of (1, ..., T); an embedding (1, D) has no time."""
    return activation.mean(-1).ravel() if activation.ndim > 2 else activation.ravel()


def one_by_one(
    network: nn.Module, layers: Sequence[str], paths: Sequence[str], *, at_the_end: bool = False
) -> Layers:
    """Return the vectors of all layers, (n_files, D)."""
    found = []
    for path in paths:
        held = whole_layers(network, layers, path)
        found.append(held if at_the_end else pooled(held))
    rows = [pooled(held) for held in found] if at_the_end else found
    return {layer: np.stack([row[layer] for row in rows]) for layer in layers}


def pooled(held: Layers) -> Layers:
    return {layer: mean_over_time(each) for layer, each in held.items()}


def difference(features: sp.Features, theirs: Layers) -> float:
    """Return the largest relative distance of a vector of ours from the script's."""
    distances = [
        np.linalg.norm(features[layer] - rows, axis=1) / np.linalg.norm(rows, axis=1)
        for layer, rows in theirs.items()
    ]
    return float(np.max(distances))


def growth(way: str, paths: Sequence[str]) -> float:
    """Return by how many MiB the peak of this process grows beyond the network's own work."""
    extractor = simam("cpu", N_FRAMES)
    layers, corpus = extractor.layers, sp.datasets.load_table(_table(paths))
    sp.extract(corpus.select([True] + [False] * (len(paths) - 1)), sp.extractors.LogMel())
    whole_layers(extractor.module, [], paths[0])
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    with torch.no_grad():
        for _ in range(3):
            extractor.module(torch.zeros(1, N_FRAMES, 80))
    before = peak_mib()
    if way == "ours":
        sp.extract(corpus, extractor, progress=False)
    else:
        one_by_one(extractor.module, layers, paths, at_the_end=way == "at the end")
    return peak_mib() - before


def _table(paths: Sequence[str]) -> Any:
    import pandas as pd

    ids = [Path(path).stem for path in paths]
    return pd.DataFrame({"path": list(paths), "speaker": ids}, index=pd.Index(ids, name="id"))


def times(corpus: sp.datasets.Corpus, device: str, *, quick: bool) -> list[Row]:
    """Ours against the script with our network and with WeSpeaker's own."""
    plain, compiled, short = (
        simam(device, N_FRAMES, dtype) for dtype in (None, None, torch.bfloat16)
    )
    paths = [str(path) for path in corpus.column("path")]
    usual = copy.deepcopy(plain.module).to(memory_format=torch.contiguous_format)
    networks = {"ours": usual, "WeSpeaker's": packaged(usual)}
    scripts = {
        whose: functools.partial(one_by_one, network, plain.layers, paths)
        for whose, network in networks.items()
        if network is not None
    }
    ways = {"": functools.partial(sp.extract, corpus, plain, progress=False)}
    took = _compile(compiled, audio.read(paths[0], plain.sample_rate))
    if took is not None:
        ways = {
            ", compiled": functools.partial(sp.extract, corpus, compiled, progress=False)
        } | ways
    ways[", in bfloat16"] = functools.partial(sp.extract, corpus, short, progress=False)
    expected = {whose: script() for whose, script in scripts.items()}
    errors = {
        how: max(difference(way(), each) for each in expected.values()) for how, way in ways.items()
    }
    for how in ways.keys() - {", in bfloat16"}:
        assert errors[how] < 1e-4, f"{how}: {errors[how]:.1e}"
    features = ways[""]()
    calls = calls_of(plain, ways[""])
    *seconds, alone_seconds = in_turns(
        *ways.values(),
        *scripts.values(),
        lambda: bare(plain, calls),
        repeats=2 if quick else 5,
        clock=clock(),
    )
    wanted = "at least 1.3 times" if device == "cpu" else "at least 8 times"
    told = f"batches of {features.provenance['batch_seconds']:g} s (0: one by one); the network "
    told += f"alone takes {alone_seconds:.3f} s"
    notes = {how: f"{len(paths)} files, vectors equal to {errors[how]:.0e}; {told}" for how in ways}
    notes[", compiled"] = notes.get(", compiled", "") + f"; compiling took {took or 0:.0f} s once"
    return [
        Row(
            f"400 frames a file{how}, against the one-file-at-a-time script, its network {whose} "
            f"({device})",
            ours,
            theirs,
            wanted,
            notes[how],
        )
        for how, ours in zip(ways, seconds, strict=False)
        for whose, theirs in zip(scripts, seconds[len(ways) :], strict=True)
    ]


def _compile(extractor: Any, signal: NDArray[np.float32]) -> float | None:
    """Compile an extractor and return the seconds it took, None where there is no compiler."""
    started = time.perf_counter()
    try:
        extractor.compile()
        for _ in range(2):
            extractor.extract_batch([signal], pooling.mean)
    except RuntimeError:
        return None
    return time.perf_counter() - started


def memory(paths: Sequence[str]) -> list[Row]:
    call = "benchmarks.one_by_one:growth({!r}, {!r})"
    with mock.patch.dict(os.environ, MEMORY_RETURNED):
        found = {way: alone(call.format(way, list(paths))) for way in WAYS}
    return [
        Row(
            f"MiB above the network's own work, {len(paths)} files, means taken {way}",
            found["ours"],
            found[way],
            "at least 10 times",
        )
        for way in WAYS[1:]
    ]


def rows(*, quick: bool = False) -> list[Row]:
    device = argument("--device", "cpu")
    with tempfile.TemporaryDirectory() as place:
        corpus = speech(given_folder(), 4 if quick else 16, place)
        found = times(corpus, device, quick=quick)
        found += memory([str(path) for path in corpus.column("path")])
    if not torch.cuda.is_available():
        found.append(Row("The same on a GPU (--device cuda)", NAN, NAN, "at least 8 times",
                         "open: there was none"))  # fmt: skip
    return found


if __name__ == "__main__":
    run("one_by_one", rows, what=WHY)
