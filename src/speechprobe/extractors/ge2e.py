"""Resemblyzer's speaker encoder as an extractor of its three LSTM layers and its embedding.

Wan, Wang, Papir, Lopez Moreno: "Generalized end-to-end loss for speaker verification", ICASSP
2018, https://arxiv.org/abs/1710.10467.

Conventions
-----------
Signals are at 16 kHz. Features are the power, without a logarithm, in 40 mel bands of Slaney (0 to
8000 Hz, unit area) of 400 samples every 160, centred and mirrored at both ends. A signal quieter
than -30 dB below full scale (root mean square) is amplified to there; a louder one stays as it is.

It departs from Resemblyzer in three ways. Pauses are not cut out, as `preprocess_wav` does there
with a voice activity detector. Ends are mirrored, as by the librosa of 2019, when the weights were
published; from 0.9 on librosa puts zeros there, which moves embeddings of real speech by up to
0.4 % of their length over 2.5 s, by up to 7 % over 1.2 s, by up to 17 % over 0.3 s. Silence gives
numbers, where there it gives NaN. Otherwise `partials` gives Resemblyzer's embedding to 2e-6.

The encoder was trained on 1.6 s, and wants that length: of all 4950 pairs of 100 utterances of
LibriSpeech's test-other (10 speakers), the equal error rate is 0.3 % with `partials` and 6.2 %
without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.layout import Layout
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.nets.ge2e import GE2E, PARTIAL, STEP, PartialGE2E, from_resemblyzer
from speechprobe.extractors.untrained import local_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOP = 160
_COVERED = 0.75  # of a partial utterance must be signal, unless it is the first


def load_ge2e(
    checkpoint: str | Path | None = None,
    *,
    partials: bool = False,
    target_dbfs: float | None = -30.0,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> MaskedExtractor:
    """Load Resemblyzer's encoder as an extractor of its LSTM layers and its embedding.

    Parameters
    ----------
    checkpoint
        File that holds a state dict as ``model_state``; sizes are read from its tensors. The
        weights that ship inside the resemblyzer package by default.
    partials
        Embed 1.6 s at a time, every 0.77 s, and average, as Resemblyzer's `embed_utterance` does:
        choose this to verify speakers. By default the encoder runs once over the whole utterance,
        and its LSTM layers have 100 frames a second.
    target_dbfs
        Level in decibels, full scale at 0, up to which quieter signals are amplified; None leaves
        all as they are. The features have no logarithm, so the level counts.
    layers
        Module paths or patterns, as in `capture`; by default all of those below.
    untrained
        The same network with fresh random weights (seed 0): the control that shows what the
        architecture alone gives.
    device, dtype
        As in `ModuleExtractor`.

    Returns
    -------
    extractor
        Layers ``lstm.0`` to ``lstm.2`` (100 frames a second, 256 dims) and ``embedding``, of unit
        length. With `partials` the frames are the partial utterances: of ``lstm.*`` what stands at
        the end of each, of ``partials`` the embedding of each.

    Raises
    ------
    ImportError
        If `checkpoint` is None and resemblyzer is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If its weights are not exactly those of the network; when called, if a signal is empty or,
        without `partials`, has fewer than 201 samples.

    Examples
    --------
    >>> import numpy as np
    >>> extractor = load_ge2e(untrained=True)
    >>> {layer: x.shape for layer, x in extractor(np.zeros(16_000, np.float32)).items()}
    {'lstm.0': (101, 256), 'lstm.1': (101, 256), 'lstm.2': (101, 256), 'embedding': (1, 256)}
    """
    source = _shipped() if checkpoint is None and not untrained else checkpoint
    state = {} if source is None else _read(source)
    sizes = {} if source is None else _sizes(state, str(source))
    with local_seed(0):
        network = (PartialGE2E if partials else GE2E)(**sizes).eval()
    if not untrained:
        load_exactly(network, state, str(source))
    suffix = "-partials" * partials + "-untrained" * untrained
    chosen = ("lstm.*", *["partials"] * partials, "embedding") if layers is None else layers
    return _GE2EExtractor(
        network,
        target_dbfs=target_dbfs,
        layers=chosen,
        name=(Path(checkpoint).stem if checkpoint else "ge2e") + suffix,
        device=device,
        dtype=dtype,
    )


class _GE2EExtractor(MaskedExtractor):
    """Brings signals to their level and, for partial utterances, fills them up with zeros."""

    def __init__(
        self, network: GE2E | PartialGE2E, *, target_dbfs: float | None, **settings: Any
    ) -> None:
        self._target_dbfs = target_dbfs
        self._in_partials = isinstance(network, PartialGE2E)
        frontend = MelSpectrogram(network.n_mels, n_fft=400, norm="slaney", mel_scale="slaney")
        super().__init__(network, frontend=frontend, **settings)

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers, and the level up to which quieter signals are amplified."""
        return super().provenance | {"target_dbfs": self._target_dbfs}

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        if not all(map(len, signals)):
            raise ValueError(f"{self.name}: a signal has no samples")
        louder = [_amplified(signal, self._target_dbfs) for signal in signals]
        if not self._in_partials:
            return super()._inputs(louder)
        features, _ = super()._inputs([_filled(signal) for signal in louder])
        counts = torch.tensor([n_partials(len(signal)) for signal in signals], device=self.device)
        return features, counts

    def _find_layouts(self) -> dict[str, Layout]:
        if not self._in_partials:
            return super()._find_layouts()
        return {name: _layout_of(name) for name in self._names}


def _layout_of(name: str) -> Layout:
    if name == "embedding":
        return Layout(0, None)
    kind = _PartialEnds if name.startswith("lstm.") else _Partials
    return kind(0, 1, stride=STEP * _HOP)


class _Partials(Layout):
    """One frame a partial utterance: (B n_partials, n_dims) or (B, n_partials, n_dims)."""

    def frames(self, output: Tensor, n_signals: int) -> Tensor:
        return output.reshape(n_signals, -1, output.shape[-1])

    def n_frames(self, n_samples: int) -> int:
        return n_partials(n_samples)


class _PartialEnds(_Partials):
    """The last of the frames of a partial utterance, (B n_partials, 160, n_dims)."""

    def frames(self, output: Tensor, n_signals: int) -> Tensor:
        return super().frames(output[:, -1], n_signals)


def n_partials(n_samples: int) -> int:
    """Return how many partial utterances a signal of n samples has: at least one.

    Each but the first must have 0.75 of its 1.6 s inside the signal.

    Examples
    --------
    >>> [n_partials(n) for n in (100, 31_519, 31_520, 16_000 * 10)]
    [1, 1, 2, 12]
    """
    more = n_samples - round(_COVERED * PARTIAL * _HOP)
    return 1 + max(0, more // (STEP * _HOP))


def _filled(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a signal with zeros behind it, up to the end of its last partial utterance."""
    end = ((n_partials(len(signal)) - 1) * STEP + PARTIAL) * _HOP
    return np.pad(signal, (0, max(0, end - len(signal))))


def _amplified(signal: NDArray[np.float32], target_dbfs: float | None) -> NDArray[np.float32]:
    """Return a signal whose root mean square is at least the target; silence stays silence."""
    if target_dbfs is None:
        return signal
    level = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    gain = 10 ** (target_dbfs / 20) / level if level else 1.0
    return signal * np.float32(gain) if gain > 1 else signal


def _shipped() -> Path:
    spec: Any = find_spec("resemblyzer")
    if spec is None:
        raise ImportError(
            "the encoder's weights ship with resemblyzer, which is not installed. It comes with: "
            "pip install 'speechprobe[ge2e]'. Only that file is used, so "
            "pip install --no-deps resemblyzer is enough",
            name="resemblyzer",
        )
    return Path(spec.submodule_search_locations[0]) / "pretrained.pt"


def _read(checkpoint: str | Path) -> dict[str, Tensor]:
    return from_resemblyzer(read_tensors(checkpoint, key="model_state"))


def _sizes(state: Mapping[str, Tensor], source: str) -> dict[str, int]:
    """Return the sizes of the network that a state dict is of."""
    first, last = state.get("lstm.0.weight_ih_l0"), state.get("linear.weight")
    if first is None or last is None or first.ndim != 2 or last.ndim != 2:
        raise ValueError(
            f"{source} is no GE2E encoder: expected lstm.weight_ih_l0 of shape (4 n_hidden, "
            f"n_mels) and linear.weight of shape (n_dims, n_hidden), got names {list(state)[:5]}"
        )
    n_layers = sum(name.endswith(".weight_ih_l0") for name in state)
    n_dims, n_hidden = last.shape
    return {
        "n_mels": first.shape[1], "n_hidden": n_hidden, "n_layers": n_layers, "n_dims": n_dims
    }  # fmt: skip
