"""Speaker verification as voxceleb_trainer scores it, for every layer of any model.

The study: Chung et al., "In defence of metric learning for speaker recognition", Interspeech 2020,
https://arxiv.org/abs/2003.11982; Kwon et al., "The ins and outs of speaker recognition: lessons
from VoxSRC 2020", ICASSP 2021, https://arxiv.org/abs/2010.15809. Networks trained on VoxCeleb2
embed ten crops of 4 s of each file of VoxCeleb1's test list; a trial's score is minus the mean of
the 100 distances between the crops of its two files. Published on VoxCeleb1-O (37,720 trials of
4,715 files, 40 speakers): EER 2.1792 % (ResNetSE34L) and 1.1771 % (ResNetSE34V2).

Departures from the trainer's script. Its EER is the point of the curve where both rates are
nearest; ours is interpolated, which differs by one step of the curve at most, 0.005 points on
VoxCeleb1-O. Every layer is scored, not the embedding alone: layers with frames are pooled over each
crop first. Every rate has an interval, by speaker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.trials import load_trials
from speechprobe.datasets.voxceleb import load_voxceleb
from speechprobe.features import Features, extract
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.layers.verification.ten_crops import TenCrops
from speechprobe.layers.verification.trial_rows import Missing, find_trials, require_others
from speechprobe.layers.verification.trial_scoring import TEN_CROPS, Scoring, require_scoring
from speechprobe.layers.verification.verify import verify_layers
from speechprobe.protocols._voxceleb.lists import describe
from speechprobe.protocols._voxceleb.study import TOP_N, Asked, VerificationStudy, study_of

if TYPE_CHECKING:
    from speechprobe.extractors import Extractor
    from speechprobe.pooling import Pooling


__all__ = ["VerificationStudy", "voxceleb"]


def voxceleb(  # noqa: PLR0913 the parts of the protocol that studies change
    extractor: Extractor,
    root: str | Path | Corpus,
    trials: str | Path | pd.DataFrame,
    *,
    scoring: Scoring = TEN_CROPS,
    layers: str | Sequence[str] = "*",
    embedding: str | None = None,
    pool: str | Pooling = "mean",
    cohort: Corpus | Cohort | None = None,
    subtract_mean: bool = False,
    p_target: float = 0.05,
    missing: Missing = "raise",
    store: str | Path | None = None,
    confidence: float = 0.95,
    progress: bool = True,
) -> VerificationStudy:
    """Verify speakers with every layer of a model, on VoxCeleb1 or on trials of one's own.

    Parameters
    ----------
    extractor
        Any extractor, such as `extractors.load_voxceleb_trainer(checkpoint)`.
    root
        Folder of VoxCeleb, as `datasets.load_voxceleb` reads it (for the lists E and H with dev and
        test below it), or any corpus.
    trials
        The list, a file as `datasets.load_trials` reads it, or its DataFrame.
    scoring
        "vox-trainer-10crop", the trainer's; "cosine" and "as-norm" of whole utterances; or a
        function (embeddings, trial rows) -> scores.
    layers
        Which layers, as in `extract`.
    embedding
        The layer that the results are of; the last in depth order by default.
    pool
        Pooling of the layers that have frames: over each crop, or over whole utterances.
    cohort
        A corpus of speakers that are in no trial, for "as-norm" and `subtract_mean`; or a `Cohort`
        from the same extractor. Of a corpus, the 300 nearest speakers of each file count in
        "as-norm", all where there are fewer.
    subtract_mean
        Take the mean over the speakers of the cohort from every vector.
    p_target
        Share of target trials that minDCF assumes: 0.05 in voxceleb_trainer, 0.01 in most papers.
    missing
        "raise" where trials name files that are not there, before anything runs; or "skip" to
        leave those trials out, and those whose files cannot be read: the table "absent" lists them.
    store
        Folder for the features, as in `extract`: a killed run is taken up. Ten crops of all layers
        are large, so that they are better kept on the disk.
    confidence
        Of the intervals, which draw speakers.
    progress
        Show progress bars where the output is a terminal.

    Returns
    -------
    study
        Tables: "results" (of the embedding), "layers", "published" (published figures beside the
        measured one), "trial_list" (which it is), "trials" (the embedding's score of each), and
        "absent" where files are. Pictures: "histogram", "det", "layers". `study.scores` holds the
        scores of every layer.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or list.
    KeyError
        If there is no layer `embedding`.
    ValueError
        If a line of the list has no label, files are absent, an utterance cannot be read, or for
        what `verify_layers` raises.

    Warns
    -----
    UserWarning
        If trials are left out.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe as sp
    >>> root = tempfile.mkdtemp()
    >>> for speaker, pitch in enumerate((90, 140, 230, 310)):
    ...     for take in range(3):
    ...         folder = Path(root, f"id1000{speaker}", "video")
    ...         folder.mkdir(parents=True, exist_ok=True)
    ...         tone = 0.3 * np.sin(np.arange(8_000) * pitch * (1 + take / 50) / 2_546)
    ...         sp.audio.write(folder / f"0000{take}.wav", tone, 16_000)
    >>> trials = sp.datasets.make_trials(sp.datasets.load_voxceleb(root), 20)
    >>> study = voxceleb(sp.extractors.LogMel(n_mels=40), root, trials)
    >>> study.table()[["trials", "scoring", "layer", "eer", "p_target", "n_trials", "n_files"]]
         trials             scoring   layer  eer  p_target  n_trials  n_files
    0  own list  vox-trainer-10crop  logmel  0.0      0.05        20       12
    """
    require_scoring(scoring)
    _require_layer(extractor, embedding)
    corpus = root if isinstance(root, Corpus) else load_voxceleb(root)
    listed = trials if isinstance(trials, pd.DataFrame) else load_trials(trials)
    used = _used(corpus, listed, missing)
    model = TenCrops(extractor) if scoring == TEN_CROPS else extractor

    def run(wanted: Corpus, part: str, errors: Literal["raise", "record"]) -> Features:
        place = None if store is None else Path(store) / part
        return extract(
            wanted, model, layers=layers, pool=pool, store=place, errors=errors, progress=progress
        )

    others = _cohort(cohort, used, scoring, subtract_mean, run)
    features = run(used, "trials", "raise" if missing == "raise" else "record")
    asked = Asked(scoring, others, subtract_mean, p_target, missing, confidence, progress)
    scores = _scores(features, listed, asked)
    layer = scores.layers[-1] if embedding is None else scores.record(embedding).layer
    return study_of(scores, layer, describe(listed), corpus, features.failures, asked)


def _require_layer(extractor: Extractor, layer: str | None) -> None:
    """Raise if a layer is asked for that is known not to be there."""
    known = getattr(extractor, "layers", None)
    if layer is not None and isinstance(known, tuple) and layer not in known:
        raise KeyError(f"no layer {layer!r} among {list(known)}")


def _used(corpus: Corpus, trials: pd.DataFrame, missing: Missing) -> Corpus:
    """Return the utterances that are in trials, all files of which are there."""
    found = find_trials(corpus.table, trials, missing)
    return corpus.select(corpus.table.index[sorted(set(found.rows.ravel().tolist()))].tolist())


def _cohort(
    given: Corpus | Cohort | None,
    used: Corpus,
    scoring: Scoring,
    subtract_mean: bool,
    run: Callable[[Corpus, str, Literal["raise", "record"]], Features],
) -> Cohort | None:
    if given is None:
        if subtract_mean or scoring == "as-norm":
            raise ValueError(
                "scoring='as-norm' and subtract_mean=True need cohort=, a corpus of speakers that "
                "are in no trial"
            )
        return None
    if not subtract_mean and scoring != "as-norm":
        raise ValueError(
            "a cohort is for scoring='as-norm' or subtract_mean=True, and neither is asked for"
        )
    if isinstance(given, Cohort):
        return given
    require_others(used.column("speaker"), given.column("speaker"), "cohort")
    features = run(given, "cohort", "raise")
    n_speakers = int(given.table["speaker"].nunique())
    return Cohort.of(features, top_n=min(TOP_N, n_speakers))


def _scores(features: Features, trials: pd.DataFrame, asked: Asked) -> VerificationScores:
    return verify_layers(
        features,
        trials,
        asked.scoring,
        subtract_mean=asked.cohort if asked.subtract_mean else None,
        cohort=asked.cohort if asked.scoring == "as-norm" else None,
        p_target=asked.p_target,
        missing=asked.missing,
        confidence=asked.confidence,
        progress=asked.progress,
    )
