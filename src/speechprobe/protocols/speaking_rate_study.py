"""The speaking-rate study of WeSpeaker's networks: which layer knows how fast somebody speaks.

Protocol
--------
- Label: characters per second (`cps`), the number of letters and digits of the transcript over the
  length of the recording, pauses included (`datasets.labels.speaking_rate`). On read English it is
  about 8 to 18; the study's tables show about 22, counted in another way than it says.
- Embedding: perceptron with one output, squared error, Adam at 3e-4, batches of 32, 10 epochs.
  Layers, averaged over time: the same for 3 epochs. MSE, MAE and R2 on the test part.
- First canonical correlation of each layer with the label.
- Published, LibriSpeech train-clean-100, dev-clean, test-clean, SimAM-ResNet34 and 100: test MSE of
  the embedding about 14.8; 8.9 to 10.2 at the best layers, which are the middle ones; canonical
  correlation 0.5 to 0.6 there. Every file was cut or filled up to 400 frames (4.015 s), which the
  study names as its weakness: the label is of the whole file, the network saw a part.

Editions
--------
- "original" repeats the 400 frames. Networks fed by frames are given them as the study did (cut or
  filled with zeros after the mean is taken out); others signals of 4.015 s. The main probe is the
  perceptron.
- "corrected" sees whole utterances, and its main probe is ridge regression: 3 epochs over some
  hundred utterances are a dozen steps of Adam, which say little about a layer.

Both editions fit both probes, and give every score its floors, its interval by speaker and its n.

Beyond the study, as it proposed itself: the rate with the pauses taken out (articulation rate),
what is left of the rate beyond the duration of the file, and the duration itself.

Departures, in every edition: the width of the perceptron is not published (one hidden layer of 128
here); features and label are standardised over the items fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from speechprobe.features import Features
from speechprobe.protocols._rate.failures import Errors, Lost, in_common, require_errors
from speechprobe.protocols._rate.folders import PUBLISHED_PARTS, Given
from speechprobe.protocols._rate.inputs import (
    Model,
    features_of,
    models_of,
    seconds_of,
    takes_frames,
)
from speechprobe.protocols._rate.parts import ARTICULATION, RATE, RateData, rate_data
from speechprobe.protocols._rate.pictures import by_model, rate_pictures
from speechprobe.protocols._rate.scores import (
    EMBEDDING,
    LAYERS,
    MLP,
    RIDGE,
    Scores,
    SpeakingRateSettings,
    best_of,
    constant_layers,
    correlations,
    predictions_of,
    rate_scores,
    table_of,
)
from speechprobe.protocols.study import Study

if TYPE_CHECKING:
    from speechprobe.datasets.splits import Split

__all__ = ["ORIGINAL_FRAMES", "SpeakingRateSettings", "speaking_rate"]
ORIGINAL_FRAMES = 400
_MAIN = {"original": MLP, "corrected": RIDGE}


def speaking_rate(
    corpus: Given | Mapping[str, Given],
    extractors: Model | Sequence[Model] | Mapping[str, Model],
    *,
    edition: Literal["original", "corrected"] = "corrected",
    split: Split | Sequence[Any] | None = None,
    max_frames: int | None = None,
    embedding: str | Mapping[str, str] | None = None,
    store: str | Path | None = None,
    errors: Errors = "raise",
    settings: SpeakingRateSettings | None = None,
) -> Study:
    """Tell which layers of some models know the speaking rate, as the WeSpeaker study asked.

    Parameters
    ----------
    corpus
        Utterances with texts, or the folder of LibriSpeech: train-clean-100, dev-clean and
        test-clean are its parts if all three are there, otherwise all its subsets are one corpus.
        {"train": ..., "validation": ..., "test": ...} for parts that are given, corpora or folders
        of subsets ("LibriSpeech/test-other"); "dev" means "validation", which may be missing.
    extractors
        One, several, or {name: extractor}. Features that were extracted before do as well; they
        are taken as they are.
    edition
        "original" or "corrected", see the module.
    split
        Of one corpus: a split, or folds, as `probe_layers` takes them; folds by speaker by default.
    max_frames
        Frames of 10 ms that every network sees; by default 400 in the original edition, and the
        whole utterance in the corrected one.
    embedding
        Layer that is the embedding, or {name: layer}; the last one by default.
    store
        Folder for the features, with one store a model; a killed run is taken up from there.
    errors
        "raise" stops at the first file that gives no features; "record" leaves it out for every
        model, lists it in the provenance, and counts it in the deviations.
    settings
        Epochs, folds, shuffles, seeds; `SpeakingRateSettings()` by default.

    Returns
    -------
    study
        Tables `layer_metrics` (model, probe, layer, relative depth, metric, score with interval,
        floors, gap, n), `embedding_metrics`, `best_layers` (chosen on validation items),
        `cca`, `published` (beside measured), the next steps `beyond_duration`,
        `articulation_rate`, `duration` (ridge only), `predictions` (of the embedding),
        `label_summary`, and the study's label files `labels` or `labels_train`,
        `labels_validation`, `labels_test`. Pictures: curves by layer,
        bars, correlations, and of each model t-SNE, true against predicted, and errors.

    Raises
    ------
    ValueError
        If an utterance has no text, no extractor is given, two share a name, a speaker straddles
        parts, there are fewer speakers than folds, the edition is unknown, an embedding is named
        for a model that is none, or (with "raise") a file gives no features.
    KeyError
        If the embedding is no layer.
    FileNotFoundError
        If a folder holds no LibriSpeech, or a text is missing there.
    TypeError
        If the settings are none, or something is neither corpus nor folder, or no extractor.
    ImportError
        If the articulation rate is wanted and silero-vad is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from speechprobe import datasets
    >>> generator = np.random.default_rng(0)
    >>> items = pd.DataFrame({"path": "a.wav", "speaker": np.arange(40) % 10, "text": "so long"})
    >>> items["duration"] = generator.uniform(0.5, 1, size=40)
    >>> knows = 6 / items["duration"].to_numpy()[:, None] + generator.normal(size=(40, 3))
    >>> study = speaking_rate(
    ...     datasets.load_table(items), {"net": Features({"middle": knows}, items)},
    ...     settings=SpeakingRateSettings(n_shuffles=1, next_steps=()))
    >>> study.table().query("metric == 'r2'")[["probe", "layer", "score"]].round(1)
       probe   layer  score
    2  ridge  middle    0.9
    5    mlp  middle    0.2
    """
    settings = SpeakingRateSettings() if settings is None else settings
    models = models_of(extractors)
    _check(edition, errors, settings, models, embedding)
    pauses = ARTICULATION in settings.next_steps
    data = rate_data(corpus, split, n_folds=settings.n_folds, pauses=pauses, errors=errors)
    if max_frames is None and edition == "original":
        max_frames = ORIGINAL_FRAMES
    place = None if store is None else Path(store)
    features = features_of(models, data.corpus, max_frames=max_frames, store=place, errors=errors)
    features, data, lost = _usable(features, data)
    chosen = _embedding(features, embedding)
    scores = rate_scores(features, chosen, data, settings)
    cca, main = correlations(features, data, settings.cca_ridges), _MAIN[edition]
    told = {"max_frames": max_frames, "main_probe": main, "failures": lost.records()}
    return Study(
        "speaking_rate",
        edition,
        _deviations(models, data, max_frames) + lost.sentences(),
        _tables(scores, cca, data),
        rate_pictures(features, chosen, scores, cca, main),
        _provenance(features, chosen, data, scores, settings) | told,
    )


def _check(
    edition: str,
    errors: str,
    settings: SpeakingRateSettings,
    models: Mapping[str, Model],
    embedding: str | Mapping[str, str] | None,
) -> None:
    """Raise before anything runs if an argument is none of those there are."""
    if edition not in _MAIN:
        raise ValueError(f"edition must be 'original' or 'corrected', got {edition!r}")
    require_errors(errors)
    if not isinstance(settings, SpeakingRateSettings):
        raise TypeError(
            f"settings must be SpeakingRateSettings(...), got {type(settings).__name__}"
        )
    named = embedding if isinstance(embedding, Mapping) else {}
    unknown = [name for name in named if name not in models]
    if unknown:
        raise ValueError(
            f"embedding names {unknown[0]!r}, which is no model; there are {', '.join(models)}"
        )


def _usable(
    features: dict[str, Features], data: RateData
) -> tuple[dict[str, Features], RateData, Lost]:
    """Return features and data of the utterances that all models have, and what is left out."""
    keep, lost = in_common(features, data.corpus, data.failures)
    if keep.all():
        return features, data, lost
    try:
        left = data.only(keep)
    except ValueError as error:
        raise lost.explained(error) from error
    ids = list(left.corpus.table.index)
    return {name: each.select(ids) for name, each in features.items()}, left, lost


def _embedding(
    features: Mapping[str, Features], wanted: str | Mapping[str, str] | None
) -> dict[str, str]:
    named = wanted if isinstance(wanted, Mapping) else dict.fromkeys(features, wanted)
    found = {name: named.get(name) or list(each.layers)[-1] for name, each in features.items()}
    for name, layer in found.items():
        if layer not in features[name].layers:
            raise KeyError(
                f"{name!r} has no layer {layer!r} to be the embedding; it has "
                f"{list(features[name].layers)}"
            )
    return found


def _tables(
    scores: Mapping[str, Scores], cca: pd.DataFrame, data: RateData
) -> dict[str, pd.DataFrame]:
    tables = {name: table_of(each) for name, each in scores.items()}
    tables |= {"best_layers": best_of(scores), "cca": cca, "published": _published(scores, cca)}
    tables |= {"predictions": predictions_of(scores[EMBEDDING]), "label_summary": data.summary()}
    return tables | data.label_tables()


def _published(scores: Mapping[str, Scores], cca: pd.DataFrame) -> pd.DataFrame:
    """Return the study's figures beside those of each model; MSE hangs on the spread of the label.

    The best layer is chosen on validation items; the peak of the correlation is the largest of
    all, as in the study, on held-out items and without ridge where that was computed.
    """
    rows: list[dict[str, Any]] = []
    for model, each in by_model(scores[EMBEDDING], MLP).items():
        record = each.by_metric("mse")[0]
        rows.append(_figure("test MSE, embedding", "about 14.8", model, record.layer, record.score))
    for model, each in by_model(scores[LAYERS], MLP).items():
        for record in each.chosen[:1]:
            told = "8.9 to 10.2, middle layers"
            rows.append(_figure("test MSE, best layer", told, model, record.layer, record.score))
    least = cca[cca["ridge"] == cca["ridge"].min()].dropna(subset="held_out")
    for model, found in least.groupby("model", sort=False):
        peak = found.loc[found["held_out"].idxmax()]
        told = "0.5 to 0.6, middle layers"
        name, value = str(peak["layer"]), float(peak["held_out"])
        rows.append(_figure("canonical correlation, peak", told, str(model), name, value))
    return pd.DataFrame(rows)


def _figure(figure: str, published: str, model: str, layer: str, measured: float) -> dict[str, Any]:
    told = {"figure": figure, "published": published, "model": model}
    return told | {"layer": layer, "measured": measured}


def _deviations(
    models: Mapping[str, Model], data: RateData, max_frames: int | None
) -> tuple[str, ...]:
    told = [
        "the width of the perceptron is not published; it has one hidden layer of 128 units",
        "features and label are standardised over the items fitted on",
        "a ridge regression stands beside the perceptron",
    ]
    subsets = data.corpus.table.get("subset", pd.Series(dtype=str))
    published = set(PUBLISHED_PARTS.values())
    if not data.corpus.name.startswith("librispeech") or set(subsets) != published:
        told.append(
            f"{len(data.corpus)} utterances of {data.corpus.table['speaker'].nunique()} speakers "
            f"of {data.corpus.name}, not LibriSpeech train-clean-100, dev-clean and test-clean"
        )
    if not data.given:
        told.append(f"{len(data.folds)} folds by speaker instead of a fixed split")
    if max_frames != ORIGINAL_FRAMES:
        seen = "whole utterances" if max_frames is None else f"{max_frames} frames"
        told.append(f"{seen} instead of {ORIGINAL_FRAMES} frames")
    for name, model in models.items():
        told += _of_model(name, model, max_frames)
    return tuple(told)


def _of_model(name: str, model: Model, max_frames: int | None) -> list[str]:
    told = []
    if isinstance(model, Features):
        if max_frames is not None:
            told.append(f"the features of {name} were given, so its frames are as they came")
        return told
    if max_frames is not None and not takes_frames(model):
        told.append(
            f"{name} is not fed frames of 10 ms: it sees signals of {seconds_of(max_frames):g} s, "
            "zeros behind short ones"
        )
    own = getattr(model, "max_frames", None)
    if max_frames is None and own is not None:
        told.append(f"{name} was loaded with max_frames={own} and sees no more")
    if model.name.endswith("-untrained"):
        told.append(f"{name} has random weights")
    return told


def _provenance(
    features: Mapping[str, Features],
    embedding: Mapping[str, str],
    data: RateData,
    scores: Mapping[str, Scores],
    settings: SpeakingRateSettings,
) -> dict[str, Any]:
    folds = [{part: len(rows) for part, rows in fold._asdict().items()} for fold in data.folds]
    cautions = {
        f"{table}, {model}, {probe}": list(each.cautions)
        for table, by in scores.items()
        for (model, probe), each in by.items()
        if each.cautions
    }
    still = [
        f"model {model}, layer {layer} does not vary" for model, layer in constant_layers(features)
    ]
    return {
        "corpus": data.corpus.name,
        "n_items": len(data.corpus),
        "n_speakers": int(data.corpus.table["speaker"].nunique()),
        "folds": folds,
        "target": RATE,
        "settings": asdict(settings),
        "probes": {
            f"{table}, {probe}": each.settings["probe"]
            for table, by in scores.items()
            for (_, probe), each in by.items()
        },
        "embedding": dict(embedding),
        "cautions": cautions | ({"features": still} if still else {}),
        "extractors": {name: dict(each.provenance) for name, each in features.items()},
    }
