"""Figures as SVG inside a page: no address, no name twice, the same bytes for the same figure."""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib.figure import Figure

# What a page does not need: comments repeat all text, the metadata holds addresses, and HTML knows
# the namespaces by itself.
_NEEDLESS = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|\s+xmlns(?::\w+)?=\"[^\"]*\"", re.DOTALL
)
_NAME = re.compile(r"\bid=\"([^\"]+)\"")
_REFERENCE = re.compile(r"(\bid=\"|\bhref=\"#|url\(#)([^\")]+)")


def inline(figure: Figure, *, name: str, label: str) -> str:
    """Return a figure as an SVG element for a page.

    Parameters
    ----------
    figure
        The figure.
    name
        Starts all names within, so that two pictures of a page share none.
    label
        What a reader hears who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    text = _NEEDLESS.sub("", text[text.index("<svg") :]).replace("xlink:href", "href")
    # matplotlib draws some names by lot; numbered, they are the same each time.
    names = {each: f"{name}-{n}" for n, each in enumerate(dict.fromkeys(_NAME.findall(text)))}
    text = _REFERENCE.sub(lambda found: found[1] + names.get(found[2], found[2]), text)
    text = text.replace("*{", f"#{name} *{{")  # its style would hold for the whole page
    return text.replace("<svg", f'<svg id="{name}" role="img" aria-label="{escape(label)}"', 1)
