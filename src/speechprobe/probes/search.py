"""A grid of settings tried on validation items: which is best, and what it is worth on the test.

Every setting is fitted to the train part and scored on the validation part; the best (the first of
equals) is fitted to both and scored once on the test part. That is scikit-learn's `GridSearchCV`
over a `PredefinedSplit`, with one difference: a setting that cannot be fitted is a row of the table
with the reason beside it, and so are the warnings of those that can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid

from speechprobe.probes._attempts import Attempt, Data, attempt, best_of, items_of
from speechprobe.probes._folds import group_codes
from speechprobe.probes._parts import parts_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search over a grid found.

    Parameters
    ----------
    best
        The setting with the best validation score.
    validation_score
        Its score on the validation part: the best of many, so optimistic.
    test_score
        Its score on the test part, fitted to the train and validation parts.
    prediction
        What it predicts for the test part, (n_test,), in the order of the split's rows.
    table
        One row a setting, in the order of the grid: its values, `score` on the validation part
        (NaN where it failed), `seconds`, `failure` (the reason, or empty) and `warning`.
    best_estimator
        The estimator fitted to the train and validation parts.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> x = np.arange(12.0)[:, None]
    >>> parts = (np.arange(0, 12, 3), np.arange(1, 12, 3), np.arange(2, 12, 3))
    >>> found = search(KNeighborsClassifier(), {"n_neighbors": [1, 4]}, parts, x, x[:, 0] > 5)
    >>> found.best, found.validation_score, found.test_score
    ({'n_neighbors': 1}, 1.0, 0.75)
    """

    best: dict[str, Any]
    validation_score: float
    test_score: float
    prediction: NDArray[Any]
    table: pd.DataFrame
    best_estimator: Any

    @property
    def failures(self) -> pd.DataFrame:
        """The rows of the table whose setting could not be fitted or scored."""
        return self.table[self.table["failure"] != ""]


def search(
    estimator: Any,
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
    split: Any,
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    scoring: str | Callable[..., float] | None = None,
    n_jobs: int | None = None,
) -> SearchResult:
    """Choose among settings on the validation part of a split and score the best on its test part.

    Parameters
    ----------
    estimator
        A scikit-learn estimator; it is cloned, never fitted itself.
    grid
        Names of settings and the values of each, as in `GridSearchCV`; all combinations are tried.
        Empty: the estimator as it is.
    split
        An object with row positions `train`, `validation` and `test`, such as
        `datasets.splits.Split`, or a tuple of the three. Rows in none of them are not used. Whether
        a speaker stands in two parts is for the split to check, as those of `datasets.splits` do.
    X, y
        Features (n_items, n_dims), or whatever else the estimator takes, in an array with items
        first or a list of arrays; and target (n_items,).
    groups
        Group of each item, (n_items,), for an estimator that holds some groups out itself.
    scoring
        As in scikit-learn: a name such as "balanced_accuracy", or a scorer. The estimator's own
        score by default: accuracy or R2. Higher is better.
    n_jobs
        Settings tried at once, as in joblib; one by default. The result does not depend on it.

    Returns
    -------
    result

    Raises
    ------
    TypeError, ValueError
        If the split is not one, a part is empty or shares rows with another, a setting is unknown
        to the estimator, or no setting could be fitted.

    Warns
    -----
    UserWarning
        Once, if some settings failed; `result.failures` holds the reasons.

    Examples
    --------
    >>> from speechprobe.probes.baselines import baselines
    >>> generator = np.random.default_rng(0)
    >>> emotion = np.repeat(["anger", "fear"], 60)
    >>> x = generator.normal(size=(120, 8)) + (emotion == "fear")[:, None]
    >>> parts = (np.arange(0, 120, 3), np.arange(1, 120, 3), np.arange(2, 120, 3))
    >>> found = search(*baselines("classification")["QDA"], parts, x, emotion)
    >>> found.table[["reg_param", "score"]].round(2)
       reg_param  score
    0       0.00   0.80
    1       0.10   0.82
    2       0.25   0.90
    >>> found.best, round(found.test_score, 2)
    ({'reg_param': 0.25}, 0.85)
    """
    features, target = items_of(X), np.asarray(y)
    if len(features) != len(target):
        raise ValueError(f"X has {len(features)} items and y has {len(target)}")
    if groups is not None:
        group_codes(groups, len(features))  # raises where an item has none
    known = None if groups is None else np.asarray(groups)
    data = Data(features, target, known, parts_of(split, len(features), test=True))
    scorer = check_scoring(estimator, scoring)
    settings = list(ParameterGrid(grid))
    candidates = [clone(estimator).set_params(**setting) for setting in settings]
    attempts = Parallel(n_jobs=n_jobs)(
        delayed(attempt)(candidate, scorer, data) for candidate in candidates
    )
    best = best_of(attempts, settings)
    fitted = clone(estimator).set_params(**settings[best])
    data.fit(fitted, np.concatenate([data.parts.train, data.parts.validation]))
    test, held = data.parts.test, data.some(data.parts.test)
    return SearchResult(
        best=settings[best],
        validation_score=attempts[best].score,
        test_score=float(scorer(fitted, held, target[test])),
        prediction=np.asarray(fitted.predict(held)),
        table=_table(settings, attempts),
        best_estimator=fitted,
    )


def _table(settings: Sequence[dict[str, Any]], attempts: Sequence[Attempt]) -> pd.DataFrame:
    rows = [
        {**setting, **found._asdict()} for setting, found in zip(settings, attempts, strict=True)
    ]
    return pd.DataFrame(rows)
