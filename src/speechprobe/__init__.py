"""Answers one question: what does layer k of this speech model know about property p.

Three verbs join the modules: `extract`, `load_features` and `probe_layers`. The modules are
`datasets`, `extractors`, `pooling`, `probes`, `metrics`, `plots` and `reports`. Everything is
loaded on first use: the import itself costs milliseconds and pulls in neither torch nor pandas
nor matplotlib.

The words are used in one sense everywhere: an *utterance* is a recording, an *item* a row to be
probed, a *layer* is named by its module path, a *frame* is one time step of a layer, a *label* a
named property of an item, the *target* the label that a probe predicts, a *group* a label that
must not stand on both sides of a split, the *floor* the score on shuffled labels.
"""

import lazy_loader as _lazy

from speechprobe._version import __version__ as __version__

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
