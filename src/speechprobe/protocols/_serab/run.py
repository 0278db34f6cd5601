"""One task of SERAB from its folder to the rows of its classifiers, or to the reason why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechprobe.protocols._serab.classifiers import classify
from speechprobe.protocols._serab.embedding import Embeddings, embed
from speechprobe.protocols._serab.tasks import EMOTION, Edition, Root, material_of, why_missing

if TYPE_CHECKING:
    from speechprobe.extractors.base import Extractor


@dataclass(frozen=True)
class Settings:
    """What `serab` was asked for."""

    extractor: Extractor
    edition: Edition
    model_selection: Literal["predefined"] | None
    layer: str | Sequence[str] | None
    classifiers: Sequence[str]
    store: str | Path | None
    n_jobs: int | None
    progress: bool


@dataclass(frozen=True)
class Run:
    """What came of a task.

    Parameters
    ----------
    task
        Its name.
    status
        "ran", "missing" (no folder) or "failed".
    reason
        Why it did not run.
    rows
        One a layer and classifier, those that failed too.
    facts
        How many utterances, classes, speakers, and utterances of each part.
    notes
        What is not as published, a sentence each.
    provenance
        What made its vectors.
    """

    task: str
    status: Literal["ran", "missing", "failed"]
    reason: str = ""
    rows: Sequence[dict[str, Any]] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def run_task(task: str, root: Root | None, settings: Settings) -> Run:
    """Return what comes of a task; whatever is raised is the reason why it failed."""
    lost = why_missing(root)
    if root is None or lost:
        return Run(task, "missing", lost)
    # One corpus that cannot be read must not cost the others what they computed.
    try:
        material = material_of(task, root, settings.edition)
        made = embed(
            settings.extractor, material, settings.edition, layer=settings.layer,
            store=settings.store, progress=settings.progress,
        )  # fmt: skip
        run = _classified(made, settings)
    except Exception as error:
        # The kind of error tells what the words of other errors leave out.
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return Run(task, "failed", f"{kind}{error}")
    return replace(run, notes=material.notes + made.notes)


def _classified(made: Embeddings, settings: Settings) -> Run:
    task, parts = made.material.task, made.material.split._asdict()
    told = {
        "model": settings.extractor.name,
        "edition": settings.edition,
        "model_selection": settings.model_selection or "none",
        "task": task,
    }
    rows = [
        told | {"layer": layer} | row
        for layer, vectors in made.layers.items()
        for row in classify(
            vectors, made.material, names=settings.classifiers,
            grid=settings.model_selection is not None, n_jobs=settings.n_jobs,
            progress=settings.progress,
        )
    ]  # fmt: skip
    facts = {
        "n_items": len(made.material.part),
        "n_classes": len(set(made.material.column(EMOTION))),
        "n_speakers": len(set(made.material.column("speaker"))),
    } | {f"n_{name}": len(part) for name, part in parts.items()}
    reasons = "; ".join(f"{row['classifier']}: {row['failure']}" for row in rows)
    if all(row["failure"] for row in rows):
        return Run(task, "failed", f"no classifier could be fitted: {reasons}", rows, facts)
    return Run(task, "ran", "", rows, facts, (), made.provenance)
