"""WeSpeaker's speaker networks as extractors, from their published folders.

Wang et al., "WeSpeaker: a research and production oriented speaker embedding learning toolkit",
ICASSP 2023, https://arxiv.org/abs/2210.17016. A model folder holds ``config.yaml`` and
``avg_model.pt``. The networks are ours (`speechprobe.extractors.nets`), under the same names of
parameters. Architectures that are not among ours run through the one module of the installed
`wespeaker` package that defines them (`speechprobe.extractors.wespeaker_package`); they take no
lengths, so whether a padded batch is exact is measured.

Conventions
-----------
Features are Kaldi's log mel filter bank (25 ms every 10 ms, no dither, samples in int16 scale)
minus each band's mean over the utterance. The window is Hamming, as in WeSpeaker's own training
and extraction; the CAM++ networks converted from Alibaba's want ``window="povey"``, which is
ERes2Net's by default.
A layer (B, C, F, T) is given as frames (T, C F). Whole utterances are embedded, not chunks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from speechprobe.extractors.channels import channels_last_on_cpu
from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.hub import REPOSITORY, fetch
from speechprobe.extractors.layout import Layout, with_arithmetic
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.untrained import local_seed
from speechprobe.extractors.wespeaker_config import (
    Window,
    arguments,
    front_end,
    is_ours,
    kind_of,
)
from speechprobe.extractors.wespeaker_package import Packaged, build, default_layers, is_packaged

_CONFIG, _WEIGHTS = "config.yaml", "avg_model.pt"

# The VoxBlink2 networks are copies by others: WeSpeaker itself offers them as archives only.
PUBLISHED = {
    "voxblink2_samresnet34": "gaunernst/wespeaker-voxblink2-samresnet34",
    "voxblink2_samresnet34_ft": "gaunernst/wespeaker-voxblink2-samresnet34-ft",
    "voxblink2_samresnet100": "lengyue233/wespeaker-voxblink2-samresnet100",
    "voxceleb_resnet34": "Wespeaker/wespeaker-voxceleb-resnet34",
    "voxceleb_resnet34_LM": "Wespeaker/wespeaker-voxceleb-resnet34-LM",
    "voxceleb_resnet152_LM": "Wespeaker/wespeaker-voxceleb-resnet152-LM",
    "voxceleb_resnet221_LM": "Wespeaker/wespeaker-voxceleb-resnet221-LM",
    "voxceleb_resnet293_LM": "Wespeaker/wespeaker-voxceleb-resnet293-LM",
    "voxceleb_ECAPA512": "Wespeaker/wespeaker-voxceleb-ecapa-tdnn512",
    "voxceleb_ECAPA512_LM": "Wespeaker/wespeaker-ecapa-tdnn512-LM",
    "voxceleb_ECAPA1024": "Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024",
    "voxceleb_ECAPA1024_LM": "Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024-LM",
    "voxceleb_CAM++": "Wespeaker/wespeaker-voxceleb-campplus",
    "voxceleb_CAM++_LM": "Wespeaker/wespeaker-voxceleb-campplus-LM",
    "cnceleb_resnet34": "Wespeaker/wespeaker-cnceleb-resnet34",
    "cnceleb_resnet34_LM": "Wespeaker/wespeaker-cnceleb-resnet34-LM",
}


def load_wespeaker(
    path: str | Path,
    *,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    window: Window | None = None,
    max_frames: int | None = None,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> MaskedExtractor:
    """Load a WeSpeaker network as an extractor of all its layers.

    Parameters
    ----------
    path
        A folder with ``config.yaml`` and ``avg_model.pt``, the name of a Hugging Face repository
        that holds them, or the short name of a published network (the keys of `PUBLISHED`, such
        as "voxblink2_samresnet34"). Only these two files are fetched, once.
    layers
        Module paths or patterns, as in `capture`. By default the stem, every residual or dense
        block, the pooling and the embedding.
    untrained
        The same network with fresh random weights (seed 0): the control that shows what the
        architecture alone gives. ``avg_model.pt`` is not needed then.
    window
        Window of the filter bank; by default what the config says, or "hamming" ("povey" for
        ERes2Net).
    max_frames
        Feature frames of every utterance, cut or filled up with zeros after the mean is
        subtracted: 400 in the speaking-rate study. Whole utterances by default.
    revision
        Branch, tag or commit of the repository.
    device, dtype
        As in `ModuleExtractor`.

    Returns
    -------
    extractor
        The network with its front end, ready for `extract`; the network itself is `module`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, repository or file.
    ImportError
        If the architecture is not ours and the `wespeaker` package is missing.
    ValueError
        If the config asks for another architecture, front end or setting than are known here, or
        the weights are not exactly those of the network, apart from ``projection.*``, which only
        training uses, or are more than plain tensors.

    Examples
    --------
    >>> extractor = load_wespeaker("voxblink2_samresnet34")  # doctest: +SKIP
    >>> extractor.layers  # doctest: +SKIP
    ('front.relu', 'front.layer1.0', ..., 'front.layer4.2', 'pooling', 'bottleneck')
    """
    folder = _folder(path, [_CONFIG] if untrained else [_CONFIG, _WEIGHTS], revision)
    config = _read_config(folder / _CONFIG)
    name = Path(path).name + ("-untrained" if untrained else "")
    weights = None if untrained else folder / _WEIGHTS
    make = _of_the_package if not is_ours(config) and is_packaged(config["model"]) else _of_ours
    return make(
        config,
        weights,
        window=window,
        layers=layers,
        name=name,
        max_frames=max_frames,
        device=device,
        dtype=dtype,
    )


def _of_ours(
    config: Mapping[str, Any],
    weights: Path | None,
    *,
    window: Window | None,
    layers: str | Sequence[str] | None,
    **settings: Any,
) -> MaskedExtractor:
    kind = kind_of(config)
    frontend, normalise = front_end(config, window)
    with local_seed(0):
        network = kind.network(**arguments(config, kind, frontend.n_mels)).eval()
    _load_weights(network, weights)
    extractor = _WeSpeakerExtractor(
        network,
        frontend=frontend,
        normalise=normalise,
        layers=_present(network, kind.layers) if layers is None else layers,
        **settings,
    )
    return channels_last_on_cpu(extractor)


def _of_the_package(
    config: Mapping[str, Any],
    weights: Path | None,
    *,
    window: Window | None,
    layers: str | Sequence[str] | None,
    **settings: Any,
) -> MaskedExtractor:
    # ERes2Net is 3D-Speaker's, which trains on Kaldi's default window.
    usual: Window = "povey" if config["model"].startswith("ERes2Net") else "hamming"
    frontend, normalise = front_end(config, window, usual=usual)
    packaged = build(config["model"], config.get("model_args") or {}, frontend.n_mels)
    _load_weights(packaged.network, weights)
    known = layers if layers is not None else default_layers(packaged.network, frontend.n_mels)
    return _PackagedExtractor(
        packaged, frontend=frontend, normalise=normalise, layers=known, **settings
    )


class _WeSpeakerExtractor(MaskedExtractor):
    """Knows its layouts: time comes last, and ceil(frames / step) are left of it."""

    def _find_layouts(self) -> dict[str, Layout]:
        shapes = self._dry_run(2, self.sample_rate)
        n_frames = self.frontend.n_frames
        steps = {
            layer: round(n_frames(self.sample_rate) / shape[-1])
            for layer, shape in shapes.items()
            if len(shape) > 2
        }

        def counted(_n_signals: int, n_samples: int) -> dict[str, tuple[int, ...]]:
            return {
                layer: (*shape[:-1], -(-n_frames(n_samples) // steps[layer]))
                for layer, shape in shapes.items()
                if layer in steps
            }

        longer = 3 * self.sample_rate // 2
        found = self._dry_run(2, longer)
        timed = {layer: Layout(0, len(shapes[layer]) - 1) for layer in steps}
        solved = with_arithmetic(timed, counted, self.sample_rate)
        if solved is None or any(found[layer] != n for layer, n in counted(2, longer).items()):
            return super()._find_layouts()
        return {layer: solved.get(layer, Layout(0, None)) for layer in shapes}


class _PackagedExtractor(MaskedExtractor):
    """A network of the package: it takes features alone, and says where its code is from."""

    def __init__(self, packaged: Packaged, **settings: Any) -> None:
        super().__init__(packaged.network, **settings)
        self.packaged = packaged

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.packaged})"

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: weights, layers, front end, and the package of the network."""
        return super().provenance | {"package": self.packaged.module}

    def _forward(self, inputs: tuple[Tensor, Tensor]) -> None:
        self.module(inputs[0])


def _folder(path: str | Path, files: list[str], revision: str | None) -> Path:
    if Path(path).is_dir():
        if revision is not None:
            raise ValueError(
                f"revision={revision!r} is of a hub repository, but {path} is a folder"
            )
        return Path(path)
    repository = PUBLISHED.get(str(path), str(path))
    if not REPOSITORY.fullmatch(repository):
        raise FileNotFoundError(
            f"{path}: no such folder; expected one with {_CONFIG} and {_WEIGHTS}, the name of a "
            f"hub repository (owner/name), or one of {list(PUBLISHED)}; unpack WeSpeaker's "
            "archives of other networks and give the folder"
        )
    return fetch(repository, revision, files)


def _read_config(path: Path) -> dict[str, Any]:
    _require_file(path)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not plain YAML: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), str):
        raise ValueError(f"{path}: expected the name of an architecture under `model`")
    return config


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; a WeSpeaker model holds {_CONFIG} and {_WEIGHTS}"
        )


def _present(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the patterns without those layers that only some configs have."""
    names = dict(network.named_modules())
    return [each for each in patterns if each in names or "*" in each or "?" in each]


def _load_weights(network: nn.Module, path: Path | None) -> None:
    if path is None:
        return
    _require_file(path)
    state = read_tensors(path)
    # Only training uses the projection.
    used = {name: value for name, value in state.items() if not name.startswith("projection.")}
    load_exactly(network, used, f"{path} (with what {_CONFIG} says)")
