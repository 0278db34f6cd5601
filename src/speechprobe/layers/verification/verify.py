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

import pandas as pd

from speechprobe.features import Features
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.layers.verification.trial_rows import Missing
from speechprobe.layers.verification.trial_scoring import Mean, Scoring
from speechprobe.layers.verification.verifying import Settings, Verification


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
    asked = Settings(scoring, subtract_mean, cohort, p_target, groups, missing, confidence)
    found = Verification(features, trials, asked, validation=validation, floor=floor)
    for sentence in found.left_out:
        warnings.warn(sentence, stacklevel=2)
    return found.scores(progress=progress)
