"""The usual classifiers and regressors, each with the grid of settings to choose from.

The classifiers and their grids are those of SERAB. They take features as they are, as there; SERAB
standardises them by speaker beforehand. The regressors have no such published set: ridge, SVR,
random forest and k-nearest neighbours, features standardised inside the pipeline where the
estimator depends on their scale, and the target of the SVR too, so that its grid means the same in
any unit.

scikit-learn changed since SERAB: `max_iter` is a whole number, and QDA raises where a class has no
more items than dimensions, or where a setting leaves its covariance singular, while it used to warn
and predict at random. `search` records the reason and goes on with the other settings; where none
can be fitted it raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from speechprobe.probes._scaling import BoundedScaler

Grid = dict[str, list[Any]]


def baselines(task: str, *, seed: int = 42) -> dict[str, tuple[Any, Grid]]:
    """Return estimators and grids for a task, to be handed to `search` one by one.

    Parameters
    ----------
    task
        "classification": LDA, LR, QDA, RF, SVC. "regression": ridge, SVR, RF, KNN.
    seed
        Of every estimator that has a `random_state`; 42 is SERAB's.

    Returns
    -------
    baselines
        Name to (estimator, grid), unfitted and new at every call. A grid maps names of settings to
        their values; an empty one leaves nothing to choose.

    Raises
    ------
    ValueError
        If the task is neither.

    References
    ----------
    Scheidwasser-Clow, Kegler, Beckmann, Cernak: "SERAB: a multi-lingual benchmark for speech
    emotion recognition", ICASSP 2022.

    Examples
    --------
    >>> list(baselines("classification")), list(baselines("regression"))
    (['LDA', 'LR', 'QDA', 'RF', 'SVC'], ['ridge', 'SVR', 'RF', 'KNN'])
    >>> estimator, grid = baselines("classification")["QDA"]
    >>> estimator, grid
    (QuadraticDiscriminantAnalysis(), {'reg_param': [0.0, 0.1, 0.25]})
    """
    sets = {"classification": _classifiers, "regression": _regressors}
    if task not in sets:
        raise ValueError(f"task must be 'classification' or 'regression', got {task!r}")
    return sets[task](seed)


def _classifiers(seed: int) -> dict[str, tuple[Any, Grid]]:
    inverse_penalties = [float(c) for c in np.logspace(5, -5, 11)]
    class_weights = ["balanced", None]
    return {
        "LDA": (LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), {}),
        "LR": (
            LogisticRegression(max_iter=10_000, random_state=seed),
            {"C": inverse_penalties, "class_weight": class_weights},
        ),
        "QDA": (QuadraticDiscriminantAnalysis(), {"reg_param": [0.0, 0.1, 0.25]}),
        "RF": (
            RandomForestClassifier(random_state=seed),
            {**_trees(), "class_weight": class_weights},
        ),
        "SVC": (
            SVC(max_iter=10_000, random_state=seed),
            {
                "C": inverse_penalties,
                "kernel": ["rbf", "linear"],
                "class_weight": class_weights,
            },
        ),
    }


def _regressors(seed: int) -> dict[str, tuple[Any, Grid]]:
    scaled_target = TransformedTargetRegressor(SVR(), transformer=StandardScaler())
    machine = make_pipeline(BoundedScaler(), scaled_target)
    within = "transformedtargetregressor__regressor__"
    return {
        "ridge": (
            make_pipeline(BoundedScaler(), Ridge()),
            {"ridge__alpha": [float(alpha) for alpha in np.logspace(-1, 5, 13)]},
        ),
        "SVR": (
            machine,
            {
                f"{within}C": [float(c) for c in np.logspace(2, -3, 6)],
                f"{within}kernel": ["rbf", "linear"],
                f"{within}epsilon": [0.01, 0.1, 0.3],
            },
        ),
        "RF": (RandomForestRegressor(random_state=seed), _trees()),
        "KNN": (
            make_pipeline(BoundedScaler(), KNeighborsRegressor()),
            {
                "kneighborsregressor__n_neighbors": [1, 3, 5, 10, 20, 50],
                "kneighborsregressor__weights": ["uniform", "distance"],
            },
        ),
    }


def _trees() -> Grid:
    return {"max_depth": [5, 10, 15, 20, 25], "min_samples_split": [2, 5, 10]}
