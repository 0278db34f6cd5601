"""Sizes of the convolutional transformers of SERAB, and of any whose weights are given.

Scheidwasser-Clow, Kegler, Beckmann, Cernak: "SERAB: a multi-lingual benchmark for speech emotion
recognition", ICASSP 2022, https://arxiv.org/abs/2110.03414, with the sizes of its published code:
one block a stage, so that it has about as many parameters as an AudioNTT2020 of 2048 dims. Heads
and strides are those of CvT-13 (Wu et al., https://arxiv.org/abs/2103.15808, table 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from torch import Tensor

HEAD = 64  # dims of an attention head


@dataclass(frozen=True)
class CvTStage:
    """Sizes of one stage of a `CvT`.

    Parameters
    ----------
    n_dims
        Channels.
    n_heads
        Attention heads, of 64 dims each.
    depth
        Transformer blocks.
    kernel, stride
        Of the convolution that embeds patches, in bands and frames.
    projection_kernel
        Of the depth-wise convolutions before queries, keys and values.
    key_stride
        Of the one before keys and values; that before queries has 1.
    expansion
        Width of a feed-forward layer over `n_dims`.

    Raises
    ------
    ValueError
        If a size is below 1 or a kernel is even.

    Examples
    --------
    >>> CvTStage(256, n_heads=3).stride
    2
    """

    n_dims: int
    _: KW_ONLY
    n_heads: int
    depth: int = 1
    kernel: int = 3
    stride: int = 2
    projection_kernel: int = 3
    key_stride: int = 2
    expansion: int = 4

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
            if name.endswith("kernel") and size % 2 == 0:
                raise ValueError(f"{name} must be odd, got {size}")


CVT_SMALL = (
    CvTStage(64, n_heads=1, kernel=7, stride=4),
    CvTStage(128, n_heads=3),
    CvTStage(256, n_heads=6),
)
CVT_LARGE = (
    CvTStage(64, n_heads=1, kernel=7, stride=4),
    CvTStage(256, n_heads=3),
    CvTStage(512, n_heads=6),
)


def stages_of(state: Mapping[str, Tensor], like: Sequence[CvTStage] = CVT_LARGE) -> list[CvTStage]:
    """Return the stages of a CvT's state dict.

    Channels, kernels, depths, heads and expansions are read from the shapes. Strides leave no
    trace in the weights: they are those of `like`, whose last stage stands for all further ones.

    Parameters
    ----------
    state
        Parameters and buffers by name.
    like
        Where the strides come from.

    Raises
    ------
    ValueError
        If the names or the shapes are not those of a CvT.

    Examples
    --------
    >>> from speechprobe.extractors.nets.cvt import CvT
    >>> stages_of(CvT(CVT_SMALL).state_dict()) == list(CVT_SMALL)
    True
    """
    n_stages = _count(state, "layers.{}.0.weight")
    if not n_stages:
        raise ValueError(f"no CvT: expected layers.0.0.weight, got names {list(state)[:5]}")
    return [_stage_of(state, k, like[min(k, len(like) - 1)]) for k in range(n_stages)]


def _stage_of(state: Mapping[str, Tensor], k: int, like: CvTStage) -> CvTStage:
    block = f"layers.{k}.2.layers.0"
    patches, queries, heads, wide = (
        _four_axes(state, name)
        for name in (
            f"layers.{k}.0.weight",
            f"{block}.0.fn.to_q.net.0.weight",
            f"{block}.0.fn.to_q.net.2.weight",
            f"{block}.1.fn.net.0.weight",
        )
    )
    return CvTStage(
        patches[0],
        n_heads=heads[0] // HEAD,
        depth=_count(state, f"layers.{k}.2.layers.{{}}.0.norm.g"),
        kernel=patches[-1],
        stride=like.stride,
        projection_kernel=queries[-1],
        key_stride=like.key_stride,
        expansion=wide[0] // patches[0],
    )


def _four_axes(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    shape = tuple(state[name].shape) if name in state else None
    if shape is None or len(shape) != 4:
        raise ValueError(f"no CvT: expected {name} of four axes, got {shape or 'none'}")
    return shape


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many of the names 0, 1, 2, ... there are before the first gap."""
    return next(k for k in range(len(state) + 1) if pattern.format(k) not in state)
