"""Does a batch give what single utterances give? Measured on speech of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from speechprobe import pooling
from speechprobe.extractors.base import BatchExtractor, relative_error, takes_batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling


class _Utterance(Protocol):
    @property
    def duration(self) -> float: ...
    def signal(self, sample_rate: int | None = None) -> NDArray[np.float32]: ...


class _Corpus(Protocol):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


def check_batch_invariance(
    extractor: BatchExtractor,
    corpus: _Corpus,
    *,
    n: int = 8,
    pool: str | Pooling = "mean",
) -> pd.DataFrame:
    """Return, for each layer, how far a mixed batch is from its utterances one by one.

    The utterances are spread evenly over the lengths of the corpus, the shortest and the longest
    among them, which is where padding hurts most.

    Parameters
    ----------
    extractor
        One that takes batches.
    corpus
        Utterances with `duration` and `signal(sample_rate)`, as a `speechprobe.datasets.Corpus`.
    n
        How many utterances are in the batch.
    pool
        A pooling or its name.

    Returns
    -------
    errors
        Indexed by layer, with the columns `error`, the largest relative error of an utterance
        (norm of the difference over the norm of the single result, or over a tenth of a
        typical frame's where that is more), and `exact`, whether it is at
        most 1e-4.

    Raises
    ------
    TypeError
        If the extractor takes one signal at a time only.
    ValueError
        If there are fewer than two utterances.

    Examples
    --------
    >>> class Tone:
    ...     def __init__(self, seconds):
    ...         self.duration = seconds
    ...     def signal(self, sample_rate):
    ...         return np.sin(np.arange(int(self.duration * sample_rate)) / 9).astype(np.float32)
    >>> from speechprobe.extractors import LogMel
    >>> check_batch_invariance(LogMel(n_mels=8), [Tone(0.3), Tone(1.0)])["exact"].all()
    np.True_
    """
    if not takes_batches(extractor):
        raise TypeError(f"{extractor!r} takes one signal at a time, so there is no batch to check")
    utterances = sorted(corpus, key=lambda utterance: float(utterance.duration))
    if min(len(utterances), n) < 2:
        raise ValueError(f"a batch needs two utterances, got {min(len(utterances), n)}")
    rows = np.unique(np.linspace(0, len(utterances) - 1, n).round().astype(int))
    signals = [utterances[row].signal(extractor.sample_rate) for row in rows]
    pooling_ = pooling.resolve(pool)
    together = extractor.extract_batch(signals, pooling_)
    alone = [extractor.extract_batch([signal], pooling_) for signal in signals]
    # A layer may have a mean of zero, of which only rounding is left.
    typical = {layer: float(np.linalg.norm(frames, axis=1).mean())
               for layer, frames in extractor(signals[0]).items()}  # fmt: skip
    errors = {
        layer: max(
            relative_error(vectors[k], alone[k][layer][0], smallest=0.1 * typical[layer])
            for k in range(len(signals))
        )
        for layer, vectors in together.items()
    }
    table = pd.DataFrame({"error": errors}).rename_axis("layer")
    return table.assign(exact=table["error"] <= 1e-4)
