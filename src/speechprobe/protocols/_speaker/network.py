"""A network to be trained, its front end, and the extractors of its layers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from speechprobe.extractors.masked import FrontEnd, MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.normalise import standardise
from speechprobe.extractors.untrained import local_seed
from speechprobe.extractors.voxceleb import ARCHITECTURES


class Subject(NamedTuple):
    """What is trained.

    Parameters
    ----------
    network
        A copy of the caller's, or a new one; trained in place.
    frontend
        Waveforms to features.
    layers
        Patterns of the extractors' layers.
    n_dims
        Dimensions of an embedding.
    untrained
        An extractor of the network as it begins.
    """

    network: nn.Module
    frontend: FrontEnd
    layers: str | Sequence[str]
    n_dims: int
    untrained: ModuleExtractor


def make_subject(
    net: nn.Module | Callable[[], nn.Module],
    frontend: FrontEnd | None,
    layers: str | Sequence[str] | None,
    *,
    crop_seconds: float,
    seed: int,
) -> Subject:
    """Return what is to be trained, once it has shown that it gives embeddings and layers.

    Raises
    ------
    TypeError
        If there is no network, or its front end has no sample rate.
    ValueError
        If the network has nothing to learn, no front end is known for it, it gives no embeddings
        (B, n_dims), or layers are not there.
    """
    network = _made(net, seed)
    known = next((a for a in ARCHITECTURES.values() if type(network) is a.network), None)
    if frontend is None and known is None:
        raise ValueError(
            f"no front end is known for {type(network).__name__}; give one, such as frontend="
            "MelSpectrogram(40, n_fft=512, log_offset=1e-6, normalise=standardise)"
        )
    if frontend is None and known is not None:
        frontend = MelSpectrogram(
            int(network.n_mels),  # type: ignore[arg-type]
            n_fft=512,
            window=known.window,
            preemphasis=known.preemphasis,
            log_offset=1e-6,
            normalise=standardise,
        )
    if frontend is None or not isinstance(getattr(frontend, "sample_rate", None), int):
        raise TypeError(f"the front end must have a whole sample_rate in Hz, got {frontend!r}")
    if layers is None:
        layers = "*" if known is None else known.layers
    n_dims = _n_dims(network, frontend, crop_seconds)
    untrained = extractor_of(copy.deepcopy(network), frontend, layers, "untrained")
    _ = untrained.layers  # found now: a wrong name must not come to light after hours
    return Subject(network, frontend, layers, n_dims, untrained)


def extractor_of(
    network: nn.Module, frontend: FrontEnd, layers: str | Sequence[str], state: str
) -> ModuleExtractor:
    """Return an extractor of a network, which is put in eval mode."""
    name = f"{type(network).__name__}-{state}"
    network.eval()
    if "lengths" in inspect.signature(network.forward).parameters:
        return MaskedExtractor(network, frontend=frontend, layers=layers, name=name)
    return ModuleExtractor(
        network, layers=layers, sample_rate=frontend.sample_rate, preprocess=frontend, name=name
    )


def _made(net: nn.Module | Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a copy of a network, or the one that a function makes with weights of the seed."""
    if isinstance(net, nn.Module):
        network = copy.deepcopy(net)
    elif callable(net):
        with local_seed(seed):
            network = net()
    else:
        raise TypeError(f"net must be a module or a function that makes one, got {net!r}")
    if not isinstance(network, nn.Module):
        raise TypeError(f"net must make a module, got {type(network).__name__}")
    if not any(each.requires_grad for each in network.parameters()):
        n_frozen = len(list(network.parameters()))
        why = f"its {n_frozen} parameters are frozen" if n_frozen else "it has no parameters"
        raise ValueError(f"{type(network).__name__} cannot be trained: {why}")
    return network


def _n_dims(network: nn.Module, frontend: FrontEnd, crop_seconds: float) -> int:
    place = next(network.parameters())
    silence = torch.zeros(1, round(crop_seconds * frontend.sample_rate), device=place.device)
    network.eval()
    with torch.no_grad():
        features = frontend(silence).to(place.dtype)
        try:
            embedding = network(features)
        except RuntimeError as error:
            raise ValueError(
                f"{type(network).__name__} cannot take features {tuple(features.shape)}, (B, T, "
                f"n_dims) of {frontend!r}: {error}. Give a front end of as many dimensions as the "
                "network wants"
            ) from error
    shape = tuple(getattr(embedding, "shape", ()))
    if len(shape) != 2 or shape[0] != 1:
        found = shape or type(embedding).__name__
        raise ValueError(
            f"{type(network).__name__} must give embeddings (B, n_dims); it gives {found} for one "
            "crop"
        )
    return int(shape[1])
