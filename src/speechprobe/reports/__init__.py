"""Reports: one self-contained HTML page, and embeddings for a vector database.

The tables of scores write themselves: `LayerScores.to_csv`, `to_json` and `to_latex`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
