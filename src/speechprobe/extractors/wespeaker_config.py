"""What a WeSpeaker ``config.yaml`` asks for, as networks and front ends of ours.

Only what is known is taken: another pooling or front end, and an architecture that neither we nor
the `wespeaker` package have, are refused with a list of the known ones. Settings of the training
(dither, augmentation, dropout, the projection) change nothing here and are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from speechprobe.extractors.kaldi import KaldiFbank
from speechprobe.extractors.nets.campplus import CAMPPlus
from speechprobe.extractors.nets.ecapa import ECAPATDNN
from speechprobe.extractors.nets.resnet import ResNet34, ResNet152, ResNet221, ResNet293
from speechprobe.extractors.nets.simam import SimAMResNet34, SimAMResNet100
from speechprobe.extractors.normalise import subtract_mean
from speechprobe.extractors.wespeaker_package import FAMILIES

Window = Literal["hamming", "povey"]


@dataclass(frozen=True)
class Kind:
    """A network, our names of WeSpeaker's arguments, the only values of others, the layers."""

    network: Callable[..., nn.Module]
    arguments: Mapping[str, str]
    layers: Sequence[str]
    only: Mapping[str, Any] = field(default_factory=dict)


_SIMAM = partial(
    Kind,
    arguments={"acoustic_dim": "n_mels", "embed_dim": "n_dims", "in_planes": "width"},
    layers=("front.relu", "front.layer*.*", "pooling", "bottleneck"),
)
_RESNET = partial(
    Kind,
    arguments={
        "feat_dim": "n_mels",
        "embed_dim": "n_dims",
        "pooling_func": "pooling",
        "two_emb_layer": "two_layers",
    },
    layers=("relu", "layer*.*", "pool", "seg_1", "seg_2"),
)
_ECAPA = partial(
    Kind,
    arguments={"feat_dim": "n_mels", "embed_dim": "n_dims", "emb_bn": "norm"},
    layers=("layer?", "conv", "pool", "linear", "bn2"),
    only={"pooling_func": "ASTP"},
)
_KINDS = {
    "SimAM_ResNet34_ASP": _SIMAM(SimAMResNet34),
    "SimAM_ResNet100_ASP": _SIMAM(SimAMResNet100),
    "ResNet34": _RESNET(ResNet34),
    "ResNet152": _RESNET(ResNet152),
    "ResNet221": _RESNET(ResNet221),
    "ResNet293": _RESNET(ResNet293),
    "ECAPA_TDNN_c512": _ECAPA(ECAPATDNN),
    "ECAPA_TDNN_GLOB_c512": _ECAPA(partial(ECAPATDNN, context=True)),
    "ECAPA_TDNN_c1024": _ECAPA(partial(ECAPATDNN, n_channels=1024)),
    "ECAPA_TDNN_GLOB_c1024": _ECAPA(partial(ECAPATDNN, n_channels=1024, context=True)),
    "CAMPPlus": Kind(
        CAMPPlus,
        arguments={
            "feat_dim": "n_mels",
            "embed_dim": "n_dims",
            "growth_rate": "growth",
            "init_channels": "width",
        },
        layers=(
            "head.relu",
            "head.layer*.*",
            "head",
            "xvector.tdnn",
            "xvector.block?",
            "xvector.transit?",
            "xvector.stats",
            "xvector.dense",
        ),
        only={"pooling_func": "TSTP", "bn_size": 4, "config_str": "batchnorm-relu"},
    ),
}
_POOLINGS = {"TSTP": "statistics", "ASTP": "attentive"}


def is_ours(config: Mapping[str, Any]) -> bool:
    """Say whether a config names one of our architectures."""
    return config["model"] in _KINDS


def kind_of(config: Mapping[str, Any]) -> Kind:
    """Return the architecture that a config names.

    Raises
    ------
    ValueError
        If it is none of ours; the known ones are listed.

    Examples
    --------
    >>> kind_of({"model": "SimAM_ResNet34_ASP"}).network.__name__
    'SimAMResNet34'
    """
    model = config["model"]
    if not is_ours(config):
        raise ValueError(
            f"model {model!r} is none of the known architectures: ours are {list(_KINDS)}, the "
            f"wespeaker package's begin with {list(FAMILIES)}; wrap another network in "
            "MaskedExtractor or ModuleExtractor"
        )
    return _KINDS[model]


def arguments(config: Mapping[str, Any], kind: Kind, n_mels: int) -> dict[str, Any]:
    """Return the arguments of the network of ours for features of `n_mels` bands.

    Raises
    ------
    ValueError
        If the config has an argument or a value that is not known, or other bands.

    Examples
    --------
    >>> config = {"model": "ResNet34", "model_args": {"embed_dim": 256, "two_emb_layer": False}}
    >>> arguments(config, kind_of(config), 80)
    {'n_mels': 80, 'n_dims': 256, 'two_layers': False}
    """
    given: dict[str, Any] = {"n_mels": n_mels}
    for name, value in (config.get("model_args") or {}).items():
        if name in kind.arguments:
            given[kind.arguments[name]] = value
        elif name != "dropout" and (name not in kind.only or value != kind.only[name]):
            known = [*kind.arguments, *(f"{key}={only!r}" for key, only in kind.only.items())]
            raise ValueError(f"model_args: {name}={value!r} is not known; there are {known}")
    if "pooling" in given:
        given["pooling"] = _known_pooling(given["pooling"])
    if given["n_mels"] != n_mels:
        raise ValueError(
            f"the network takes {given['n_mels']} bands, but fbank_args gives num_mel_bins={n_mels}"
        )
    return given


def _known_pooling(name: str) -> str:
    if name not in _POOLINGS:
        raise ValueError(f"pooling_func must be one of {list(_POOLINGS)}, got {name!r}")
    return _POOLINGS[name]


def front_end(
    config: Mapping[str, Any], window: Window | None = None, *, usual: Window = "hamming"
) -> tuple[KaldiFbank, Callable[[Tensor, Tensor], Tensor] | None]:
    """Return the filter bank, and the mean subtraction where the config has it.

    Parameters
    ----------
    config
        What stands in ``config.yaml``.
    window
        Window of the filter bank, whatever the config says.
    usual
        The window where neither says one.

    Raises
    ------
    ValueError
        If the front end is another, or the variance is normalised too.

    Examples
    --------
    >>> bank, normalise = front_end({"dataset_args": {"fbank_args": {"num_mel_bins": 40}}})
    >>> bank.n_mels, bank.window, normalise is subtract_mean
    (40, 'hamming', True)
    """
    settings = config.get("dataset_args") or {}
    if settings.get("frontend", "fbank") != "fbank":
        raise ValueError(
            f"dataset_args: the front end {settings['frontend']!r} is not known, only 'fbank' is"
        )
    if (settings.get("cmvn_args") or {}).get("norm_var", False):
        raise ValueError("cmvn_args: norm_var=True is not known, only the mean is subtracted")
    fbank = settings.get("fbank_args") or {}
    bank = KaldiFbank(
        fbank.get("num_mel_bins", 80),
        sample_rate=settings.get("resample_rate", 16_000),
        window_seconds=fbank.get("frame_length", 25) / 1000,
        hop_seconds=fbank.get("frame_shift", 10) / 1000,
        window=window or fbank.get("window_type", usual),
    )
    return bank, subtract_mean if settings.get("cmvn", True) else None
