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

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.trials import load_trials
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.trial_rows import Missing, find_trials
from speechprobe.layers.verification.trial_scoring import TEN_CROPS, Scoring
from speechprobe.layers.verification.verifying import Verification
from speechprobe.protocols._voxceleb.asked import Asked, corpus_of
from speechprobe.protocols._voxceleb.extraction import Extraction
from speechprobe.protocols._voxceleb.lists import describe
from speechprobe.protocols._voxceleb.study import VerificationStudy, study_of

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
    cohort: str | Path | Corpus | Cohort | None = None,
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
        A corpus of speakers that are in no trial, for "as-norm" and `subtract_mean`, or its folder,
        read as `root` is; or a `Cohort` from the same extractor. Of a corpus, the 300 nearest
        speakers of each file count in "as-norm", all where there are fewer.
    subtract_mean
        Take the mean over the speakers of the cohort from every vector.
    p_target
        Share of target trials that minDCF assumes: 0.05 in voxceleb_trainer, 0.01 in most papers.
    missing
        "raise" where trials name files that are not there, before anything runs; or "skip" to
        leave those trials out, and those whose files cannot be read: the table "absent" lists them.
    store
        Folder for the features, as in `extract`: a killed run is taken up. Ten crops of all layers
        are large, so that they are better kept on the disk. Each kind has a folder of its own below
        that of the extractor's name: "trials-crops", "trials-whole" and "cohort-whole", with a hash
        added for other `layers` or `pool` than these.
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
    TypeError
        If root, trials, cohort or extractor are nothing of the above.
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
    asked = Asked(scoring, cohort, subtract_mean, p_target, missing, confidence)
    extraction = Extraction(
        extractor, scoring, layers=layers, pool=pool, store=store, progress=progress
    )
    corpus = corpus_of(root, "root")
    listed = load_trials(trials) if isinstance(trials, str | Path) else trials
    used = _used(corpus, listed, missing)
    others = asked.others(used.column("speaker"))
    extraction.require_layers(embedding, others, used)
    settings = asked.settings(
        extraction.of_cohort(others) if isinstance(others, Corpus) else others
    )
    features = extraction.of_trials(used, skip=missing == "skip")
    verification = Verification(features, listed, settings)
    for sentence in verification.left_out:
        warnings.warn(sentence, stacklevel=2)
    scores = verification.scores(progress=progress)
    layer = scores.layers[-1] if embedding is None else scores.record(embedding).layer
    return study_of(scores, layer, describe(listed), corpus, features.failures, settings)


def _used(corpus: Corpus, trials: pd.DataFrame, missing: Missing) -> Corpus:
    """Return the utterances that are in trials, all files of which are there."""
    found = find_trials(corpus.table, trials, missing)
    return corpus.select(corpus.table.index[sorted(set(found.rows.ravel().tolist()))].tolist())
