"""Extractors around other extractors: what they pass on, and how they call what is inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from speechprobe import _fingerprint
from speechprobe.extractors.base import check_facts

if TYPE_CHECKING:
    from speechprobe.extractors.base import Extractor
    from speechprobe.pooling import Pooling


class Wrapped(ABC):
    """What a wrapper passes on of the extractor inside it."""

    def __init__(self, extractor: Extractor) -> None:
        check_facts(extractor)
        self.extractor = extractor
        self.name = extractor.name
        self.sample_rate = int(extractor.sample_rate)

    @property
    def layers(self) -> tuple[str, ...] | None:
        """Names of the layers in depth order, where the extractor inside tells."""
        known = getattr(self.extractor, "layers", None)
        return known if isinstance(known, tuple) else None

    @property
    def device(self) -> Any:
        """Where the extractor inside runs, "cpu" where it does not tell."""
        return getattr(self.extractor, "device", "cpu")

    @property
    def padding_error(self) -> dict[str, float] | None:
        """Relative error of a padded batch for each layer, once measured."""
        error: dict[str, float] | None = getattr(self.extractor, "padding_error", None)
        return error

    def describe(self) -> Any:
        """Return the table of the layers of the extractor inside, if it has one."""
        return self.extractor.describe()  # type: ignore[attr-defined]

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: the extractor inside, and what is done to its signals."""
        return provenance_of(self.extractor) | self._settings()

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Return what is done to the signals, for the provenance."""


def provenance_of(extractor: Extractor) -> dict[str, Any]:
    """Return what an extractor says makes its numbers, or what its code and attributes tell."""
    told = getattr(extractor, "provenance", None)
    if isinstance(told, Mapping):
        return dict(told)
    found: dict[str, Any] = _fingerprint.of_object(extractor) | {"name": extractor.name}
    return found


def refuse_spans(pool: Pooling, extractor: Any) -> None:
    """Raise ValueError if a pooling is over spans of the recording, which a wrapper cuts."""
    if hasattr(pool, "at"):
        raise ValueError(
            f"spans of a recording cannot be pooled by {extractor!r}, which does not see it whole; "
            "give the extractor inside, or cut the recordings"
        )
