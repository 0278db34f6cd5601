"""Reads checkpoints of plain tensors, and loads them only where every name and shape fits."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; nothing that it holds is run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds anything but one mapping of names to tensors.
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
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is no readable checkpoint: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} is refused, because it is not one mapping of names to tensors")
    return dict(state)


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
