"""Paired differences between layers and between models: the same items, drawn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

import speechprobe.metrics
from speechprobe.metrics.comparison import holm, paired_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.layers.scores import LayerScores

Metric = Callable[[Any, Any], float]
Pair = tuple[str, str]


class _Items(NamedTuple):
    """What two layers are compared on: ids of the items, their truth and groups, the seeds."""

    ids: pd.Index[Any]
    truth: NDArray[Any]
    groups: NDArray[Any]
    seeds: list[int]


def differences_of(
    ours: LayerScores,
    other: LayerScores | None,
    metric: str,
    function: Metric | None,
    pairs: Sequence[Pair] | None,
    n_resamples: int | None,
) -> pd.DataFrame:
    """Return a row a pair of layers; see `LayerScores.differences`."""
    theirs = ours if other is None else other
    if not hasattr(theirs, "predictions"):
        raise TypeError(
            f"other must be the scores of another model, got {other!r}; a metric is metric=..."
        )
    measure = _function(metric, ours) if function is None else function
    wanted = _pairs(ours, other, metric) if pairs is None else list(pairs)
    for first, second in wanted:
        for layer, scores in ((first, ours), (second, theirs)):
            if layer not in scores.layers:
                raise KeyError(f"no layer {layer!r} among {scores.layers}")
    if not wanted:
        raise ValueError("there is no pair of layers to compare")
    items = _common(ours, theirs)
    measure = _of_labels(measure, items.truth)
    confidence = ours.settings.get("confidence", 0.95)
    size = max(2000, 100 * len(wanted)) if n_resamples is None else n_resamples
    rows: list[tuple[Any, ...]] = []
    cautions: list[str] = []
    positions = np.arange(2 * len(items.ids))
    for first, second in wanted:
        seen = _by_seed(ours, first, items), _by_seed(theirs, second, items)
        test = paired_test(
            items.truth,
            positions[: len(items.ids)],
            positions[len(items.ids) :],
            _mean_over_seeds(measure, np.concatenate(seen, axis=1)),
            groups=items.groups,
            confidence=confidence,
            n_resamples=size,
        )
        numbers = (test.difference, test.low, test.high, test.p_value)
        rows.append((first, second, *numbers, test.n_groups))
        cautions += test.notes
    names = ["layer", "other", "difference", "low", "high", "p_value", "n_groups"]
    frame = pd.DataFrame(rows, columns=names)
    frame.insert(6, "p_holm", holm(frame["p_value"]))
    frame.attrs["cautions"] = list(dict.fromkeys(cautions))
    return frame


def _function(name: str, scores: LayerScores) -> Metric:
    found = scores.functions.get(name, getattr(speechprobe.metrics, name, None))
    if not callable(found):
        raise KeyError(
            f"{name!r} is no function of speechprobe.metrics, and files keep none; give the "
            "function itself: differences(metric=function)"
        )
    return found


def _of_labels(metric: Metric, truth: NDArray[Any]) -> Metric:
    """Return the metric, or where it does not take the classes, it on codes of them."""
    if truth.dtype.kind in "fc":
        return metric
    try:
        metric(truth, truth)
    except Exception:  # whatever it raises: codes are tried, as when the layers were scored
        classes = np.unique(truth)
        return lambda a, b: metric(np.searchsorted(classes, a), np.searchsorted(classes, b))
    return metric


def _pairs(ours: LayerScores, other: LayerScores | None, metric: str) -> list[Pair]:
    if other is None:
        best = ours.best(metric).layer
        return [(layer, best) for layer in ours.layers if layer != best]
    shared = [layer for layer in ours.layers if layer in other.layers]
    if not shared:
        raise ValueError(
            "the two models have no layers of one name; say which to compare, such as "
            "pairs=[(a.best().layer, b.best().layer)]"
        )
    return [(layer, layer) for layer in shared]


def _common(ours: LayerScores, theirs: LayerScores) -> _Items:
    seeds = []
    tables = []
    for scores in (ours, theirs):
        if scores.predictions is None or not len(scores.predictions):
            raise ValueError(f"{scores!r} holds no predictions, so nothing can be compared")
        found = scores.predictions
        seeds.append(list(dict.fromkeys(found["seed"])))
        first = found[(found["layer"] == scores.layers[0]) & (found["seed"] == seeds[-1][0])]
        tables.append(first.set_index("id"))
    a, b = tables
    if seeds[0] != seeds[1]:
        raise ValueError(f"the two were probed with other seeds: {seeds[0]} and {seeds[1]}")
    for table in tables:
        if not table.index.is_unique:
            raise ValueError("ids of the items are not unique, so they cannot be matched")
    apart = a.index.symmetric_difference(b.index)
    if len(apart):
        raise ValueError(
            f"{len(apart)} items were scored for one of the two only, first {apart[0]!r}; probe "
            "both on the same items and split"
        )
    truth = a["truth"].to_numpy()
    if not np.array_equal(truth, b["truth"].loc[a.index].to_numpy()):
        raise ValueError(
            "the truth of the items differs between the two; was it the same target, with the "
            "same control_for?"
        )
    return _Items(a.index, truth, a["group"].to_numpy(), seeds[0])


def _by_seed(scores: LayerScores, layer: str, items: _Items) -> NDArray[Any]:
    """Return the predictions of a layer, (n_seeds, n_items)."""
    found = scores.predictions[scores.predictions["layer"] == layer]
    return np.stack(
        [
            found[found["seed"] == seed].set_index("id")["prediction"].loc[items.ids].to_numpy()
            for seed in items.seeds
        ]
    )


def _mean_over_seeds(metric: Metric, predictions: NDArray[Any]) -> Metric:
    """Return a metric of positions in the predictions (n_seeds, n_positions) of both layers.

    So all seeds of a layer are exchanged together.
    """

    def score(truth: Any, positions: Any) -> float:
        return float(np.mean([metric(truth, each[positions]) for each in predictions]))

    return score
