"""The fits of several probings, here or spread over the workers of an engine, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.layers.fits import ByFold, Outcome, Plan
from speechprobe.layers.floors import Matrices, batches

if TYPE_CHECKING:
    from speechprobe.engines import Engine
    from speechprobe.layers.probing import Probing


class Item(NamedTuple):
    """Layers that are fitted together: those of a model, or of one of its floors."""

    model: str
    floor: str | None
    matrices: Matrices

    def __str__(self) -> str:
        place = " of ".join([*([f"floor {self.floor!r}"] if self.floor else []), repr(self.model)])
        return f"layers {list(self.matrices.features.layers)} of {place}"


class Fits:
    """What a worker does: all fits of some layers.

    Parameters
    ----------
    probe
        The estimator.
    plans
        The fits of each model.
    """

    def __init__(self, probe: Any, plans: Mapping[str, Plan]) -> None:
        self._probe, self._plans = probe, plans

    def __call__(self, item: Item) -> tuple[str, str | None, dict[str, Any]]:
        """Return model, floor, and what was predicted for each layer."""
        plan = self._plans[item.model]
        run = plan.run if item.floor is None else plan.run_floor
        matrices = {layer: item.matrices[layer] for layer in item.matrices.features.layers}
        return item.model, item.floor, run(self._probe, matrices)


def fit_all(
    probings: Mapping[str, Probing],
    probe: Any,
    engine: Engine | None,
    *,
    name: str,
    progress: bool,
) -> tuple[dict[str, dict[str, Outcome]], dict[str, dict[str, dict[str, list[ByFold]]]]]:
    """Return {model: {layer: outcome}} and {model: {floor: {layer: predictions}}}.

    Parameters
    ----------
    probings
        By model.
    probe
        The estimator.
    engine
        Who does it; None does it here, where layers of equal width train as one.
    name
        Stands before the bar.
    progress
        Whether to show it.
    """
    items = [
        item for model, each in probings.items() for item in _items(model, each, probe, engine)
    ]
    work = Fits(probe, {model: each.plan for model, each in probings.items()})
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    done = map(work, items) if engine is None else engine.map(work, items)
    total = sum(len(item.matrices.features.layers) for item in items)
    with tqdm(total=total, desc=name, unit="layer", disable=hide_progress(progress)) as bar:
        for model, floor, fitted in done:
            found.setdefault((model, floor), {}).update(fitted)
            bar.update(len(fitted))
    outcomes = {
        model: {layer: found[model, None][layer] for layer in each.layers.features.layers}
        for model, each in probings.items()
    }
    floors = {
        model: {floor: found[model, floor] for floor in each.given}
        for model, each in probings.items()
    }
    return outcomes, floors


def _items(model: str, probing: Probing, probe: Any, engine: Engine | None) -> Iterator[Item]:
    wanted = list(probing.layers.features.layers)
    of_all: list[tuple[str | None, Matrices]] = [(None, probing.layers), *probing.given.items()]
    for floor, matrices in of_all:
        layers = matrices.features.layers
        if len(layers) > 1:
            layers = {layer: layers[layer] for layer in wanted}
        together = batches(layers, probe) if engine is None else [[layer] for layer in layers]
        for names in together:
            yield Item(model, floor, matrices.only(names))
