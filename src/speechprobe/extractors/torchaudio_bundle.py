"""torchaudio's pretrained transformers as extractors: wav2vec 2.0, XLS-R, HuBERT, WavLM.

Conventions
-----------
Layers are module paths inside torchaudio's network. ``encoder.transformer.layers.0:input`` is what
enters the first block, ``encoder.transformer.layers.k`` what block k gives out (item k of the list
that torchaudio's `extract_features` returns), and ``encoder.transformer.layer_norm`` the norm
behind the last block, which only the large networks have there and `extract_features` leaves out.

Departures from torchaudio, where signals of unequal length share a batch
--------------------------------------------------------------------------
A bundle that normalises its waveforms does so over the whole batch, padding included; here each
signal is brought to mean 0 and variance 1 over its own samples. The group norm of the base networks
averages over the padding, and WavLM takes no lengths at all; here both are told where each row
ends (`speechprobe.extractors.torchaudio_padding`). A signal alone gives torchaudio's own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from speechprobe._optional import torchaudio
from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.nets.masking import mask, masked_mean
from speechprobe.extractors.torchaudio_padding import masked_inside
from speechprobe.extractors.torchaudio_weights import cached_tensors
from speechprobe.extractors.untrained import local_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TRANSFORMER = "encoder.transformer"
_EPS = 1e-5  # of fairseq's and torchaudio's norm of the waveform


def load_torchaudio(
    bundle: str | Any,
    *,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    padding: Literal["measure", "never", "allow"] = "measure",
) -> ModuleExtractor:
    """Load a bundle of `torchaudio.pipelines` as an extractor of all its layers.

    Parameters
    ----------
    bundle
        Name of the bundle, such as "WAV2VEC2_BASE", "WAV2VEC2_XLSR_300M", "HUBERT_LARGE" or
        "WAVLM_BASE_PLUS", or the bundle itself, which may be one of your own
        (`torchaudio.pipelines.Wav2Vec2Bundle`).
    layers
        Module paths or patterns, as in `capture`; by default the input of the first block, every
        block, and the final norm where it comes after the blocks. The convolutions are
        ``feature_extractor.conv_layers.*``.
    untrained
        The same architecture with fresh random weights (seed 0). Nothing is fetched then.
    weights
        File of the weights. By default the one in torch's cache (`torch.hub.get_dir()`, moved by
        the environment variable TORCH_HOME), fetched once from download.pytorch.org.
    device, dtype, padding
        As in `ModuleExtractor`.

    Returns
    -------
    extractor
        The network with its front end, ready for `extract`; the network itself is `module`.

    Raises
    ------
    ConnectionError
        If the weights are not in the cache and cannot be fetched.
    FileNotFoundError
        If there is no such file of weights.
    ValueError
        If there is no such bundle, or the weights are damaged, more than plain tensors, or not
        exactly those of the network.

    Examples
    --------
    >>> extractor = load_torchaudio("HUBERT_BASE")  # doctest: +SKIP
    >>> extractor.layers  # doctest: +SKIP
    ('encoder.transformer.layers.0:input', 'encoder.transformer.layers.0', ...)
    """
    if untrained and weights is not None:
        raise ValueError(f"an untrained network takes no weights, got {weights}")
    name, bundle = _find(bundle)
    state = None if untrained else _read(bundle, weights)
    with local_seed(0):
        network = _build(bundle)
    if state is not None:
        load_exactly(network, _renamed(state, network), str(weights or bundle._path))
    return _BundleExtractor(
        network.eval(),
        layers=_default_layers(network) if layers is None else layers,
        sample_rate=round(bundle.sample_rate),
        normalise=bundle._normalize_waveform,
        name=name + ("-untrained" if untrained else ""),
        device=device,
        dtype=dtype,
        padding=padding,
    )


class _BundleExtractor(ModuleExtractor):
    """Normalises each signal by itself, and tells the network where each row ends."""

    def __init__(
        self,
        network: nn.Module,
        *,
        layers: str | Sequence[str],
        sample_rate: int,
        normalise: bool,
        name: str,
        device: str | torch.device | None,
        dtype: torch.dtype | None,
        padding: Literal["measure", "never", "allow"],
    ) -> None:
        super().__init__(
            network,
            layers=layers,
            sample_rate=sample_rate,
            name=name,
            device=device,
            dtype=dtype,
            padding=padding,
        )
        self.normalise = normalise
        self._final_norm = _find_final_norm(network)

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: weights, layers, normalisation of the waveform, padding."""
        return super().provenance | {"preprocess": {"normalise": self.normalise}}

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor | None]:
        waveforms = self._waveforms(signals)
        samples = [len(signal) for signal in signals]
        n_samples = torch.tensor(samples, device=self.device)
        if self.normalise:
            waveforms = _standardised(waveforms, n_samples)
        # Nothing is masked where nothing is padded: one signal runs as in torchaudio.
        return waveforms, n_samples if len(set(samples)) > 1 else None

    def _forward(self, inputs: tuple[Tensor, Tensor | None]) -> None:
        waveforms, n_samples = inputs
        with nullcontext() if n_samples is None else masked_inside(self.module, n_samples):
            self.module(waveforms)


def _standardised(waveforms: Tensor, n_samples: Tensor) -> Tensor:
    """Return rows of mean 0 and variance 1 over their own samples, zero behind them."""
    centred = waveforms - masked_mean(waveforms, n_samples, keepdim=True)
    variance = masked_mean(centred.square(), n_samples, keepdim=True)
    return mask(centred / (variance + _EPS).sqrt(), n_samples)


def _find(bundle: str | Any) -> tuple[str, Any]:
    """Return the name and the bundle of either."""
    pipelines = torchaudio().pipelines
    known = {
        name: each
        for name, each in vars(pipelines).items()
        if isinstance(each, pipelines.Wav2Vec2Bundle)
    }
    if isinstance(bundle, pipelines.Wav2Vec2Bundle):
        names = [name for name, each in known.items() if each is bundle]
        return (names[0] if names else Path(bundle._path).stem), bundle
    if bundle not in known:
        raise ValueError(
            f"torchaudio.pipelines has no bundle {bundle!r} of a speech transformer; there are "
            f"{sorted(known)}"
        )
    return bundle, known[bundle]


def _build(bundle: Any) -> nn.Module:
    models = torchaudio().models
    factories = {"Wav2Vec2": models.wav2vec2_model, "WavLM": models.wavlm_model}
    if bundle._model_type not in factories:
        raise ValueError(
            f"the bundle is of the type {bundle._model_type!r}; known are {list(factories)}"
        )
    network: nn.Module = factories[bundle._model_type](**bundle._params)
    return network


def _read(bundle: Any, weights: str | Path | None) -> dict[str, Tensor]:
    """Return the weights without the rows for symbols that the recognisers never give out."""
    state = cached_tensors(bundle._path) if weights is None else read_tensors(weights)
    unused = getattr(bundle, "_remove_aux_axis", ())
    for name in {"aux.weight", "aux.bias"} & state.keys() if unused else ():
        used = [row for row in range(len(state[name])) if row not in unused]
        state[name] = state[name][used]
    return state


def _renamed(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the weights under today's names: the files are older than torch's weight norm."""
    old = {
        f"{path}.weight_{letter}": f"{path}.parametrizations.weight.original{k}"
        for path, part in network.named_modules()
        if isinstance(part, nn.Conv1d) and hasattr(part, "parametrizations")
        for k, letter in enumerate("gv")
    }
    return {old.get(name, name): value for name, value in state.items()}


def _default_layers(network: nn.Module) -> list[str]:
    norm = _find_final_norm(network)
    blocks = f"{_TRANSFORMER}.layers"
    return [f"{blocks}.0:input", f"{blocks}.*", *([norm] if norm else [])]


def _find_final_norm(network: nn.Module) -> str | None:
    # torchaudio's flag is of the norm before the first block.
    comes_first = network.get_submodule(_TRANSFORMER).layer_norm_first
    return None if comes_first else f"{_TRANSFORMER}.layer_norm"
