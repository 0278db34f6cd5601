"""SERAB's five classifiers on the vectors of a task: fitted, chosen on validation, scored on test.

Scores are in %. A classifier that cannot be fitted is a row with the reason and NaN.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from speechprobe import metrics
from speechprobe._files import hide_progress
from speechprobe.probes.baselines import baselines
from speechprobe.probes.search import SearchResult, search
from speechprobe.protocols._serab.tasks import EMOTION, PARTS, Material

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 42
ENOUGH_SPEAKERS = 10  # an interval from fewer groups is plainly too narrow


def classifier_names(wanted: Sequence[str] | None) -> list[str]:
    """Return the names of the classifiers to run, in SERAB's order; all by default.

    Raises
    ------
    ValueError
        If one is unknown, or none is asked for.
    """
    known = list(baselines("classification", seed=SEED))
    asked = known if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        raise ValueError(f"classifiers must be some of {known}, got {list(asked)}")
    return [name for name in known if name in asked]


def normalised(vectors: NDArray[Any], material: Material) -> NDArray[np.float64]:
    """Return vectors with mean 0 and standard deviation 1 for each voice within each part.

    Parameters
    ----------
    vectors
        Shape (n_items, n_dims). A dimension that does not vary becomes 0.
    material
        The items; `voice` and `part` say which are normalised together. The statistics of test
        items are their own: transductive.
    """
    result = np.array(vectors, dtype=np.float64)
    for part in PARTS:
        of_part = material.part == part
        for voice in set(material.voice[of_part]):
            rows = of_part & (material.voice == voice)
            deviation = result[rows].std(axis=0)
            centred = result[rows] - result[rows].mean(axis=0)
            result[rows] = centred / np.where(deviation > 0, deviation, 1.0)
    return result


def classify(
    vectors: NDArray[Any],
    material: Material,
    *,
    names: Sequence[str],
    grid: bool,
    n_jobs: int | None,
    progress: bool,
) -> list[dict[str, Any]]:
    """Return one row a classifier: its scores with intervals, its setting, or why it failed."""
    x, y = normalised(vectors, material), material.column(EMOTION).astype(str)
    estimators = baselines("classification", seed=SEED)
    shared = _facts(material, y)
    rows = []
    bar = tqdm(names, desc=f"{material.task} classifiers", disable=hide_progress(progress))
    for name in bar:
        estimator, settings = estimators[name]
        started = time.perf_counter()
        found, failure, warned = _attempt(
            lambda e=estimator, s=settings: search(  # type: ignore[misc]
                e, s if grid else {}, material.split, x, y, n_jobs=n_jobs
            )
        )
        seconds = round(time.perf_counter() - started, 3)
        scores = _scores(found, material, y)
        told = {"seconds": seconds, "failure": failure, "warning": warned}
        rows.append({"classifier": name, **scores, **shared, **told})
    return rows


def _attempt(run: Callable[[], SearchResult]) -> tuple[SearchResult | None, str, str]:
    """Return what a search found, or None and the reason; and its warnings."""
    found, failure = None, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Whatever scikit-learn raises is the reason of this row; the others go on.
        try:
            found = run()
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    told = dict.fromkeys(str(warning.message) for warning in caught)
    return found, failure, "; ".join(told)


def _facts(material: Material, y: NDArray[Any]) -> dict[str, Any]:
    """Return what stands beside every score: the floor, and how many items and speakers test."""
    split = material.split
    classes, counts = np.unique(
        y[np.concatenate([split.train, split.validation])], return_counts=True
    )
    speakers = _test_speakers(material)
    return {
        # Of naming the largest class of training and validation always.
        "floor": 100 * metrics.accuracy(
            y[split.test], np.full(len(split.test), classes[counts.argmax()])
        ),
        "floor_uar": 100 / len(classes),
        "n_test": len(split.test),
        "n_speakers": len(set(speakers)),
        "interval": "by speaker" if len(set(speakers)) >= ENOUGH_SPEAKERS else "by file",
    }  # fmt: skip


def _test_speakers(material: Material) -> NDArray[Any]:
    """Return the true speaker of each test item, whatever the edition took for it."""
    return material.column("speaker").astype(str)[material.split.test]


def _scores(found: SearchResult | None, material: Material, y: NDArray[Any]) -> dict[str, Any]:
    scores: dict[str, Any] = {"setting": "", "validation_accuracy": np.nan}
    if found is not None:
        scores["setting"] = ", ".join(f"{name}={value}" for name, value in found.best.items())
        scores["validation_accuracy"] = 100 * found.validation_score
    for name, metric in (("accuracy", _accuracy), ("uar", metrics.uar)):
        three = (np.nan,) * 3
        if found is not None:
            # As numbers, which resamples compare ten times faster than words.
            codes = np.unique(np.concatenate([y[material.split.test], found.prediction]),
                              return_inverse=True)[1]  # fmt: skip
            truth, prediction = np.split(codes, 2)
            low, high = _interval(truth, prediction, metric, _test_speakers(material))
            three = (metric(truth, prediction), low, high)
        names = (name, f"{name}_low", f"{name}_high")
        scores |= {key: 100 * value for key, value in zip(names, three, strict=True)}
    return scores


def _accuracy(truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    # As `metrics.accuracy`, without its checks, which cost a resample more than all else.
    return float(np.mean(truth == prediction))


def _interval(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    metric: Callable[[Any, Any], float],
    speakers: NDArray[Any],
) -> tuple[float, float]:
    groups = speakers if len(set(speakers)) >= ENOUGH_SPEAKERS else None
    with warnings.catch_warnings():
        # Of few test files, whose number stands beside the interval.
        warnings.simplefilter("ignore")
        return metrics.bootstrap_interval(truth, prediction, metric, groups=groups)
