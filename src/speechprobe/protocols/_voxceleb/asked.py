"""How a call of the verification study wants its trials scored, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speechprobe.datasets.corpus import Corpus
from speechprobe.datasets.voxceleb import load_voxceleb
from speechprobe.layers.verification.cohort import Cohort
from speechprobe.layers.verification.trial_rows import Missing, require_others
from speechprobe.layers.verification.trial_scoring import Scoring, require_scoring
from speechprobe.layers.verification.verifying import Settings
from speechprobe.metrics._check import require_share
from speechprobe.metrics.uncertainty import require_confidence

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TOP_N = 300  # of AS-norm in most papers


@dataclass(frozen=True, eq=False)
class Asked:
    """How trials are scored; see `voxceleb`.

    Raises
    ------
    ValueError
        If a setting is out of range, or they do not fit.
    TypeError
        If the cohort is none.
    """

    scoring: Scoring
    cohort: str | Path | Corpus | Cohort | None
    subtract_mean: bool
    p_target: float
    missing: Missing
    confidence: float

    def __post_init__(self) -> None:
        require_share("p_target", self.p_target, 0.05)
        require_confidence(self.confidence)
        require_scoring(self.scoring, subtract_mean=self.subtract_mean)
        self._check_cohort()

    def _check_cohort(self) -> None:
        if not isinstance(self.cohort, str | Path | Corpus | Cohort | None):
            raise TypeError(
                "cohort must be a corpus, its folder, or a Cohort, as layers.Cohort.of(features) "
                f"makes it, got {type(self.cohort).__name__}"
            )
        is_wanted = self.subtract_mean or self.scoring == "as-norm"
        if self.cohort is None and is_wanted:
            raise ValueError(
                "scoring='as-norm' and subtract_mean=True need cohort=, a corpus of speakers that "
                "are in no trial"
            )
        if self.cohort is not None and not is_wanted:
            raise ValueError(
                "a cohort is for scoring='as-norm' or subtract_mean=True, and neither is asked for"
            )

    def others(self, speakers: ArrayLike) -> Corpus | Cohort | None:
        """Return the corpus of the cohort, or the cohort.

        Parameters
        ----------
        speakers
            Of the trials.

        Raises
        ------
        ValueError
            If a speaker of the trials is among them, an utterance has no speaker, or there are
            fewer than two.
        """
        if self.cohort is None:
            return None
        if isinstance(self.cohort, Cohort):
            require_others(speakers, self.cohort.speakers, "cohort")
            return self.cohort
        corpus = corpus_of(self.cohort, "cohort")
        named = corpus.table["speaker"]
        if named.isna().any() or named.nunique() < 2:
            raise ValueError(
                f"the cohort wants two speakers or more, and one for every utterance: "
                f"{corpus.name!r} has {named.nunique()}, and {int(named.isna().sum())} of its "
                f"{len(corpus)} utterances have none"
            )
        require_others(speakers, named.to_numpy(), "cohort")
        return corpus

    def settings(self, cohort: Cohort | None) -> Settings:
        """Return how `verify_layers` scores, with the cohort made."""
        return Settings(
            self.scoring,
            cohort if self.subtract_mean else None,
            cohort if self.scoring == "as-norm" else None,
            self.p_target,
            "speaker",
            self.missing,
            self.confidence,
        )


def corpus_of(given: str | Path | Corpus, called: str) -> Corpus:
    """Return a corpus, loaded as VoxCeleb's where its folder is given.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(given, Corpus):
        return given
    if not isinstance(given, str | Path):
        raise TypeError(f"{called} must be a corpus or a folder, got {type(given).__name__}")
    return load_voxceleb(given)
