"""Probes: scikit-learn estimators to the letter; any estimator of yours works in their place.

The convex ones come first: `RidgeProbe` and `LogisticProbe` have one optimum, so two runs and two
machines agree. `TorchMLPRegressor` and `TorchMLPClassifier` find what is not linear, at the price
of a seed.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
