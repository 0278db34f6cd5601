"""Convolutional probes: the gender study's network over dims, and its like over time.

The network is that of `networks.ConvNet`. The study trained it on mel spectrograms averaged over
time, 128 values an utterance, to tell the speaker's gender: binary cross-entropy of one output,
learning rate 7.9e-4, batches of 16, 20 epochs over 33,000 files of LibriTTS train-clean-100 (the
best of 20 trials; accuracy about 0.94 on test-clean). These are the defaults. Smaller corpora want
more epochs.

Departures from the study:

- Its batch norms keep no running statistics, so a batch that is predicted is normalised by itself,
  and what is predicted for a file depends on the others of its batch. Here the statistics to
  predict with are those of all items fitted on, counted once after training. Training is the same.
- Dims are standardised over the items fitted on; ``standardise=False`` feeds them as they are.
- Maxima of 2 take what is left at an edge, so any width does. The sizes are the study's at 128
  dims, and wherever 32 divides the width.

Neighbouring dims share weights here, which fits a mel axis. The dims of a hidden layer of a network
stand in no order: there, a perceptron is the better probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from speechprobe.probes._items import Kind
from speechprobe.probes._torch_probe import TorchClassifier, TorchProbe, TorchRegressor
from speechprobe.probes.networks import ConvNet
from speechprobe.probes.training import Schedule

if TYPE_CHECKING:
    import torch
    from torch import nn


class _TorchCNN(TorchProbe):
    """What both have in common: settings and network."""

    kinds: ClassVar[tuple[Kind, ...]] = ("dims", "frames", "spectrograms")

    def __init__(
        self,
        *,
        learning_rate: float = 7.9e-4,
        weight_decay: float = 0.0,
        batch_size: int = 16,
        epochs: int = 20,
        schedule: Schedule = "constant",
        validation_fraction: float = 0.0,
        patience: int | None = None,
        standardise: bool = True,
        random_state: int | None = 0,
        device: str | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.schedule = schedule
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardise = standardise
        self.random_state = random_state
        self.device = device

    def _make(
        self, kind: Kind, shape: tuple[int, ...], n_outputs: int, generator: torch.Generator
    ) -> nn.Module:
        return ConvNet(shape, n_outputs, over_time=kind != "dims", generator=generator)

    def _standardises(self) -> bool:
        return self.standardise


class TorchCNNRegressor(TorchRegressor, _TorchCNN):
    """Convolutional network for numbers: mean squared error, Adam.

    Takes features (n_items, n_dims) and convolves over the dims; frames (n_items, n_frames,
    n_dims), ragged ones too, and convolves over time; or spectrograms (n_items, n_channels,
    n_bands, n_frames), or a list of such with their own number of frames, and convolves over both.
    Frames that pad a batch never count.

    Parameters
    ----------
    learning_rate, weight_decay, batch_size
        Of Adam; 7.9e-4 and 16 are the gender study's.
    epochs
        Passes over the items; at most, with `patience`.
    schedule
        "constant", or "cosine": the learning rate falls to 0 along half a cosine.
    validation_fraction
        Part of the groups (of the items, where `fit` gets no groups) that is not fitted on and
        gives the validation curve.
    patience
        Stop after so many epochs without a lower validation loss, and go back to the lowest.
    standardise
        Whether each dim, or band, comes to mean 0 and standard deviation 1 over the items and
        frames fitted on.
    random_state
        Seed of the weights, of the order of batches and of what is held out.
    device
        Where to train and predict; the CPU by default.

    Attributes
    ----------
    network_ : torch.nn.Module
        A copy of the trained network, called ``network_(x, lengths)``.
    curves_ : pandas.DataFrame
        Columns `epoch`, `split` ("train", "validation"), `loss` (squared standard deviations of the
        target) and `r2`. The values of "train" are taken while the network learns.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> import numpy as np
    >>> mel = np.random.default_rng(0).normal(size=(200, 64))
    >>> tilt = mel[:, :32].mean(1) - mel[:, 32:].mean(1)
    >>> probe = TorchCNNRegressor(learning_rate=5e-3).fit(mel, tilt)
    >>> probe.score(mel, tilt) > 0.8
    True
    >>> probe.curves_.columns.tolist()
    ['epoch', 'split', 'loss', 'r2']
    """


class TorchCNNClassifier(TorchClassifier, _TorchCNN):
    """Convolutional network for classes: cross-entropy (binary for two classes), Adam.

    Takes what `TorchCNNRegressor` takes.

    Parameters
    ----------
    learning_rate, weight_decay, batch_size, epochs, schedule, validation_fraction, patience, \
standardise, random_state, device
        As in `TorchCNNRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    network_ : torch.nn.Module
        A copy of the trained network. For two classes it has one output, the log-odds of the second
        one; else one a class.
    curves_ : pandas.DataFrame
        Columns `epoch`, `split` ("train", "validation"), `loss` (nats) and `accuracy`. The values
        of "train" are taken while the network learns.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> import numpy as np
    >>> frames = [np.random.default_rng(n).normal(n % 2, 1, size=(10 + n, 4)) for n in range(40)]
    >>> voice = ["low", "high"] * 20
    >>> TorchCNNClassifier(learning_rate=5e-3).fit(frames, voice).score(frames, voice) > 0.9
    True
    """
