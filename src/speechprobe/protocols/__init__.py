"""Published studies as functions: folders in, their tables and pictures out.

Each gives a `Study`: tables, pictures, the edition, what differs from the original, and what made
it.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
