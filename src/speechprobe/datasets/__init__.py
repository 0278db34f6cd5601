"""Corpora with their labels, and splits that no group straddles.

A corpus is a table of utterances indexed by id, with at least `path` and `speaker`. Loaders read
a folder in its published layout, never write to it, and read the header of every sound file so
that lengths are known before anything runs. Labels are columns: `speaker`, `gender` ("F" or
"M"), `text`, `emotion`, `language` wherever the corpus gives them, anything else by
`Corpus.label`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
