"""One vector an utterance: the extraction of a task of SERAB, stored and resumable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe.extractors.base import select_layers
from speechprobe.features.extraction import extract
from speechprobe.protocols._serab.reading import Fitted, ReadAsIn2021, fit_to, rates_of
from speechprobe.protocols._serab.tasks import Edition, Material

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.extractors.base import Extractor
    from speechprobe.features.table import Features


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of a task, and the utterances that have one.

    Parameters
    ----------
    layers
        {layer: (n_items, n_dims)}, in the order of the material's corpus.
    material
        The utterances, without those that failed.
    notes
        What failed, a sentence.
    provenance
        What made the vectors.
    """

    layers: dict[str, NDArray[Any]]
    material: Material
    notes: tuple[str, ...]
    provenance: dict[str, Any]


def embed(
    extractor: Extractor,
    material: Material,
    edition: Edition,
    *,
    layer: str | Sequence[str] | None,
    store: str | Path | None,
    progress: bool,
) -> Embeddings:
    """Return the vectors of a task, frames averaged where a layer has several.

    Raises
    ------
    ValueError
        If no utterance gives features, a layer is unknown, or so many utterances fail that a class
        is missing in a part.
    """
    fitted = fit_to(extractor, material, edition)
    patterns = layers_of(extractor, layer)
    place = None if store is None else Path(store, extractor.name.replace("/", "-"), edition)
    parts = [
        extract(
            material.corpus.select(mask), reader, layers=patterns, errors="record",
            store=None if place is None else place / name, progress=progress,
        )
        for name, reader, mask in _readers(fitted, material, edition)
    ]  # fmt: skip
    ids = parts[0].items.index.append([part.items.index for part in parts[1:]])
    failed = _failed(material.task, parts)
    kept = _kept(material, ids, failed)
    order = np.argsort(kept.corpus.table.index.get_indexer(ids))
    names = list(parts[0].layers)
    return Embeddings(
        {
            name: np.concatenate([part[name] for part in parts])[order]
            for name in (names if layer is not None else names[-1:])
        },
        kept,
        failed,
        {"front_end": fitted.note, "extraction": dict(parts[0].provenance)},
    )


def _kept(material: Material, ids: Iterable[str], failed: Sequence[str]) -> Material:
    """Return the utterances that have vectors; what failed is the reason if they are too few."""
    try:
        return material.only(ids)
    except ValueError as error:
        raise ValueError("; ".join([str(error), *failed])) from error


def layers_of(extractor: Extractor, layer: str | Sequence[str] | None) -> list[str]:
    """Return the patterns of the wanted layers; of the last one by default, if its name is known.

    Raises
    ------
    ValueError
        If the extractor tells its layers and a pattern matches none.
    """
    known = getattr(extractor, "layers", None)
    if layer is None:
        return [known[-1]] if isinstance(known, tuple) else ["*"]
    patterns = [layer] if isinstance(layer, str) else list(layer)
    if isinstance(known, tuple):
        select_layers(known, patterns)
    return patterns


def _readers(
    fitted: Fitted, material: Material, edition: Edition
) -> list[tuple[str, Extractor, NDArray[np.bool_]]]:
    """Return (folder, extractor, mask) of what is extracted at once: files of one rate in 2021."""
    if edition != "2021":
        return [(material.task, fitted.extractor, np.ones(len(material.part), dtype=bool))]
    rates = rates_of([str(path) for path in material.column("path")])
    return [
        (f"{material.task}-{rate}", ReadAsIn2021(fitted.extractor, int(rate)), rates == rate)
        for rate in np.unique(rates)
    ]


def _failed(task: str, parts: Sequence[Features]) -> tuple[str, ...]:
    failures = [failure for part in parts for failure in part.failures]
    if not failures:
        return ()
    return (
        f"{task}: {len(failures)} utterances gave no features and are left out, first "
        f"{failures[0].path}: {failures[0].error}",
    )
