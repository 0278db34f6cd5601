"""Speech transformers from Hugging Face: Whisper's encoder, wav2vec 2.0, HuBERT, WavLM, ...

Conventions
-----------
Layers are module paths. ``layers.0:input`` is what enters the first block (the stem plus
positions: `hidden_states[0]` of the library), ``layers.k`` what block k gives out, ``layer_norm``
what leaves the final norm. For Whisper the library's `hidden_states` are ``layers.0:input``,
``layers.0`` to the last block but one, and ``layer_norm``; the last block before the norm, which
it does not return, is there as well.

Whisper always sees 30 s; only the frames of the signal itself, ceil(n_samples / 320), are pooled.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from speechprobe._optional import require
from speechprobe.extractors.layout import Layout
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.untrained import local_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Only training uses it, so some checkpoints leave it out.
_HARMLESS = {"masked_spec_embed"}


class TransformerExtractor(ModuleExtractor):
    """Layers of a Hugging Face speech transformer.

    Parameters
    ----------
    path
        A folder as `save_pretrained` writes it (with its `preprocessor_config.json`), or the name
        of a repository of the hub.
    layers
        Module paths or patterns; by default the input of the first block, every block, and the
        final norm where it comes after the blocks.
    name
        Short name; the folder's by default.
    device, dtype, padding
        As in `ModuleExtractor`.
    untrained
        The same architecture with fresh random weights (seed 0).
    revision
        Revision of the hub's repository.

    Raises
    ------
    ImportError
        If transformers is not installed.
    ValueError
        If the folder holds weights of other names than the network needs, which the library
        would fill with random numbers.

    Examples
    --------
    >>> extractor = TransformerExtractor("openai/whisper-base")  # doctest: +SKIP
    >>> extractor.layers  # doctest: +SKIP
    ('layers.0:input', 'layers.0', ..., 'layers.5', 'layer_norm')
    """

    def __init__(
        self,
        path: str | Path,
        *,
        layers: str | Sequence[str] | None = None,
        name: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        padding: Literal["measure", "never", "allow"] = "measure",
        untrained: bool = False,
        revision: str | None = None,
    ) -> None:
        transformers = require("transformers", extra="transformers")
        if str(path).count("/") != 1 and not Path(path).is_dir():
            raise FileNotFoundError(
                f"{path}: no such folder; expected one with config.json, weights and "
                "preprocessor_config.json, or the name of a hub repository, such as "
                "'openai/whisper-base'"
            )
        source = {"pretrained_model_name_or_path": str(path), "revision": revision}
        self._features = transformers.AutoFeatureExtractor.from_pretrained(**source)
        network = _load(transformers, source, untrained=untrained).eval()
        self._window = _window_samples(self._features)
        suffix = "-untrained" if untrained else ""
        super().__init__(
            network,
            layers=_default_layers(network) if layers is None else layers,
            sample_rate=self._features.sampling_rate,
            name=name or Path(path).name + suffix,
            device=device,
            dtype=dtype,
            padding=padding,
        )
        self.max_seconds = self._window / self.sample_rate if self._window else None
        self._final_norm = _find_final_norm(network)

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: weights, layers, front end, padding."""
        settings = self._features.to_dict()
        plain = {
            key: value for key, value in settings.items() if isinstance(value, str | int | float)
        }
        return super().provenance | {"preprocess": plain}

    def _find_layouts(self) -> dict[str, Layout]:
        return self._find_windowed() if self._window else super()._find_layouts()

    def _find_windowed(self) -> dict[str, Layout]:
        """Find the time axis of a network that pads every signal to one window."""
        shapes = self._dry_run(2, self.sample_rate)
        rate = self._features.nb_max_frames
        return {layer: _windowed(layer, shape, rate, self._window)
                for layer, shape in shapes.items()}  # fmt: skip

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> Any:
        for signal in signals:
            if self._window and len(signal) > self._window:
                raise ValueError(
                    f"{self.name} sees {self.max_seconds:g} s, a signal has "
                    f"{len(signal) / self.sample_rate:.1f} s; leave longer ones out"
                )
        padding = {} if self._window else {"padding": True}
        arrays = [np.asarray(signal, np.float32) for signal in signals]
        inputs = self._features(
            arrays, sampling_rate=self.sample_rate, return_tensors="pt", **padding
        )
        return {key: value.to(self.device) for key, value in inputs.items()}


def _load(transformers: Any, source: Mapping[str, Any], *, untrained: bool) -> nn.Module:
    config = transformers.AutoConfig.from_pretrained(**source)
    kind = _class_of(transformers, config)
    # Loading draws random numbers too, before the weights replace them.
    with local_seed(0):
        if untrained:
            network = (kind.from_config if hasattr(kind, "from_config") else kind)(config)
        else:
            network, info = kind.from_pretrained(**source, output_loading_info=True)
    if not untrained:
        _require_all_weights(info, source["pretrained_model_name_or_path"])
    has_decoder = getattr(config, "is_encoder_decoder", False) and hasattr(network, "get_encoder")
    encoder: nn.Module = network.get_encoder() if has_decoder else network
    return encoder.float()


def _class_of(transformers: Any, config: Any) -> Any:
    """Return the class that the weights were saved from, if it is a bare encoder, or AutoModel."""
    saved = (config.architectures or [""])[0]
    if not saved.endswith("Encoder"):
        return transformers.AutoModel
    family = config.model_type.replace("-", "_")
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    return getattr(module, saved)


def _require_all_weights(info: Mapping[str, Any], path: str) -> None:
    missing = [key for key in info["missing_keys"] if key.split(".")[-1] not in _HARMLESS]
    if missing or info.get("mismatched_keys"):
        lost = missing or list(info["mismatched_keys"])
        unexpected = list(info["unexpected_keys"])
        raise ValueError(
            f"{path}: {len(lost)} weights of the network are not in the files, first {lost[0]!r}, "
            f"and would be random; the files hold {len(unexpected)} other weights"
            + (f", first {unexpected[0]!r}" if unexpected else "")
            + ". Check that `architectures` in config.json names the class that was saved"
        )


def _window_samples(features: Any) -> int:
    """Return the samples that every signal is padded to, or 0 where there is no fixed window."""
    return int(features.n_samples) if hasattr(features, "nb_max_frames") else 0


def _windowed(layer: str, shape: tuple[int, ...], n_frames: int, window: int) -> Layout:
    axes = [
        axis for axis, size in enumerate(shape) if axis > 0 and size in (n_frames, n_frames // 2)
    ]
    if len(axes) != 1:
        raise ValueError(
            f"layer {layer!r}: expected one time axis of {n_frames} or {n_frames // 2} frames in "
            f"the shape {shape}; leave it out or capture a module around it"
        )
    stride = window // shape[axes[0]]
    return Layout(0, axes[0], stride=stride, offset=stride - 1)


def _default_layers(network: nn.Module) -> list[str]:
    blocks = _blocks(network)
    if blocks is None:
        raise ValueError(
            f"{type(network).__name__} has no stack of like blocks; name the layers yourself"
        )
    norm = _find_final_norm(network)
    return [f"{blocks}.0:input", f"{blocks}.*", *([norm] if norm else [])]


def _blocks(network: nn.Module) -> str | None:
    """Return where the transformer blocks are: the stack of like parts with the most parameters."""
    sizes = {
        path: sum(p.numel() for p in part.parameters())
        for path, part in network.named_modules()
        if isinstance(part, nn.ModuleList) and len({type(block) for block in part}) == 1
    }
    return max(sizes, key=sizes.__getitem__) if sizes else None


def _find_final_norm(network: nn.Module) -> str | None:
    blocks = _blocks(network)
    if blocks is None:
        return None
    parent, _, _ = blocks.rpartition(".")
    norm = f"{parent}.layer_norm" if parent else "layer_norm"
    return norm if _norm_comes_last(network, norm) else None


def _norm_comes_last(network: nn.Module, path: str) -> bool:
    """Say whether the norm beside the blocks follows them (pre-norm networks) or precedes them."""
    config: Any = network.config
    pre_norm = getattr(config, "do_stable_layer_norm", config.model_type == "whisper")
    return bool(pre_norm) and any(name == path for name, _ in network.named_modules())
