"""Several extractors as one: each recording is read once, and every model sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from speechprobe.extractors.base import check_facts, check_frames, pool_signals
from speechprobe.extractors.wrapped import provenance_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speechprobe.extractors.base import Extractor
    from speechprobe.pooling import Pooling


class Together:
    """Several extractors of one sample rate as one, with the layers of them all.

    Parameters
    ----------
    extractors
        {name: extractor}; layer "blocks.0" of "crepe" is ``crepe/blocks.0``.

    Raises
    ------
    ValueError
        If there is none, or they want different sample rates.

    Examples
    --------
    >>> import numpy as np
    >>> from speechprobe.extractors import MFCC, LogMel
    >>> both = Together({"mel": LogMel(n_mels=8), "cepstrum": MFCC(n_mfcc=13)})
    >>> list(both(np.zeros(16_000, np.float32)))
    ['mel/logmel', 'cepstrum/mfcc']
    """

    def __init__(self, extractors: Mapping[str, Extractor]) -> None:
        if not isinstance(extractors, Mapping) or not extractors:
            raise TypeError("expected {name: extractor}, with one extractor at least")
        for extractor in extractors.values():
            check_facts(extractor)
        rates = {name: int(extractor.sample_rate) for name, extractor in extractors.items()}
        if len(set(rates.values())) != 1:
            raise ValueError(
                f"extractors that share their signals must want one sample rate, got {rates}; "
                "extract those of each rate by themselves"
            )
        self.extractors = dict(extractors)
        self.name = "+".join(self.extractors)
        self.sample_rate = next(iter(rates.values()))

    @property
    def layers(self) -> tuple[str, ...] | None:
        """Names of all layers, where every extractor tells its own."""
        told = {name: getattr(each, "layers", None) for name, each in self.extractors.items()}
        if not all(isinstance(layers, tuple) for layers in told.values()):
            return None
        return tuple(f"{name}/{layer}" for name, layers in told.items() for layer in layers or ())

    @property
    def max_seconds(self) -> float | None:
        """Longest signal that all of them take, None where there is no limit."""
        limits = [getattr(each, "max_seconds", None) for each in self.extractors.values()]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def padding_error(self) -> dict[str, float]:
        """Relative error of a padded batch for each layer that was measured."""
        errors = {name: getattr(each, "padding_error", None) or {}
                  for name, each in self.extractors.items()}  # fmt: skip
        return {f"{name}/{layer}": e for name, each in errors.items() for layer, e in each.items()}

    @property
    def device(self) -> Any:
        """Where the first of them runs, "cpu" where it does not tell."""
        return getattr(next(iter(self.extractors.values())), "device", "cpu")

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers of each."""
        return {name: provenance_of(each) for name, each in self.extractors.items()}

    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the frames of every layer of every extractor."""
        return {
            f"{name}/{layer}": frames
            for name, each in self.extractors.items()
            for layer, frames in check_frames(each(signal), each.name).items()
        }

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> dict[str, Any]:
        """Return the pooled layers of several signals by every extractor."""
        return {
            f"{name}/{layer}": vectors
            for name, each in self.extractors.items()
            for layer, vectors in pool_signals(each, signals, pool).items()
        }

    def __repr__(self) -> str:
        return f"Together({list(self.extractors)})"
