"""Extraction: all layers pooled against the bare forward pass, and from files to stored shards.

    OMP_NUM_THREADS=1 python -m benchmarks.extraction [--quick] [--device cuda] [folder]

`folder` is a LibriSpeech; without one, files of noise are written. Networks have their published
sizes and random weights: SimAM-ResNet34 (25 M parameters), WavLM base and the encoder of Whisper
base. Their numbers are ordinary: to flush denormals to zero changes no time.

Bare is the network alone in inference mode, on the very tensors that the extractor gives it, so
ours pays for the front end, the hooks, the pooling and the transfer. Batches are those that the
extractor makes: WavLM base is not exact under padding and gets signals of one length.

Each pass of a convolutional network asks for some hundred MiB that glibc gives back to the system
after it, and fetching them again as pages takes a tenth to a third of the pass, now more, now less.
So both sides are also measured in a process that keeps its memory, by `MEMORY_KEPT`: there the
ratio is that of the work.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.profiler import FunctionEvent, record_function
from torch.profiler import ProfilerActivity, profile

import speechprobe as sp
from benchmarks.timing import NAN, Row, alone, clock, in_turns, run
from speechprobe import audio, pooling
from speechprobe.extractors.untrained import local_seed

RATE = 16_000
REPEATS = 7
AT_MOST = "at most 1.05 times"
MEMORY_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30)}
Signals = Sequence[NDArray[np.float32]]
Call = tuple[tuple[Any, ...], dict[str, Any]]


def simam(device: str, max_frames: int | None = None, dtype: torch.dtype | None = None) -> Any:
    """SimAM-ResNet34 with its filter bank."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text("model: SimAM_ResNet34_ASP\n", encoding="utf-8")
        return sp.extractors.load_wespeaker(
            folder, untrained=True, max_frames=max_frames, device=device, dtype=dtype
        )


def wavlm(device: str) -> Any:
    """WavLM base: 12 blocks of 768 dimensions."""
    from transformers import WavLMConfig, WavLMModel

    with local_seed(0):
        network = WavLMModel(WavLMConfig()).eval()
    return sp.extractors.TransformerExtractor(network, name="wavlm-base", device=device)


def whisper(device: str) -> Any:
    """The encoder of Whisper base: 6 blocks of 512 dimensions on windows of 30 s."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
    with local_seed(0):
        network = WhisperEncoder(WhisperConfig(**sizes, encoder_ffn_dim=2048)).eval()
    return sp.extractors.TransformerExtractor(network, name="whisper-base", device=device)


NETWORKS: dict[str, Callable[[str], Any]] = {
    "SimAM-ResNet34": simam,
    "WavLM base": wavlm,
    "Whisper base": whisper,
}
# Seconds of the signals of a batch: on a CPU, and as a GPU is fed.
LENGTHS = {
    "SimAM-ResNet34": (4.0, 3.9, 3.8, 3.7),
    "WavLM base": (4.0, 4.0),
    "Whisper base": (4.0, 3.8),
}
ON_DEVICE = 16  # times as many


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE), np.float32)
    samples *= 0.05
    return samples


def speech(folder: Path | None, n_files: int, place: str) -> sp.datasets.Corpus:
    """Return some utterances of test-other, or noise of like lengths written to a place."""
    if folder is not None:
        corpus = sp.datasets.load_librispeech(folder, subsets=["test-other"])
        return corpus.sample(min(n_files, len(corpus)), seed=0)
    for number, seconds in enumerate(np.random.default_rng(0).uniform(2, 12, n_files)):
        audio.write(f"{place}/{number:04d}.flac", noise(seconds, number), RATE)
    return sp.datasets.load_folder(place)


def calls_of(extractor: Any, work: Callable[[], object]) -> list[Call]:
    """Return the arguments of every call of the network while something runs."""
    calls: list[Call] = []
    handle = extractor.module.register_forward_pre_hook(
        lambda _module, args, kwargs: calls.append((args, dict(kwargs))), with_kwargs=True
    )
    work()
    handle.remove()
    return calls


def bare(extractor: Any, calls: Sequence[Call]) -> None:
    """Run the network on what it was given, without hooks."""
    with torch.inference_mode():
        for args, kwargs in calls:
            extractor.module(*args, **kwargs)
    finish(extractor)


def finish(extractor: Any) -> None:
    if extractor.device.type == "cuda":
        torch.cuda.synchronize()


def check(extractor: Any, signals: Signals) -> None:
    """Raise unless a pooled row of the batch is the mean of the frames of its signal alone."""
    pooled = extractor.extract_batch(signals, pooling.mean)
    for layer, frames in extractor(signals[-1]).items():
        wanted = frames.mean(0, dtype=np.float64)
        error = np.linalg.norm(pooled[layer][-1] - wanted) / np.linalg.norm(wanted)
        assert error < 1e-4, f"{extractor.name}, {layer}: {error:.1e}"


def hook_profile(extractor: Any, signals: Signals) -> dict[str, float]:
    """Return what the hooks of a batch do.

    The share of the time they take, all memory they allocate beside what the layers hold (both in
    MiB), and how often a device gives results.
    """
    seen = 0

    def pool(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += frames.numel() * frames.element_size()
        with record_function("hook"):
            return pooling.mean(frames, lengths)

    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if extractor.device.type == "cuda" else []
    with profile(activities=activities, profile_memory=True) as profiler, record_function("batch"):
        extractor.extract_batch(signals, pool)
    events = profiler.events() or []
    hooks = [event for event in events if event.name == "hook"]
    inside = [event for hook in hooks for event in below(hook)]
    whole = sum(event.cpu_time_total for event in events if event.name == "batch")
    return {
        "share": sum(hook.cpu_time_total for hook in hooks) / whole,
        "allocated": sum(max(0, event.self_cpu_memory_usage) for event in inside) / 2**20,
        "held": seen / 2**20,
        "transfers": sum(event.name.startswith("Memcpy DtoH") for event in events),
    }


def below(event: FunctionEvent) -> Iterator[FunctionEvent]:
    for child in event.cpu_children:
        yield child
        yield from below(child)


def pooled_and_bare(name: str, device: str, repeats: int) -> dict[str, float]:
    """Return the seconds of all layers pooled and of the network alone, and the hooks' profile."""
    extractor = NETWORKS[name](device)
    signals = signals_for(name, device)
    check(extractor, signals)
    calls = calls_of(extractor, lambda: extractor.extract_batch(signals, pooling.mean))
    ours, other = in_turns(
        lambda: extractor.extract_batch(signals, pooling.mean),
        lambda: bare(extractor, calls),
        repeats=repeats,
        clock=clock() if device == "cpu" else time.perf_counter,
    )
    return {
        "ours": ours,
        "bare": other,
        "batches": len(calls),
        "layers": len(extractor.layers),
        **hook_profile(extractor, signals),
    }


def signals_for(name: str, device: str) -> Signals:
    lengths = LENGTHS[name] * (1 if device == "cpu" else ON_DEVICE)
    return [noise(seconds, seed) for seed, seconds in enumerate(sorted(lengths))]


def against_bare(name: str, device: str, *, quick: bool) -> list[Row]:
    """All layers pooled against the network alone, in processes of their own."""
    call = f"benchmarks.extraction:pooled_and_bare({name!r}, {device!r}, {2 if quick else REPEATS})"
    found = {}
    if device == "cpu":
        with mock.patch.dict(os.environ, MEMORY_KEPT):
            found["memory kept"] = alone(call)
    found["as it comes"] = alone(call)
    return [_row(name, device, how, each) for how, each in found.items()]


def _row(name: str, device: str, how: str, found: dict[str, float]) -> Row:
    transfers = f"; {found['transfers']:.0f} transfers from the device" if device != "cpu" else ""
    n_signals = len(signals_for(name, device))
    note = (
        f"ours / bare {found['ours'] / found['bare']:.3f}; {n_signals} signals in "
        f"{found['batches']:.0f} batch; hooks take {found['share']:.2%} of the time and "
        f"{found['allocated']:.1f} MiB beside the {found['held']:.0f} MiB of "
        f"{found['layers']:.0f} layers{transfers}"
    )
    what = f"{name}: all layers pooled, against the network alone ({device}, {how})"
    return Row(what, found["ours"], found["bare"], AT_MOST, note)


def to_shards(
    name: str, device: str, corpus: sp.datasets.Corpus, *, quick: bool
) -> tuple[Row, Row, Row]:
    """Files on disk to stored shards, against the forward passes alone and decoding alone."""
    extractor = NETWORKS[name](device)
    paths = [str(path) for path in corpus.column("path")]

    def ours() -> None:
        with tempfile.TemporaryDirectory() as store:
            features = sp.extract(corpus, extractor, store=store, progress=False)
            costs.append(dict(features.provenance))

    def decode() -> None:
        with ThreadPoolExecutor(sp.engines.resolve_workers("auto")) as pool:
            for _ in pool.map(lambda path: audio.read(path, RATE), paths):
                pass

    costs: list[dict[str, Any]] = []
    calls = calls_of(extractor, ours)  # finds out about layers and batches, too
    calls = calls_of(extractor, ours)
    costs.clear()
    taken, forward, decoded = in_turns(
        ours, lambda: bare(extractor, calls), decode, repeats=1 if quick else 5
    )
    waiting = statistics.median(each["seconds_waiting"] / each["seconds"] for each in costs)
    sound = costs[0]["sound_seconds"]
    what = f"{name}: {len(corpus)} files, {sound:.0f} s, to stored shards ({device})"
    told = (
        f"batches of {costs[0]['batch_seconds']:g} s" if costs[0]["batch_seconds"] else "one by one"
    )
    return (
        Row(f"{what}, against the forward passes alone", taken, forward, "",
            f"{sound / taken:.1f} s of sound a second, the passes alone {sound / forward:.1f}; "
            f"{told}"),
        Row(f"{what}, against decoding alone", taken, decoded, "",
            f"decoding alone {sound / decoded:.0f} s of sound a second"),
        Row(f"{name}: share of that time in which the network waits for sound", waiting,
            NAN, "under 0.1"),
    )  # fmt: skip


def argument(name: str, default: str) -> str:
    given = sys.argv[1:]
    return given[given.index(name) + 1] if name in given else default


def given_folder() -> Path | None:
    """Return the folder among the arguments, if there is one."""
    found = [Path(each) for each in sys.argv[1:] if Path(each).is_dir()]
    return found[0] if found else None


def rows(*, quick: bool = False) -> list[Row]:
    device = argument("--device", "cpu")
    n_files = {"cpu": 3 if quick else 12}.get(device, 12 if quick else 100)
    found = [row for name in NETWORKS for row in against_bare(name, device, quick=quick)]
    with tempfile.TemporaryDirectory() as place:
        corpus = speech(given_folder(), n_files, place)
        for name in NETWORKS:
            found += to_shards(name, device, corpus, quick=quick)
    if not torch.cuda.is_available():
        found.append(Row("The same on a GPU (--device cuda)", NAN, NAN, AT_MOST,
                         "open: there was none"))  # fmt: skip
    return found


if __name__ == "__main__":
    run("extraction", rows, what="Median of seven runs in turns, of five from files to shards.")
