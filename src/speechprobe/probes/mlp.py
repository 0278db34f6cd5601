"""Multi-layer perceptrons as probes, trained by Adam; all fits of many layers train as one stack.

Features are standardised over the items fitted on, and so is the target of the regressor, so that
the learning rate means the same for every layer and label. Each hidden layer is a linear map, batch
norm if asked for, ReLU, and dropout if asked for. Batch norm is that of `torch.nn.BatchNorm1d`: a
step is normalised by its own items, a prediction by running averages (momentum 0.1).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets

from speechprobe.probes._check import checked_pair, finite
from speechprobe.probes._stack_tasks import Network
from speechprobe.probes._torch_mlp import Coded, TorchMLP

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class TorchMLPRegressor(RegressorMixin, TorchMLP):
    """Multi-layer perceptron for numbers: mean squared error, Adam.

    Parameters
    ----------
    hidden_sizes
        Width of each hidden layer.
    learning_rate, weight_decay, batch_size
        Of Adam; 3e-4 and 32 are the speaking-rate study's.
    epochs
        Passes over the items; at most, with `patience`. The study took 10 on an embedding and 3 a
        layer, over 28,000 items; some hundred items want the default of 100.
    dropout
        Part of the hidden units that is left out of each step.
    batch_norm
        Whether each hidden layer is normalised before its ReLU.
    schedule
        "constant", or "cosine": the learning rate falls to 0 along half a cosine.
    validation_fraction
        Part of the groups (of the items, where `fit` gets no groups) that is not fitted on and
        gives the validation curve.
    patience
        Stop after so many epochs without a lower validation loss, and go back to the lowest.
    random_state
        Seed of the weights, of the order of batches, of dropout and of what is held out.
    device
        Where to train; the CPU by default.

    Attributes
    ----------
    network_ : Network
        The trained network.
    curves_ : pandas.DataFrame
        Columns `epoch` (from 1), `split` ("train", "validation"), `loss` (squared standard
        deviations of the target) and `r2`. The values of "train" are taken while the network
        learns, those of "validation" after the epoch.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> probe = TorchMLPRegressor(learning_rate=1e-2, epochs=30).fit(x, x[:, 0] * x[:, 1])
    >>> probe.score(x, x[:, 0] * x[:, 1]) > 0.8
    True
    >>> speaker = np.repeat(np.arange(20), 10)
    >>> probe = TorchMLPRegressor(learning_rate=1e-2, validation_fraction=0.2, patience=5)
    >>> probe.fit(x, x[:, 0] * x[:, 1], groups=speaker).epoch_ < 100
    True
    """

    def _checked(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        return checked_pair(self, X, y, dtype=np.float32, y_numeric=True)

    def _code(self, values: NDArray[Any], fit: NDArray[np.intp]) -> Coded:
        numbers = values.astype(np.float64)
        centre, scale = float(numbers[fit].mean()), float(numbers[fit].std()) or 1.0
        return Coded(((numbers - centre) / scale).astype(np.float32), 1, (centre, scale))

    def _decode(self, outputs: NDArray[np.float64], key: Any) -> NDArray[np.float64]:
        centre, scale = key
        predicted: NDArray[np.float64] = outputs[:, 0] * scale + centre
        return predicted


class TorchMLPClassifier(ClassifierMixin, TorchMLP):
    """Multi-layer perceptron for classes: cross-entropy, Adam.

    Parameters
    ----------
    hidden_sizes, learning_rate, weight_decay, batch_size, epochs, dropout, batch_norm, schedule, \
validation_fraction, patience, random_state, device
        As in `TorchMLPRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    network_ : Network
        The trained network; its outputs are log-odds up to a constant.
    curves_ : pandas.DataFrame
        As in `TorchMLPRegressor`, with `loss` in nats and `accuracy`.
    epoch_ : int
        The epoch whose weights the network has.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> sex = np.where(x[:, 0] * x[:, 1] > 0, "F", "M")
    >>> probe = TorchMLPClassifier(learning_rate=1e-2, epochs=30).fit(x, sex)
    >>> probe.score(x, sex) > 0.9
    True
    >>> probe.curves_.columns.tolist()
    ['epoch', 'split', 'loss', 'accuracy']
    """

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class, (n_items, n_classes)."""
        outputs = finite(self._outputs(X))
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        probability: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return probability

    def _checked(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        features, target = checked_pair(self, X, y, dtype=np.float32)
        check_classification_targets(target)
        return features, target

    def _keep(self, network: Network, key: Any) -> None:
        super()._keep(network, key)
        self.classes_ = key

    def _code(self, values: NDArray[Any], fit: NDArray[np.intp]) -> Coded:
        classes, codes = np.unique(values, return_inverse=True)
        if (lost := np.setdiff1d(codes, codes[fit])).size:
            warnings.warn(
                f"classes {classes[lost].tolist()} are validated on and not fitted on; take "
                "another random_state or validation_fraction",
                stacklevel=5,
            )
        return Coded(codes.astype(np.int64), len(classes), classes)

    def _decode(self, outputs: NDArray[np.float64], key: Any) -> NDArray[Any]:
        predicted: NDArray[Any] = key[finite(outputs).argmax(axis=1)]
        return predicted
