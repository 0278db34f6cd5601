"""The networks of the probes that are no perceptron: convolutions, attention, a sum of layers.

All are called ``network(x, lengths)``: x with its items first, and the number of valid frames of
each item, (n,), or None where all are valid. What stands behind the valid frames, NaN included,
counts nowhere: it is set to 0 before a convolution and to minus infinity before a maximum, and it
is left out of means, of statistics and of the attention. So an item has the same output alone and
in a batch.

Weights are drawn from a generator that is given: uniform within 1 / sqrt(n_in) on both sides, as
torch draws those of linear and convolutional modules.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechprobe.probes._masked import (
    BatchNorm,
    blank,
    drawn,
    halved,
    linear,
    mean_over_time,
    perceptron,
)


class Standardised(nn.Module):
    """A network behind a fixed shift and scale of its input.

    Parameters
    ----------
    network
        Takes what comes out.
    centre, scale
        Of one item, in a shape that broadcasts.
    bound
        The farthest that a standardised value may lie from 0, (1,); see `probes._scaling`.
    """

    def __init__(self, network: nn.Module, centre: Tensor, scale: Tensor, bound: Tensor) -> None:
        super().__init__()
        self.network = network
        self.centre: Tensor
        self.scale: Tensor
        self.bound: Tensor
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.register_buffer("bound", bound)

    def standardise(self, x: Tensor) -> Tensor:
        """Return the input in standard deviations from its mean, kept within the bound."""
        return ((x - self.centre) / self.scale).clamp(-self.bound, self.bound)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what the network gives for the standardised input."""
        outputs: Tensor = self.network(self.standardise(x), lengths)
        return outputs


class ConvNet(nn.Module):
    """The gender study's network over the dims of a vector, and its like over time.

    Three blocks of 32, 64 and 128 channels with kernels of 3 and no bias: convolution with stride
    2 - batch norm - ReLU - maximum of 2; the same; convolution with stride 1 - maximum of 2. Then
    two linear maps, to 32 and to the outputs, with nothing between them. The maximum takes what is
    left at the edge, so that any width does; the sizes are the study's where 32 divides it.

    - dims (n, n_dims): one channel over the dims; channels and places are flattened (512 values of
      128 dims).
    - frames (n, n_frames, n_dims): the dims are the channels of the input, the convolution runs
      over time, and the mean over time (128 values) replaces the flattening.
    - spectrograms (n, n_channels, n_bands, n_frames): two-dimensional kernels of 3 x 3; the mean
      over time, then channels and bands are flattened.

    Parameters
    ----------
    shape
        Shape of one item without its frames: (n_dims,) or (n_channels, n_bands).
    n_outputs
        Number of outputs.
    over_time
        Whether the items have frames.
    generator
        Draws the weights.

    Examples
    --------
    >>> network = ConvNet((128,), 1, over_time=False, generator=torch.Generator())
    >>> sum(weight.numel() for weight in network.parameters()), network(torch.zeros(4, 128)).shape
    (47457, torch.Size([4, 1]))
    """

    def __init__(
        self, shape: Sequence[int], n_outputs: int, *, over_time: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.over_time = over_time
        flat = len(shape) == 1
        kind = nn.Conv1d if flat else nn.Conv2d
        n_channels = shape[0] if over_time else 1

        def conv(n_in: int, n_out: int, stride: int) -> nn.Module:
            made: nn.Module = nn.utils.skip_init(  # type: ignore[no-untyped-call]
                kind, n_in, n_out, 3, stride=stride, padding=1, bias=False
            )
            return drawn(made, generator)

        self.conv1, self.norm1 = conv(n_channels, 32, 2), BatchNorm(32)
        self.conv2, self.norm2 = conv(32, 64, 2), BatchNorm(64)
        self.conv3 = conv(64, 128, 1)
        self.maximum = (nn.MaxPool1d if flat else nn.MaxPool2d)(2, ceil_mode=True)
        n_places = 1 if flat and over_time else -(-shape[-1] // 32)
        self.hidden = linear(128 * n_places, 32, generator)
        self.output = linear(32, n_outputs, generator)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the outputs, (n, n_outputs)."""
        if x.ndim < 4:
            x = x.mT if self.over_time else x[:, None]
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x, lengths = conv(blank(x, lengths)), halved(lengths)
            x, lengths = self._maximum(functional.relu(norm(x, lengths)), lengths)
        x, lengths = self._maximum(self.conv3(blank(x, lengths)), lengths)
        if self.over_time:
            x = mean_over_time(x, lengths)
        output: Tensor = self.output(self.hidden(x.flatten(1)))
        return output

    def _maximum(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.maximum(blank(x, lengths, -torch.inf)), halved(lengths)


class AttentionPool(nn.Module):
    """A learned mean over time: one query, or self-attentive pooling with a hidden layer.

    The weight of a frame is the softmax over the valid frames of ``query . frame``, or of
    ``query . tanh(W frame + b)``. With a query of 0 it is the plain mean.

    Parameters
    ----------
    n_dims
        Width of a frame.
    size
        Width of the hidden layer; None compares the query with the frame itself.
    generator
        Draws the query, W and b.

    Examples
    --------
    >>> pool = AttentionPool(2, None, torch.Generator())
    >>> pool.weights(torch.ones(1, 4, 2), torch.tensor([2])).tolist()
    [[0.5, 0.5, 0.0, 0.0]]
    """

    def __init__(self, n_dims: int, size: int | None, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = None if size is None else linear(n_dims, size, generator)
        width = size or n_dims
        drawn_query = torch.rand(width, dtype=torch.float32, generator=generator) * 2 - 1
        # Not 0: with a hidden layer, training from there often stays at the mean.
        self.query = nn.Parameter(drawn_query * width**-0.5)

    def weights(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the weight of each frame, (n, n_frames); those of an item sum to 1."""
        keys = frames if self.hidden is None else torch.tanh(self.hidden(frames))
        return blank(keys @ self.query, lengths, -torch.inf).softmax(1)

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the weighted mean of the frames, (n, n_dims)."""
        valid = blank(frames.mT, lengths)  # NaN times a weight of 0 would be NaN
        return (valid @ self.weights(valid.mT, lengths)[:, :, None])[:, :, 0]


class AttentiveNetwork(nn.Module):
    """Attention over frames (n, n_frames, n_dims), then a linear map."""

    def __init__(
        self, n_dims: int, n_outputs: int, *, size: int | None, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.pool = AttentionPool(n_dims, size, generator)
        self.head = linear(n_dims, n_outputs, generator)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the outputs, (n, n_outputs)."""
        outputs: Tensor = self.head(self.pool(x, lengths))
        return outputs


class LayerSumNetwork(nn.Module):
    """A learned mean over layers (n, n_layers, n_dims), then a linear map or a perceptron.

    The weights are a softmax over one number a layer; they begin equal.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden_sizes: Sequence[int],
        n_outputs: int,
        *,
        layer_norm: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layer_norm = layer_norm
        self.logits = nn.Parameter(torch.zeros(shape[0]))
        self.head = perceptron([shape[1], *hidden_sizes, n_outputs], generator)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002 layers have no frames
        """Return the outputs, (n, n_outputs)."""
        if self.layer_norm:
            x = functional.layer_norm(x, x.shape[-1:])
        outputs: Tensor = self.head(torch.einsum("l,ild->id", self.logits.softmax(0), x))
        return outputs
