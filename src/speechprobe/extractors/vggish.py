"""VGGish as an extractor of its convolutions, its linear layers and its embedding.

Hershey et al.: "CNN architectures for large-scale audio classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430; used on emotions by Scheidwasser-Clow et al.: "SERAB: a
multi-lingual benchmark for speech emotion recognition", ICASSP 2022,
https://arxiv.org/abs/2110.03414.

Conventions
-----------
Patches of 0.96 s follow each other without overlap; `audioset` tells what is in them. As in
Google's release and torchvggish, what does not fill a patch at the end is dropped: n samples give
floor((n - 240) / 15360) patches. These give nothing for less than 0.975 s; here such a signal is
filled up with zeros behind it, where SERAB put up to 1 s of zeros at random places around it.

The post-processing takes the embedding before the ReLU, as Google does since 2020; torchvggish
takes it after. It is not rounded: torchvggish rounds to whole numbers, Google cuts to them.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprobe.extractors.audioset import LogMelPatches, PatchExtractor
from speechprobe.extractors.channels import channels_last_on_cpu
from speechprobe.extractors.checkpoints import load_exactly, read_tensors
from speechprobe.extractors.nets.vggish import VGGish
from speechprobe.extractors.untrained import local_seed

# Behind the ReLU of each convolution, and all linear layers.
LAYERS = (
    *(f"features.{number}" for number in (1, 4, 7, 9, 12, 14)),
    *(f"embeddings.{number}" for number in (1, 3, 4, 5)),
)
_PCA = ("pca_eigen_vectors", "pca_means")


def load_vggish(
    checkpoint: str | Path | None,
    *,
    pca: str | Path | None = None,
    hop_seconds: float = 0.96,
    layers: str | Sequence[str] | None = None,
    untrained: bool = False,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> PatchExtractor:
    """Load VGGish as an extractor whose frames are patches of 0.96 s.

    Parameters
    ----------
    checkpoint
        The state dict of torchvggish, ``vggish-10086976.pth``, or of torch_audioset,
        ``vggish_orig.pth``. None, with `untrained`, needs no file.
    pca
        File of the post-processing, ``vggish_pca_params-970ea276.pth`` of torchvggish or
        ``vggish_pca_params.npz`` of Google; adds the layer ``postprocess``.
    hop_seconds
        Step from patch to patch in seconds, a multiple of 0.01.
    layers
        Module paths or patterns, as in `capture`. By default ``features.1``, ``.4``, ``.7``,
        ``.9``, ``.12`` and ``.14`` (the convolutions after their ReLU; averaged over the patch's
        time, channels times bands: 4096 dims each), ``embeddings.1`` and ``.3`` (4096 dims, after
        their ReLU), ``embeddings.4`` (the embedding of 128 dims), ``embeddings.5`` (the same after
        a ReLU, which is what torchvggish gives) and, with `pca`, ``postprocess`` (128 dims from 0
        to 255).
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
        If its weights are not exactly those of the network, `pca` is given for an untrained
        network or holds something else, or the step is none; when called, if a signal is empty.

    Examples
    --------
    >>> extractor = load_vggish(None, untrained=True)
    >>> layers = extractor(np.zeros(48_000, np.float32))
    >>> layers["features.1"].shape, layers["embeddings.3"].shape, layers["embeddings.4"].shape
    ((3, 4096), (3, 4096), (3, 128))
    """
    if checkpoint is None and not untrained:
        raise ValueError("a checkpoint is needed, unless untrained=True")
    if pca is not None and untrained:
        raise ValueError("pca whitens the trained embedding, so an untrained network has none")
    state = {} if checkpoint is None or untrained else read_tensors(checkpoint)
    state |= {} if pca is None else _read_pca(pca)
    with local_seed(0):
        network = VGGish(postprocess=pca is not None).eval()
    if not untrained:
        load_exactly(network, state, f"{checkpoint}" + (f" with {pca}" if pca else ""))
    usual = (*LAYERS, "postprocess") if pca else LAYERS
    extractor = PatchExtractor(
        network,
        LogMelPatches(0.01, hop_seconds=hop_seconds, keep_end=False),
        layers=usual if layers is None else layers,
        name=(Path(checkpoint).stem if checkpoint else "vggish") + "-untrained" * untrained,
        device=device,
        dtype=dtype,
    )
    return channels_last_on_cpu(extractor)


def _read_pca(path: str | Path) -> dict[str, Tensor]:
    """Return the post-processing's buffers by their names in the network."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected VGGish's PCA, .pth or .npz")
    held = _read_npz(path) if Path(path).suffix == ".npz" else _read_arrays(path)
    if not isinstance(held, dict) or set(held) != set(_PCA):
        names = list(held)[:5] if isinstance(held, dict) else type(held).__name__
        raise ValueError(f"{path} must hold {' and '.join(_PCA)}; it holds {names}")
    tensors = {name: torch.as_tensor(held[name], dtype=torch.float32) for name in _PCA}
    # Some files hold the means as a column.
    tensors["pca_means"] = tensors["pca_means"].flatten()
    return {f"postprocess.{name}": value for name, value in tensors.items()}


def _read_npz(path: str | Path) -> dict[str, Any]:
    try:
        with np.load(path) as held:
            return dict(held)
    except (ValueError, OSError, zipfile.BadZipFile):
        # Not chained: NumPy's text tells how to run what it holds.
        raise ValueError(f"{path} is no .npz file of plain numbers") from None


def _read_arrays(path: str | Path) -> Any:
    """Return what a file saved by torch holds: tensors and NumPy's numbers, nothing that runs.

    The published file holds arrays, which torch calls safe only where it is told so.
    """
    rebuild: Any = np.zeros(0).__reduce__()[0]
    known: list[Any] = [
        (rebuild, "numpy.core.multiarray._reconstruct"),  # NumPy 1's name
        (rebuild, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
    ]
    # What the caller calls safe must stay so: torch forgets all that it was told here.
    told = torch.serialization.get_safe_globals()
    try:
        with torch.serialization.safe_globals([part for part in known if part not in told]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Not chained: torch's text tells how to load it all the same.
        raise ValueError(f"{path} is refused, because it is not plain numbers") from None
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is no readable file of torch: {error}") from error
