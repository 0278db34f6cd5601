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
from typing import Any, Literal

import pandas as pd

from speechprobe import metrics
from speechprobe.engines import Ray
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
    usable,
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
from speechprobe.protocols._rate.failures import Errors, require_errors
from speechprobe.protocols._rate.folders import Given, corpus_of
from speechprobe.protocols._rate.parts import PART
from speechprobe.protocols.study import Study

__all__ = ["ALTERNATIVES", "EDITION", "GenderSettings", "gender", "mel_extractor"]
EDITION = "corrected"
_PUBLISHED_ACCURACY = 0.94


def gender(
    train: Given,
    test: Given,
    *,
    alternatives: str | Sequence[str] = ALTERNATIVES,
    log: bool = True,
    mel: MelSpectrogram | None = None,
    store: str | Path | None = None,
    errors: Errors = "raise",
    engine: Literal["ray"] | Ray | None = None,
    settings: GenderSettings | None = None,
) -> Study:
    """Tell the gender of speakers from mel spectra, as the LibriTTS study did, beside its rivals.

    Parameters
    ----------
    train, test
        Corpora with the label `gender`, and without a common speaker; or the folders of subsets of
        LibriTTS or LibriSpeech ("LibriTTS/train-clean-100"), which need no transcripts.
    alternatives
        Which rivals to fit besides the study's network, one or several of "LR", "MLP", "RF" and
        "CNN 2-D".
    log
        Whether the network and its rivals are fitted to the mean of the logarithm too, as rows
        called so; the study's feature is the power.
    mel
        The spectrogram, of power; that of `mel_extractor`, at 16 kHz, by default. LibriTTS is at
        24 kHz: ``mel_extractor(24_000)``.
    store
        Folder for the features; a killed run is taken up from there.
    errors
        "raise" stops at the first file that gives no features; "record" leaves it out, lists it in
        the provenance, and counts it in the deviations.
    engine
        Of the search: None, "ray", or `engines.Ray`.
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
        If a speaker is in both corpora, a gender is not stated, a part lacks one, an alternative
        is unknown, the spectrogram is not of power, or (with "raise") a file gives no features.
    FileNotFoundError
        If a folder holds no such corpus.
    TypeError
        If train or test is neither corpus nor folder, or the spectrogram or the settings are none.

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
    wanted = _checked(alternatives, mel, settings, errors)
    train, test = (
        corpus_of(each, name, transcripts="optional")
        for name, each in (("train", train), ("test", test))
    )
    fraction, seed = settings.validation_fraction, settings.seed
    data = gender_data(train, test, fraction=fraction, seed=seed)
    place = None if store is None else Path(store)
    features = vectors(data.corpus, mel, log=log, store=place, errors=errors)
    if CNN_2D in wanted:
        features[IMAGE] = images(data.corpus, mel, store=place, errors=errors)
    features, data, lost = usable(features, data, fraction=fraction, seed=seed)
    listed, curves = _fitted(features, data, settings, wanted, engine)
    rows = [(found, scored(found, features[found.feature], data, settings)) for found in listed]
    told = {"train": train.name, "test": test.name, "failures": lost.records()}
    return Study(
        "gender",
        EDITION,
        _deviations(train.name, test.name, data, mel, engine) + lost.sentences(),
        _tables(rows, curves, data),
        gender_pictures(rows, curves),
        _provenance(rows, curves, features, data, settings)
        | told
        | {"engine": engine and str(engine)},
    )


def _fitted(
    features: Mapping[str, Features],
    data: GenderData,
    settings: GenderSettings,
    wanted: tuple[str, ...],
    engine: Literal["ray"] | Ray | None,
) -> tuple[list[Found], Curves]:
    """Return the classifiers with the settings chosen for them, and the network's curves."""
    of_bands = {name: each for name, each in features.items() if name != IMAGE}
    listed = list(all_found(of_bands, data, settings, alternatives=wanted, engine=engine))
    curves = learning_curves(features[POWER], data, listed[0].settings, settings)
    listed[1:1] = fixed(listed[0], curves)
    return listed + ([image_network(listed[0])] if IMAGE in features else []), curves


def _checked(
    alternatives: str | Sequence[str],
    mel: MelSpectrogram,
    settings: GenderSettings,
    errors: str,
) -> tuple[str, ...]:
    """Return the rivals wanted; raise before anything runs if an argument is wrong."""
    require_errors(errors)
    if not isinstance(settings, GenderSettings):
        raise TypeError(f"settings must be GenderSettings(...), got {type(settings).__name__}")
    listed = (alternatives,) if isinstance(alternatives, str) else tuple(alternatives)
    unknown = [name for name in listed if name not in ALTERNATIVES]
    if unknown:
        raise ValueError(f"no alternative {unknown[0]!r}; there are {', '.join(ALTERNATIVES)}")
    if not isinstance(mel, MelSpectrogram):
        raise TypeError(
            f"mel must be a MelSpectrogram, as mel_extractor() gives, got {type(mel).__name__}"
        )
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
    train: str,
    test: str,
    data: GenderData,
    mel: MelSpectrogram,
    engine: Literal["ray"] | Ray | None,
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
    if {train, test} != {"libritts"}:
        by_part = data.corpus.table.groupby(PART)["speaker"]
        n, speakers = by_part.size(), by_part.nunique()
        told.append(
            f"{n['train']} utterances of {speakers['train']} speakers of {train} to {n['test']} of "
            f"{speakers['test']} of {test}, not LibriTTS train-clean-100 to test-clean"
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
