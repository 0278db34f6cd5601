"""How a score grows with the training set, and with the width of the probe.

In each fold the training groups are put into a random order, one for each seed, and the probe is
fitted on the first of them; so the smaller sets lie within the larger ones. The test items are the
same for every size. The predictions of all folds are scored together and averaged over the seeds.
A curve that still rises says that the layer may know more than the score tells; a narrow probe
that does as well as a wide one, that the property lies open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from speechprobe.datasets import splits
from speechprobe.extractors.base import select_layers
from speechprobe.features import Features
from speechprobe.layers.fits import Plan, Run, groups_for, predict_all
from speechprobe.layers.floors import Matrices, batches
from speechprobe.layers.scoring import join, resampled
from speechprobe.layers.target import Measure, Metric, Target, measures_of
from speechprobe.metrics.cautions import group_cautions
from speechprobe.metrics.uncertainty import percentile_interval
from speechprobe.probes.jobs import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
_SHARES = (1 / 8, 1 / 4, 1 / 2, 1)


@dataclass(frozen=True)
class CurvePoint:
    """The score of one layer with so many training groups.

    Parameters
    ----------
    layer, metric
        Names.
    n_train_groups
        Groups that each fold is fitted on.
    n_train_items
        Their items, the mean over folds and seeds.
    width
        Of the hidden layer of the probe; None where it was left as it is.
    score
        On the test items; mean over seeds.
    seed_std
        Standard deviation over seeds: which groups were drawn, and the probe's own seed.
    low, high
        Ends of the 95 % interval, test groups drawn anew.
    n_items, n_groups
        Scored items, and their groups.
    """

    layer: str
    metric: str
    n_train_groups: int
    n_train_items: float
    width: int | None
    score: float
    seed_std: float
    low: float
    high: float
    n_items: int
    n_groups: int


@dataclass(frozen=True)
class LearningCurve:
    """Scores over the number of training groups.

    Parameters
    ----------
    points
        One a layer, metric, width and size.
    settings
        Target, groups, probe, folds and seeds.
    cautions
        What to be careful with, in words.
    """

    points: tuple[CurvePoint, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """Return the points, one a row, rounded to 3 decimals; no width where none was asked."""
        frame = pd.DataFrame.from_records([asdict(point) for point in self.points])
        frame = frame.set_index("layer").round(3)
        frame.attrs["cautions"] = list(self.cautions)
        return frame.drop(columns="width") if frame["width"].isna().all() else frame


def learning_curve(
    features: Features,
    *,
    target: str,
    groups: str | None,
    probe: Any,
    metrics: Metric | Sequence[Metric],
    layers: str | Sequence[str] = "*",
    sizes: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
) -> LearningCurve:
    """Score layers with more and more training groups.

    Parameters
    ----------
    features
        Layers and labels.
    target, groups, probe, metrics, n_folds
        As in `probe_layers`. With no groups, sizes count items.
    layers
        Names, or patterns with `*`.
    sizes
        Numbers of training groups; by default an eighth, a quarter, half and all of those that
        the smallest training part has.
    widths
        Widths to try for a probe with `hidden_sizes`; it then has one hidden layer.
    seeds
        One draw of the groups each; also the seeds of the probe.

    Returns
    -------
    curve
        One point a layer, metric, width and size.

    Raises
    ------
    ValueError
        If a size is below 1 or above the number of training groups, the probe has no
        `hidden_sizes`, or for what `probe_layers` raises.

    Examples
    --------
    >>> from speechprobe import metrics, probes
    >>> x = np.random.default_rng(0).normal(size=(200, 30))
    >>> items = pd.DataFrame({"speaker": np.arange(200) % 20, "rate": x.sum(axis=1)})
    >>> curve = learning_curve(Features({"layer": x}, items), target="rate", groups="speaker",
    ...                        probe=probes.RidgeProbe(), metrics=metrics.r2, sizes=[2, 16])
    >>> first, last = curve.points
    >>> first.n_train_items, last.n_train_items, first.score < last.score
    (20.0, 160.0, True)
    """
    items, task = features.items, Target(features.items, target, probe)
    measures = measures_of(metrics, task)
    names = select_layers(features.layers, layers)
    matrices = Matrices(features, None)
    for name in names:
        matrices[name]
    stratify = target if task.classes is not None else None
    folds = splits.k_fold(items, n_folds=n_folds, groups=groups, stratify=stratify)
    cautions = task.check_folds(folds)
    codes = splits.group_codes(items, groups)
    held = None if groups is None else codes
    real = Plan(Run(folds, task.truth, groups=held), tuple(seeds)).real
    wanted = _sizes(sizes, real, codes)
    jobs = {
        size: [_jobs(real, codes, size, seed) for seed in seeds] for size in wanted
    }  # {size: one list a seed with one job a fold}
    points: list[CurvePoint] = []
    for width, estimator in _estimators(probe, widths):
        for batch in batches({name: features.layers[name] for name in names}, estimator):
            listed = [job for by_seed in jobs.values() for each in by_seed for job in each]
            fitted = predict_all(estimator, {name: matrices[name] for name in batch}, listed)
            for layer, predicted in fitted.items():
                found = _by_size(jobs, predicted)
                points += _points(layer, width, found, jobs, measures, real, codes)
    order = {name: number for number, name in enumerate(names)}
    points.sort(key=lambda point: order[point.layer])  # widths and sizes stay as they are
    settings = {
        "target": target,
        "groups": groups,
        "probe": repr(probe),
        "n_folds": n_folds,
        "seeds": list(seeds),
        "confidence": CONFIDENCE,
    }
    cautions += [*group_cautions(codes[real.scored])] if groups is not None else []
    return LearningCurve(tuple(points), settings, (*cautions, *_cautions(points, jobs, task)))


def _sizes(sizes: Sequence[int] | None, real: Run, codes: NDArray[np.intp]) -> list[int]:
    most = min(len(np.unique(codes[fit])) for fit, _, _ in real.on_test)
    if sizes is None:
        return sorted({max(1, round(share * most)) for share in _SHARES})
    for size in sizes:
        if not 1 <= size <= most:
            raise ValueError(f"sizes are numbers of training groups from 1 to {most}, got {size}")
    if not len(sizes):
        raise ValueError("at least one size is needed")
    return sorted(set(sizes))


def _jobs(real: Run, codes: NDArray[np.intp], size: int, seed: int) -> list[Job]:
    """Return one fit a fold, on the first groups in the order of the seed."""
    jobs = []
    for number, (fit, asked, target) in enumerate(real.on_test):
        present = np.unique(codes[fit])
        first = np.random.default_rng([seed, number]).permutation(present)[:size]
        few = fit[np.isin(codes[fit], first)]
        jobs.append(Job(few, asked, target, seed, groups_for(real, few)))
    return jobs


def _estimators(probe: Any, widths: Sequence[int] | None) -> Iterable[tuple[int | None, Any]]:
    if widths is None:
        return [(None, probe)]
    if "hidden_sizes" not in probe.get_params():
        raise ValueError(
            f"widths are those of hidden_sizes, which {type(probe).__name__} does not have"
        )
    return [(width, clone(probe).set_params(hidden_sizes=(width,))) for width in widths]


Jobs = Mapping[int, Sequence[Sequence[Job]]]


def _by_size(jobs: Jobs, predicted: Sequence[NDArray[Any]]) -> dict[int, list[NDArray[Any]]]:
    """Return, for each size, what each seed predicts of the test items, fold after fold."""
    left = iter(predicted)
    return {
        size: [join([next(left) for _ in each]) for each in by_seed]
        for size, by_seed in jobs.items()
    }


def _points(
    layer: str,
    width: int | None,
    found: Mapping[int, list[NDArray[Any]]],
    jobs: Jobs,
    measures: Sequence[Measure],
    real: Run,
    codes: NDArray[np.intp],
) -> list[CurvePoint]:
    groups = codes[real.scored]
    series = [(measure, size) for measure in measures for size in found]
    draws = resampled(series, found, real.truth, groups)
    points = []
    for measure, size in series:
        by_seed = [measure.of(real.truth, [each]) for each in found[size]]
        low, high = percentile_interval(draws[measure, size], CONFIDENCE)
        n_train = np.mean([len(job.fit) for each in jobs[size] for job in each])
        points.append(
            CurvePoint(
                layer, measure.name, size, float(n_train), width,
                float(np.mean(by_seed)), float(np.std(by_seed)), low, high,
                len(real.truth), len(np.unique(groups)),
            )
        )  # fmt: skip
    return points


def _cautions(points: Sequence[CurvePoint], jobs: Jobs, task: Target) -> list[str]:
    found = []
    for size, by_seed in jobs.items() if task.classes is not None else ():
        fits = [len(np.unique(job.target[job.fit])) for each in by_seed for job in each]
        few = sum(n_seen < len(np.unique(task.truth)) for n_seen in fits)
        if few:
            found.append(f"with {size} groups, {few} of {len(fits)} training sets lack a class")
    lost = [point for point in points if np.isnan(point.score)]
    if lost:
        found.append(
            f"no score exists for {len(lost)} of {len(points)} points, first {lost[0].metric} of "
            f"{lost[0].layer!r} with {lost[0].n_train_groups} groups"
        )
    return found
