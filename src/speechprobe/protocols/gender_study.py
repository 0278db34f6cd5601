"""The gender study on LibriTTS: a small convolutional network over mel bands, and its rivals.

Protocol
--------
- Feature: power mel spectrogram (not its logarithm) of 128 bands, averaged over time: 128 values an
  utterance.
- Network: three convolutions over the bands (`probes.TorchCNNClassifier`, 47,457 parameters),
  binary cross-entropy.
- Search: 20 random settings of batch size (4 to 16), learning rate (log-uniform, 1e-5 to 1e-2) and
  epochs (10 or 20), the worse ones stopped early by successive halving; ``engine="ray"`` for the
  asynchronous halving of Ray Tune that the study used.
- Curves of loss and accuracy over 100 epochs of the best settings.
- Published, LibriTTS train-clean-100 (251 speakers, 33,246 files) to test-clean (40 speakers, 4,837
  files): learning rate 7.9e-4, batches of 16, 20 epochs; accuracy about 0.94 on the test part; it
  overfits after about 40 epochs.
- Rivals that the study names: logistic regression, perceptron, random forest, and a network with
  two-dimensional kernels over mel images.

The only edition is "corrected": settings and epochs are chosen on a fifth of the speakers of the
train corpus, never on the test corpus; the chosen settings are then fitted to all speakers of the
train corpus. Intervals draw whole speakers; floors are the commonest gender and genders shuffled
between speakers.

Departures: the frames of the spectrogram are not published (2048 samples every 512, bands of Slaney
with unit area here, as librosa's by default); dims are standardised over the items fitted on; batch
norms predict with the statistics of all items fitted on instead of those of the batch; without Ray,
halving waits for all trials of a rung. The two-dimensional network takes log-mel images and the
settings found for the other one: its own search would take hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from speechprobe import metrics
from speechprobe.datasets.corpus import Corpus
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.features import Features
from speechprobe.layers import LayerScores
from speechprobe.protocols._gender.features import (
    IMAGE,
    LOG_OFFSET,
    POWER,
    GenderData,
    gender_data,
    images,
    mel_extractor,
    vectors,
)
from speechprobe.protocols._gender.pictures import Rows, gender_pictures, pairs_of
from speechprobe.protocols._gender.probes import (
    ALTERNATIVES,
    CNN,
    CNN_2D,
    Curves,
    Found,
    GenderSettings,
    all_found,
    as_text,
    fixed,
    image_network,
    learning_curves,
    scored,
)
from speechprobe.protocols.study import Study

__all__ = ["ALTERNATIVES", "EDITION", "GenderSettings", "gender", "mel_extractor"]
EDITION = "corrected"
_PUBLISHED_ACCURACY = 0.94


def gender(
    train: Corpus,
    test: Corpus,
    *,
    alternatives: Sequence[str] = ALTERNATIVES,
    log: bool = True,
    mel: MelSpectrogram | None = None,
    store: str | Path | None = None,
    engine: str | None = None,
    settings: GenderSettings | None = None,
) -> Study:
    """Tell the gender of speakers from mel spectra, as the LibriTTS study did, beside its rivals.

    Parameters
    ----------
    train, test
        Corpora with the label `gender`, and without a common speaker.
    alternatives
        Which rivals to fit besides the study's network: of "LR", "MLP", "RF" and "CNN 2-D".
    log
        Whether the network and its rivals are fitted to the mean of the logarithm too, as rows
        called so; the study's feature is the power.
    mel
        The spectrogram, of power; that of `mel_extractor`, at 16 kHz, by default. LibriTTS is at
        24 kHz: ``mel_extractor(24_000)``.
    store
        Folder for the features; a killed run is taken up from there.
    engine
        Of the search: None, or "ray".
    settings
        Of the search and the curves; `GenderSettings()` by default.

    Returns
    -------
    study
        Tables `results` (a row a classifier and feature: accuracy and UAR on the test speakers with
        intervals, floors, validation accuracy, `chosen` for the row best on validation),
        `overfitting`, `curves`, `trials`, `predictions` and `confusion` (of the study's network).
        Pictures: curves with the point of overfitting, confusion matrix, bars.

    Raises
    ------
    ValueError
        If a speaker is in both corpora, a gender is not stated, a part lacks one, or an alternative
        is unknown.
    TypeError
        If train or test is no corpus.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from speechprobe import audio, datasets
    >>> root, time = Path(tempfile.mkdtemp()), np.arange(8_000) / 16_000
    >>> for k in range(24):
    ...     tone = np.sin(2 * np.pi * (120 + 90 * (k % 2) + k) * time)
    ...     (root / f"s{k}").mkdir()
    ...     audio.write(root / f"s{k}" / f"{'MF'[k % 2]}.wav", tone, 16_000)
    >>> corpus = datasets.load_folder(root, labels=lambda path: {"gender": path.stem})
    >>> young = [int(name[1:]) < 16 for name in corpus.column("speaker")]
    >>> study = gender(
    ...     corpus.select(young), corpus.select(~np.array(young)), alternatives=[], log=False,
    ...     settings=GenderSettings(n_trials=2, curve_epochs=5, n_shuffles=1))
    >>> study.table()["model"].tolist()
    ['CNN', 'CNN, published settings', 'CNN, least validation loss']
    """
    settings = GenderSettings() if settings is None else settings
    mel = mel_extractor() if mel is None else mel
    wanted = _checked(alternatives, mel)
    place = None if store is None else Path(store)
    fraction, seed = settings.validation_fraction, settings.seed
    data = gender_data(train, test, fraction=fraction, seed=seed)
    features = vectors(data.corpus, mel, log=log, store=place)
    listed = list(all_found(features, data, settings, alternatives=wanted, engine=engine))
    curves = learning_curves(features[POWER], data, listed[0].settings, settings)
    listed[1:1] = fixed(listed[0], curves)
    if CNN_2D in wanted:
        features[IMAGE] = images(data.corpus, mel, store=place)
        listed.append(image_network(listed[0]))
    rows = [(found, scored(found, features[found.feature], data, settings)) for found in listed]
    return Study(
        protocol="gender",
        edition=EDITION,
        deviations=_deviations(train, test, mel, engine),
        tables=_tables(rows, curves, data),
        pictures=gender_pictures(rows, curves),
        provenance=_provenance(rows, curves, features, data, settings)
        | {"train": train.name, "test": test.name, "engine": engine},
    )


def _checked(alternatives: Sequence[str], mel: MelSpectrogram) -> tuple[str, ...]:
    listed = (alternatives,) if isinstance(alternatives, str) else tuple(alternatives)
    unknown = [name for name in listed if name not in ALTERNATIVES]
    if unknown:
        raise ValueError(f"no alternative {unknown[0]!r}; there are {', '.join(ALTERNATIVES)}")
    if mel.log_offset is not None:
        raise ValueError(
            f"mel must give power, and has log_offset={mel.log_offset}; log=True adds rows of the "
            f"logarithm (with an offset of {LOG_OFFSET:g})"
        )
    return listed


def _tables(rows: Rows, curves: Curves, data: GenderData) -> dict[str, pd.DataFrame]:
    results = pd.DataFrame([_row(found, scores, data) for found, scores in rows])
    # The best row by validation, the first of equals: no row is chosen by its test score.
    results["chosen"] = results.index == results["validation"].idxmax()
    tried = [found.trials for found, _ in rows if len(found.trials)]
    confusion = metrics.confusion(*pairs_of(rows[0][1]))
    counts = pd.DataFrame(
        confusion.counts,
        index=pd.Index(confusion.labels, name="truth"),
        columns=[f"predicted_{label}" for label in confusion.labels],
    )
    return {
        "results": results,
        "overfitting": curves.summary(),
        "curves": curves.table,
        "trials": pd.concat(tried, ignore_index=True),
        "confusion": counts,
        "predictions": pd.concat([_predictions(*row) for row in rows], ignore_index=True),
    }


def _row(found: Found, scores: LayerScores, data: GenderData) -> dict[str, Any]:
    accuracy, uar = scores.records
    floors = dict(accuracy.floors)
    return {
        "model": found.model,
        "feature": found.feature,
        "accuracy": accuracy.score,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "uar": uar.score,
        "uar_low": uar.low,
        "uar_high": uar.high,
        "majority": floors["majority"],
        "shuffled": floors.get("shuffled"),
        "validation": accuracy.validation,
        "settings": as_text(found.settings),
        "published": _PUBLISHED_ACCURACY if (found.model, found.feature) == (CNN, POWER) else None,
        "n_train": data.n_train,
        "n_test": accuracy.n_items,
        "n_test_speakers": accuracy.n_groups,
    }


def _predictions(found: Found, scores: LayerScores) -> pd.DataFrame:
    told = scores.predictions.assign(model=found.model, feature=found.feature)
    told = told.rename(columns={"group": "speaker"})
    return told[["model", "feature", "id", "speaker", "truth", "prediction"]]


def _deviations(
    train: Corpus, test: Corpus, mel: MelSpectrogram, engine: str | None
) -> tuple[str, ...]:
    window, hop = (round(1000 * each) for each in (mel.window_seconds, mel.hop_seconds))
    told = [
        f"frames of {window} ms every {hop} ms at {mel.sample_rate} Hz; the study's are not told",
        "dims are standardised over the items fitted on",
        "batch norms predict with the statistics of all items fitted on",
        "the two-dimensional network takes log-mel images and the settings of the other one",
    ]
    if engine is None:
        told.append("halving waits for all trials of a rung instead of running asynchronously")
    if {train.name, test.name} != {"libritts"}:
        told.append(
            f"{len(train)} utterances of {train.table['speaker'].nunique()} speakers of "
            f"{train.name} to {len(test)} of {test.table['speaker'].nunique()} of {test.name}, not "
            "LibriTTS train-clean-100 to test-clean"
        )
    return tuple(told)


def _provenance(
    rows: Rows,
    curves: Curves,
    features: Mapping[str, Features],
    data: GenderData,
    settings: GenderSettings,
) -> dict[str, Any]:
    speakers = data.corpus.table["speaker"]
    parts = data.split._asdict()
    return {
        "parts": {name: len(part) for name, part in parts.items()},
        "speakers": {name: int(speakers.iloc[part].nunique()) for name, part in parts.items()},
        "settings": asdict(settings),
        "curves": dict(curves.settings),
        "overfitting": curves.verdict(),
        "probes": {f"{found.model}, {found.feature}": repr(found.probe) for found, _ in rows},
        "cautions": {
            f"{found.model}, {found.feature}": list(scores.cautions)
            for found, scores in rows
            if scores.cautions
        },
        "features": {name: dict(each.provenance) for name, each in features.items()},
    }
