"""What a layer must beat: other features of the same items, and a prediction without any."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier

from speechprobe.features import Features, RaggedLayer
from speechprobe.layers.fits import ByFold, Outcome, Plan, width_of
from speechprobe.layers.nuisance import Nuisance
from speechprobe.layers.records import CONSTANTS, SHUFFLED
from speechprobe.probes.jobs import shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUISANCE = "nuisance"
_TAKEN = (SHUFFLED, NUISANCE, *CONSTANTS, "floor", "score", "metric", "low", "high", "gap", "layer",
          "control", "selectivity", "n_items", "n_groups", "gap_low", "gap_high")  # fmt: skip


class Matrices:
    """Layers of features as the probe sees them: float32, checked, with nuisance labels beside.

    Parameters
    ----------
    features
        The layers.
    rows
        Rows of the features to take, (n_items,); None for all.
    nuisance
        Columns to put beside; None for none.
    called
        What messages say of the features.
    """

    def __init__(
        self,
        features: Features,
        nuisance: Nuisance | None,
        rows: NDArray[np.intp] | None = None,
        called: str = "",
    ) -> None:
        self.features, self._nuisance, self._rows, self._called = features, nuisance, rows, called

    def __getitem__(self, layer: str) -> NDArray[np.float32] | RaggedLayer:
        rows = self.features.layers[layer]
        if isinstance(rows, RaggedLayer):
            return self._frames(layer, rows)
        matrix = np.asarray(rows, dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(bad):
            raise ValueError(
                f"layer {layer!r}{self._called} holds NaN or infinity for {len(bad)} items, first "
                f"{self.features.items.index[bad[0]]!r}"
            )
        matrix = matrix if self._rows is None else matrix[self._rows]
        return matrix if self._nuisance is None else self._nuisance.beside(matrix)

    def only(self, layers: Sequence[str]) -> Matrices:
        """Return some of the layers."""
        some = copy.copy(self)
        some.features = replace(
            self.features, layers={layer: self.features.layers[layer] for layer in layers}
        )
        return some

    def _frames(self, layer: str, rows: RaggedLayer) -> RaggedLayer:
        if self._nuisance is not None:
            raise ValueError(
                f"layer {layer!r}{self._called} holds frames, and control_for puts labels beside "
                "vectors; pool first: features.pooled('mean')"
            )
        if not np.isfinite(rows.values).all():
            bad = next(k for k, frames in enumerate(rows) if not np.isfinite(frames).all())
            raise ValueError(
                f"layer {layer!r}{self._called} holds NaN or infinity, first in item "
                f"{self.features.items.index[bad]!r}"
            )
        return rows if self._rows is None else rows.subset(self._rows)

    def check(self) -> None:
        """Raise if a layer cannot be probed: now, and not after the fits of those before it."""
        for layer in self.features.layers:
            self[layer]


def given_floors(
    features: Features,
    floor: Features | Mapping[str, Features] | None,
    nuisance: Nuisance | None,
) -> dict[str, Matrices]:
    """Return the features given as floors, by name, with their rows in the order of the items.

    Raises
    ------
    ValueError
        If a floor lacks an item, its layers are several and not those of the features, or its
        name is taken.
    TypeError
        If a floor is no Features.
    """
    if floor is None:
        return {}
    named = floor if isinstance(floor, Mapping) else {_name(floor): floor}
    found = {}
    for name, each in named.items():
        if not isinstance(each, Features):
            raise TypeError(
                f"a floor is Features, or a mapping name -> Features, got {type(each).__name__}"
            )
        if name in _TAKEN:
            raise ValueError(f"a floor cannot be called {name!r}: the table has such a column")
        lost = [layer for layer in features.layers if layer not in each.layers]
        if len(each.layers) > 1 and lost:
            raise ValueError(
                f"floor {name!r} has {len(each.layers)} layers but none called {lost[0]!r}; give "
                "features with one layer, or with the same layers, as an untrained twin has"
            )
        found[name] = Matrices(each, nuisance, _rows(features, each, name), f" of floor {name!r}")
        found[name].check()
    return found


def _name(floor: Any) -> str:
    """Return what a single floor is called: its extractor if known."""
    made_by = getattr(floor, "provenance", {}).get("extractor", {})
    return str(made_by.get("name", "given")) if isinstance(made_by, Mapping) else "given"


def _rows(features: Features, floor: Features, name: str) -> NDArray[np.intp] | None:
    index, other = features.items.index, floor.items.index
    if index.equals(other):
        return None
    if not other.is_unique:
        raise ValueError(f"the ids of floor {name!r} are not unique, so items cannot be matched")
    rows = other.get_indexer(index)
    if (rows < 0).any():
        raise ValueError(
            f"floor {name!r} lacks {int((rows < 0).sum())} of {len(index)} items, first "
            f"{index[rows < 0][0]!r}; extract it from the same corpus"
        )
    return rows


def with_floors(
    outcomes: Mapping[str, Outcome],
    fitted: Mapping[str, Mapping[str, list[ByFold]]],
    plan: Plan,
    probe: Any,
    nuisance: Nuisance | None,
) -> dict[str, Outcome]:
    """Return the outcomes of the layers with what their floors predict.

    Parameters
    ----------
    outcomes
        Predictions of each layer.
    fitted
        {floor: {layer: predictions}} of the features given as floors; one of a single layer is the
        floor of every layer.
    plan
        The fits.
    probe
        The estimator.
    nuisance
        Nuisance labels that are a floor of their own; None for none.
    """
    of_classes = is_classifier(probe)
    constant = CONSTANTS[0] if of_classes else CONSTANTS[1]
    common: dict[str, list[ByFold]] = {constant: [plan.real.constant(of_classes=of_classes)]}
    if nuisance is not None:
        columns = nuisance.columns.astype(np.float32)
        common[NUISANCE] = plan.run_floor(probe, {NUISANCE: columns})[NUISANCE]
    return {
        layer: replace(
            outcome,
            floors=common
            | {
                name: next(iter(own.values())) if len(own) == 1 else own[layer]
                for name, own in fitted.items()
            },
        )
        for layer, outcome in outcomes.items()
    }


AT_ONCE_BYTES = 2**30  # of the layers that are handed to the probe together


def _n_vectors(layer: Any) -> int:
    return int(layer.n_frames.sum()) if isinstance(layer, RaggedLayer) else len(layer)


def batches(layers: Mapping[str, Any], probe: Any) -> list[list[str]]:
    """Return the names of layers that the probe is handed together.

    Those of equal width, as many as fit into memory; one after another for a probe that shares
    nothing between layers.
    """
    at_once = AT_ONCE_BYTES if shares(probe, "fit_predict_layers") else 0
    by_width: dict[int, list[str]] = {}
    for name, layer in layers.items():
        by_width.setdefault(width_of(layer), []).append(name)
    found: list[list[str]] = []
    for width, names in by_width.items():
        n_items = max(_n_vectors(layers[name]) for name in names)
        size = max(1, at_once // max(1, 4 * n_items * width))
        found += [names[start : start + size] for start in range(0, len(names), size)]
    return found
