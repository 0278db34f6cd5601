"""Pictures of scores, predictions, curves and layers.

Every function here follows one rule: it draws one picture and returns its matplotlib Figure, which
`savefig` writes and a notebook shows; the panels are in `figure.axes`. `ax=` draws into an Axes of
one's own instead, and the Figure returned is the one that holds it.

- Nothing global changes: no style, no rcParams, no pyplot window.
- Colours are those of Okabe and Ito, which colour-blind readers tell apart, and markers differ too;
  maps are viridis, whose lightness rises evenly.
- Axes carry units. Scores know the unit of no label, so `unit="characters per second"` names it.
- Lines and text are vectors in SVG and PDF; clouds of more than 5,000 points are one image there.

References
----------
Okabe, M. and Ito, K. (2008). Color Universal Design. https://jfly.uni-koeln.de/color/
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
