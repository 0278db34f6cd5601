"""What the layers of each model know of the speaking rate: probes, correlations, and as tables."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe import metrics
from speechprobe._similarity import varying
from speechprobe.features import Features
from speechprobe.layers import LayerScore, LayerScores, probe_layers
from speechprobe.probes import RidgeProbe, TorchMLPRegressor, cca
from speechprobe.protocols._rate.parts import ARTICULATION, DURATION, RATE

if TYPE_CHECKING:
    from speechprobe.datasets.splits import Split
    from speechprobe.protocols._rate.parts import RateData

# The tables of scores.
LAYERS, EMBEDDING, BEYOND = "layer_metrics", "embedding_metrics", "beyond_duration"
MLP, RIDGE = "mlp", "ridge"
HIDDEN_SIZES = (128,)
LEARNING_RATE, BATCH_SIZE = 3e-4, 32  # the study's
METRICS = (metrics.mse, metrics.mae, metrics.r2)
_FIRST = ["model", "probe", "target", "layer", "depth", "metric", "score", "low", "high"]
_LAST = ["gap", "gap_low", "gap_high", "validation", "seed_std", "n_items", "n_groups", "n_dims"]

Scores = Mapping[tuple[str, str], LayerScores]  # by model and probe


@dataclass(frozen=True)
class SpeakingRateSettings:
    """Settings of the speaking-rate study; the defaults are its own where it names them.

    Parameters
    ----------
    embedding_epochs, layer_epochs
        Of the perceptron, on the embedding and on a layer.
    n_folds
        Folds by speaker where no split is given.
    n_shuffles
        Runs with shuffled labels behind the floor.
    seeds
        Of the probes; scores are averaged.
    cca_ridges
        Ridges of the canonical correlation, see `probes.cca`. Without one (0, as in the study) it
        fits anything where there are more dimensions than items.
    next_steps
        Of the questions beyond the study, which to ask, one or several: "articulation_rate", the
        rate with the pauses taken out, needs silero-vad (extra `vad`); "beyond_duration", what is
        left of the rate beyond the length of the file; "duration", that length.

    Raises
    ------
    ValueError
        If there is no such question, no ridge, or one is negative.

    Examples
    --------
    >>> SpeakingRateSettings(n_folds=10).layer_epochs
    3
    """

    embedding_epochs: int = 10
    layer_epochs: int = 3
    n_folds: int = 5
    n_shuffles: int = 5
    seeds: tuple[int, ...] = (0,)
    cca_ridges: tuple[float, ...] = (0.0, 1.0)
    next_steps: tuple[str, ...] = (ARTICULATION, BEYOND, DURATION)

    def __post_init__(self) -> None:
        if isinstance(self.next_steps, str):
            object.__setattr__(self, "next_steps", (self.next_steps,))
        known = (ARTICULATION, BEYOND, DURATION)
        unknown = [step for step in self.next_steps if step not in known]
        if unknown:
            raise ValueError(f"no next step {unknown[0]!r}; there are {', '.join(known)}")
        ridges = np.asarray(self.cca_ridges)
        if ridges.ndim != 1 or not len(ridges) or not all(0 <= each < np.inf for each in ridges):
            raise ValueError(
                "cca_ridges must be one or more numbers from 0, such as (0.0, 1.0), got "
                f"{self.cca_ridges!r}"
            )


def rate_scores(
    features: Mapping[str, Features],
    embedding: Mapping[str, str],
    data: RateData,
    settings: SpeakingRateSettings,
) -> dict[str, Scores]:
    """Return the scores of every layer and of the embedding, and of the next steps, by table.

    Parameters
    ----------
    features
        {model: features}.
    embedding
        {model: layer}.
    data
        Labels and folds.
    settings
        Of the study.
    """
    ridge: dict[str, Any] = {RIDGE: RidgeProbe()}
    last = {
        name: replace(each, layers={embedding[name]: each.layers[embedding[name]]})
        for name, each in features.items()
    }
    on_all = partial(_scores, folds=data.folds, settings=settings)
    found = {
        LAYERS: on_all(features, ridge | {MLP: mlp(settings.layer_epochs)}, target=RATE),
        EMBEDDING: on_all(last, ridge | {MLP: mlp(settings.embedding_epochs)}, target=RATE),
    }
    if BEYOND in settings.next_steps:
        found[BEYOND] = on_all(features, ridge, target=RATE, control_for=[DURATION])
    if ARTICULATION in settings.next_steps:
        rows, folds = data.rows_with(ARTICULATION)
        some = {name: each.select(rows) for name, each in features.items()}
        found[ARTICULATION] = on_all(some, ridge, target=ARTICULATION, folds=folds)
    if DURATION in settings.next_steps:
        found[DURATION] = on_all(features, ridge, target=DURATION)
    return found


def mlp(epochs: int) -> TorchMLPRegressor:
    """Return the perceptron of the study."""
    return TorchMLPRegressor(
        HIDDEN_SIZES, learning_rate=LEARNING_RATE, batch_size=BATCH_SIZE, epochs=epochs
    )


def _scores(
    features: Mapping[str, Features],
    probes: Mapping[str, Any],
    *,
    target: str,
    folds: Sequence[Split],
    settings: SpeakingRateSettings,
    control_for: Sequence[str] = (),
) -> Scores:
    return {
        (model, name): probe_layers(
            each,
            target=target,
            groups="speaker",
            probe=probe,
            metrics=METRICS,
            split=folds,
            n_shuffles=settings.n_shuffles,
            seeds=settings.seeds,
            control_for=control_for,
        )
        for model, each in features.items()
        for name, probe in probes.items()
    }


def correlations(
    features: Mapping[str, Features], data: RateData, ridges: Sequence[float]
) -> pd.DataFrame:
    """Return the first canonical correlation of each layer with the rate.

    Parameters
    ----------
    features
        {model: features}.
    data
        Labels and folds.
    ridges
        One row a layer and ridge.

    Returns
    -------
    table
        `correlation` is that of all items, which are those fitted on; `held_out` and
        `held_out_std` are mean and spread over the folds of that of the test items, fitted on the
        others. Of one fold there is no spread. All are NaN for a layer that does not vary; a fold
        does not count if its training items or its test items do not.
    """
    rate = data.corpus.table[RATE].to_numpy(dtype=float)
    rows = []
    for model, each in features.items():
        for layer, depth in _depths(list(each.layers)).items():
            values = np.asarray(each[layer], dtype=np.float64)
            for ridge in ridges:
                held = [_held_out(values, rate, fold, ridge) for fold in data.folds]
                told = {"model": model, "layer": layer, "depth": depth, "ridge": ridge}
                fitted = _fitted(values, rate, ridge)
                told["correlation"] = np.nan if fitted is None else float(fitted.correlations[0])
                known = [each for each in held if np.isfinite(each)]
                told["held_out"] = float(np.mean(known)) if known else np.nan
                told["held_out_std"] = float(np.std(known)) if len(known) > 1 else np.nan
                told |= {"n_items": len(rate), "n_dims": values.shape[1]}
                rows.append(told)
    return pd.DataFrame(rows)


def constant_layers(features: Mapping[str, Features]) -> list[tuple[str, str]]:
    """Return (model, layer) of each layer that is the same for all items."""
    return [
        (model, layer)
        for model, each in features.items()
        for layer in each.layers
        if not varies(each, layer)
    ]


def varies(features: Features, layer: str) -> bool:
    """Say whether a layer is not the same for all items."""
    return _any_varies(np.asarray(features[layer], dtype=np.float64))


def _any_varies(values: Any) -> bool:
    return bool(varying(values).any())


def _fitted(values: Any, rate: Any, ridge: float) -> Any:
    """Return the canonical correlation, or None of values or a rate that do not vary."""
    if not (_any_varies(values) and _any_varies(rate[:, None])):
        return None
    with warnings.catch_warnings():
        # That the items are few for so many dims stands in the table: n_items and n_dims.
        warnings.simplefilter("ignore", UserWarning)
        return cca(values, rate, n_components=1, ridge=ridge)


def _held_out(values: Any, rate: Any, fold: Split, ridge: float) -> float:
    fit = np.concatenate([fold.train, fold.validation])
    found = _fitted(values[fit], rate[fit], ridge)
    tested = values[fold.test], rate[fold.test, None]
    if found is None or not all(map(_any_varies, tested)):
        return float("nan")
    a, b = found.project(*tested)
    if np.ptp(a[:, 0]) == 0 or np.ptp(b[:, 0]) == 0:
        return float("nan")
    return float(np.corrcoef(a[:, 0], b[:, 0])[0, 1])


def table_of(scores: Scores) -> pd.DataFrame:
    """Return one row a model, probe, layer and metric, in full precision."""
    rows = [
        _row(model, probe, each, record, depth)
        for (model, probe), each in scores.items()
        for record, depth in _with_depth(each)
    ]
    return _framed(rows)


def best_of(scores: Mapping[str, Scores]) -> pd.DataFrame:
    """Return the layers chosen on validation items, with the honest score of that choice.

    `table` is the one with the scores of all layers.
    """
    rows = [
        {"table": table} | _row(model, probe, each, record, _depths(each.layers)[record.layer])
        for table, by_model in scores.items()
        if table != EMBEDDING
        for (model, probe), each in by_model.items()
        for record in each.chosen
    ]
    return _framed(rows, ["table"]) if rows else pd.DataFrame(columns=["table", *_FIRST])


def predictions_of(scores: Scores) -> pd.DataFrame:
    """Return what every probe predicts for every test item, one below the other."""
    parts = [
        each.predictions.assign(model=model, probe=probe) for (model, probe), each in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _with_depth(scores: LayerScores) -> list[tuple[LayerScore, float]]:
    depths = _depths(scores.layers)
    return [(record, depths[record.layer]) for record in scores.records]


def _depths(layers: Sequence[str]) -> dict[str, float]:
    """Return the relative depth of each layer: 0 the first, 1 the last."""
    return {layer: k / max(1, len(layers) - 1) for k, layer in enumerate(layers)}


def _row(
    model: str, probe: str, scores: LayerScores, record: LayerScore, depth: float
) -> dict[str, Any]:
    told = {"model": model, "probe": probe, "target": scores.settings["target"], "depth": depth}
    return told | asdict(record) | dict(record.floors) | {"shuffled_std": record.floor_std}


def _framed(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> pd.DataFrame:
    floors = [name for name in ("shuffled", "shuffled_std", "mean", "nuisance") if name in rows[0]]
    return pd.DataFrame(rows)[[*first, *_FIRST, *floors, *_LAST]]
