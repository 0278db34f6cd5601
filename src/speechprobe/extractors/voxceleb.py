"""The networks of voxceleb_trainer as extractors, from its checkpoints.

Chung et al.: "In defence of metric learning for speaker recognition", Interspeech 2020,
https://arxiv.org/abs/2003.11982 (ResNetSE34L, VGGVox); Kwon et al.: "The ins and outs of speaker
recognition: lessons from VoxSRC 2020", ICASSP 2021, https://arxiv.org/abs/2010.15809
(ResNetSE34V2).

Conventions
-----------
Signals are at 16 kHz. Features are log(power + 1e-6) in 40 mel bands (V2: 64) of 400 samples every
160 (512 points, Hamming window; VGGVox: Hann), each band brought to mean 0 and variance 1 over the
utterance. V2 pre-emphasises first (0.97). Whole utterances are embedded; the trainer's published
scores compare ten crops of 4 s. VGGVox gives nothing for less than 0.62 s: such a signal is
repeated up to there, as the trainer repeats files shorter than its crops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechprobe.extractors.channels import channels_last_on_cpu
from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.nets.vggvox import SHORTEST, VGGVox
from speechprobe.extractors.nets.voxceleb import ResNetSE34L, ResNetSE34V2
from speechprobe.extractors.normalise import standardise
from speechprobe.extractors.untrained import local_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechprobe.pooling import Pooling

_NETWORK, _LOSS = "__S__.", "__L__."
_FRONT_END = ("torchfb.", "instancenorm.")
_HOP = 160


@dataclass(frozen=True)
class _Architecture:
    network: Callable[..., nn.Module]
    layers: tuple[str, ...]
    n_mels: int = 40
    window: Literal["hann", "hamming"] = "hamming"
    preemphasis: float = 0.0
    shortest: int = 0  # samples; shorter signals are repeated


ARCHITECTURES = {
    "ResNetSE34L": _Architecture(ResNetSE34L, ("relu", "layer?.*", "pool", "fc")),
    "ResNetSE34V2": _Architecture(
        ResNetSE34V2, ("bn1", "layer?.*", "pool", "fc"), n_mels=64, preemphasis=0.97
    ),
    "VGGVox": _Architecture(
        VGGVox,
        (*(f"netcnn.{number}" for number in (2, 6, 10, 13, 16, 20)), "pool", "fc"),
        window="hann",
        shortest=(SHORTEST - 1) * _HOP,
    ),
}


def load_voxceleb_trainer(
    checkpoint: str | Path | None,
    *,
    architecture: str | None = None,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> MaskedExtractor:
    """Load a network of voxceleb_trainer as an extractor of all its layers.

    Parameters
    ----------
    checkpoint
        File with the state dict that the trainer saves: names start with ``__S__.`` (network) or
        ``__L__.`` (loss, ignored), in older files with ``module.`` before that. None, with
        `untrained` and `architecture`, is a network of 512 dims.
    architecture
        "ResNetSE34L", "ResNetSE34V2" or "VGGVox"; found from the names and shapes by default.
    layers
        Module paths or patterns, as in `capture`. By default the stem (``relu``, of V2 ``bn1``),
        every residual block (``layer1.0`` to ``layer4.2``; of VGGVox the ReLU of every
        convolution in ``netcnn``), ``pool`` and ``fc``, the embedding.
    untrained
        The same network with fresh random weights (seed 0): the control that shows what the
        architecture alone gives.
    device, dtype
        As in `ModuleExtractor`.

    Returns
    -------
    extractor
        The network with its front end, ready for `extract`; the network itself is `module`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the architecture is unknown, or the weights or the tables of the front end are not
        exactly those of the network.

    Examples
    --------
    >>> extractor = load_voxceleb_trainer(None, architecture="ResNetSE34L", untrained=True)
    >>> layers = extractor(np.zeros(16_000, np.float32))
    >>> layers["relu"].shape, layers["layer4.2"].shape, layers["fc"].shape
    ((101, 320), (26, 640), (1, 512))
    """
    if checkpoint is None and not (untrained and architecture):
        raise ValueError(
            "a checkpoint is needed, unless untrained=True and an architecture is named"
        )
    state, tables = ({}, {}) if checkpoint is None else _parts_of(checkpoint)
    name = _architecture_of(state, str(checkpoint)) if architecture is None else architecture
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {list(ARCHITECTURES)}, got {name!r}")
    chosen = ARCHITECTURES[name]
    _check_tables(tables, chosen, f"{checkpoint} does not fit {name}")
    with local_seed(0):
        network = chosen.network(len(state["fc.weight"]) if "fc.weight" in state else 512).eval()
    if not untrained:
        load_exactly(network, state, str(checkpoint))
    extractor = _VoxCelebExtractor(
        network,
        chosen,
        layers=chosen.layers if layers is None else layers,
        name=(Path(checkpoint).stem if checkpoint else name) + "-untrained" * untrained,
        device=device,
        dtype=dtype,
    )
    return channels_last_on_cpu(extractor)


class _VoxCelebExtractor(MaskedExtractor):
    """Repeats signals that are shorter than the network's poolings need."""

    def __init__(self, network: nn.Module, architecture: _Architecture, **settings: Any) -> None:
        frontend = MelSpectrogram(
            architecture.n_mels,
            n_fft=512,
            window=architecture.window,
            preemphasis=architecture.preemphasis,
            log_offset=1e-6,
        )
        self._shortest = architecture.shortest
        super().__init__(network, frontend=frontend, normalise=standardise, **settings)

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers, and the samples up to which shorter signals are repeated."""
        return super().provenance | {"repeated_to": self._shortest}

    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return super().__call__(self._repeated(signal))

    def extract_batch(
        self, signals: Sequence[NDArray[np.float32]], pool: Pooling
    ) -> dict[str, NDArray[np.float32]]:
        return super().extract_batch([self._repeated(signal) for signal in signals], pool)

    def _samples_run(self, n_samples: int) -> int:
        return max(n_samples, self._shortest)

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        return super()._inputs([self._repeated(signal) for signal in signals])

    def _repeated(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        enough = len(signal) >= self._shortest or not len(signal)
        return signal if enough else np.resize(signal, self._shortest)


def _parts_of(checkpoint: str | Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of the network, and the tables of its front end, by bare names."""
    named = {
        name.removeprefix("module."): value for name, value in read_tensors(checkpoint).items()
    }
    if not any(name.startswith(_NETWORK) for name in named):
        raise ValueError(
            f"{checkpoint} is not voxceleb_trainer's: no name starts with {_NETWORK!r}, but they "
            f"are {list(named)[:5]}"
        )
    own = {
        name.removeprefix(_NETWORK): value
        for name, value in named.items()
        if not name.startswith(_LOSS)
    }
    tables = {name: value for name, value in own.items() if name.startswith(_FRONT_END)}
    return {name: value for name, value in own.items() if name not in tables}, tables


def _architecture_of(state: Mapping[str, Tensor], source: str) -> str:
    stem = state.get("conv1.weight")
    if "netcnn.0.weight" in state:
        return "VGGVox"
    if stem is not None and stem.shape == (16, 1, 7, 7) and "sap_linear.weight" in state:
        return "ResNetSE34L"
    if stem is not None and stem.shape == (32, 1, 3, 3) and "attention.0.weight" in state:
        return "ResNetSE34V2"
    raise ValueError(
        f"{source}: names and shapes are of none of {list(ARCHITECTURES)}; it has "
        f"{[f'{name} {tuple(value.shape)}' for name, value in state.items()][:5]}"
    )


def _check_tables(tables: Mapping[str, Tensor], chosen: _Architecture, fault: str) -> None:
    """Raise if the window or the bands that a checkpoint carries are not the front end's."""
    window = getattr(torch, f"{chosen.window}_window")(400)
    for name, table in tables.items():
        if name.endswith("mel_scale.fb") and table.shape != (257, chosen.n_mels):
            raise ValueError(
                f"{fault}: {name} has shape {tuple(table.shape)}, not (257, {chosen.n_mels})"
            )
        if name.endswith("spectrogram.window") and (
            table.shape != window.shape or not torch.allclose(table.float(), window, atol=1e-4)
        ):
            raise ValueError(f"{fault}: {name} is no {chosen.window} window of 400 samples")
