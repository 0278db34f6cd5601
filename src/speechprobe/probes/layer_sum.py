"""Weighted sums of layers: one probe on all layers at once, as in SUPERB.

One number a layer goes through a softmax; the sum of the layers with these weights goes through a
linear map or a perceptron, and all is trained together. For features pooled by the mean this is
what SUPERB does over frames: a sum over layers and a mean over time may change places.

The weights are not the importance of layers. A layer of large norm needs little weight, so layers
are brought to one scale first, unless ``normalise=None``, which is SUPERB's. Layers that hold the
same share the weight as they please. A weight says where this probe found what it needed beside
all others, not what a layer alone knows: for that, probe each layer by itself. Look at several
seeds.

References
----------
Yang et al.: "SUPERB: Speech processing Universal PERformance Benchmark", Interspeech 2021.
Peters et al.: "Deep contextualized word representations", NAACL 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from speechprobe.probes._items import Kind
from speechprobe.probes._torch_probe import TorchClassifier, TorchProbe, TorchRegressor, sizes
from speechprobe.probes.networks import LayerSumNetwork
from speechprobe.probes.training import Schedule

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

Normalise = Literal["standardise", "layer_norm"] | None


def stack_layers(features: Any, layers: Sequence[str] | None = None) -> NDArray[np.float32]:
    """Return layers of one width as one array (n_items, n_layers, n_dims).

    Parameters
    ----------
    features
        `Features`, or {layer: (n_items, n_dims)}.
    layers
        Names, in the order wanted; all, in the order of the mapping, by default.

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError
        If a layer is not 2-D, or layers differ in their shape.

    Examples
    --------
    >>> stack_layers({"block.0": np.zeros((5, 4)), "block.1": np.ones((5, 4))}).shape
    (5, 2, 4)
    """
    features = getattr(features, "layers", features)
    names = list(features) if layers is None else list(layers)
    if not names:
        raise ValueError("there is no layer to stack")
    if lost := [name for name in names if name not in features]:
        raise KeyError(f"no layer {lost[0]!r} among {list(features)}")
    shapes = {
        name: getattr(features[name], "shape", None) or np.shape(features[name]) for name in names
    }
    for name, shape in shapes.items():
        if len(shape) != 2 or shape != shapes[names[0]]:
            raise ValueError(
                f"layers to stack need one shape (n_items, n_dims); {names[0]!r} has "
                f"{shapes[names[0]]}, {name!r} has {shape}"
            )
    return np.stack([np.asarray(features[name], np.float32) for name in names], axis=1)


class _TorchLayerSum(TorchProbe):
    """What both have in common: settings, network, weights."""

    kinds: ClassVar[tuple[Kind, ...]] = ("layers",)

    def __init__(  # noqa: PLR0913 how to train takes nine of them, as in every probe of torch
        self,
        hidden_sizes: Sequence[int] = (),
        *,
        normalise: Normalise = "standardise",
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        schedule: Schedule = "constant",
        validation_fraction: float = 0.0,
        patience: int | None = None,
        random_state: int | None = 0,
        device: str | None = None,
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.normalise = normalise
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.schedule = schedule
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.device = device

    @property
    def layer_weights_(self) -> NDArray[np.float32]:
        """Weight of each layer, (n_layers,), which sum to 1; no measure of importance."""
        check_is_fitted(self)
        odds = np.exp(self._state["network.logits"] - self._state["network.logits"].max())
        weights: NDArray[np.float32] = odds / odds.sum()
        return weights

    def _make(
        self,
        kind: Kind,  # noqa: ARG002 there is but one
        shape: tuple[int, ...],
        n_outputs: int,
        generator: torch.Generator,
    ) -> nn.Module:
        if self.normalise not in ("standardise", "layer_norm", None):
            raise ValueError(
                f"normalise must be 'standardise', 'layer_norm' or None, got {self.normalise!r}"
            )
        return LayerSumNetwork(
            shape,
            sizes("hidden_sizes", self.hidden_sizes),
            n_outputs,
            layer_norm=self.normalise == "layer_norm",
            generator=generator,
        )

    def _standardises(self) -> bool:
        return self.normalise == "standardise"


class TorchLayerSumRegressor(TorchRegressor, _TorchLayerSum):
    """Weighted sum of layers, then a linear map: mean squared error, Adam.

    Takes layers (n_items, n_layers, n_dims), as `stack_layers` makes them.

    Parameters
    ----------
    hidden_sizes
        Widths of hidden layers between the sum and the output; none is the linear map.
    normalise
        "standardise" brings every dim of every layer to mean 0 and standard deviation 1 over the
        items fitted on; "layer_norm" does so with every vector over its dims; None takes the
        layers as they are.
    learning_rate, weight_decay, batch_size
        Of Adam.
    epochs
        Passes over the items; at most, with `patience`.
    schedule, validation_fraction, patience, random_state, device
        As in `TorchCNNRegressor`.

    Attributes
    ----------
    layer_weights_ : ndarray of shape (n_layers,)
        Weight of each layer; they sum to 1. No measure of importance.
    network_ : torch.nn.Module
        A copy of the trained network.
    curves_ : pandas.DataFrame
        Columns `epoch`, `split`, `loss` and `r2`, as in `TorchCNNRegressor`.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> layers = np.random.default_rng(0).normal(size=(200, 3, 8))
    >>> rate = layers[:, 1] @ np.ones(8)
    >>> probe = TorchLayerSumRegressor().fit(layers, rate)
    >>> bool(probe.score(layers, rate) > 0.9), int(probe.layer_weights_.argmax())
    (True, 1)
    """


class TorchLayerSumClassifier(TorchClassifier, _TorchLayerSum):
    """Weighted sum of layers, then a linear map: cross-entropy, Adam.

    Takes what `TorchLayerSumRegressor` takes.

    Parameters
    ----------
    hidden_sizes, normalise, learning_rate, weight_decay, batch_size, epochs, schedule, \
validation_fraction, patience, random_state, device
        As in `TorchLayerSumRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    layer_weights_ : ndarray of shape (n_layers,)
        Weight of each layer; they sum to 1. No measure of importance.
    network_ : torch.nn.Module
        A copy of the trained network.
    curves_ : pandas.DataFrame
        Columns `epoch`, `split`, `loss` and `accuracy`, as in `TorchCNNClassifier`.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> features = {f"block.{k}": np.random.default_rng(k).normal(size=(90, 4)) for k in range(3)}
    >>> gender = np.where(features["block.2"][:, 0] > 0, "F", "M")
    >>> layers = stack_layers(features)
    >>> probe = TorchLayerSumClassifier().fit(layers, gender)
    >>> dict(zip(features, probe.layer_weights_.round(1).tolist(), strict=True))["block.2"] > 0.5
    True
    """
