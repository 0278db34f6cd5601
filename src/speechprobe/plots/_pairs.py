"""True values beside predictions, from scores of layers or from two arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.layers.scores import LayerScores
from speechprobe.plots._sections import model_of, title_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Pairs:
    """Truths and predictions of the same items, the runs of several seeds one after another."""

    truth: NDArray[Any]
    prediction: NDArray[Any]
    seed: NDArray[Any]
    target: str
    title: str

    @property
    def n_items(self) -> str:
        """How many items stand behind the picture, and how many seeds."""
        n_seeds = len(np.unique(self.seed))
        n_items = f"{len(self.truth) // n_seeds:,}"
        return f"n = {n_items}" + (f" × {n_seeds} seeds" if n_seeds > 1 else "")

    def mean_of(self, metric: Callable[[ArrayLike, ArrayLike], float]) -> float:
        """Return the mean over seeds of a metric, NaN where it does not exist."""
        runs = [self.seed == seed for seed in np.unique(self.seed)]
        try:
            return float(np.mean([metric(self.truth[run], self.prediction[run]) for run in runs]))
        except ValueError:
            return float("nan")


def pairs_of(truth: ArrayLike | LayerScores, prediction: ArrayLike | str | None) -> Pairs:
    """Return what `truth` and `prediction` name: one layer of scores, or two arrays.

    Raises
    ------
    TypeError
        If scores come with an array, or an array comes with the name of a layer or alone.
    KeyError
        If the scores have no such layer.
    ValueError
        If the arrays differ in length, or the scores hold no predictions.
    """
    if isinstance(truth, LayerScores):
        if prediction is not None and not isinstance(prediction, str):
            raise TypeError(f"beside scores, give the name of a layer, got {prediction!r}")
        return _of_layer(truth, prediction)
    if prediction is None or isinstance(prediction, str):
        raise TypeError(
            f"beside an array of truths, give an array of predictions, got {prediction!r}; "
            "layers are named beside the LayerScores of probe_layers"
        )
    true, predicted = np.asarray(truth).ravel(), np.asarray(prediction).ravel()
    if len(true) != len(predicted) or not len(true):
        raise ValueError(
            f"truth and prediction must have the same length, at least 1, got {len(true)} and "
            f"{len(predicted)}"
        )
    return Pairs(true, predicted, np.zeros(len(true), dtype=int), "", "")


def _of_layer(scores: LayerScores, layer: str | None) -> Pairs:
    name = layer or (scores.layers[0] if len(scores.layers) == 1 else scores.best().layer)
    if name not in scores.layers:
        raise KeyError(f"no layer {name!r} among {scores.layers}")
    if scores.predictions is None or not len(scores.predictions):
        raise ValueError(f"{scores!r} holds no predictions; give two arrays instead")
    rows = scores.predictions[scores.predictions["layer"] == name]
    model = model_of(scores)
    about = title_of({model: scores}), model, name
    return Pairs(
        rows["truth"].to_numpy(),
        rows["prediction"].to_numpy(),
        rows["seed"].to_numpy(),
        str(scores.settings.get("target", "")),
        ", ".join(part for part in about if part),
    )
