"""What both perceptrons share: settings, and many fits as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state

from speechprobe.probes._check import checked
from speechprobe.probes._folds import group_codes
from speechprobe.probes._torch_probe import sizes
from speechprobe.probes.jobs import Job
from speechprobe.probes.saving import Savable
from speechprobe.probes.stacked import Network, Part, Settings, Task, train
from speechprobe.probes.training import Schedule, Training, hold_out

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Coded(NamedTuple):
    """A target as the network has it, its number of outputs, and what leads back.

    That is (mean, standard deviation), or the classes.
    """

    target: NDArray[Any]
    n_outputs: int
    key: Any


class TorchMLP(Savable, BaseEstimator):
    """The perceptrons, but for what their targets are."""

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

    def fit(self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit to features (n_items, n_dims) and a target or classes (n_items,).

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

        Warns
        -----
        UserWarning
            If a class is validated on and not fitted on.
        """
        self.fit_together([self], X, y, groups=groups)
        return self

    def fit_together(
        self,
        probes: Sequence[Self],
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
    ) -> None:
        """Fit probes of several settings to the same items, in place, as one stack.

        Each gets the numbers that its own `fit` would give, up to rounding.

        Parameters
        ----------
        probes
            What to fit. This probe only says on which device.
        X, y, groups
            As for `fit`.
        """
        coded, tasks = [], []
        for probe in probes:
            features, target = probe._checked(X, y)
            own, wanted = probe._tasks([""], [probe._job(features, target, groups)])
            coded += own
            tasks += wanted
        networks = train({"": features}, tasks, device=self.device)
        for probe, (_, _, key), network in zip(probes, coded, networks, strict=True):
            probe._keep(network, key)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the target or the class of features (n_items, n_dims)."""
        outputs = self._outputs(X)
        return self._decode(outputs, self._key)

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
        for layer, matrix in matrices.items():
            if len(getattr(matrix, "shape", ())) != 2:
                raise ValueError(
                    f"layer {layer!r} holds frames, and {type(self).__name__} takes one vector an "
                    "item; pool first, features.pooled('mean'), or take TorchCNN... or "
                    "TorchAttentive..."
                )
        found: dict[str, list[NDArray[Any]]] = {layer: [] for layer in matrices}
        coded, tasks = self._tasks(matrices, jobs)
        trained = iter(train(matrices, tasks, device=self.device))
        for layer, features in matrices.items():
            for job, (_, _, key) in zip(jobs, coded, strict=True):
                outputs = next(trained)(features[job.predict]).astype(np.float64)
                found[layer].append(self._decode(outputs, key))
        return found

    def _checked(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return features and target to fit on, or raise."""
        raise NotImplementedError

    def _code(self, values: NDArray[Any], fit: NDArray[np.intp]) -> Coded:
        """Return the target as the network has it, given the rows that are fitted on."""
        raise NotImplementedError

    def _decode(self, outputs: NDArray[np.float64], key: Any) -> NDArray[Any]:
        """Return what outputs (n_items, n_outputs) predict."""
        raise NotImplementedError

    def _keep(self, network: Network, key: Any) -> None:
        """Take over what was trained, and what leads from its outputs to predictions."""
        metric = "r2" if isinstance(self, RegressorMixin) else "accuracy"
        self.network_, self.epoch_, self._key = network, network.epoch, key
        self.curves_ = _curves(network, metric)

    def _job(self, X: NDArray[Any], y: NDArray[Any], groups: ArrayLike | None) -> Job:
        rows, seed = np.arange(len(X)), self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        codes = None if groups is None else group_codes(groups, len(X))
        return Job(rows, rows[:0], y, int(seed), codes)

    def _tasks(self, layers: Iterable[str], jobs: Sequence[Job]) -> tuple[list[Coded], list[Task]]:
        """Return the coded target of every job, and what to train, layer after layer."""
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
            for layer in layers
            for job, both, (_, n_outputs, _) in zip(jobs, parts, coded, strict=True)
        ]
        return coded, tasks

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
