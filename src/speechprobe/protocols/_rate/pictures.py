"""The pictures of the speaking-rate study, drawn when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechprobe.features import Features
from speechprobe.layers import LayerScore, LayerScores
from speechprobe.protocols._rate.inputs import safe
from speechprobe.protocols._rate.parts import RATE
from speechprobe.protocols._rate.scores import EMBEDDING, LAYERS, MLP, RIDGE, Scores, varies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNIT = "characters/s"


def rate_pictures(
    features: Mapping[str, Features],
    embedding: Mapping[str, str],
    scores: Mapping[str, Scores],
    cca: pd.DataFrame,
    main: str,
) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw, by name; no map of an embedding that does not vary.

    Parameters
    ----------
    features
        {model: features}.
    embedding
        {model: layer}.
    scores
        By table.
    cca
        Its table of correlations.
    main
        The probe whose predictions are drawn.
    """
    drawn: dict[str, Callable[[], Figure]] = {}
    for probe in dict.fromkeys([main, RIDGE, MLP]):
        drawn[f"layer_curves_{probe}"] = partial(_curves, by_model(scores[LAYERS], probe))
        drawn[f"embedding_bars_{probe}"] = partial(_bars, by_model(scores[EMBEDDING], probe))
    drawn["cca"] = partial(_correlations, cca)
    for model, each in features.items():
        name, found = safe(model), scores[EMBEDDING][model, main]
        if varies(each, embedding[model]):  # t-SNE of points that coincide does not end well
            drawn[f"tsne_{name}"] = partial(_map, each, embedding[model])
        drawn[f"predictions_{name}"] = partial(_predictions, found)
        drawn[f"errors_{name}"] = partial(_errors, found)
    return drawn


def by_model(scores: Scores, probe: str) -> dict[str, LayerScores]:
    """Return {model: scores} of one probe."""
    return {model: each for (model, name), each in scores.items() if name == probe}


def _curves(models: Mapping[str, LayerScores]) -> Figure:
    from speechprobe.plots import plot_layers

    return plot_layers(models, depth="relative", unit=UNIT)


def _bars(models: Mapping[str, LayerScores]) -> Figure:
    from speechprobe.plots import plot_metrics

    return plot_metrics(models, unit=UNIT)


def _map(features: Features, layer: str) -> Figure:
    from speechprobe.plots import plot_projection

    return plot_projection(features, layer, RATE, unit=UNIT)


def _predictions(scores: LayerScores) -> Figure:
    from speechprobe.plots import plot_predictions

    return plot_predictions(scores, unit=UNIT)


def _errors(scores: LayerScores) -> Figure:
    from speechprobe.plots import plot_errors

    return plot_errors(scores, unit=UNIT)


def _correlations(table: pd.DataFrame) -> Figure:
    """Draw the held-out correlations, a panel a ridge; bands are one deviation over folds."""
    from speechprobe.plots import plot_layers

    models = {
        str(model): LayerScores(
            tuple(_record(row) for row in rows.to_dict("records")), pd.DataFrame(), {"target": RATE}
        )
        for model, rows in table.groupby("model", sort=False)
    }
    return plot_layers(models, depth="relative")


def _record(row: Mapping[Any, Any]) -> LayerScore:
    nan = float("nan")
    score = LayerScore(
        row["layer"], f"held-out CCA (ridge {row['ridge']:g})", row["held_out"], nan, nan, nan, nan,
        row["n_items"], row["n_dims"], True,
    )  # fmt: skip
    spread = row["held_out_std"]
    return score.with_interval(row["held_out"] - spread, row["held_out"] + spread, n_groups=0)
