"""Scores as {model: scores} for each target, however they were given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from speechprobe.layers.scores import LayerScores

Section = LayerScores | Mapping[str, LayerScores]
Metric = str | Callable[..., float]


def sections_of(scores: Section | Sequence[Section]) -> list[dict[str, LayerScores]]:
    """Return {model: scores} for each target, however they were given.

    Raises
    ------
    TypeError
        If something else than scores was given.
    ValueError
        If there are none, or the models of a section were probed for different targets.
    """
    listed: list[Any] = list(scores) if isinstance(scores, list | tuple) else [scores]
    sections: list[dict[str, LayerScores]] = [
        dict(part) if isinstance(part, Mapping) else {model_of(part): part} for part in listed
    ]
    for each in (each for models in sections for each in models.values()):
        if not isinstance(each, LayerScores):
            raise TypeError(f"expected LayerScores, as probe_layers gives, got {each!r}")
    if not sections or not all(sections):
        raise ValueError("no scores were given")
    for models in sections:
        targets = {str(each.settings.get("target")) for each in models.values()}
        if len(targets) > 1:
            raise ValueError(
                f"expected scores for one target a section, got {sorted(targets)}; "
                "give a list with one {model: scores} for each target"
            )
    return sections


def panels_of(
    scores: Section | Sequence[Section], metric: Metric | None
) -> list[tuple[dict[str, LayerScores], str]]:
    """Return the models and the metric of each panel: one a target and metric.

    Raises
    ------
    KeyError
        If a model has no scores of the metric.
    """
    panels = []
    for models in sections_of(scores):
        first = next(iter(models.values()))
        wanted = first.metrics if metric is None else [first.by_metric(metric)[0].metric]
        panels += [(models, name) for name in wanted]
    for models, name in panels:
        for model, each in models.items():
            if name not in each.metrics:
                raise KeyError(
                    f"model {model!r} has no metric {name!r} among {each.metrics}; say with "
                    "metric= which one all of them have"
                )
    return panels


def model_of(scores: object) -> str:
    """Return the name of the extractor behind scores, where it is known."""
    made_by = getattr(scores, "settings", {}).get("features", {}).get("extractor", {})
    return str(made_by.get("name", ""))


def title_of(models: Mapping[str, LayerScores]) -> str:
    """Return what a section is about: the corpus, where it is known, and the target."""
    settings = next(iter(models.values())).settings
    corpus = dict(settings.get("features", {})).get("corpus")
    return f"{corpus}: {settings.get('target')}" if corpus else str(settings.get("target"))


def layers_of(models: Mapping[str, LayerScores]) -> list[str]:
    """Return the layers that have a place on the axis: those of models with several, or all."""
    several = [each for each in models.values() if len(each.layers) > 1]
    return list(
        dict.fromkeys(layer for each in several or models.values() for layer in each.layers)
    )
