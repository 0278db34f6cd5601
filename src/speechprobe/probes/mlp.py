"""Multi-layer perceptrons as probes, trained by Adam; folds, shuffles and seeds train as one stack.

Features are standardised over the items fitted on, and so is the target of the regressor, so that
the learning rate means the same for every layer and label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

from speechprobe.probes._check import checked, checked_pair
from speechprobe.probes.jobs import Job
from speechprobe.probes.stacked import Network, Settings, Task, train

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class _TorchMLP(BaseEstimator):
    """What both perceptrons share: settings and their check."""

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (128,),
        *,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        random_state: int | None = 0,
        device: str | None = None,
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.random_state = random_state
        self.device = device

    def _settings(self) -> Settings:
        whole = {"batch_size": self.batch_size, "epochs": self.epochs}
        whole |= {f"hidden_sizes[{k}]": size for k, size in enumerate(self.hidden_sizes)}
        for name, value in whole.items():
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                "learning_rate must be positive and weight_decay not negative, got "
                f"{self.learning_rate!r} and {self.weight_decay!r}"
            )
        hidden = tuple(int(size) for size in self.hidden_sizes)
        return Settings(
            hidden, self.learning_rate, self.weight_decay, int(self.batch_size), int(self.epochs)
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _train(
        self, features: NDArray[Any], tasks: Sequence[Task], n_outputs: int
    ) -> list[Network]:
        return train(features, tasks, self._settings(), n_outputs=n_outputs, device=self.device)

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
        Passes over the items. The study took 10 on an embedding and 3 a layer, over 28,000 items;
        some hundred items want the default of 100.
    random_state
        Seed of the weights and of the order of batches.
    device
        Where to train; the CPU by default.

    Attributes
    ----------
    network_ : Network
        The trained network.
    losses_ : ndarray of shape (epochs,)
        Mean training loss of each epoch, in squared standard deviations of the target.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> probe = TorchMLPRegressor(learning_rate=1e-2, epochs=30).fit(x, x[:, 0] * x[:, 1])
    >>> probe.score(x, x[:, 0] * x[:, 1]) > 0.8
    True
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> TorchMLPRegressor:
        """Fit to features (n_items, n_dims) and a target (n_items,)."""
        X, y = checked_pair(self, X, y, dtype=np.float32, y_numeric=True)
        job = Job(np.arange(len(X)), np.arange(0), y, self._seed())
        (self.network_,), ((self._centre, self._scale),) = self._fit_jobs(X, [job])
        self.losses_ = self.network_.losses
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the target of features (n_items, n_dims)."""
        outputs = self._outputs(X)
        return outputs[:, 0] * self._scale + self._centre

    def fit_predict_many(
        self, features: NDArray[Any], jobs: Sequence[Job]
    ) -> list[NDArray[np.float64]]:
        """Return the predictions of every job, trained as one stack."""
        networks, scalings = self._fit_jobs(features, jobs)
        return [
            network(features[job.predict])[:, 0].astype(np.float64) * scale + centre
            for network, (centre, scale), job in zip(networks, scalings, jobs, strict=True)
        ]

    def _fit_jobs(
        self, features: NDArray[Any], jobs: Sequence[Job]
    ) -> tuple[list[Network], list[tuple[float, float]]]:
        tasks, scalings = [], []
        for job in jobs:
            target = np.asarray(job.target, dtype=np.float64)[job.fit]
            centre, scale = float(target.mean()), float(target.std()) or 1.0
            tasks.append(Task(job.fit, ((target - centre) / scale).astype(np.float32), job.seed))
            scalings.append((centre, scale))
        return self._train(features, tasks, 1), scalings


class TorchMLPClassifier(ClassifierMixin, _TorchMLP):
    """Multi-layer perceptron for classes: cross-entropy, Adam.

    Parameters
    ----------
    hidden_sizes, learning_rate, weight_decay, batch_size, epochs, random_state, device
        As in `TorchMLPRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    network_ : Network
        The trained network; its outputs are log-odds up to a constant.
    losses_ : ndarray of shape (epochs,)
        Mean training loss of each epoch, in nats.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> sex = np.where(x[:, 0] * x[:, 1] > 0, "F", "M")
    >>> TorchMLPClassifier(learning_rate=1e-2, epochs=30).fit(x, sex).score(x, sex) > 0.9
    True
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> TorchMLPClassifier:
        """Fit to features (n_items, n_dims) and classes (n_items,)."""
        X, y = checked_pair(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        task = Task(np.arange(len(X)), codes.astype(np.int64), self._seed())
        self.network_ = self._train(X, [task], len(self.classes_))[0]
        self.losses_ = self.network_.losses
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the class of features (n_items, n_dims)."""
        outputs = self._outputs(X)
        predicted: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return predicted

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class, (n_items, n_classes)."""
        outputs = self._outputs(X)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        probability: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return probability

    def fit_predict_many(self, features: NDArray[Any], jobs: Sequence[Job]) -> list[NDArray[Any]]:
        """Return the predictions of every job, trained as one stack for each number of classes."""
        encoded = [np.unique(job.target[job.fit], return_inverse=True) for job in jobs]
        by_count: dict[int, list[int]] = defaultdict(list)
        for number, (classes, _) in enumerate(encoded):
            by_count[len(classes)].append(number)
        predictions: list[Any] = [None] * len(jobs)
        for n_classes, numbers in by_count.items():
            tasks = [
                Task(jobs[k].fit, encoded[k][1].astype(np.int64), jobs[k].seed) for k in numbers
            ]
            for k, network in zip(numbers, self._train(features, tasks, n_classes), strict=True):
                outputs = network(features[jobs[k].predict])
                predictions[k] = encoded[k][0][outputs.argmax(axis=1)]
        return predictions
