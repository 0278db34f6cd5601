"""Speaker networks trained from scratch, as the VoxCeleb study trained its own.

Random crops of 2 s; batches of some speakers with a few crops of each; Adam, whose learning rate
falls step by step; the equal error rate (EER) on trials between held-out speakers every few epochs.
The network of the epoch with the lowest EER comes back, of the first where several are equal. As
that EER chose the epoch, it flatters: for a figure to publish, embed other speakers.

Chung et al.: "In defence of metric learning for speaker recognition", Interspeech 2020,
https://arxiv.org/abs/2003.11982. Departures, which `deviations` names unless settings undo them:
there is no augmentation; a crop is exactly 2 s, the trainer's has 15 ms more; each round takes
every speaker once, whatever the number of files, where the trainer's epoch takes all files of a
speaker up to a number; its learning rate falls every ten epochs.

On a CPU the same seed gives the same weights, bit for bit, with the same number of threads; only
the column `seconds` of the curves differs. Generators of torch and NumPy, threads and the default
type are the caller's and stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from speechprobe import _fingerprint
from speechprobe.datasets.corpus import Corpus
from speechprobe.extractors.masked import FrontEnd
from speechprobe.extractors.untrained import local_seed
from speechprobe.metrics.verification import equal_error_rate
from speechprobe.protocols._speaker.batches import n_rounds, plan_epoch
from speechprobe.protocols._speaker.checkpoint import Folder, Progress
from speechprobe.protocols._speaker.files import find
from speechprobe.protocols._speaker.network import Subject, extractor_of, make_subject
from speechprobe.protocols._speaker.parts import split
from speechprobe.protocols._speaker.result import (
    Data,
    TrainedSpeakerNet,
    deviations_of,
    pictures_of,
    table_of,
    tables_of,
)
from speechprobe.protocols._speaker.run import Run, remedy
from speechprobe.protocols._speaker.settings import MakeLoss, SpeakerTraining, make_loss
from speechprobe.protocols._speaker.validation import make_validation

__all__ = ["SpeakerTraining", "TrainedSpeakerNet", "train_speaker_net"]

_NOT_IDENTITY = ("epochs", "most_bytes")  # more epochs go on; where samples lie changes no number


def train_speaker_net(
    corpus: Corpus,
    net: nn.Module | Callable[[], nn.Module],
    loss: str | MakeLoss,
    *,
    settings: SpeakerTraining | None = None,
    validation: Corpus | None = None,
    frontend: FrontEnd | None = None,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
    progress: bool = True,
) -> TrainedSpeakerNet:
    """Train a network to tell the speakers of a corpus apart.

    Parameters
    ----------
    corpus
        Files with their speakers, at the front end's sample rate.
    net
        Function without arguments that makes the network, such as the class `ResNetSE34L`: its
        weights then depend on the seed. Or a network to go on from, which is copied. It takes
        features (B, T, n_mels) and gives embeddings (B, n_dims), and is trained where it lies.
    loss
        "softmax", "amsoftmax", "aamsoftmax", "angleproto", "softmaxproto" or "ge2e", or a function
        (n_dims, n_speakers) that makes a loss like those of `speechprobe.probes.losses`.
    settings
        How to train; `SpeakerTraining()` by default.
    validation
        Other speakers to validate on; by default a share of the corpus's own is held out.
    frontend
        Waveforms to features. By default voxceleb_trainer's own for its three networks; other
        networks need one.
    layers
        Layers of the extractors, as in `capture`. By default those of `load_voxceleb_trainer` for
        its three networks, the direct children of others.
    folder
        Where to keep the run after every epoch. Called again with the same folder and settings,
        training goes on where it stopped, to the same weights; with more epochs, it goes on longer.
    progress
        Show progress bars where the output is a terminal.

    Returns
    -------
    study
        With `network`, `extractor` and `untrained`, the extractor of the network as it began.

    Raises
    ------
    ValueError
        If there are too few speakers, files are too few or too short (they are listed), have
        another sample rate or cannot be read, the network has nothing to learn, does not take the
        front end's features or gives no embeddings, or the folder holds another run (what differs
        is named) or a damaged one.
    TypeError
        If an argument is nothing of the above.
    FloatingPointError
        If the loss, a gradient or an embedding is not finite; the folder keeps the epochs before.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from speechprobe import audio, datasets
    >>> from speechprobe.extractors import MelSpectrogram, nets
    >>> root, generator = Path(tempfile.mkdtemp()), np.random.default_rng(0)
    >>> for name in ("a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "d/1", "d/2"):
    ...     (root / name).parent.mkdir(exist_ok=True)
    ...     audio.write(root / f"{name}.wav", generator.normal(scale=0.1, size=8000), 16_000)
    >>> study = train_speaker_net(
    ...     datasets.load_folder(root),
    ...     lambda: nets.ECAPATDNN(n_mels=24, n_channels=8, n_dims=4),
    ...     "angleproto",
    ...     settings=SpeakerTraining(epochs=1, n_speakers=2, crop_seconds=0.3),
    ...     frontend=MelSpectrogram(24, n_fft=512, log_offset=1e-6),
    ...     layers=["layer?", "linear"],
    ... )
    >>> study.table()[["network", "epoch"]]
         network  epoch
    0  untrained      0
    1    trained      1
    >>> study.extractor.layers
    ('layer1', 'layer2', 'layer3', 'layer4', 'linear')
    """
    settings = SpeakerTraining() if settings is None else settings
    _require_types(corpus, validation, settings)
    subject = make_subject(
        net, frontend, layers, crop_seconds=settings.crop_seconds, seed=settings.seed
    )
    data = _data(corpus, validation, subject.frontend.sample_rate, settings, progress)
    with local_seed(settings.seed):
        made = make_loss(loss, subject.n_dims, len(data.parts.train))
    facts = _facts(corpus, subject, made, data)
    kept = Folder(None if folder is None else Path(folder), _identity(settings, facts))
    run = Run(subject.network, made, subject.frontend, settings)
    done = _train(run, data, kept, progress=progress)
    run.restore(done.best or run.weights())
    return _study(subject, run, data, done, facts)


def _require_types(corpus: Any, validation: Any, settings: Any) -> None:
    for name, given in (("corpus", corpus), ("validation", validation)):
        if not isinstance(given, Corpus) and (given is not None or name == "corpus"):
            raise TypeError(
                f"{name} must be a Corpus, as datasets.load_voxceleb or load_folder gives, got "
                f"{type(given).__name__}"
            )
    if not isinstance(settings, SpeakerTraining):
        raise TypeError(
            "settings must be a SpeakerTraining, such as SpeakerTraining(epochs=5), got "
            f"{type(settings).__name__}"
        )


def _data(
    corpus: Corpus,
    validation: Corpus | None,
    sample_rate: int,
    settings: SpeakerTraining,
    progress: bool,
) -> Data:
    n_crop = round(settings.crop_seconds * sample_rate)
    recordings = find(corpus, sample_rate, progress=progress)
    n_own = len(recordings)
    if validation is not None:
        recordings = recordings + find(validation, sample_rate, progress=progress)
    parts = split(recordings, n_own, settings)
    trials = make_validation(recordings, parts.validation, n_crop, settings)
    return Data(recordings.loaded(settings.most_bytes, progress=progress), parts, trials, n_crop)


def _train(run: Run, data: Data, kept: Folder, *, progress: bool) -> Progress:
    """Train from where the folder is to the last epoch."""
    settings = run.settings
    done, state = kept.load()
    if done.epoch > settings.epochs:
        raise ValueError(
            f"the run kept {kept} has {done.epoch} epochs already, and epochs={settings.epochs}"
        )
    if state:
        run.restore(state)
    elif data.validation is not None:
        done.curves.append(_validated(run, data, 0))
    for epoch in range(done.epoch + 1, settings.epochs + 1):
        plan = plan_epoch(data.parts.train, data.recordings.n_samples, data.n_crop, settings, epoch)
        last = epoch == settings.epochs
        validated = data.validation is not None and (last or epoch % settings.evaluate_every == 0)
        try:
            rows = [run.learn(data.recordings, plan, data.n_crop, epoch, progress=progress)]
            rows += [_validated(run, data, epoch)] if validated else []
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}. The epochs before it are kept {kept}") from error
        done.curves += rows
        if validated and _is_best(done):
            done.best_epoch, done.best = epoch, run.weights()
        done.epoch = epoch
        kept.save(done, run.state())
    return done


def _validated(run: Run, data: Data, epoch: int) -> dict[str, Any]:
    """Return a row of the curves: the EER on the held-out speakers."""
    assert data.validation is not None
    run.network.eval()
    try:
        scores = data.validation.scores(run.network, run.frontend, data.recordings)
    except FloatingPointError as error:
        raise FloatingPointError(f"epoch {epoch}: {error}; {remedy(learnt=epoch > 0)}") from error
    eer = equal_error_rate(data.validation.same, scores)
    return {"epoch": epoch, "split": "validation", "eer": eer}


def _is_best(done: Progress) -> bool:
    """Say whether the last validation is lower than all others, the untrained network's apart."""
    rates: list[float] = [row["eer"] for row in done.curves if "eer" in row and row["epoch"]]
    return rates[-1] < min(rates[:-1], default=float("inf"))


def _facts(corpus: Corpus, subject: Subject, loss: nn.Module, data: Data) -> dict[str, Any]:
    """Return what makes the run, settings apart."""
    recordings, parts = data.recordings, data.parts
    told = json.dumps(
        [list(recordings.ids), recordings.speakers.tolist(), recordings.n_samples.tolist()]
    )
    return {
        "corpus": corpus.name,
        "recordings_sha256": hashlib.sha256(told.encode()).hexdigest(),
        "network": type(subject.network).__name__,
        "start_sha256": _fingerprint.of_module(subject.network),
        "loss": f"{type(loss).__name__} {_fingerprint.of_module(loss)}",
        "frontend": _fingerprint.of_object(subject.frontend),
        "n_train_files": int(sum(map(len, parts.train))),
        "n_train_speakers": len(parts.train),
        "n_validation_files": len(parts.validation),
    }


def _identity(settings: SpeakerTraining, facts: dict[str, Any]) -> dict[str, Any]:
    chosen = {k: v for k, v in asdict(settings).items() if k not in _NOT_IDENTITY}
    return chosen | facts


def _study(
    subject: Subject, run: Run, data: Data, done: Progress, facts: dict[str, Any]
) -> TrainedSpeakerNet:
    networks = {"untrained": subject.untrained.module, "trained": subject.network}
    trials, curves = data.validation, table_of(done.curves)
    scores = {} if trials is None else {
        name: trials.scores(network, subject.frontend, data.recordings)
        for name, network in networks.items()
    }  # fmt: skip
    best_epoch = done.best_epoch or done.epoch
    return TrainedSpeakerNet(
        "speaker_training",
        "voxceleb_trainer",
        deviations_of(data, run.settings),
        tables_of(curves, best_epoch, data, scores),
        pictures_of(curves, trials, scores),
        facts | _made(run, data, curves, best_epoch),
        network=subject.network,
        loss=run.loss.eval(),
        extractor=extractor_of(subject.network, subject.frontend, subject.layers, "trained"),
        untrained=subject.untrained,
    )


def _made(run: Run, data: Data, curves: pd.DataFrame, best_epoch: int) -> dict[str, Any]:
    """Return how the weights were made, and on what."""
    return {
        "settings": asdict(run.settings),
        "rounds": n_rounds(data.parts.train, run.settings),
        "n_parameters": sum(each.numel() for each in run.network.parameters()),
        "n_parameters_of_loss": sum(each.numel() for each in run.loss.parameters()),
        "best_epoch": best_epoch,
        "weights_sha256": _fingerprint.of_module(run.network),
        "minutes": float(curves["seconds"].sum()) / 60,
        "device": str(next(run.network.parameters()).device),
        "threads": torch.get_num_threads(),
        "versions": _fingerprint.versions(),
    }
