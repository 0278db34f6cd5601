"""All probes keep scikit-learn's grammar."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from speechprobe.probes import LogisticProbe, RidgeProbe, TorchMLPClassifier, TorchMLPRegressor

REGRESSORS = [RidgeProbe(), TorchMLPRegressor((16,), epochs=3)]
CLASSIFIERS = [LogisticProbe(), TorchMLPClassifier((16,), epochs=3)]
# The checks score what was learnt from a hundred items: enough steps to learn it.
CHECKED = [
    RidgeProbe(),
    LogisticProbe(C=1.0),
    TorchMLPRegressor((16,), epochs=12, learning_rate=3e-2),
    TorchMLPClassifier((16,), epochs=12, learning_rate=3e-2),
]


@pytest.mark.filterwarnings("ignore")  # the checks make estimators warn on purpose
@parametrize_with_checks(CHECKED)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    return X, X @ [1.0, -1.0, 2.0, 0.0]


def target_for(probe, y):
    return y if probe in REGRESSORS else np.where(y > 0, "F", "M")


PROBES = pytest.mark.parametrize(
    "probe", [*REGRESSORS, *CLASSIFIERS], ids=lambda probe: type(probe).__name__
)


@PROBES
def test_neither_features_nor_target_is_written(probe, data):
    X, y = data[0].copy(), target_for(probe, data[1]).copy()
    X.flags.writeable = y.flags.writeable = False
    clone(probe).fit(X, y).predict(X)
    np.testing.assert_array_equal(X, data[0])


@PROBES
def test_features_may_have_any_scale_and_offset(probe, data):
    """Standardisation makes the probe blind to the units of a dimension."""
    X, y = data[0], target_for(probe, data[1])
    scaled = X * [1e-3, 1.0, 1e3, 10.0] + [0.0, 5.0, -1e3, 1.0]
    plain, other = clone(probe).fit(X, y).predict(X), clone(probe).fit(scaled, y).predict(scaled)
    if probe in REGRESSORS:
        np.testing.assert_allclose(other, plain, rtol=1e-3, atol=1e-3)
    else:
        assert (other == plain).mean() > 0.98


@PROBES
def test_it_serves_in_cross_validation(probe, data):
    X, y = data[0], target_for(probe, data[1])
    assert np.isfinite(cross_val_score(probe, X, y, cv=3)).all()


def test_it_serves_in_a_grid_search(data):
    search = GridSearchCV(LogisticProbe(), {"C": [1e-4, 1.0]}, cv=3)
    search.fit(data[0], np.where(data[1] > 0, "F", "M"))
    assert search.best_params_ == {"C": 1.0}


@PROBES
def test_a_clone_is_unfitted_and_keeps_the_settings(probe, data):
    fitted = clone(probe).fit(data[0], target_for(probe, data[1]))
    assert clone(fitted).get_params() == probe.get_params()
    with pytest.raises(AttributeError):
        _ = clone(fitted).n_features_in_
