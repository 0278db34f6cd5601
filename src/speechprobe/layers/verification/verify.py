"""How well each layer tells speakers apart: no probe is fitted, its vectors are compared.

How the rates come about
------------------------
- A trial is two utterances and whether one speaker speaks in both. Its score says how alike their
  vectors in a layer are; higher means the same speaker.
- Scorings: "cosine", of vectors that a mean may be taken from first; "as-norm", the cosine set
  against those of both sides with a cohort of other speakers; "vox-trainer-10crop", minus the mean
  of all distances between the crops of both sides (features of `layers.TenCrops`); or a function.
- Rates: equal error rate, a fraction, and minDCF at `p_target`, both over all trials of the list,
  as `metrics.equal_error_rate` and `metrics.min_dcf` give them.
- Interval: speakers are drawn with replacement 1,000 times, and a trial of two weighs the product
  of how often they were drawn, a trial of one how often that one was; see
  `layers.verification.resamples`, where the source stands. It says how the rates would move with
  other speakers. Resampling trials instead would give intervals that are far too narrow, since each
  file is in many.
- Floor: the same scores with the labels of the trials shuffled, the mean of five runs; about 0.5
  for the equal error rate and 1 for minDCF. Features given as `floor` are compared the same way;
  the gap to the lowest floor has an interval from the same draws.
- Choice of a layer: on validation trials, of speakers that the other trials do not have; without
  them `VerificationScores.best` refuses.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.features import Features
from speechprobe.layers.floors import Matrices, given_floors
from speechprobe.layers.scoring import N_RESAMPLES
from speechprobe.layers.verification.cautions import verification_cautions
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.rates import N_SHUFFLES, RatesOfLayers
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.layers.verification.trial_rows import (
    FoundTrials,
    Missing,
    find_trials,
    require_others,
    speakers_of,
)
from speechprobe.layers.verification.trial_scoring import Mean, Scorer, Scoring
from speechprobe.metrics._check import require_share
from speechprobe.metrics.uncertainty import require_confidence
from speechprobe.store import RaggedLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray


def verify_layers(  # noqa: PLR0913 the public contract names each of these
    features: Features,
    trials: pd.DataFrame,
    scoring: Scoring = "cosine",
    *,
    subtract_mean: Mean = None,
    cohort: Cohort | None = None,
    validation: pd.DataFrame | None = None,
    floor: Features | Mapping[str, Features] | None = None,
    p_target: float = 0.01,
    groups: str | None = "speaker",
    missing: Missing = "raise",
    confidence: float = 0.95,
    progress: bool = True,
) -> VerificationScores:
    """Score speaker verification with the vectors of every layer.

    Parameters
    ----------
    features
        One vector a file and layer; of ten crops, features of `layers.TenCrops`.
    trials
        Columns enrol, test, same, as `datasets.load_trials` and `make_trials` give them: utterance
        ids, or paths of files with or without extension.
    scoring
        "cosine", "as-norm", "vox-trainer-10crop", or a function (embeddings (n_files, n_dims),
        trial rows (n_trials, 2)) -> scores (n_trials,).
    subtract_mean
        What to take from every vector (and from the cohort) before: `Features` of other files or a
        `Cohort`, for the mean of each layer; {layer: vector}; or one vector.
    cohort
        Other speakers, for "as-norm".
    validation
        Trials on which the best layer is chosen, of speakers that `trials` does not have.
    floor
        Features of the same items that the layers should beat, or several by name, as in
        `probe_layers`. With "cosine" without a mean, "vox-trainer-10crop" and functions only.
    p_target
        Share of target trials that minDCF assumes: 0.01 in most papers, 0.05 in voxceleb_trainer.
    groups
        Label of the speaker, who is drawn for the intervals; None for no interval.
    missing
        "raise" where trials name files that are not among the features, or "skip" to leave those
        trials out, with a warning; `absent` lists the files.
    confidence
        Of the intervals.
    progress
        Show a progress bar where the output is a terminal.

    Returns
    -------
    scores
        One record a layer, and the score of every trial.

    Raises
    ------
    TypeError
        If the trials are no DataFrame, or the cohort or a floor is of another type.
    KeyError
        If there is no label `groups`.
    ValueError
        If files are absent, there are no target or no non-target trials, a trial contradicts the
        label `speaker`, a vector is zero or NaN, a layer holds frames, the cohort or the
        validation trials have a speaker of the trials, or settings do not fit.

    Warns
    -----
    UserWarning
        If trials are left out.

    Examples
    --------
    >>> import numpy as np
    >>> generator = np.random.default_rng(0)
    >>> speaker = np.repeat(np.arange(12), 6)
    >>> voice = generator.normal(size=(12, 8))[speaker] + 0.4 * generator.normal(size=(72, 8))
    >>> items = pd.DataFrame({"speaker": speaker}, index=[f"u{number}" for number in range(72)])
    >>> features = Features({"noise": generator.normal(size=(72, 8)), "voice": voice}, items)
    >>> first, second = np.triu_indices(72, 1)
    >>> trials = pd.DataFrame({"enrol": items.index[first], "test": items.index[second],
    ...                        "same": speaker[first] == speaker[second]})
    >>> scores = verify_layers(features, trials)
    >>> noise, voice = scores.records
    >>> voice.eer_high < 0.2 < 0.4 < noise.eer, voice.n_speakers
    (True, 12)
    """
    require_confidence(confidence)
    require_share("p_target", p_target, 0.01)
    scorer = Scorer(scoring, features, subtract_mean=subtract_mean, cohort=cohort)
    found = find_trials(features.items, trials, missing)
    held = None if validation is None else find_trials(
        features.items, validation, missing, called="validation trials"
    )  # fmt: skip
    speakers = None if groups is None else speakers_of(features.items, groups, found)
    _require_others(features.items, groups, speakers, held, cohort)
    given = _floors(features, floor, scorer)
    run = RatesOfLayers(scorer, found, held, speakers, p_target, confidence)
    left_out = [*found.told(), *(held.told() if held is not None else [])]
    for sentence in left_out:
        warnings.warn(sentence, stacklevel=2)
    matrices = Matrices(features, None)
    _check(matrices)
    bar = tqdm(features.layers, scorer.name, unit="layer", disable=hide_progress(progress))
    done = {layer: run.layer(layer, matrices, given) for layer in bar}
    records = tuple(record for record, _ in done.values())
    settings = {
        "target": "speaker verification",
        "scoring": scorer.name,
        "subtract_mean": _told(subtract_mean),
        "cohort": _told(cohort),
        "p_target": p_target,
        "groups": groups,
        "floors": {name: dict(each.features.provenance) for name, each in given.items()},
        "missing": missing,
        "n_skipped": found.n_skipped,
        "n_shuffles": N_SHUFFLES,
        "confidence": confidence,
        "n_resamples": N_RESAMPLES if run.resamples is not None else 0,
        "n_validation_trials": 0 if held is None else len(held.table),
        "features": dict(features.provenance),
    }
    cautions = (*left_out, *verification_cautions(records, found, features.items, groups))
    by_layer = {layer: score for layer, (_, score) in done.items()}
    return VerificationScores(records, found.table, by_layer, settings, cautions, found.absent)


def _floors(
    features: Features, floor: Features | Mapping[str, Features] | None, scorer: Scorer
) -> dict[str, Matrices]:
    if floor is not None and not scorer.is_plain:
        raise ValueError(
            "a mean or a cohort is of one model's vectors, so a floor cannot share it: score the "
            "floor by a call of its own, with its own subtract_mean= or cohort="
        )
    given = given_floors(features, floor, None)
    for each in given.values():
        scorer.n_crops(each.features)
        _check(each)
    return given


def _check(matrices: Matrices) -> None:
    """Raise if a layer cannot be compared: now, and not after those before it."""
    for layer in matrices.features.layers:
        if isinstance(matrices[layer], RaggedLayer):
            raise ValueError(
                f"layer {layer!r} holds frames; pool them first: features.pooled('mean')"
            )


def _require_others(
    items: pd.DataFrame,
    groups: str | None,
    speakers: NDArray[Any] | None,
    held: FoundTrials | None,
    cohort: Cohort | None,
) -> None:
    """Raise if a speaker of the trials is in the validation trials or in the cohort."""
    if groups is None or speakers is None:
        return
    if held is not None:
        require_others(speakers, speakers_of(items, groups, held), "validation trials")
    if cohort is not None:
        require_others(speakers, cohort.speakers, "cohort")


def _told(given: Any) -> str | None:
    """Return what was given as mean or cohort, for the settings."""
    if given is None:
        return None
    if isinstance(given, Features | Cohort):
        return repr(given)
    return "vectors by layer" if isinstance(given, Mapping) else "one vector"
