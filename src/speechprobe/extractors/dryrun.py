"""Shapes of layers without the arithmetic: a forward pass on tensors that have no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from speechprobe.extractors.hooks import capture
from speechprobe.extractors.layout import Shapes


def fake_shapes(
    module: nn.Module, layers: list[str], inputs: Any, forward: Callable[[Any], None]
) -> Shapes | None:
    """Return the shape of each layer, or None if the network must see values to run.

    Parameters
    ----------
    module
        The network, in eval mode.
    layers
        Module paths.
    inputs
        What it is given: a tensor, or a tuple or mapping with tensors in it.
    forward
        Runs the network on such inputs.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160)).eval()
    >>> fake_shapes(net, ["0"], torch.zeros(1, 1, 16_000), net)
    {'0': (1, 4, 98)}
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        given = _faked(inputs, mode)
        with unchanged(module), torch.no_grad(), mode, capture(module, layers, _shape) as shapes:
            forward(given)
    # Whatever a network does with values (branches, NumPy, custom kernels) fails in its own way.
    except Exception:
        return None
    return shapes


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Give every part of a network its attributes back, as networks that keep a cache set some."""
    before = [(part, dict(part.__dict__), dict(part._buffers)) for part in module.modules()]
    try:
        yield
    finally:
        for part, attributes, buffers in before:
            part.__dict__.clear()
            part.__dict__.update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)


def _shape(_layer: str, output: Tensor) -> tuple[int, ...]:
    return tuple(int(size) for size in output.shape)


def _faked(value: Any, mode: FakeTensorMode) -> Any:
    if isinstance(value, Tensor):
        return mode.from_tensor(value)
    if isinstance(value, Mapping):
        return {key: _faked(each, mode) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_faked(each, mode) for each in value)
    return value
