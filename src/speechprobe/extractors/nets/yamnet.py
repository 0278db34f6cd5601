"""YAMNet: a MobileNet of log-mel patches that names 521 kinds of sounds.

Plakal, Ellis: "YAMNet", 2019, https://github.com/tensorflow/models, research/audioset/yamnet; the
architecture is that of Howard et al.: "MobileNets: efficient convolutional neural networks for
mobile vision applications", 2017, https://arxiv.org/abs/1704.04861.

Conventions
-----------
Patches are (..., 96, 64): 0.96 s of log-mel frames. Parameters have the names of the checkpoint of
torch_audioset, which torch-vggish-yamnet loads as well. A convolution with a stride pads as
TensorFlow does: behind, not before.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechprobe.extractors.nets.vggish import as_maps, start

N_CLASSES = 521
# Width and stride of each layer.
_LAYERS = (
    (32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class YAMNet(nn.Module):
    """A convolution, 13 separable ones, the mean over the map, and a linear classifier.

    Raises
    ------
    ValueError
        When called, if the patches have another shape.

    Examples
    --------
    >>> import torch
    >>> network = YAMNet()
    >>> sum(parameter.numel() for parameter in network.parameters())
    3740425
    >>> network.eval()(torch.zeros(2, 3, 96, 64)).shape
    torch.Size([2, 3, 521])
    """

    def __init__(self) -> None:
        super().__init__()
        n_in = 1
        for number, (width, stride) in enumerate(_LAYERS, 1):
            layer = Separable(n_in, width, stride) if number > 1 else Plain(n_in, width, stride)
            self.add_module(f"layer{number}", layer)
            n_in = width
        self.embedding = MapMean()
        self.classifier = nn.Linear(n_in, N_CLASSES)
        start(self)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the logits (..., 521) of patches, before the sigmoid."""
        x = as_maps(patches)
        for number in range(1, len(_LAYERS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.classifier(self.embedding(x))
        return logits.reshape(*patches.shape[:-2], N_CLASSES)


class Plain(nn.Module):
    """One 3 x 3 convolution.

    Parameters
    ----------
    n_in, width
        Channels before and after.
    stride
        In time and frequency.
    """

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.fused = Unit(_conv(n_in, width, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, T', F') of (n, n_in, T, F)."""
        result: Tensor = self.fused(x)
        return result


class Separable(nn.Module):
    """A 3 x 3 convolution of each channel, then a 1 x 1 convolution across channels.

    Parameters
    ----------
    n_in, width
        Channels before and after.
    stride
        Of the first, in time and frequency.
    """

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = Unit(_conv(n_in, n_in, stride, groups=n_in))
        self.pointwise_conv = Unit(nn.Conv2d(n_in, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, T', F') of (n, n_in, T, F)."""
        result: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return result


class Unit(nn.Module):
    """Convolution, batch norm, ReLU.

    Parameters
    ----------
    conv
        With a stride of 2 it wants maps of even size and no padding of its own.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels, eps=1e-4)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels', T', F') of (n, channels, T, F)."""
        if self.conv.stride[0] == 2:
            x = nn.functional.pad(x, (0, 1, 0, 1))
        result: Tensor = self.relu(self.bn(self.conv(x)))
        return result


class MapMean(nn.Module):
    """Mean over time and frequency, (n, D) of (n, D, T, F).

    Examples
    --------
    >>> import torch
    >>> MapMean()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    tensor([[3.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, D)."""
        return x.mean((2, 3))


def _conv(n_in: int, n_out: int, stride: int, *, groups: int = 1) -> nn.Conv2d:
    padding = 1 if stride == 1 else 0
    return nn.Conv2d(n_in, n_out, 3, stride, padding, groups=groups, bias=False)
