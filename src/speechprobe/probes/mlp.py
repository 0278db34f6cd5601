"""Multi-layer perceptrons as probes, trained by Adam; all fits of many layers train as one stack.

Features are standardised over the items fitted on, and so is the target of the regressor, so that
the learning rate means the same for every layer and label. Each hidden layer is a linear map, batch
norm if asked for, ReLU, and dropout if asked for. Batch norm is that of `torch.nn.BatchNorm1d`: a
step is normalised by its own items, a prediction by running averages (momentum 0.1).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

from speechprobe.probes._check import checked, checked_pair
from speechprobe.probes._torch_probe import sizes
from speechprobe.probes.jobs import Job
from speechprobe.probes.saving import Savable
from speechprobe.probes.stacked import Network, Part, Settings, Task, train
from speechprobe.probes.training import Schedule, Training, hold_out

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class _Coded(NamedTuple):
    """A target as the network has it, its number of outputs, and what leads back.

    That is (mean, standard deviation), or the classes.
    """

    target: NDArray[Any]
    n_outputs: int
    key: Any


class _TorchMLP(Savable, BaseEstimator):
    """What both perceptrons share: settings, and many fits as one."""

    def __init__(  # noqa: PLR0913 scikit-learn wants every setting flat
        self,
        hidden_sizes: Sequence[int] = (128,),
        *,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        dropout: float = 0.0,
        batch_norm: bool = False,
        schedule: Schedule = "constant",
        validation_fraction: float = 0.0,
        patience: int | None = None,
        random_state: int | None = 0,
        device: str | None = None,
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.schedule = schedule
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.device = device

    def _fit_predict(
        self, matrices: Mapping[str, NDArray[Any]], jobs: Sequence[Job]
    ) -> dict[str, list[NDArray[Any]]]:
        found: dict[str, list[NDArray[Any]]] = {layer: [] for layer in matrices}
        coded, networks = self._train(matrices, jobs)
        trained = iter(networks)
        for layer, features in matrices.items():
            for job, (_, _, key) in zip(jobs, coded, strict=True):
                outputs = next(trained)(features[job.predict]).astype(np.float64)
                found[layer].append(self._decode(outputs, key))
        return found

    def _code(self, values: NDArray[Any], fit: NDArray[np.intp]) -> _Coded:
        """Return the target as the network has it, given the rows that are fitted on."""
        raise NotImplementedError

    def _decode(self, outputs: NDArray[np.float64], key: Any) -> NDArray[Any]:
        """Return what outputs (n_items, n_outputs) predict."""
        raise NotImplementedError

    def _fit(self, X: NDArray[Any], y: NDArray[Any], groups: ArrayLike | None) -> Any:
        """Train the one network of this estimator; return the key of its target."""
        rows, seed = np.arange(len(X)), self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        grouped = None if groups is None else np.asarray(groups)
        job = Job(rows, rows[:0], y, int(seed), grouped)
        ((_, _, key),), (self.network_,) = self._train({"": X}, [job])
        self.curves_ = _curves(
            self.network_, "r2" if isinstance(self, RegressorMixin) else "accuracy"
        )
        self.epoch_ = self.network_.epoch
        return key

    def _train(
        self, matrices: Mapping[str, NDArray[Any]], jobs: Sequence[Job]
    ) -> tuple[list[_Coded], list[Network]]:
        """Return the coded target of every job, and the networks, layer after layer."""
        settings, coded, parts = self._settings(), [], []
        for job in jobs:
            groups = None if job.groups is None else job.groups[job.fit]
            fit, held = hold_out(
                len(job.fit), self.validation_fraction, groups=groups, seed=job.seed
            )
            coded.append(self._code(np.asarray(job.target)[job.fit], fit))
            target = coded[-1].target
            parts.append((Part(job.fit[fit], target[fit]), Part(job.fit[held], target[held])))
        tasks = [
            Task(layer, *both, n_outputs, job.seed, settings)
            for layer in matrices
            for job, both, (_, n_outputs, _) in zip(jobs, parts, coded, strict=True)
        ]
        return coded, train(matrices, tasks, device=self.device)

    def _settings(self) -> Settings:
        training = Training(
            self.learning_rate,
            self.weight_decay,
            self.batch_size,
            self.epochs,
            self.schedule,
            self.patience,
        )
        hidden = sizes("hidden_sizes", self.hidden_sizes)
        return Settings(hidden, training, self.dropout, self.batch_norm)

    def _outputs(self, X: ArrayLike) -> NDArray[np.float64]:
        features = checked(self, X, dtype=np.float32)
        network: Network = self.network_
        return network(features).astype(np.float64)


class TorchMLPRegressor(RegressorMixin, _TorchMLP):
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

    def fit(self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit to features (n_items, n_dims) and a target (n_items,).

        Parameters
        ----------
        X, y
            Features and target.
        groups
            Group of each item, (n_items,): none is both fitted and validated on. Not looked at
            where `validation_fraction` is 0.

        Raises
        ------
        ValueError
            If a shape or a setting is wrong.
        """
        X, y = checked_pair(self, X, y, dtype=np.float32, y_numeric=True)
        self._scaling = self._fit(X, y, groups)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the target of features (n_items, n_dims)."""
        outputs = self._outputs(X)
        return self._decode(outputs, self._scaling)

    def fit_predict_layers(
        self, matrices: Mapping[str, NDArray[Any]], jobs: Sequence[Job]
    ) -> dict[str, list[NDArray[Any]]]:
        """Return the predictions of every job for every layer, trained as one stack.

        Parameters
        ----------
        matrices
            {layer: features (n_items, n_dims)}.
        jobs
            The fits, the same for every layer.
        """
        return self._fit_predict(matrices, jobs)

    def _code(self, values: NDArray[Any], fit: NDArray[np.intp]) -> _Coded:
        numbers = values.astype(np.float64)
        centre, scale = float(numbers[fit].mean()), float(numbers[fit].std()) or 1.0
        return _Coded(((numbers - centre) / scale).astype(np.float32), 1, (centre, scale))

    def _decode(self, outputs: NDArray[np.float64], key: Any) -> NDArray[np.float64]:
        centre, scale = key
        predicted: NDArray[np.float64] = outputs[:, 0] * scale + centre
        return predicted


class TorchMLPClassifier(ClassifierMixin, _TorchMLP):
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

    def fit(self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit to features (n_items, n_dims) and classes (n_items,).

        Parameters
        ----------
        X, y
            Features and classes.
        groups
            Group of each item, (n_items,): none is both fitted and validated on. Not looked at
            where `validation_fraction` is 0.

        Raises
        ------
        ValueError
            If a shape or a setting is wrong.

        Warns
        -----
        UserWarning
            If a class is validated on and not fitted on.
        """
        X, y = checked_pair(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_ = self._fit(X, y, groups)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the class of features (n_items, n_dims)."""
        outputs = self._outputs(X)
        return self._decode(outputs, self.classes_)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class, (n_items, n_classes)."""
        outputs = self._outputs(X)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        probability: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return probability

    def fit_predict_layers(
        self, matrices: Mapping[str, NDArray[Any]], jobs: Sequence[Job]
    ) -> dict[str, list[NDArray[Any]]]:
        """Return the predictions of every job for every layer, trained as one stack.

        Parameters
        ----------
        matrices
            {layer: features (n_items, n_dims)}.
        jobs
            The fits, the same for every layer.
        """
        return self._fit_predict(matrices, jobs)

    def _code(self, values: NDArray[Any], fit: NDArray[np.intp]) -> _Coded:
        classes, codes = np.unique(values, return_inverse=True)
        if (lost := np.setdiff1d(codes, codes[fit])).size:
            warnings.warn(
                f"classes {classes[lost].tolist()} are validated on and not fitted on; take "
                "another random_state or validation_fraction",
                stacklevel=5,
            )
        return _Coded(codes.astype(np.int64), len(classes), classes)

    def _decode(self, outputs: NDArray[np.float64], key: Any) -> NDArray[Any]:
        predicted: NDArray[Any] = key[outputs.argmax(axis=1)]
        return predicted


def _curves(network: Network, metric: str) -> pd.DataFrame:
    """Return loss and metric of each epoch, of what was fitted on and what was held out."""
    parts = []
    for name, columns in (("train", slice(0, 2)), ("validation", slice(2, 4))):
        values = network.history[:, columns]
        epochs = np.arange(1, len(values) + 1)
        told = {"epoch": epochs, "split": name, "loss": values[:, 0], metric: values[:, 1]}
        parts.append(pd.DataFrame(told))
    held = not np.isnan(network.history[:, 2]).all()
    joined = pd.concat(parts if held else parts[:1], ignore_index=True)
    return joined.sort_values("epoch", kind="stable", ignore_index=True)
