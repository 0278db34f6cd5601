"""How the trials of a layer are scored: cosine, AS-norm, ten crops, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from speechprobe.features import Features
from speechprobe.layers.target import name_of
from speechprobe.layers.verification.cohort import Cohort, vectors
from speechprobe.metrics.trial_scores import as_norm, cosine_scores, crop_distance_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TEN_CROPS: Final = "vox-trainer-10crop"
NAMED = ("cosine", "as-norm", TEN_CROPS)

Named = Literal["cosine", "as-norm", "vox-trainer-10crop"]
Scoring = Named | Callable[[Any, Any], Any]
Mean = Features | Cohort | Mapping[str, Any] | Any


class Scorer:
    """Scores the trials of any layer.

    Parameters
    ----------
    scoring, subtract_mean, cohort
        As `verify_layers` takes them.
    features
        The embeddings of the trials.

    Raises
    ------
    ValueError
        If the scoring is unknown, its parts do not fit, or the cohort lacks a layer.
    TypeError
        If the cohort is none.
    """

    def __init__(
        self, scoring: Scoring, features: Features, *, subtract_mean: Mean, cohort: Cohort | None
    ) -> None:
        require_scoring(scoring, subtract_mean=subtract_mean is not None)
        self.scoring, self.cohort = scoring, cohort
        self.name = name_of(scoring) if callable(scoring) else scoring
        self.is_plain = subtract_mean is None and cohort is None
        self._mean, self._ids = subtract_mean, features.items.index.astype(str).to_numpy()
        self._check_cohort(features)

    def _check_cohort(self, features: Features) -> None:
        if (self.scoring == "as-norm") != (self.cohort is not None):
            raise ValueError(
                "scoring='as-norm' and cohort= belong together: cohort=layers.Cohort.of(features "
                f"of other speakers). Got scoring={self.name!r}, cohort={self.cohort!r}"
            )
        if self.cohort is None:
            return
        if not isinstance(self.cohort, Cohort):
            raise TypeError(f"the cohort must be a Cohort, got {type(self.cohort).__name__}")
        for layer in features.layers:
            if layer not in self.cohort.means:
                raise ValueError(
                    f"the cohort has no layer {layer!r}; it has {[*self.cohort.means]}"
                )

    def n_crops(self, features: Features) -> int:
        """Return how many crops a row holds: 1, unless ten crops are compared.

        Raises
        ------
        ValueError
            If features that should be of crops are not.
        """
        if self.scoring != TEN_CROPS:
            return 1
        made_by = dict(features.provenance.get("extractor") or {})
        if "n_crops" not in made_by:
            raise ValueError(
                f"scoring={TEN_CROPS!r} wants features of crops, which these are not: extract them "
                "with layers.TenCrops(extractor)"
            )
        return int(made_by["n_crops"])

    def __call__(
        self,
        layer: str,
        matrix: NDArray[np.float32],
        rows: NDArray[np.intp],
        n_crops: int,
        *,
        of: str = "",
    ) -> NDArray[np.float64]:
        """Return the scores of trials, (n_trials,).

        Parameters
        ----------
        layer
            Its name.
        matrix
            Its vectors, (n_items, n_crops * n_dims).
        rows
            Rows of both sides, (n_trials, 2).
        n_crops
            Crops that lie side by side in a row.
        of
            What messages say of the layer: " of floor 'mel'".

        Raises
        ------
        ValueError
            If an embedding has no direction, or a function gives no finite (n_trials,).
        """
        used, places = np.unique(rows, return_inverse=True)
        places, ids, where = places.reshape(rows.shape), self._ids[used], f"layer {layer!r}{of}"
        if self.scoring == TEN_CROPS:
            crops = matrix[used].reshape(len(used), n_crops, -1)
            _require_directions(crops, ids, where)
            return crop_distance_scores(crops, places)
        mean = _mean_of(self._mean, layer, matrix.shape[1])
        embeddings = matrix[used] if mean is None else matrix[used] - mean
        if callable(self.scoring):
            return _checked(self.scoring(embeddings, places), len(rows), self.name, layer)
        less = "" if mean is None else " once the mean is subtracted"
        _require_directions(embeddings, ids, where, less)
        raw = cosine_scores(embeddings, places)
        if self.cohort is None:
            return raw
        others = self.cohort.means[layer] if mean is None else self.cohort.means[layer] - mean
        _require_directions(others, self.cohort.speakers, f"{where} of the cohort", less)
        return as_norm(raw, places, embeddings=embeddings, cohort=others, top_n=self.cohort.top_n)


def require_scoring(scoring: Scoring, *, subtract_mean: bool) -> None:
    """Raise ValueError unless a scoring is known, or a function, and can subtract a mean if so."""
    if not callable(scoring) and scoring not in NAMED:
        raise ValueError(
            f"scoring must be one of {list(NAMED)}, or a function (embeddings, trial rows) -> "
            f"scores, got {scoring!r}"
        )
    if scoring == TEN_CROPS and subtract_mean:
        raise ValueError(f"{TEN_CROPS!r} compares crops without a mean: leave subtract_mean out")


def _require_directions(
    vectors: NDArray[Any], names: Sequence[str] | NDArray[Any], where: str, less: str = ""
) -> None:
    """Raise ValueError if a vector, or a crop's, is all zeros or not finite; its file is named."""
    wrong = np.argwhere(~(vectors.any(axis=-1) & np.isfinite(vectors).all(axis=-1)))
    if len(wrong):
        row, *crop = wrong[0].tolist()
        which = f"crop {crop[0]}" if crop else "the embedding"
        raise ValueError(
            f"{where}: {which} of {names[row]!r} is all zeros or not finite{less}, so it has no "
            "direction that could be compared; leave the file out, or the layer"
        )


def _mean_of(mean: Mean, layer: str, n_dims: int) -> NDArray[np.float64] | None:
    """Return what is subtracted from each vector of a layer, (n_dims,)."""
    if mean is None:
        return None
    named = mean.layers if isinstance(mean, Features) else mean
    named = named.means if isinstance(named, Cohort) else named
    if isinstance(named, Mapping) and layer not in named:
        raise ValueError(f"subtract_mean has no layer {layer!r}; it has {list(named)}")
    rows: ArrayLike = named[layer] if isinstance(named, Mapping) else named
    rows = vectors(mean, layer) if isinstance(mean, Features) else rows
    found = np.asarray(rows, dtype=np.float64)
    found = found.mean(axis=0) if isinstance(mean, Features | Cohort) else found
    if found.shape != (n_dims,) or not np.isfinite(found).all():
        raise ValueError(
            f"subtract_mean of layer {layer!r} must be finite and ({n_dims},), got {found.shape}; "
            "give features of other speakers, a Cohort, {layer: vector}, or one vector"
        )
    return found


def _checked(found: Any, n_trials: int, name: str, layer: str) -> NDArray[np.float64]:
    scores = np.asarray(found, dtype=np.float64)
    if scores.shape != (n_trials,) or not np.isfinite(scores).all():
        raise ValueError(
            f"the scoring {name!r} must give ({n_trials},) finite numbers for layer {layer!r}, one "
            f"a trial, got shape {scores.shape}"
        )
    return scores
