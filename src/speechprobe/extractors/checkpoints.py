"""Reads checkpoints of plain tensors, and loads them only where every name and shape fits."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def read_tensors(path: str | Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; nothing that it holds is run.

    Parameters
    ----------
    path
        File saved by torch.
    key
        Name of the mapping to return, of a file that holds several things by name; by default the
        file is the mapping.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it, or what it holds as `key`, is anything but one mapping of names to tensors.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a checkpoint saved by torch")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it would run {named[1]}" if named else str(error).split("\n", maxsplit=1)[0]
        # Not chained: torch's text tells how to load it all the same.
        raise ValueError(f"{path} is refused, because it is not plain tensors: {reason}") from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no readable checkpoint: {error}") from error
    part, source = (state, path) if key is None else (_part(state, key, path), f"{path}: {key}")
    if not isinstance(part, dict) or not all(isinstance(v, Tensor) for v in part.values()):
        raise ValueError(f"{source} is refused, because it is not one mapping of names to tensors")
    return dict(part)


def _part(state: Any, key: str, path: str | Path) -> Any:
    names = list(map(str, state)) if isinstance(state, dict) else []
    if key not in names:
        held = _few(names) if names else f"a {type(state).__name__}"
        raise ValueError(f"{path} must hold a state dict as {key!r}; it holds {held}")
    return state[key]


def load_exactly(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network that has exactly these names and shapes.

    Parameters
    ----------
    network
        Where they go.
    state
        All its parameters and buffers by name.
    source
        Where they come from, for the error.

    Raises
    ------
    ValueError
        If a weight is missing, not expected or of another shape; each kind is named.

    Examples
    --------
    >>> load_exactly(nn.Linear(2, 1, bias=False), {"factor": torch.zeros(1, 2)}, "model.pt")
    Traceback (most recent call last):
        ...
    ValueError: model.pt does not fit Linear: missing ['weight']; not expected ['factor']
    """
    expected = network.state_dict()
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    faults = {
        "missing": [name for name in expected if name not in state],
        "not expected": [name for name in state if name not in expected],
        "of another shape": shapes,
    }
    told = [f"{kind} {_few(names)}" for kind, names in faults.items() if names]
    if told:
        raise ValueError(f"{source} does not fit {type(network).__name__}: {'; '.join(told)}")
    network.load_state_dict(state)


def _few(names: list[str]) -> str:
    return f"{names[:5]}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
