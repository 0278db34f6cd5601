"""Utterances that give no features: an error, or left out by all models, listed and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from speechprobe.datasets.corpus import Corpus
from speechprobe.features.table import Failure, Features

if TYPE_CHECKING:
    from numpy.typing import NDArray

Errors = Literal["raise", "record"]


class Lost(NamedTuple):
    """What a study leaves out.

    Parameters
    ----------
    failures
        {model: failures}; of the corpus itself too.
    n_lost, n_items
        Utterances that are left out, and all of them.
    """

    failures: Mapping[str, Sequence[Failure]]
    n_lost: int
    n_items: int

    def records(self) -> dict[str, list[dict[str, str]]]:
        """Return the failures as a provenance lists them."""
        return {
            name: [each._asdict() for each in found]
            for name, found in self.failures.items()
            if found
        }

    def sentences(self) -> tuple[str, ...]:
        """Return what the deviations say: nothing if all are there."""
        if not self.n_lost:
            return ()
        first = next(each for found in self.failures.values() for each in found)
        return (
            f"{self.n_lost} of {self.n_items} utterances gave no features and are left out, first "
            f"{first.path}: {first.error}",
        )

    def explained(self, error: ValueError) -> ValueError:
        """Return what is wrong with the utterances that are left, and why they are so few."""
        return ValueError("; ".join([str(error), *self.sentences()]))


def require_errors(errors: str) -> None:
    """Raise ValueError unless it is "raise" or "record"."""
    if errors not in ("raise", "record"):
        raise ValueError(f"errors must be 'raise' or 'record', got {errors!r}")


def in_common(
    features: Mapping[str, Features], corpus: Corpus, before: Sequence[Failure] = ()
) -> tuple[NDArray[np.bool_], Lost]:
    """Return which utterances every model has features of, (n_items,), and what is lost.

    Parameters
    ----------
    features
        {model: features} of some of the utterances.
    corpus
        The utterances.
    before
        Failures of utterances that the corpus does not have any more.
    """
    table = corpus.table
    keep = np.ones(len(table), dtype=bool)
    failures = {"corpus": tuple(before)}
    for name, each in features.items():
        there = table.index.isin(each.items.index)
        keep &= there
        noted = {failure.path: failure for failure in each.failures}
        failures[name] = tuple(
            noted.get(path, Failure(path, "is not among the features that were given"))
            for path in map(str, table["path"][~there])
        )
    n_items = len(table) + len(before)
    return keep, Lost(failures, n_items - int(keep.sum()), n_items)
