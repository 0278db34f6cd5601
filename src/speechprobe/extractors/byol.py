"""BYOL-A and BYOL-S as extractors: a small convolutional encoder of log-mel spectrograms.

Niizumi et al.: "BYOL for audio: self-supervised learning for general-purpose audio
representation", IJCNN 2021, https://arxiv.org/abs/2103.06695; Elbanna et al.: "BYOL-S: learning
self-supervised speech representations by bootstrapping", 2022, https://arxiv.org/abs/2206.12038;
used on emotions by Scheidwasser-Clow et al.: "SERAB: a multi-lingual benchmark for speech emotion
recognition", ICASSP 2022, https://arxiv.org/abs/2110.03414.

Conventions
-----------
Signals are at 16 kHz. Features are the power in 64 mel bands from 60 to 7800 Hz (1024 points, a
hop of 160 samples), log(power + 1.19e-7), minus `mean`, divided by `std`: two numbers for a whole
corpus, not for a file. Whole utterances are embedded, where the authors train on crops of 1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.nets.byol import REDUCTION, WIDTH, AudioNTT2020
from speechprobe.extractors.untrained import local_seed

SAMPLE_RATE = 16_000
LAYERS = ("features.3", "features.7", "features.11", "fc.1", "fc.4", "embedding")


def load_byol_a(
    checkpoint: str | Path | None,
    *,
    mean: float,
    std: float,
    win_length: int = 400,
    n_mels: int = 64,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> MaskedExtractor:
    """Load BYOL-A or BYOL-S as an extractor of its convolutions, frames and embedding.

    Parameters
    ----------
    checkpoint
        File with the state dict of an AudioNTT2020; its size is read from the tensors. None, with
        `untrained`, is the network of 512 dims.
    mean, std
        Mean and standard deviation of the corpus's log-mel spectrogram.
    win_length
        Window in samples: 400 for BYOL-S and all of SERAB; BYOL-A was trained with 1024.
    n_mels
        Mel bands, as the network was trained.
    layers
        Module paths or patterns, as in `capture`; by default ``features.3``, ``features.7`` and
        ``features.11`` (the poolings: 64 channels times 32, 16 and 8 bands, at a half, a quarter
        and an eighth of the frame rate), ``fc.1`` and ``fc.4`` (one vector a frame) and
        ``embedding`` (maximum over time plus mean over time, one vector an utterance).
    untrained
        The same network with fresh random weights (seed 0): the control that shows what the
        architecture alone gives.
    device, dtype
        As in `ModuleExtractor`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its weights are not exactly those of the network, or `std` is not positive; when
        called, if a signal has fewer than 8 frames (1120 samples).

    Examples
    --------
    >>> import numpy as np
    >>> extractor = load_byol_a(None, mean=-5.0, std=4.0, untrained=True)
    >>> {layer: x.shape for layer, x in extractor(np.zeros(16_000, np.float32)).items()}
    {'features.3': (50, 2048), ..., 'fc.4': (12, 512), 'embedding': (1, 512)}
    """
    state = _read(checkpoint, untrained, n_mels)
    n_dims = len(state["fc.0.weight"]) if state else 512
    with local_seed(0):
        network = AudioNTT2020(n_dims, n_mels=n_mels).eval()
    if not untrained:
        load_exactly(network, state, str(checkpoint))
    return MaskedExtractor(
        network,
        frontend=_front_end(n_mels, win_length),
        normalise=_Standardise(mean, std),
        layers=LAYERS if layers is None else layers,
        name=(Path(checkpoint).stem if checkpoint else "byol-512") + "-untrained" * untrained,
        device=device,
        dtype=dtype,
    )


@dataclass(frozen=True)
class _Standardise:
    """Brings a corpus, not a file, to mean 0 and standard deviation 1."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"std must be positive, got {self.std}")

    def __call__(self, features: Tensor, _lengths: Tensor) -> Tensor:
        return (features - self.mean) / self.std


def _front_end(n_mels: int, win_length: int) -> MelSpectrogram:
    return MelSpectrogram(
        n_mels,
        sample_rate=SAMPLE_RATE,
        n_fft=1024,
        window_seconds=win_length / SAMPLE_RATE,
        low_hz=60.0,
        high_hz=7800.0,
        log_offset=torch.finfo(torch.float32).eps,
    )


def _read(checkpoint: str | Path | None, untrained: bool, n_mels: int) -> dict[str, Tensor]:
    if checkpoint is None:
        if not untrained:
            raise ValueError("a checkpoint is needed, unless untrained=True")
        return {}
    state = read_tensors(checkpoint)
    first = state.get("fc.0.weight")
    if first is None or first.ndim != 2:
        raise ValueError(
            f"{checkpoint} is no AudioNTT2020: expected fc.0.weight of shape (n_dims, "
            f"{WIDTH} n_mels / {REDUCTION}), got names {list(state)[:5]}"
        )
    trained_with = first.shape[1] * REDUCTION // WIDTH
    if trained_with != n_mels:
        raise ValueError(f"{checkpoint} was trained with n_mels={trained_with}, not {n_mels}")
    return state
