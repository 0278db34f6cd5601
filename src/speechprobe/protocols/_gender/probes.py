"""The classifiers of the gender study: settings found on held-out speakers, scored on the test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechprobe import metrics
from speechprobe.features import Features
from speechprobe.layers import LayerScores, probe_layers
from speechprobe.probes import TorchCNNClassifier, TorchMLPClassifier, baselines, search, tune
from speechprobe.protocols._gender.features import IMAGE, POWER, GenderData, MelImageCNN

if TYPE_CHECKING:
    from speechprobe.engines import Ray
    from speechprobe.probes import Halving

CNN, PUBLISHED, LEAST_LOSS = "CNN", "CNN, published settings", "CNN, least validation loss"
CNN_2D = "CNN 2-D"
ALTERNATIVES = ("LR", "MLP", "RF", CNN_2D)
_TOLD = ("trial", "epochs_run", "finished", "score", "seconds", "failure", "warning")


@dataclass(frozen=True)
class GenderSettings:
    """Settings of the gender study; the defaults are its own where it names them.

    Parameters
    ----------
    n_trials
        Of the random search.
    batch_sizes, epochs
        Values to draw from.
    learning_rates
        Ends of the range to draw from, evenly in its logarithm.
    halving
        How trials are stopped; `probes.Halving()` by default.
    curve_epochs
        Epochs of the learning curves.
    validation_fraction
        Of the speakers of the train corpus: settings and epochs are chosen on them.
    n_shuffles
        Runs with genders shuffled between speakers, behind the floor; none for the 2-D network.
    seed
        Of the speakers held out, of the draw of settings and of all training.

    Examples
    --------
    >>> GenderSettings().epochs, GenderSettings().learning_rates
    ((10, 20), (1e-05, 0.01))
    """

    n_trials: int = 20
    batch_sizes: tuple[int, ...] = tuple(range(4, 17))
    learning_rates: tuple[float, float] = (1e-5, 1e-2)
    epochs: tuple[int, ...] = (10, 20)
    halving: Halving | None = None
    curve_epochs: int = 100
    validation_fraction: float = 0.2
    n_shuffles: int = 5
    seed: int = 0

    def space(self) -> dict[str, Any]:
        """Return what the search draws from."""
        return {
            "batch_size": list(self.batch_sizes),
            "learning_rate": loguniform(*self.learning_rates),
            "epochs": list(self.epochs),
        }


class Found(NamedTuple):
    """A classifier with the settings chosen for it, what chose them, and what was tried."""

    model: str
    feature: str
    probe: Any
    settings: Mapping[str, Any]
    trials: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Curves:
    """Learning curves of the best settings, and the epoch after which the network overfits.

    Parameters
    ----------
    table
        Columns `epoch`, `split`, `loss` and `accuracy`.
    settings
        Of the network.
    """

    table: pd.DataFrame
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def least_loss_epoch(self) -> int:
        """The epoch with the least loss on the validation speakers, the first of equals."""
        held = self.table[self.table["split"] == "validation"]
        return int(held["epoch"].to_numpy()[held["loss"].to_numpy().argmin()])

    @property
    def last_epoch(self) -> int:
        """The last epoch."""
        return int(self.table["epoch"].max())

    def verdict(self) -> str:
        """Return where the network overfits, in words."""
        least = self.least_loss_epoch
        if least == self.last_epoch:
            return f"no overfitting within {least} epochs: the validation loss is least at the last"
        return f"overfits after epoch {least}, where the validation loss is least"

    def summary(self) -> pd.DataFrame:
        """Return loss and accuracy at the epoch of the least loss and at the last one."""
        rows = []
        points = {"least validation loss": self.least_loss_epoch, "last": self.last_epoch}
        for what, epoch in points.items():
            at = self.table[self.table["epoch"] == epoch].set_index("split")
            told: dict[str, Any] = {"point": what, "epoch": epoch}
            for part in ("train", "validation"):
                told |= {f"{part}_{name}": at.loc[part, name] for name in ("loss", "accuracy")}
            rows.append(told)
        return pd.DataFrame(rows)


def learning_curves(
    features: Features, data: GenderData, best: Mapping[str, Any], settings: GenderSettings
) -> Curves:
    """Return the curves of the network with the best settings, validated on the same speakers."""
    chosen = {name: value for name, value in best.items() if name != "epochs"}
    probe = TorchCNNClassifier(
        **chosen,
        epochs=settings.curve_epochs,
        validation_fraction=settings.validation_fraction,
        random_state=settings.seed,
    )
    known = slice(0, data.n_train)
    probe.fit(
        np.asarray(features[POWER])[known],
        data.corpus.column("gender")[known],
        groups=data.corpus.column("speaker")[known],
    )
    return Curves(probe.curves_, probe.get_params())


def tuned(
    model: str,
    probe: Any,
    features: Features,
    data: GenderData,
    settings: GenderSettings,
    *,
    engine: Literal["ray"] | Ray | None,
) -> Found:
    """Return a network with the settings that a random search found on the validation speakers."""
    ((feature, _),) = features.layers.items()
    known = slice(0, data.n_train)
    found = tune(
        probe,
        settings.space(),
        np.asarray(features[feature])[known],
        data.corpus.column("gender")[known],
        groups=data.corpus.column("speaker")[known],
        split=(data.split.train, data.split.validation),
        n_trials=settings.n_trials,
        seed=settings.seed,
        engine=engine,
        halving=settings.halving,
    )
    chosen = clone(probe).set_params(**found.best)
    return Found(model, feature, chosen, found.best, _trials(model, feature, found.table))


def searched(model: str, features: Features, data: GenderData, settings: GenderSettings) -> Found:
    """Return a classifier of `baselines` with the setting that is best on the speakers held out."""
    ((feature, _),) = features.layers.items()
    estimator, grid = baselines("classification", seed=settings.seed)[model]
    # Powers of the bands differ by orders of magnitude.
    whole = make_pipeline(StandardScaler(), estimator)
    step = whole.steps[-1][0]
    named = {f"{step}__{name}": values for name, values in grid.items()}
    target = data.corpus.column("gender")
    found = search(whole, named, data.split, np.asarray(features[feature]), target)
    chosen = clone(whole).set_params(**found.best)
    told = {name.removeprefix(f"{step}__"): value for name, value in found.best.items()}
    trials = _trials(model, feature, found.table, f"{step}__")
    return Found(model, feature, chosen, told, trials)


def all_found(
    vectors: Mapping[str, Features],
    data: GenderData,
    settings: GenderSettings,
    *,
    alternatives: tuple[str, ...],
    engine: Literal["ray"] | Ray | None,
) -> Iterator[Found]:
    """Yield the study's network and the alternatives over vectors, the study's network first."""
    for features in vectors.values():
        yield tuned(CNN, TorchCNNClassifier(), features, data, settings, engine=engine)
        if "MLP" in alternatives:
            yield tuned("MLP", TorchMLPClassifier(), features, data, settings, engine=engine)
        for model in ("LR", "RF"):
            if model in alternatives:
                yield searched(model, features, data, settings)


def fixed(found: Found, curves: Curves) -> list[Found]:
    """Return the network with the published settings, and stopped where it overfits."""
    published = TorchCNNClassifier()
    named = ("batch_size", "learning_rate", "epochs")
    told = {name: published.get_params()[name] for name in named}
    stopped = {**found.settings, "epochs": curves.least_loss_epoch}
    probe = clone(found.probe).set_params(**stopped)
    nothing = pd.DataFrame()
    return [
        Found(PUBLISHED, found.feature, published, told, nothing),
        Found(LEAST_LOSS, found.feature, probe, stopped, nothing),
    ]


def image_network(found: Found) -> Found:
    """Return the two-dimensional network with the settings found for the study's own."""
    probe = MelImageCNN(**found.settings)
    return Found(CNN_2D, IMAGE, probe, found.settings, pd.DataFrame())


def scored(
    found: Found, features: Features, data: GenderData, settings: GenderSettings
) -> LayerScores:
    """Return the score on the test speakers, fitted to all speakers of the train corpus."""
    return probe_layers(
        features,
        target="gender",
        groups="speaker",
        probe=found.probe,
        metrics=[metrics.accuracy, metrics.uar],
        split=data.split,
        n_shuffles=0 if found.feature == IMAGE else settings.n_shuffles,
        seeds=(settings.seed,),
    )


def as_text(settings: Mapping[str, Any]) -> str:
    """Return settings as one cell of a table: JSON."""
    return json.dumps(dict(settings), default=float)


def _trials(model: str, feature: str, table: pd.DataFrame, step: str = "") -> pd.DataFrame:
    """Return what was tried, the settings in one column, whatever they are."""
    own = [name for name in table if name not in _TOLD]
    settings = [
        as_text({str(name).removeprefix(step): value for name, value in row.items()})
        for row in table[own].astype(object).to_dict("records")
    ]
    told = table.assign(model=model, feature=feature, trial=range(len(table)), settings=settings)
    return told.reindex(columns=["model", "feature", "trial", "settings", *_TOLD[1:]])
