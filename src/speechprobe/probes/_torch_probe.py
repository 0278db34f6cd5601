"""What the probes that are a module of torch share: settings, reading, fitting, predicting."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from speechprobe.probes import _items, training
from speechprobe.probes._check import checked, checked_pair, finite
from speechprobe.probes._items import Items, Kind
from speechprobe.probes._scaling import bound_of
from speechprobe.probes.networks import Standardised
from speechprobe.probes.saving import Savable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import nn


class TorchProbe(Savable, BaseEstimator):
    """A probe that trains one network; a subclass says which, and what it takes."""

    # Given by the subclass.
    kinds: ClassVar[tuple[Kind, ...]]
    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    schedule: training.Schedule
    validation_fraction: float
    patience: int | None
    random_state: int | None
    device: str | None

    def _make(
        self, kind: Kind, shape: tuple[int, ...], n_outputs: int, generator: torch.Generator
    ) -> nn.Module:
        """Return a network for items of a shape, with weights drawn from the generator."""
        raise NotImplementedError

    def _standardises(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = "dims" in self.kinds
        tags.input_tags.three_d_array = "frames" in self.kinds or "layers" in self.kinds
        return tags

    def _read(self, X: Any, y: Any, *, numbers: bool) -> tuple[Items, NDArray[Any]]:
        """Return the items and the target to fit on."""
        if "dims" in self.kinds and _items.are_rows(X):
            rows, y = checked_pair(self, X, y, dtype=np.float32, y_numeric=numbers)
            return Items(rows, "dims", rows.shape[1:]), y
        items = _items.items_of(X, self.kinds)
        target = column_or_1d(y, dtype=np.float64 if numbers else None, warn=True)
        if len(items) != len(target):
            raise ValueError(f"there are {len(items)} items and {len(target)} targets")
        if numbers and not np.isfinite(target).all():
            raise ValueError("the target holds NaN or infinity")
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of an earlier fit, to a table
        self.n_features_in_ = items.shape[-1]
        return items, target

    def _fit(
        self, items: Items, target: NDArray[Any], n_outputs: int, parts: tuple[Any, Any]
    ) -> None:
        """Train a network on whole targets (classes) or floating ones (numbers)."""
        settings = training.Training(
            self.learning_rate,
            self.weight_decay,
            self.batch_size,
            self.epochs,
            self.schedule,
            self.patience,
        )
        moments = np.zeros(1, np.float32), np.ones(1, np.float32), np.full(1, np.inf, np.float32)
        if self._standardises():
            bound = np.full(1, bound_of(len(parts[0])), np.float32)
            moments = *items.moments(parts[0]), bound
        self._fitted = (items.kind, items.shape, n_outputs)
        generator = torch.Generator().manual_seed(self._seed)
        network = self._built(*moments, generator)
        self.curves_, self.epoch_ = training.train(
            network, items, target, parts=parts, training=settings, generator=generator
        )
        # Arrays, so that what is fitted can be kept without pickling a module.
        self._state = {name: each.cpu().numpy() for name, each in network.state_dict().items()}

    @property
    def network_(self) -> Standardised:
        """The trained network on `device`, called ``network_(x, lengths)``; built at each call."""
        check_is_fitted(self)
        state = {name: torch.tensor(each) for name, each in self._state.items()}
        centre, scale, bound = (self._state[name] for name in ("centre", "scale", "bound"))
        network = self._built(centre, scale, bound, torch.Generator())
        network.load_state_dict(state)
        return network.eval()

    def _built(
        self,
        centre: NDArray[Any],
        scale: NDArray[Any],
        bound: NDArray[Any],
        generator: torch.Generator,
    ) -> Standardised:
        network = self._make(*self._fitted, generator)
        whole = Standardised(network, *map(torch.tensor, (centre, scale, bound)))
        return whole.float().to(self.device or "cpu")

    def _parts(self, items: Items, groups: ArrayLike | None) -> tuple[Any, Any]:
        """Draw the seed, and the rows to fit on and to validate on."""
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        self._seed = int(seed)
        return training.hold_out(
            len(items), self.validation_fraction, groups=groups, seed=self._seed
        )

    def _items(self, X: Any) -> Items:
        """Return items to predict, or raise if they are not like those fitted on."""
        check_is_fitted(self)
        kind, shape, _ = self._fitted
        if kind == "dims" and _items.are_rows(X):
            rows = checked(self, X, dtype=np.float32)
            return Items(rows, "dims", rows.shape[1:])
        found = _items.items_of(X, [each for each in self.kinds if each != "dims"])
        if (found.kind, found.shape) != (kind, shape):
            raise ValueError(
                f"{type(self).__name__} was fitted on {kind} with {_words(shape)} an item, got "
                f"{found.kind} with {_words(found.shape)}"
            )
        return found

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        items = self._items(X)
        return training.outputs(self.network_, items)


class TorchRegressor(RegressorMixin, TorchProbe):
    """Mean squared error of a standardised target."""

    def fit(self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit to items and a target (n_items,).

        Parameters
        ----------
        X, y
            Items, in a shape that the probe takes, and target.
        groups
            Group of each item, (n_items,): none is both fitted and validated on. Not looked at
            where `validation_fraction` is 0.

        Raises
        ------
        ValueError
            If a shape or a setting is wrong.
        """
        items, y = self._read(X, y, numbers=True)
        parts = self._parts(items, groups)
        target = np.asarray(y, np.float64)
        self._centre = float(target[parts[0]].mean())
        self._scale = float(target[parts[0]].std()) or 1.0
        self._fit(items, ((target - self._centre) / self._scale).astype(np.float32), 1, parts)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict the target, (n_items,)."""
        return self._outputs(X)[:, 0] * self._scale + self._centre


class TorchClassifier(ClassifierMixin, TorchProbe):
    """Cross-entropy; binary, from one output, where there are two classes."""

    def fit(self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit to items and classes (n_items,).

        Parameters
        ----------
        X, y
            Items, in a shape that the probe takes, and classes.
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
        items, y = self._read(X, y, numbers=False)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        parts = self._parts(items, groups)
        if (lost := np.setdiff1d(codes, codes[parts[0]])).size:
            warnings.warn(
                f"classes {self.classes_[lost].tolist()} are validated on and not fitted on; take "
                "another random_state or validation_fraction",
                stacklevel=2,
            )
        n_outputs = len(self.classes_) if len(self.classes_) > 2 else 1
        self._fit(items, codes.astype(np.int64), n_outputs, parts)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the class, (n_items,)."""
        probability = self.predict_proba(X)
        predicted: NDArray[Any] = self.classes_[probability.argmax(axis=1)]
        return predicted

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probability of each class, (n_items, n_classes)."""
        outputs = finite(self._outputs(X))
        if len(self.classes_) == 1:
            return np.ones_like(outputs)
        if len(self.classes_) == 2:
            outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        probability: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return probability


def sizes(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Return widths of layers, or raise ValueError if one is no whole number from 1."""
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ValueError(f"{name} are several numbers, such as ({given!r},); got {given!r}")
    for value in given:
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be whole numbers from 1, got {value!r}")
    return tuple(int(value) for value in given)


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + (" dims" if len(shape) == 1 else "")
