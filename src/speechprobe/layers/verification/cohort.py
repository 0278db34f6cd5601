"""The speakers that scores are normalised against: one mean embedding a speaker and layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from speechprobe.features import Features
from speechprobe.layers.floors import Matrices
from speechprobe.metrics.trial_scores import speaker_means
from speechprobe.store import RaggedLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Cohort:
    """Mean embeddings of speakers that are in no trial.

    Parameters
    ----------
    means
        {layer: (n_speakers, n_dims)}.
    speakers
        Names of the rows.
    top_n
        How many of the highest cosines with a file count in AS-norm.

    Raises
    ------
    ValueError
        If a layer has another number of rows than there are speakers, or `top_n` is not from 2 to
        that number.

    Examples
    --------
    >>> import pandas as pd
    >>> items = pd.DataFrame({"speaker": ["a", "b", "b"]})
    >>> cohort = Cohort.of(Features({"fc": np.eye(3)}, items), top_n=2)
    >>> cohort.speakers, cohort.means["fc"][1]
    (('a', 'b'), array([0. , 0.5, 0.5]))
    """

    means: Mapping[str, NDArray[np.float64]]
    speakers: tuple[str, ...]
    top_n: int = 300

    def __post_init__(self) -> None:
        n_speakers = len(self.speakers)
        for layer, rows in self.means.items():
            if np.ndim(rows) != 2 or len(rows) != n_speakers:
                raise ValueError(
                    f"layer {layer!r} of the cohort must be ({n_speakers}, n_dims), one row a "
                    f"speaker, got {np.shape(rows)}"
                )
        if not 2 <= self.top_n <= n_speakers:
            raise ValueError(
                f"top_n must be from 2 to the {n_speakers} speakers of the cohort, got "
                f"{self.top_n}; give a smaller top_n, or more speakers"
            )
        object.__setattr__(self, "means", MappingProxyType(dict(self.means)))

    @classmethod
    def of(cls, features: Features, *, groups: str = "speaker", top_n: int = 300) -> Self:
        """Return the cohort of the speakers of features.

        Parameters
        ----------
        features
            Embeddings of any number of files a speaker, from the extractor that the trials use.
        groups
            Label that names the speaker.
        top_n
            As above; 300 in most papers.

        Raises
        ------
        KeyError
            If there is no such label.
        ValueError
            If a file has no speaker, a layer holds NaN or frames, or there are fewer speakers
            than `top_n`.
        """
        if groups not in features.items:
            raise KeyError(f"no label {groups!r} among {list(features.items.columns)}")
        labels: Any = features.items[groups]
        if labels.isna().any():
            raise ValueError(
                f"{int(labels.isna().sum())} files of the cohort have no {groups!r}, first "
                f"{features.items.index[labels.isna()][0]!r}"
            )
        names = labels.astype(str).to_numpy()
        means = {layer: speaker_means(vectors(features, layer), names) for layer in features.layers}
        return cls(means, tuple(sorted(set(names.tolist()))), top_n)

    def __repr__(self) -> str:
        return (
            f"Cohort({len(self.speakers)} speakers, layers {list(self.means)}, top_n={self.top_n})"
        )


def vectors(features: Features, layer: str) -> NDArray[np.float32]:
    """Return a layer (n_items, n_dims) of finite numbers; frames are refused."""
    found = Matrices(features, None)[layer]
    if isinstance(found, RaggedLayer):
        raise ValueError(f"layer {layer!r} holds frames; pool them first: features.pooled('mean')")
    return found
