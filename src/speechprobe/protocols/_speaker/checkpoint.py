"""Where a run of training is kept: two files without code, each whole or not there.

``run.json`` says what makes the run; a folder of another run is refused, and the message names what
differs. ``checkpoint.safetensors`` is written after every epoch: the weights of network and loss
(``network.*``, ``loss.*``), the moments of Adam (``adam.*``), the weights of the best epoch so far
(``best.*``), and in its metadata the curves as JSON. Random draws depend on the seed and the number
of the epoch alone, so no generator has a state that would have to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from speechprobe._files import PARTIAL, replacing

FORMAT = 1
_RUN, _CHECKPOINT = "run.json", "checkpoint.safetensors"
_BEST = "best."


@dataclass
class Progress:
    """How far a run is.

    Parameters
    ----------
    epoch
        The last whole epoch; 0 before the first.
    curves
        Rows of the curves.
    best_epoch
        Whose weights are the best so far.
    best
        Those weights.
    """

    epoch: int = 0
    curves: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


class Folder:
    """Keeps a run in a folder, or nowhere.

    Parameters
    ----------
    folder
        The folder, made if it is missing; None keeps nothing.
    identity
        What makes the run: {name: value}, JSON values.

    Raises
    ------
    ValueError
        If the folder holds another run, a record that cannot be read, or files that are no run.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        if folder is None:
            return
        ours = json.loads(json.dumps(identity, default=str))
        record = folder / _RUN
        if record.is_file():
            _require_same(folder, _identity_in(record), ours)
        elif folder.exists() and any(not p.name.endswith(PARTIAL) for p in folder.iterdir()):
            raise ValueError(
                f"{folder} is not empty and holds no {_RUN}; give a new or an empty folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if not record.is_file():
            with replacing(record) as partial:
                text = json.dumps({"format": FORMAT, "identity": ours}, indent=2)
                partial.write_text(text + "\n", "utf-8")

    def load(self) -> tuple[Progress, dict[str, Tensor]]:
        """Return how far the run is, and the state to go on from; empty before the first epoch.

        Raises
        ------
        ValueError
            If the checkpoint cannot be read.
        """
        if self._folder is None or not (self._folder / _CHECKPOINT).is_file():
            return Progress(), {}
        path = self._folder / _CHECKPOINT
        try:
            with safe_open(path, framework="pt") as opened:
                told = json.loads((opened.metadata() or {})["speechprobe"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            done = Progress(told["epoch"], told["curves"], told["best_epoch"])
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{path} is no checkpoint of a run ({_told(error)}); delete it to begin anew"
            ) from error
        done.best = {
            name.removeprefix(_BEST): tensors.pop(name)
            for name in list(tensors)
            if name.startswith(_BEST)
        }
        return done, tensors

    def save(self, progress: Progress, state: Mapping[str, Tensor]) -> None:
        """Write a checkpoint in place of the one before."""
        if self._folder is None:
            return
        told = {
            "format": FORMAT,
            "epoch": progress.epoch,
            "curves": progress.curves,
            "best_epoch": progress.best_epoch,
        }
        best = {_BEST + name: value for name, value in progress.best.items()}
        data = save({**state, **best}, metadata={"speechprobe": json.dumps(told)})
        with replacing(self._folder / _CHECKPOINT) as partial:
            partial.write_bytes(data)

    def __str__(self) -> str:
        return f"in {self._folder}" if self._folder else "nowhere: give a folder to keep them"


def _identity_in(record: Path) -> dict[str, Any]:
    """Return what makes the run of a record."""
    try:
        identity = json.loads(record.read_text("utf-8"))["identity"]
        return dict(identity.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{record} is no record of a run ({_told(error)}), so what was trained there is not "
            "known; give another folder, or delete this one"
        ) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _require_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    differing = [
        f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} now"
        for name in dict.fromkeys([*theirs, *ours])
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise ValueError(
            f"{folder} holds another run: {'; '.join(differing)}. Give another folder, or delete "
            "this one"
        )
