"""Many perceptrons of one shape as one: each product of matrices is a batch of them.

Gradients are written down by hand: there is no graph to build at each step, no gradient of the
input, and buffers are used again. Tensors have the networks first: activations are (n_networks,
n_rows, n_units). Rows that pad a batch have weight 0 in the loss and in the statistics of a batch
norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


class StackedPerceptron:
    """Linear maps with ReLU between them; batch norm before and dropout after each ReLU if asked.

    Weights are drawn as those of `torch.nn.Linear`, each network's from its own generator: all
    weights in the order of the layers, then all biases. A map before a batch norm has no bias.

    Parameters
    ----------
    sizes
        Width of the input, of the hidden layers and of the output.
    generators
        One a network, on the CPU.
    batch_norm
        Whether hidden layers are normalised.
    device
        Where to compute.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        batch_norm: bool,
        device: torch.device,
    ) -> None:
        def drawn(n_in: int, shape: tuple[int, int]) -> Tensor:
            parts = torch.stack([torch.rand(shape, generator=each) for each in generators])
            scaled: Tensor = (2 * parts - 1) * n_in**-0.5
            return scaled.to(device)

        pairs = list(pairwise(sizes))
        n_plain = 1 if batch_norm else len(pairs)  # maps with a bias, the last ones
        self.weights = [drawn(n_in, (n_in, n_out)) for n_in, n_out in pairs]
        self.biases = [drawn(n_in, (1, n_out)) for n_in, n_out in pairs[-n_plain:]]
        kept = sizes[1:-1] if batch_norm else ()
        self.norms = [StackedBatchNorm(len(generators), size, device) for size in kept]
        self._allocate()

    @property
    def parameters(self) -> list[Tensor]:
        """All that is learnt, each (n_networks, ...)."""
        learnt = [tensor for norm in self.norms for tensor in (norm.gain, norm.offset)]
        return [*self.weights, *self.biases, *learnt]

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of each parameter; `backward` writes into them."""
        learnt = [each for norm in self.norms for each in norm.gradients]
        return [*self._d_weights, *self._d_biases, *learnt]

    @property
    def state(self) -> list[Tensor]:
        """Parameters and running statistics, each (n_networks, ...)."""
        return [*self.parameters, *(each for norm in self.norms for each in norm.statistics)]

    def take(self, kept: Tensor) -> None:
        """Drop all networks but those of some numbers."""
        self.weights = [each[kept] for each in self.weights]
        self.biases = [each[kept] for each in self.biases]
        for norm in self.norms:
            norm.take(kept)
        self._allocate()

    def forward(self, x: Tensor, weight: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """Return the outputs for rows (n_networks, n_rows, n_dims) while the networks learn.

        Parameters
        ----------
        x
            Rows; kept until `backward`.
        weight
            Of each row in the statistics, (n_networks, n_rows, 1); of a network they sum to 1.
        masks
            What the units of each hidden layer are multiplied by, or nothing.
        """
        self._inputs, self._masks = [x], masks
        for number in range(len(self.weights) - 1):
            x = self._map(number, x)
            if self.norms:
                x = self.norms[number].forward(x, weight)
            x = x.relu_()
            if masks:
                x = x.mul_(masks[number])
            self._inputs.append(x)
        return self._map(-1, x)

    def backward(self, delta: Tensor) -> None:
        """Set the gradient of every parameter, given that of the outputs."""
        for number in reversed(range(len(self.weights))):
            x, weight = self._inputs[number], self.weights[number]
            bias = number - len(self.weights) + len(self.biases)
            if bias >= 0:
                torch.sum(delta, 1, keepdim=True, out=self._d_biases[bias])
            if weight.shape[2] > 1:
                torch.bmm(x.mT, delta, out=self._d_weights[number])
            else:  # many times as fast as a product of matrices of width 1, here and below
                torch.sum(x * delta, 1, out=self._d_weights[number][..., 0])
            if number == 0:
                break
            delta = torch.bmm(delta, weight.mT) if weight.shape[2] > 1 else delta * weight.mT
            if self._masks:
                delta.mul_(self._masks[number - 1])
            delta.mul_(x.sign())  # x is at least 0, after ReLU
            if self.norms:
                delta = self.norms[number - 1].backward(delta)

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs of the networks as they predict."""
        for number in range(len(self.weights) - 1):
            x = self._map(number, x)
            if self.norms:
                gain, offset = self.norms[number].affine()
                x = torch.addcmul(offset, x, gain)
            x = x.relu_()
        return self._map(-1, x)

    def folded(self, state: Sequence[Tensor], number: int) -> list[tuple[Tensor, Tensor]]:
        """Return weights and biases of one network, batch norms multiplied in, from a `state`."""
        one = [each[number] for each in state]
        n_maps, n_norms = len(self.weights), len(self.norms)
        weights, biases = one[:n_maps], one[n_maps : n_maps + len(self.biases)]
        rest = one[n_maps + len(self.biases) :]
        done = []
        for place in range(n_norms):
            gain, offset = rest[2 * place : 2 * place + 2]
            mean, variance = rest[2 * (n_norms + place) : 2 * (n_norms + place) + 2]
            factor = gain * (variance + EPSILON).rsqrt()
            done.append((weights[place] * factor, offset - mean * factor))
        return done + list(zip(weights[n_norms:], biases, strict=True))

    def _map(self, number: int, x: Tensor) -> Tensor:
        if self.norms and number != -1:
            return torch.bmm(x, self.weights[number])
        if self.weights[number].shape[2] == 1:
            return (x * self.weights[number].mT).sum(-1, keepdim=True).add_(self.biases[number])
        return torch.baddbmm(self.biases[number], x, self.weights[number])

    def _allocate(self) -> None:
        self._d_weights, self._d_biases = _zeros(self.weights), _zeros(self.biases)


EPSILON = 1e-5  # that of torch.nn.BatchNorm1d, and so is the momentum
MOMENTUM = 0.1


class StackedBatchNorm:
    """`torch.nn.BatchNorm1d` for many networks, over the rows that count.

    A batch of one row has no variance: it leaves the running statistics as they are.

    Parameters
    ----------
    n_networks, n_units
        How many networks, and units in each.
    device
        Where.
    """

    def __init__(self, n_networks: int, n_units: int, device: torch.device) -> None:
        shape = (n_networks, 1, n_units)
        self.gain, self.offset = torch.ones(shape, device=device), torch.zeros(shape, device=device)
        self.mean, self.variance = torch.zeros_like(self.gain), torch.ones_like(self.gain)
        self.gradients = _zeros([self.gain, self.offset])

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Running mean and variance."""
        return self.mean, self.variance

    def take(self, kept: Tensor) -> None:
        self.gain, self.offset = self.gain[kept], self.offset[kept]
        self.mean, self.variance = self.mean[kept], self.variance[kept]
        self.gradients = _zeros([self.gain, self.offset])

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        mean = (x * weight).sum(1, keepdim=True)
        centred = x - mean
        variance = (centred**2 * weight).sum(1, keepdim=True)
        # Weights are 1 / count or 0.
        count = (weight > 0).sum(1, keepdim=True)
        momentum = torch.where(count > 1, MOMENTUM, 0.0)
        self.mean.lerp_(mean, momentum)
        self.variance.lerp_(variance * count / (count - 1).clamp(min=1), momentum)
        self._weight, self._inverse = weight, (variance + EPSILON).rsqrt()
        self._normal = centred.mul_(self._inverse)
        return torch.addcmul(self.offset, self._normal, self.gain)

    def backward(self, delta: Tensor) -> Tensor:
        """Set the gradients and return that of the input."""
        offset = torch.sum(delta, 1, keepdim=True, out=self.gradients[1])
        gain = torch.sum(delta * self._normal, 1, keepdim=True, out=self.gradients[0])
        # Mean and variance, which are weighted sums of the rows, move with each of them.
        shared = offset + self._normal * gain
        return (delta - self._weight * shared) * (self.gain * self._inverse)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return what the input is multiplied by, and what is added, to predict."""
        gain = self.gain * (self.variance + EPSILON).rsqrt()
        return gain, self.offset - self.mean * gain


def _zeros(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(each) for each in tensors]


def loss_of(output: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of each network, and the gradient of the sum of the losses.

    Parameters
    ----------
    output
        Shape (n_networks, n_rows, n_outputs).
    target
        Numbers or classes, (n_networks, n_rows).
    weight
        Of each row, (n_networks, n_rows, 1).

    Returns
    -------
    scores
        Weighted sums over rows: the loss, and the accuracy of classes, (1 or 2, n_networks).
    gradient
        Of the outputs, in their shape.
    """
    if target.is_floating_point():
        error = output - target[..., None]
        weighted = error * weight
        return (error * weighted).sum((1, 2))[None], weighted.mul_(2)
    flat, chosen = weight[..., 0], target[..., None]
    logarithm = output.log_softmax(-1)
    loss = -(logarithm.gather(-1, chosen)[..., 0] * flat).sum(1)
    accuracy = ((output.argmax(-1) == target) * flat).sum(1)
    delta = logarithm.exp_()
    delta.scatter_add_(-1, chosen, torch.full_like(chosen, -1, dtype=delta.dtype))
    return torch.stack([loss, accuracy]), delta.mul_(weight)
