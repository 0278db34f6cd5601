"""Mel features of the gender study: one vector an utterance, or an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from speechprobe.datasets import labels
from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.splits import Split, check
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.together import Together
from speechprobe.features import Features, extract
from speechprobe.probes.cnn import TorchCNNClassifier
from speechprobe.probes.training import hold_out
from speechprobe.protocols._rate.failures import Errors, Lost, in_common
from speechprobe.protocols._rate.parts import PART, joined

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from speechprobe.extractors.base import Extractor

POWER, LOG, IMAGE = "power", "log", "log image"
LOG_OFFSET = 1e-10
# librosa's usual frames; the study does not tell its own.
_N_FFT, _HOP = 2048, 512


@dataclass(frozen=True, eq=False)
class GenderData:
    """Speakers of the train corpus, some of them held out to validate, and of the test corpus.

    Parameters
    ----------
    corpus
        Both corpora, train first, with the label `gender` of "F" and "M".
    split
        Row positions.
    """

    corpus: Corpus
    split: Split

    @property
    def n_train(self) -> int:
        """Utterances of the train corpus, validation included."""
        return len(self.split.train) + len(self.split.validation)


def mel_extractor(sample_rate: int = 16_000) -> MelSpectrogram:
    """Return the study's power mel spectrogram of 128 bands."""
    return MelSpectrogram(
        128,
        sample_rate=sample_rate,
        n_fft=_N_FFT,
        window_seconds=_N_FFT / sample_rate,
        hop_seconds=_HOP / sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )


def gender_data(train: Corpus, test: Corpus, *, fraction: float, seed: int) -> GenderData:
    """Return both corpora as one with its split, checked before anything is extracted.

    Parameters
    ----------
    train, test
        The corpora.
    fraction
        Of the speakers of `train` that validate.
    seed
        Of the draw of these, which is that of the probes' own `validation_fraction`.

    Raises
    ------
    ValueError
        If a speaker is in both corpora, a gender is not stated, or a part lacks one.
    """
    shared = sorted(set(train.table["speaker"]) & set(test.table["speaker"]))
    if shared:
        raise ValueError(
            f"{len(shared)} speakers are in train and in test, first {shared[0]!r}: the network "
            "would know their voices. Leave them out of one; if they are namesakes of another "
            "corpus, rename them with corpus.label('speaker', ...)"
        )
    corpus = joined({"train": train, "test": test}).label("gender", labels.gender)
    return _drawn(corpus, fraction=fraction, seed=seed)


def _drawn(corpus: Corpus, *, fraction: float, seed: int) -> GenderData:
    """Return both corpora with their split; `part` says which one an utterance is of."""
    n_train = int(np.sum(corpus.column(PART) == "train"))
    groups = corpus.column("speaker")[:n_train]
    fit, held = hold_out(n_train, fraction, groups=groups, seed=seed)
    split = check(Split(fit, held, np.arange(n_train, len(corpus))), corpus.table, groups="speaker")
    for name, rows in split._asdict().items():
        _require_both(corpus.table["gender"].iloc[rows], name)
    return GenderData(corpus, split)


def _require_both(genders: pd.Series[Any], part: str) -> None:
    lost = sorted({"F", "M"} - set(genders))
    if lost:
        then = "; another seed or validation_fraction may draw one" if part == "validation" else ""
        raise ValueError(
            f"the {part} part ({len(genders)} utterances) has no speaker of gender "
            f"{' or '.join(map(repr, lost))}{then}"
        )


def usable(
    features: Mapping[str, Features], data: GenderData, *, fraction: float, seed: int
) -> tuple[dict[str, Features], GenderData, Lost]:
    """Return features and data of the utterances that have all features, and what is left out.

    The speakers that validate are drawn anew where some are left out, as the probes draw them.

    Parameters
    ----------
    features
        {feature: features} of some of the utterances.
    data
        All utterances.
    fraction, seed
        As in `gender_data`.

    Raises
    ------
    ValueError
        If a part lacks a gender now.
    """
    keep, lost = in_common(features, data.corpus)
    if keep.all():
        return dict(features), data, lost
    ids = list(data.corpus.table.index[keep])
    try:
        left = _drawn(data.corpus.select(keep), fraction=fraction, seed=seed)
    except ValueError as error:
        raise lost.explained(error) from error
    return {name: each.select(ids) for name, each in features.items()}, left, lost


def vectors(
    corpus: Corpus, mel: MelSpectrogram, *, log: bool, store: Path | None, errors: Errors = "raise"
) -> dict[str, Features]:
    """Return the means over time, each as features of one layer called as the feature is.

    Parameters
    ----------
    corpus
        Utterances.
    mel
        Gives the power.
    log
        Whether the mean of its logarithm is wanted too.
    store
        Folder for the features.
    errors
        As in `extract`.
    """
    wanted: dict[str, Extractor] = {POWER: mel}
    if log:
        wanted[LOG] = logarithmic(mel)
    name = "mel-and-log" if log else "mel"
    place = None if store is None else store / name
    features = extract(corpus, Together(wanted), store=place, errors=errors)
    return {
        kind: replace(features.with_labels(corpus), layers={kind: layer})
        for kind, layer in zip(wanted, features.layers.values(), strict=True)
    }


def images(
    corpus: Corpus, mel: MelSpectrogram, *, store: Path | None, errors: Errors = "raise"
) -> Features:
    """Return the frames of the log-mel spectrogram of every utterance."""
    place = None if store is None else store / "log-frames"
    features = extract(corpus, logarithmic(mel), pool="frames", store=place, errors=errors)
    (frames,) = features.layers.values()
    return replace(features.with_labels(corpus), layers={IMAGE: frames})


def logarithmic(mel: MelSpectrogram) -> MelSpectrogram:
    """Return the same with the logarithm of the power."""
    return replace(mel, log_offset=LOG_OFFSET)


class MelImageCNN(TorchCNNClassifier):
    """The study's network with 3 x 3 kernels, over mel images (bands by frames).

    Takes ragged frames (n_frames, n_bands) of items, as `extract` gives them with
    ``pool="frames"``, and sees each as an image of one channel. Images keep their length; what
    pads a batch never counts.

    Parameters
    ----------
    learning_rate, weight_decay, batch_size, epochs, schedule, validation_fraction, patience, \
standardise, random_state, device
        As in `TorchCNNRegressor`.

    Examples
    --------
    >>> frames = [np.random.default_rng(n).normal(n % 2, 1, size=(10 + n, 8)) for n in range(40)]
    >>> MelImageCNN(learning_rate=5e-3).fit(frames, ["low", "high"] * 20).predict(frames[:2])
    array(['low', 'high'], dtype='<U4')
    """

    def fit(self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit to frames and classes (n_items,).

        Parameters
        ----------
        X
            Frames (n_frames, n_bands) of each item.
        y
            Classes.
        groups
            As in `TorchCNNClassifier`.
        """
        return super().fit(_as_images(X), y, groups=groups)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probability of each class, (n_items, n_classes)."""
        return super().predict_proba(_as_images(X))


def _as_images(items: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
    return [np.ascontiguousarray(np.asarray(each, np.float32).T)[None] for each in items]
