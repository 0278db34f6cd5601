"""Loads speech transformers from folders and from the hub: all weights or none, and no code.

A repository of the hub is fetched file by file into huggingface_hub's cache, the settings and one
kind of weights: safetensors or, where there are none, PyTorch's pickles, of which nothing but
tensors is read. Code that a repository holds is neither fetched nor run.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechprobe.extractors.checkpoints import read_tensors
from speechprobe.extractors.hub import REPOSITORY, fetch
from speechprobe.extractors.untrained import local_seed

_SETTINGS = ["config.json", "preprocessor_config.json", "processor_config.json"]
_SAFE = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"]
_PICKLED = ["pytorch_model.bin", "pytorch_model-*-of-*.bin"]

# Only training uses it, so some checkpoints leave it out.
_HARMLESS = {"masked_spec_embed"}


def find_folder(path: str | Path, *, revision: str | None, weights: bool) -> Path:
    """Return the folder of a model, fetched from the hub where it is not one already.

    Parameters
    ----------
    path
        A folder, or the name of a repository (owner/name).
    revision
        Branch, tag or commit of the repository.
    weights
        Whether weights are wanted, and not the settings alone.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or repository, or it lacks settings or weights.
    ValueError
        If a revision of a folder is asked for.
    """
    if Path(path).is_dir():
        if revision is not None:
            raise ValueError(
                f"revision={revision!r} is of a hub repository, but {path} is a folder"
            )
        folder = Path(path)
    elif REPOSITORY.fullmatch(str(path)):
        folder = fetch(str(path), revision, _SETTINGS + _SAFE * weights)
        if weights and not _any_of(_SAFE, folder):
            folder = fetch(str(path), revision, _SETTINGS + _PICKLED)
    else:
        raise FileNotFoundError(
            f"{path}: no such folder; expected one with config.json, weights and "
            "preprocessor_config.json, or the name of a hub repository, such as "
            "'openai/whisper-base'"
        )
    _require(folder, path, [_SETTINGS[:1], _SETTINGS[1:], *([_SAFE + _PICKLED] * weights)])
    return folder


def _any_of(patterns: list[str], folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def _require(folder: Path, path: str | Path, kinds: list[list[str]]) -> None:
    for files in kinds:
        if not _any_of(files, folder):
            raise FileNotFoundError(
                f"{path} holds no {' or '.join(files)}; expected what `save_pretrained` of the "
                "model and of its feature extractor write"
            )


def load_features(transformers: Any, folder: Path) -> Any:
    """Return the feature extractor of a folder."""
    with _refusing_code(folder):
        return transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)


def load_network(transformers: Any, folder: Path, *, untrained: bool) -> nn.Module:
    """Return the network of a folder in float32 and eval mode; of an encoder-decoder, the encoder.

    Parameters
    ----------
    transformers
        The library.
    folder
        From `find_folder`.
    untrained
        Fresh random weights (seed 0) instead of those of the folder.

    Raises
    ------
    ValueError
        If the library does not know the architecture, weights are missing, which the library
        would fill with random numbers, or a file of them holds more than tensors.
    """
    config = _load_config(transformers, folder)
    kind = _class_of(transformers, config, folder)
    # Loading draws random numbers too, before the weights replace them.
    with local_seed(0):
        if untrained:
            network = kind(config)
        else:
            network, info = kind.from_pretrained(
                **_source(folder), config=config, output_loading_info=True
            )
    has_decoder = getattr(config, "is_encoder_decoder", False) and hasattr(network, "get_encoder")
    encoder: nn.Module = network.get_encoder() if has_decoder else network
    if not untrained:
        prefix = next(name for name, part in network.named_modules() if part is encoder)
        _require_all_weights(info, prefix, folder)
    return encoder.float().eval()


def of_network(
    transformers: Any, model: Any, *, untrained: bool, revision: str | None
) -> tuple[nn.Module, Any, Path]:
    """Return the encoder of a network of the library, its feature extractor, and a name as a path.

    Raises
    ------
    TypeError
        If it is no network of the library.
    ValueError
        If a revision is asked for, or the weights are not float32.
    """
    config = getattr(model, "config", None)
    if not isinstance(model, transformers.PreTrainedModel) or config is None:
        raise TypeError(
            f"expected a network of transformers, got {type(model).__name__}; ModuleExtractor "
            "takes any other"
        )
    if revision is not None:
        raise ValueError(f"revision={revision!r} is of a hub repository, but a network is given")
    if model.dtype != torch.float32:
        raise ValueError(
            f"the weights are {model.dtype}; give the network in float32 (its .float()), and "
            f"dtype={model.dtype} for autocast"
        )
    if untrained:
        with local_seed(0):
            model = type(model)(config).eval()
    network = model.get_encoder() if config.is_encoder_decoder else model.base_model
    source = Path(str(model.name_or_path))
    features = _features_of(transformers, config, source)
    return network, features, source if source.name else Path(config.model_type)


def _features_of(transformers: Any, config: Any, source: Path) -> Any:
    if source.name and (source.is_dir() or str(source).count("/") == 1):
        return load_features(transformers, find_folder(str(source), revision=None, weights=False))
    mapping = transformers.models.auto.feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING
    if type(config) not in mapping:
        raise ValueError(
            f"no feature extractor of {type(config).__name__} is known; save the network with its "
            "feature extractor by save_pretrained, and give the folder"
        )
    # Where a default of the library is not that of the published networks.
    special: dict[str, Any] = {}
    if getattr(config, "feat_extract_norm", None) == "layer":
        special["return_attention_mask"] = True
    if config.model_type == "whisper":
        special["feature_size"] = config.num_mel_bins
    return mapping[type(config)](**special)


def _load_config(transformers: Any, folder: Path) -> Any:
    with _refusing_code(folder):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    # Hooks capture the layers. What the library would collect beside them costs memory.
    config.output_hidden_states = config.output_attentions = False
    return config


@contextmanager
def _refusing_code(folder: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        reason = str(error).split("\n", maxsplit=1)[0].split(". ")[0]
        # Not chained: the library's text tells how to run the code of the repository.
        raise ValueError(
            f"{folder} is refused: {reason}. Code of a repository is never run here; build the "
            "network yourself and give it to ModuleExtractor"
        ) from None


def _class_of(transformers: Any, config: Any, folder: Path) -> Any:
    """Return the class of the bare network: an encoder, if the weights were saved from one."""
    saved = (config.architectures or [""])[0]
    if saved.endswith("Encoder"):
        modeling = type(config).__module__.replace(".configuration_", ".modeling_")
        kind = getattr(importlib.import_module(modeling), saved, None)
    else:
        kind = transformers.MODEL_MAPPING.get(type(config), None)
    if not isinstance(kind, type):
        raise ValueError(
            f"{folder}: the library knows no bare network of {saved or config.model_type!r}; build "
            "it yourself and give it to ModuleExtractor"
        )
    return kind


def _source(folder: Path) -> dict[str, Any]:
    """Return where the weights come from: the library reads safetensors, we read pickles."""
    if _any_of(_SAFE, folder):
        return {"pretrained_model_name_or_path": str(folder), "use_safetensors": True}
    state: dict[str, Tensor] = {}
    for file in sorted(file for pattern in _PICKLED for file in folder.glob(pattern)):
        state |= read_tensors(file)
    return {"pretrained_model_name_or_path": None, "state_dict": state}


def _require_all_weights(info: Mapping[str, Any], prefix: str, folder: Path) -> None:
    missing = [
        key
        for key in info["missing_keys"]
        if key.startswith(prefix) and key.split(".")[-1] not in _HARMLESS
    ]
    if missing or info.get("mismatched_keys"):
        lost = sorted(missing) or list(info["mismatched_keys"])
        unexpected = sorted(info["unexpected_keys"])
        raise ValueError(
            f"{folder}: {len(lost)} weights of the network are not in the files, first "
            f"{lost[0]!r}, and would be random; the files hold {len(unexpected)} other weights"
            + (f", first {unexpected[0]!r}" if unexpected else "")
            + ". Check that `architectures` in config.json names the class that was saved"
        )
