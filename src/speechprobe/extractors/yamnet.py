"""YAMNet as an extractor of its layers, its embedding and its 521 class logits.

Plakal, Ellis: "YAMNet", 2019, https://github.com/tensorflow/models, research/audioset/yamnet; used
on emotions by Scheidwasser-Clow et al.: "SERAB: a multi-lingual benchmark for speech emotion
recognition", ICASSP 2022, https://arxiv.org/abs/2110.03414.

Conventions
-----------
Patches of 0.96 s start every 0.48 s; `audioset` tells what is in them. As in Google's release on
TensorFlow Hub, the signal is filled up with zeros to the end of its last patch, so that every
sample is seen: n samples give 1 + ceil((n - 15600) / 7680) patches, and at least one. The logits
are before the sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from speechprobe.extractors.audioset import LogMelPatches, PatchExtractor
from speechprobe.extractors.channels import channels_last_on_cpu
from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.nets.yamnet import YAMNet
from speechprobe.extractors.untrained import local_seed

LAYERS = ("layer*", "embedding", "classifier")


def load_yamnet(
    checkpoint: str | Path | None,
    *,
    hop_seconds: float = 0.48,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> PatchExtractor:
    """Load YAMNet as an extractor whose frames are patches of 0.96 s.

    Parameters
    ----------
    checkpoint
        The state dict of torch_audioset, ``yamnet.pth``, which torch-vggish-yamnet loads as well.
        None, with `untrained`, needs no file.
    hop_seconds
        Step from patch to patch in seconds, a multiple of 0.01 and at most 0.96.
    layers
        Module paths or patterns, as in `capture`. By default ``layer1`` to ``layer14`` (after
        their ReLU; averaged over the patch's time, channels times bands: 1024 dims the first, 2048
        all others), ``embedding`` (1024 dims, averaged over the bands too) and ``classifier`` (521
        logits).
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
        If its weights are not exactly those of the network, or the step is none; when called, if a
        signal is empty.

    Examples
    --------
    >>> import numpy as np
    >>> extractor = load_yamnet(None, untrained=True)
    >>> layers = extractor(np.zeros(48_000, np.float32))
    >>> layers["layer14"].shape, layers["embedding"].shape, layers["classifier"].shape
    ((6, 2048), (6, 1024), (6, 521))
    """
    if checkpoint is None and not untrained:
        raise ValueError("a checkpoint is needed, unless untrained=True")
    state = {} if checkpoint is None or untrained else read_tensors(checkpoint)
    with local_seed(0):
        network = YAMNet().eval()
    if not untrained:
        load_exactly(network, state, str(checkpoint))
    extractor = PatchExtractor(
        network,
        LogMelPatches(0.001, hop_seconds=hop_seconds, keep_end=True),
        layers=LAYERS if layers is None else layers,
        name=(Path(checkpoint).stem if checkpoint else "yamnet") + "-untrained" * untrained,
        device=device,
        dtype=dtype,
    )
    return channels_last_on_cpu(extractor)
