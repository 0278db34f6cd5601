"""Captures what modules give out during a forward pass, and leaves no hook behind.

Conventions
-----------
A layer is named by its module path, as in `named_modules()`; the name with ``:input`` behind it
is what goes into the module (its first tensor), which is how a sum that no module gives out, such
as Whisper's stem plus positions, can be captured. Outputs that are tuples, lists, mappings or
dataclasses are unwrapped to their first tensor. The order of the result is the order in which the
layers fire, which is depth order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils.hooks import RemovableHandle

from speechprobe.extractors.base import select_layers

INPUT = ":input"


_MARK = "came_from_a_hook"


def _not_once(text: str) -> RuntimeError:
    """Return the error of a layer that did not fire once, told apart from the network's own."""
    error = RuntimeError(text)
    setattr(error, _MARK, True)
    return error


def came_from_a_hook(error: Exception) -> bool:
    """Say whether an error is that of a layer that fired never or several times."""
    return getattr(error, _MARK, False)


@contextmanager
def capture(
    module: nn.Module,
    layers: str | Sequence[str],
    reduce: Callable[[str, Tensor], Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Capture layers of a network during the one forward pass that is run inside the block.

    Parameters
    ----------
    module
        The network, in eval mode.
    layers
        Module paths or patterns (`*` within one part of a path, `**` across parts). With
        ``:input`` behind a path, the input of that module instead of its output.
    reduce
        Function (layer, tensor) -> anything, called inside the hook, on the device, as soon as
        the layer fires; what it returns is kept instead of the tensor, so that a whole
        activation never outlives its layer.

    Yields
    ------
    captured
        {layer: tensor or what `reduce` returned}, filled by the forward pass, in firing order.
        Tensors are detached but not copied.

    Raises
    ------
    ValueError
        If a pattern matches no module, the network is in train mode, or it is wrapped in
        DataParallel.
    RuntimeError
        If, at the end of the block, a layer has not fired or has fired more than once.
    TypeError
        If a layer gives out no tensor.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    >>> with capture(net, "*") as captured:
    ...     _ = net(torch.zeros(2, 4))
    >>> {layer: tuple(tensor.shape) for layer, tensor in captured.items()}
    {'0': (2, 3), '1': (2, 3)}
    """
    with capturing(module, module_layers(module, layers), reduce) as captured:
        yield captured


@contextmanager
def capturing(
    module: nn.Module, names: Sequence[str], reduce: Callable[[str, Tensor], Any] | None
) -> Iterator[dict[str, Any]]:
    """Do as `capture` does with names that were matched before.

    To match a dozen names in a network of some hundred modules takes 20 ms, as long as a device
    needs for a batch.
    """
    require_eval(module)
    captured: dict[str, Any] = {}
    handles: list[RemovableHandle] = []
    try:
        for name in names:
            keep = _keeper(name, captured, reduce)
            handles.append(_attach(module, name, keep))
        yield captured
    finally:
        for handle in handles:
            handle.remove()
    silent = [name for name in names if name not in captured]
    if silent:
        raise _not_once(
            f"{len(silent)} of {len(names)} layers did not fire: {silent[:5]}. Run the network "
            "inside the block, and leave out layers that this input does not pass through"
        )


def module_layers(module: nn.Module, patterns: str | Sequence[str]) -> list[str]:
    """Return the module paths that match, ``:input`` kept, in the order of registration.

    Raises
    ------
    ValueError
        If a pattern matches nothing; near names are listed.
    """
    for path, part in module.named_modules():
        if isinstance(part, nn.DataParallel):
            raise ValueError(
                f"{path or 'the network'} is in DataParallel, which fires every hook once a device "
                "with a part of the batch each; capture module.module, the network inside it"
            )
    # Containers that never run themselves have no forward; some dictionaries of modules do.
    paths = [
        name
        for name, part in module.named_modules()
        if name and type(part).forward is not nn.Module.forward
    ]
    wanted = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(wanted, Sequence) or not all(isinstance(each, str) for each in wanted):
        raise TypeError(f"layers must be names or patterns, got {patterns!r}; layers are named")
    chosen: dict[str, None] = {}
    for pattern in wanted:
        bare = pattern.removesuffix(INPUT)
        suffix = INPUT if pattern != bare else ""
        offered = select_layers(paths, _direct(bare, paths))
        chosen |= dict.fromkeys(name + suffix for name in offered)
    if not chosen:
        raise ValueError(f"no layer was asked for; the network has {paths[:8]}, ...")
    return list(chosen)


def _direct(pattern: str, paths: Iterable[str]) -> str | list[str]:
    # "*" alone means every name to select_layers; of a network it means the direct children.
    return [path for path in paths if "." not in path] if pattern == "*" else pattern


def require_eval(module: nn.Module) -> None:
    """Raise ValueError if the network or a part of it is in train mode."""
    training = [name or type(module).__name__ for name, part in module.named_modules()
                if part.training]  # fmt: skip
    if training:
        raise ValueError(
            f"{len(training)} modules are in train mode, first {training[0]!r}: dropout, batch "
            "statistics and layer drop would change the representation; call module.eval() first"
        )


def _keeper(
    name: str, captured: dict[str, Any], reduce: Callable[[str, Tensor], Any] | None
) -> Callable[[Any], None]:
    def keep(value: Any) -> None:
        if name in captured:
            raise _not_once(
                f"layer {name!r} fired more than once in one forward pass; it is reused by the "
                "network (or the network was run twice inside the block), so its output is "
                "ambiguous: capture the modules around it"
            )
        tensor = first_tensor(value)
        if tensor is None:
            raise TypeError(f"layer {name!r} gives out no tensor but {type(value).__name__}")
        captured[name] = reduce(name, tensor.detach()) if reduce else tensor.detach()

    return keep


def _attach(module: nn.Module, name: str, keep: Callable[[Any], None]) -> RemovableHandle:
    target = module.get_submodule(name.removesuffix(INPUT))
    if not name.endswith(INPUT):
        return target.register_forward_hook(lambda _module, _args, output: keep(output))
    return target.register_forward_pre_hook(
        lambda _module, args, kwargs: keep([*args, *kwargs.values()]), with_kwargs=True
    )


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor inside tuples, lists, mappings and dataclasses, depth first."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, PackedSequence):
        return pad_packed_sequence(value, batch_first=True)[0]
    if isinstance(value, Mapping):
        inside: Iterable[Any] = value.values()
    elif isinstance(value, tuple | list):
        inside = value
    elif is_dataclass(value):
        inside = (getattr(value, field.name) for field in fields(value))
    else:
        return None
    return next((found for part in inside if (found := first_tensor(part)) is not None), None)
