"""Metrics: plain functions ``(truth, prediction) -> float``, and intervals around them.

Any function of that form is a metric of ours too, scikit-learn's among them. `probe_layers` finds
by itself whether higher is better, by comparing the score of the truth with that of a shuffled
truth.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
