"""Sphinx settings; `make docs` builds docs/_build/html."""

import re

import speechprobe

project = "speechprobe"
author = "The speechprobe developers"
copyright = "The speechprobe developers. Apache License 2.0"
version = release = speechprobe.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
napoleon_google_docstring = False
# Sections of module docstrings; as rubrics they may occur on one page many times.
napoleon_custom_sections = [
    "Conventions",
    "Layout",
    "Padding",
    "How a score comes about",
]
napoleon_use_rtype = False  # numpydoc names what is returned: no type
napoleon_use_ivar = True  # a property and its line under Attributes are one object, not two
autodoc_typehints = "none"  # the numpydoc sections say it in words
autodoc_member_order = "bysource"
autodoc_default_options = {
    # scikit-learn's metadata routing, which these estimators do not use
    "exclude-members": "set_fit_request, set_predict_request, set_score_request",
}

html_theme = "furo"
html_title = f"speechprobe {release}"


def setup(app):
    """Register what tidies the sources."""
    app.connect("source-read", _strip_fences)


def _strip_fences(_app, _name, source):
    # doctest needs an empty line before the closing fence; the page does not.
    source[0] = re.sub(r"\n\n```(?=\n|$)", "\n```", source[0])
