"""Attentive probes: a learned mean over the frames of an utterance, and a linear map of it.

Mean pooling asks what every frame of an utterance knows; an attentive probe asks whether some frame
does. The pooling is self-attentive pooling as in SUPERB and speaker recognition: one learned query,
a softmax over the valid frames. It is the only thing that such a probe has more than a linear one
on the mean, so the gap between the two tells what the mean loses.

Attention weights are not an explanation. They say where this probe looked after this training.
Other weights may predict as well: with two classes it is enough to find the telling frame of one of
them. Frames of a network with a wide receptive field tell of their surroundings. And frames may get
weight because they mark the place, not because they hold the label. Compare several seeds.

References
----------
Yang et al.: "SUPERB: Speech processing Universal PERformance Benchmark", Interspeech 2021.
Safari, India, Hernando: "Self-attention encoding and pooling for speaker recognition", Interspeech
2020. Jain, Wallace: "Attention is not explanation", NAACL 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from speechprobe.probes import training
from speechprobe.probes._items import Kind
from speechprobe.probes._torch_probe import TorchClassifier, TorchProbe, TorchRegressor, sizes
from speechprobe.probes.networks import AttentiveNetwork, Standardised

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn


class _TorchAttentive(TorchProbe):
    """What both have in common: settings, network, attention."""

    kinds: ClassVar[tuple[Kind, ...]] = ("frames",)

    def __init__(
        self,
        *,
        attention_size: int | None = None,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        schedule: training.Schedule = "constant",
        validation_fraction: float = 0.0,
        patience: int | None = None,
        random_state: int | None = 0,
        device: str | None = None,
    ) -> None:
        self.attention_size = attention_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.schedule = schedule
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.device = device

    def attention(self, X: Any) -> list[NDArray[np.float64]]:
        """Return the weight of every frame: for each item an array (n_frames,) that sums to 1.

        Where the probe looked, not why: see the caveat at the top of the module.
        """
        items = self._items(X)
        found: list[Any] = [None] * len(items)
        for rows, weights in training.blocks_of(self.network_, items, self._weights):
            for row, own in zip(rows, weights, strict=True):
                found[row] = own[: items.n_frames[row]]
        return found

    @staticmethod
    def _weights(network: Any, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        assert isinstance(network, Standardised)
        attended = network.network
        assert isinstance(attended, AttentiveNetwork)
        return attended.pool.weights(network.standardise(x), lengths)

    def _make(
        self,
        kind: Kind,  # noqa: ARG002 there is but one
        shape: tuple[int, ...],
        n_outputs: int,
        generator: torch.Generator,
    ) -> nn.Module:
        if self.attention_size is not None:
            sizes("attention_size", [self.attention_size])
        return AttentiveNetwork(
            shape[0],
            n_outputs,
            size=self.attention_size,
            generator=generator,
        )


class TorchAttentiveRegressor(TorchRegressor, _TorchAttentive):
    """Attention over frames, then a linear map: mean squared error, Adam.

    Takes frames (n_items, n_frames, n_dims), a `RaggedLayer`, or a list of arrays (n_frames,
    n_dims). Every dim is standardised over the frames fitted on. Frames that pad a batch never
    count.

    Parameters
    ----------
    attention_size
        None weighs a frame x by softmax of ``query . x``; a width, by softmax of
        ``query . tanh(W x + b)`` (self-attentive pooling).
    learning_rate, weight_decay, batch_size
        Of Adam.
    epochs
        Passes over the items; at most, with `patience`.
    schedule, validation_fraction, patience, random_state, device
        As in `TorchCNNRegressor`.

    Attributes
    ----------
    network_ : torch.nn.Module
        A copy of the trained network, called ``network_(frames, lengths)``.
    curves_ : pandas.DataFrame
        Columns `epoch`, `split`, `loss` and `r2`, as in `TorchCNNRegressor`.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> frames = [draw.normal(size=(5 + n % 9, 4)) for n in range(120)]
    >>> onset = [5 * own[:, 0].mean() for own in frames]
    >>> probe = TorchAttentiveRegressor(learning_rate=1e-2).fit(frames, onset)
    >>> probe.score(frames, onset) > 0.9
    True
    >>> [len(weights) for weights in probe.attention(frames[:3])]
    [5, 6, 7]
    """


class TorchAttentiveClassifier(TorchClassifier, _TorchAttentive):
    """Attention over frames, then a linear map: cross-entropy, Adam.

    Takes what `TorchAttentiveRegressor` takes.

    Parameters
    ----------
    attention_size, learning_rate, weight_decay, batch_size, epochs, schedule, \
validation_fraction, patience, random_state, device
        As in `TorchAttentiveRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    network_ : torch.nn.Module
        A copy of the trained network, called ``network_(frames, lengths)``.
    curves_ : pandas.DataFrame
        Columns `epoch`, `split`, `loss` and `accuracy`, as in `TorchCNNClassifier`.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    One frame of twenty tells the class, and another dim marks it:

    >>> frames = np.random.default_rng(0).normal(size=(200, 20, 4))
    >>> told = np.arange(200) % 20
    >>> frames[np.arange(200), told, 0] = 6.0
    >>> question = np.where(np.arange(200) % 3 == 0, "yes", "no")
    >>> frames[np.arange(200), told, 1] += np.where(question == "yes", 3.0, -3.0)
    >>> probe = TorchAttentiveClassifier(learning_rate=1e-2).fit(frames, question)
    >>> probe.score(frames, question) > 0.95
    True
    >>> bool(np.mean([own.argmax() for own in probe.attention(frames)] == told) > 0.95)
    True
    """
