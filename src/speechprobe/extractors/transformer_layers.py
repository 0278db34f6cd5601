"""Finds the parts of a speech transformer by their structure, whatever they are called.

Conventions
-----------
The blocks are the members of the list of modules that hold attention. The convolutional stem is the
first list of convolutional layers before them, or, where there is no list, the single convolutions
before them (Whisper's two, the patches of a spectrogram transformer). Whether a norm beside the
blocks comes before or behind them is seen by running the network, because both kinds are built in
the same order.

What a block adds to the residual stream is taken behind the last linear map and before the sum:
"attention" is the attention's projected output, "feed_forward" the output of the map from the
inner width back (two in each conformer block, which halves them in the sum).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from speechprobe.extractors.dryrun import fake_shapes
from speechprobe.extractors.hooks import INPUT

Rule = tuple[int, int]
PARTS = ("conv", "blocks", "attention", "feed_forward")


def named_layers(
    network: nn.Module, layers: str | Sequence[str], *, final_norm: str | None
) -> list[str]:
    """Return module paths and patterns, with those of the parts in place of the parts' names.

    Parameters
    ----------
    network
        A transformer.
    layers
        Names of parts ("conv", "blocks", "attention", "feed_forward"), paths or patterns.
    final_norm
        From `find_final_norm`.

    Raises
    ------
    ValueError
        If the network has no such part.

    Examples
    --------
    >>> class Attention(nn.Linear): ...
    >>> block = lambda: nn.ModuleDict({"attention": Attention(4, 4)})
    >>> net = nn.ModuleDict({"layers": nn.ModuleList([block(), block()])})
    >>> named_layers(net, ["blocks", "layers.0.*"], final_norm=None)
    ['layers.0:input', 'layers.0', 'layers.1', 'layers.0.*']
    """
    wanted = [layers] if isinstance(layers, str) else list(layers)
    named: list[str] = []
    for each in wanted:
        named += _part(network, each, final_norm) if each in PARTS else [each]
    return list(dict.fromkeys(named))


def _part(network: nn.Module, part: str, final_norm: str | None) -> list[str]:
    blocks = find_blocks(network)
    if blocks is None:
        raise ValueError(
            f"{type(network).__name__} has no stack of blocks with attention; name the layers "
            f"yourself instead of {part!r}"
        )
    if part == "blocks":
        return [f"{blocks[0]}{INPUT}", *blocks, *([final_norm] if final_norm else [])]
    if part == "conv":
        names = list(find_stem(network))
    else:
        find = _attention if part == "attention" else _feed_forward
        names = [f"{block}.{name}" for block in blocks
                 for name in find(network.get_submodule(block))]  # fmt: skip
    if not names:
        raise ValueError(
            f"{type(network).__name__} has no part {part!r} that can be told by its structure; "
            "name the layers yourself"
        )
    return names


def find_blocks(network: nn.Module) -> list[str] | None:
    """Return the module paths of the transformer blocks, None where there is no stack of them."""
    stacks = {
        path: sum(weights.numel() for weights in part.parameters())
        for path, part in network.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) and all(map(_outermost_attention, part))
    }
    if not stacks:
        return None
    path = max(stacks, key=stacks.__getitem__)
    return [f"{path}.{k}" for k, _ in network.get_submodule(path).named_children()]


def find_stem(network: nn.Module) -> dict[str, nn.Conv1d | nn.Conv2d]:
    """Return the convolution of each layer of the stem, by the module path of the layer."""
    blocks = find_blocks(network)
    stack = blocks[0].rpartition(".")[0] if blocks else None
    single: dict[str, nn.Conv1d | nn.Conv2d] = {}
    for path, part in network.named_modules():
        if path == stack:
            break
        if isinstance(part, nn.ModuleList) and len(part):
            convolutions = [_convolution(layer) for layer in part]
            if all(convolutions):
                return {f"{path}.{k}": conv for k, conv in enumerate(convolutions) if conv}
        if isinstance(part, nn.Conv1d | nn.Conv2d):
            single[path] = part
    return single


def find_final_norm(network: nn.Module, inputs: Mapping[str, Any]) -> str | None:
    """Return the module path of the norm behind the last block, None where there is none.

    Parameters
    ----------
    network
        A transformer in eval mode.
    inputs
        Input of one short signal.
    """
    blocks = find_blocks(network)
    if blocks is None:
        return None
    stack = blocks[0].split(".")[:-1]
    around = {".".join(stack[:depth]) for depth in range(len(stack))}
    norms = [path for path, part in network.named_modules()
             if _is_norm(part) and path.rpartition(".")[0] in around]  # fmt: skip
    order = _firing_order(network, [blocks[-1], *norms], inputs) if norms else blocks[-1:]
    behind = order[order.index(blocks[-1]) + 1 :]
    return behind[0] if behind else None


def _firing_order(network: nn.Module, names: Sequence[str], inputs: Mapping[str, Any]) -> list[str]:
    order: list[str] = []
    handles = [
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name))
        for name in names
    ]

    def run(given: Mapping[str, Any]) -> None:
        # Some versions of the library draw for LayerDrop in eval mode, too.
        with torch.random.fork_rng(devices=[]):
            network(**given)

    try:
        if fake_shapes(network, list(names[:1]), inputs, run) is None:
            order.clear()
            with torch.inference_mode():
                run(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return order


def frame_rules(network: nn.Module) -> list[Rule]:
    """Return the arithmetic of each layer of the stem, and behind it of the blocks.

    A signal of n samples has floor((n + offset) / stride) frames. A convolution of kernel k and
    stride s behind frames of (stride, offset) makes that (stride s, offset + stride (s - k)).

    Parameters
    ----------
    network
        A transformer on waveforms.

    Returns
    -------
    rules
        (stride, offset) in depth order; none for a network without a convolutional stem.

    Examples
    --------
    >>> layer = lambda kernel, stride: nn.Sequential(nn.Conv1d(1, 1, kernel, stride))
    >>> frame_rules(nn.ModuleDict({"stem": nn.ModuleList([layer(10, 5), layer(3, 2)])}))
    [(5, -5), (10, -10)]
    """
    rules: list[Rule] = []
    stride, offset = 1, 0
    for convolution in find_stem(network).values():
        kernel, step = convolution.kernel_size[0], convolution.stride[0]
        stride, offset = stride * step, offset + stride * (step - kernel)
        rules.append((stride, offset))
    # SEW averages neighbouring frames before its blocks.
    squeeze = int(getattr(getattr(network, "config", None), "squeeze_factor", 1))
    return [*rules, (stride * squeeze, offset)] if rules and squeeze > 1 else rules


def _attention(block: nn.Module) -> list[str]:
    """Return the path inside a block of what its attention gives out."""
    outermost = _outermost_attention(block)
    if outermost is None:
        return []
    attention = block.get_submodule(outermost)
    if not any(map(_is_norm, attention.modules())):
        return [outermost]
    # The residual and its norm are inside, too: the output is that of the last linear map.
    linear = [name for name, part in attention.named_modules() if isinstance(part, nn.Linear)]
    return [f"{outermost}.{linear[-1]}"] if linear else []


def _outermost_attention(block: nn.Module) -> str | None:
    named = (path for path, part in block.named_modules()
             if path and "attention" in type(part).__name__.lower())  # fmt: skip
    return next(named, None)


def _feed_forward(block: nn.Module) -> list[str]:
    """Return the paths inside a block of the linear maps from the inner width to the block's."""
    attention = f"{_outermost_attention(block)}."
    linear = [(path, part) for path, part in block.named_modules()
              if isinstance(part, nn.Linear) and not path.startswith(attention)]  # fmt: skip
    back: dict[str, int] = {}
    while len(linear) > 1:
        (_, into), (path, out) = linear[:2]
        paired = into.out_features == out.in_features and into.in_features == out.out_features
        if paired:
            back[path] = out.in_features
        linear = linear[2 if paired else 1 :]
    # Adapters are such pairs as well, with a narrow waist.
    return [path for path, inner in back.items() if inner == max(back.values())]


def _convolution(layer: nn.Module) -> nn.Conv1d | nn.Conv2d | None:
    """Return the convolution that a layer of a stem consists of, if it is such a layer."""
    found = [part for part in layer.children() if isinstance(part, nn.Conv1d | nn.Conv2d)]
    return found[0] if len(found) == 1 else None


def _is_norm(part: nn.Module) -> bool:
    # Whole encoders are called after their norm, too.
    return "norm" in type(part).__name__.lower() and next(part.children(), None) is None
