"""Architectures that are not ours, from the installed `wespeaker` package.

Its own ``__init__`` loads the whole toolkit and cannot be imported beside today's torchaudio. So
only the one module that defines the architecture is loaded, with what it imports of its neighbours:
empty packages stand in for ``wespeaker`` and its folders meanwhile, and nothing of them stays in
`sys.modules`.

Networks that take another input than the filter bank (``whisper_PMFA``, ``W2VBert_Adapter_MFA``,
``ReDimNet2``) are not among them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechprobe.extractors.untrained import local_seed

_PACKAGE = "wespeaker"
_DISTRIBUTIONS = ("wespeaker-unofficial", "wespeaker")
_LOADING = threading.Lock()

# Beginnings of the names of architectures, and the modules of the package that define them.
FAMILIES = {
    "XVEC": "tdnn",
    "XI_VEC": "xi_vector",
    "ECAPA_TDNN": "ecapa_tdnn",
    "ResNet": "resnet",
    "Res2Net": "res2net",
    "ERes2Net": "eres2net",
    "REPVGG": "repvgg",
    "Gemini": "gemini_dfresnet",
    "ReDimNetB": "redimnet",
    "SimAM_ResNet": "samresnet",
}


@dataclass(frozen=True)
class Packaged:
    """A network of the package, and where its code is from."""

    network: nn.Module
    module: str
    version: str

    def __str__(self) -> str:
        return f"{self.module} of {self.version}"


def is_packaged(model: str) -> bool:
    """Say whether the package has a family of architectures of this name.

    Examples
    --------
    >>> is_packaged("ERes2Net34_Base"), is_packaged("Conformer")
    (True, False)
    """
    return any(model.startswith(family) for family in FAMILIES)


def build(model: str, arguments: Mapping[str, Any], n_mels: int) -> Packaged:
    """Return an architecture of the package with random weights from seed 0, in eval mode.

    Parameters
    ----------
    model
        Name of the architecture, as in `config.yaml`.
    arguments
        Its `model_args`.
    n_mels
        Bands of the filter bank.

    Raises
    ------
    ImportError
        If the package is missing or the module does not load.
    ValueError
        If it has no such architecture, or that takes other arguments or other bands.
    """
    name = next(module for family, module in FAMILIES.items() if model.startswith(family))
    with _stand_ins(_folder(model)), local_seed(0):
        make = _architecture(_loaded(f"{_PACKAGE}.models.{name}"), model)
        _check(make, model, arguments, n_mels)
        network: nn.Module = make(**arguments)
    return Packaged(network.eval(), f"{_PACKAGE}.models.{name}", _version())


def _folder(model: str) -> Path:
    loaded = sys.modules.get(_PACKAGE)
    spec = loaded or importlib.util.find_spec(_PACKAGE)
    places = getattr(spec, "__path__", None) or getattr(spec, "submodule_search_locations", None)
    if not places:
        raise ImportError(
            f"the architecture {model!r} is none of ours and needs the package {_PACKAGE}, which "
            "is missing; it comes with: pip install 'speechprobe[wespeaker]', or alone, which "
            f"suffices here, with: pip install --no-deps {_DISTRIBUTIONS[0]}",
            name=_PACKAGE,
        )
    return Path(next(iter(places)))


@contextmanager
def _stand_ins(folder: Path) -> Iterator[None]:
    """Let the package's modules be imported without any ``__init__``; leave no trace of them."""
    inside = {
        f"{_PACKAGE}.{each.name}": each
        for each in folder.iterdir()
        if each.is_dir() and each.name.isidentifier()
    }
    with _LOADING:
        before = _taken_out()
        for name, place in ({_PACKAGE: folder} | inside).items():
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [str(place)]
        try:
            yield
        finally:
            _taken_out()
            sys.modules.update(before)


def _taken_out() -> dict[str, types.ModuleType]:
    names = [name for name in sys.modules if name.split(".")[0] == _PACKAGE]
    return {name: sys.modules.pop(name) for name in names}


def _loaded(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} of {_version()} does not load: {error}", name=name) from error


def _architecture(module: types.ModuleType, model: str) -> Callable[..., nn.Module]:
    own = [
        name
        for name, each in vars(module).items()
        if (inspect.isfunction(each) or inspect.isclass(each)) and is_packaged(name)
    ]
    if model not in own:
        raise ValueError(f"{module.__name__} of {_version()} has no {model!r}; it has {own}")
    make: Callable[..., nn.Module] = getattr(module, model)
    return make


def _check(make: Any, model: str, arguments: Mapping[str, Any], n_mels: int) -> None:
    signature = inspect.signature(make)
    try:
        given = signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"model_args: {model} of {_version()} takes {signature}, got {dict(arguments)}: {error}"
        ) from error
    given.apply_defaults()
    n_bands = given.arguments.get("feat_dim", n_mels)
    if n_bands != n_mels:
        raise ValueError(
            f"the network takes {n_bands} bands, but fbank_args gives num_mel_bins={n_mels}"
        )


def _version() -> str:
    for name in _DISTRIBUTIONS:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return f"{_PACKAGE} of unknown version"


def default_layers(network: nn.Module, n_mels: int) -> list[str]:
    """Return the stem, every block, the pooling and the embedding: what fires once of them.

    Of a part that holds most of the parameters, its own parts come too.
    """
    names = list(_blocks(network, "", sum(p.numel() for p in network.parameters())))
    calls: Counter[str] = Counter()
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda *_, name=name: calls.update([name])
        )
        for name in names
    ]
    try:
        with torch.inference_mode():
            network(torch.zeros(2, 200, n_mels))
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in names if calls[name] == 1]


def _blocks(part: nn.Module, prefix: str, n_total: int) -> Iterator[str]:
    for name, child in part.named_children():
        path = prefix + name
        if _is_stack(child):
            yield from _blocks(child, f"{path}.", n_total)
            continue
        yield path
        if sum(p.numel() for p in child.parameters()) > n_total / 2:
            yield from _blocks(child, f"{path}.", n_total)


def _is_stack(part: nn.Module) -> bool:
    """Say whether a part is several blocks, not one of a few simple layers."""
    compound = any(True for child in part.children() for _ in child.children())
    return isinstance(part, nn.ModuleList) or (isinstance(part, nn.Sequential) and compound)
