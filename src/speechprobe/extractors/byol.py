"""BYOL-A and BYOL-S as extractors: small encoders of log-mel spectrograms.

The encoder is AudioNTT2020, convolutions and two layers a frame, or CvT, a convolutional
transformer.

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
from torch import Tensor, nn

from speechprobe.extractors.channels import channels_last_on_cpu
from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.masked import MaskedExtractor
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.nets.byol import REDUCTION, WIDTH, AudioNTT2020
from speechprobe.extractors.nets.cvt import CvT
from speechprobe.extractors.nets.cvt_sizes import stages_of
from speechprobe.extractors.untrained import local_seed

SAMPLE_RATE = 16_000
LAYERS = ("features.3", "features.7", "features.11", "fc.1", "fc.4", "embedding")
CVT_LAYERS = ("layers.*.1", "layers.*.2.layers.*", "average", "embedding")


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
    """Load BYOL-A or BYOL-S as an extractor of its blocks, frames and embedding.

    Parameters
    ----------
    checkpoint
        File with the state dict of an AudioNTT2020 (512, 1024 or 2048 dims) or of a CvT (small
        or large); which one and its sizes are read from the tensors. None, with `untrained`, is
        the AudioNTT2020 of 512 dims.
    mean, std
        Mean and standard deviation of the corpus's log-mel spectrogram.
    win_length
        Window in samples: 400 for BYOL-S and all of SERAB; BYOL-A was trained with 1024.
    n_mels
        Mel bands, as the network was trained. The weights of a CvT do not tell them.
    layers
        Module paths or patterns, as in `capture`. By default, of an AudioNTT2020: ``features.3``,
        ``features.7`` and ``features.11`` (the poolings: 64 channels times 32, 16 and 8 bands, at
        a half, a quarter and an eighth of the frame rate), ``fc.1`` and ``fc.4`` (one vector a
        frame) and ``embedding`` (maximum over time plus mean over time, one vector an utterance).
        Of a CvT: ``layers.0.1`` to ``layers.2.1`` (what goes into the transformers: 16, 8 and 4
        bands, at a 4th, an 8th and a 16th of the frame rate), ``layers.0.2.layers.0`` to
        ``layers.2.2.layers.0`` (the transformer blocks), ``average`` (mean over time and bands:
        SERAB's embeddings of 256 and 512 dims) and ``embedding`` (maximum plus mean over time:
        that of 2048).
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
        If it is of neither network, its weights are not exactly those of that network, or `std`
        is not positive; when called, if a signal has fewer than 8 frames (1120 samples) for an
        AudioNTT2020, or is not longer than 512 samples for a CvT.

    Examples
    --------
    >>> import numpy as np
    >>> extractor = load_byol_a(None, mean=-5.0, std=4.0, untrained=True)
    >>> {layer: x.shape for layer, x in extractor(np.zeros(16_000, np.float32)).items()}
    {'features.3': (50, 2048), ..., 'fc.4': (12, 512), 'embedding': (1, 512)}
    """
    network = _network(checkpoint, untrained=untrained, n_mels=n_mels)
    usual = CVT_LAYERS if isinstance(network, CvT) else LAYERS
    extractor = MaskedExtractor(
        network,
        frontend=_front_end(n_mels, win_length),
        normalise=_Standardise(mean, std),
        layers=usual if layers is None else layers,
        name=(Path(checkpoint).stem if checkpoint else "byol-512") + "-untrained" * untrained,
        device=device,
        dtype=dtype,
    )
    return channels_last_on_cpu(extractor)


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


def _network(checkpoint: str | Path | None, *, untrained: bool, n_mels: int) -> nn.Module:
    if checkpoint is None and not untrained:
        raise ValueError("a checkpoint is needed, unless untrained=True")
    source = str(checkpoint)
    state = None if checkpoint is None else read_tensors(source)
    with local_seed(0):
        network = AudioNTT2020(n_mels=n_mels) if state is None else _fitting(state, n_mels, source)
    if state is not None and not untrained:
        load_exactly(network, state, source)
    return network.eval()


def _fitting(state: dict[str, Tensor], n_mels: int, source: str) -> nn.Module:
    """Return a new network of the architecture and the sizes of a state dict."""
    if "layers.0.0.weight" in state:
        try:
            return CvT(stages_of(state), n_mels=n_mels)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    first = state.get("fc.0.weight")
    if first is None or first.ndim != 2:
        raise ValueError(
            f"{source} is neither an AudioNTT2020, which has fc.0.weight of shape (n_dims, "
            f"{WIDTH} n_mels / {REDUCTION}), nor a CvT, which has layers.0.0.weight; got names "
            f"{list(state)[:5]}"
        )
    trained_with = first.shape[1] * REDUCTION // WIDTH
    if trained_with != n_mels:
        raise ValueError(f"{source} was trained with n_mels={trained_with}, not {n_mels}")
    return AudioNTT2020(len(first), n_mels=n_mels)
