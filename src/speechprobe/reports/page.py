"""One HTML page with tables, pictures and provenance, which needs no other file and no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from speechprobe._version import __version__
from speechprobe.layers.scores import LayerScores
from speechprobe.plots._sections import Section, sections_of, title_of
from speechprobe.plots.layers import plot_layers
from speechprobe.reports import _tables
from speechprobe.reports._svg import inline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HERE = Path(__file__).parent

# Nothing is fetched: a browser refuses to, whatever the text of a label holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

_HOW_TO_READ = """
<section id="how"><h2>How to read these numbers</h2>
<dl>
<dt>Score</dt><dd>The probe predicts items of groups (speakers, as a rule) that it was not fitted
on; the predictions of all folds are scored together.</dd>
<dt>Interval</dt><dd>How the score would move with other test groups: whole groups are drawn
anew.</dd>
<dt>Floor</dt><dd>What can be had without the layer's knowledge. "Shuffled": the same fits with
shuffled labels, so that there is nothing to be known; it is not always 0 or chance, for few items
in many dimensions, or groups that share a label, raise it. "Mean" or "majority": always the mean or
the commonest class. Others: the same probe on the features of that name.</dd>
<dt>Above floors</dt><dd>How much better the score is than the highest floor; more is better for
every metric. A score means what stands above its floors.</dd>
<dt>Clear of floors</dt><dd>Whether the interval of that gap lies above 0. Where it does not, the
layer has shown nothing.</dd>
<dt>Selectivity</dt><dd>How much better the score is than that of the control task, where one was
set: labels drawn by lot for each type (word, sentence), which only a good memory gets right.</dd>
<dt>Best on validation</dt><dd>The layer that is best on validation items. The best of many test
scores is a lucky one; so the first table gives the score of choosing: in each fold, the layer that
is best on validation items predicts the test items.</dd>
<dt>Before concluding</dt><dd>Compare a trained network with its untrained twin and with log-mel
before saying that training put the knowledge there.</dd>
</dl></section>
"""


def html(
    scores: Section | Sequence[Section],
    path: str | Path,
    *,
    title: str = "Layer probing",
    pictures: Mapping[str, Figure] | None = None,
    units: Mapping[str, str] | None = None,
) -> Path:
    """Write one page with a picture and a sortable table for each target.

    Parameters
    ----------
    scores
        Scores of one model, {model: scores} of several for one target, or a list of either, one
        entry a target.
    path
        The file to write; its folder is made.
    title
        Heading of the page.
    pictures
        {caption: figure} to show besides, as `plots` draws them.
    units
        {target: unit}, for axes and tables.

    Returns
    -------
    path
        The file; it needs no other file and no network to be read. The same scores give the same
        bytes.

    Raises
    ------
    TypeError
        If something else than scores was given.
    ValueError
        If there are none, or the models of a section were probed for different targets.

    Examples
    --------
    >>> import tempfile
    >>> from speechprobe.layers import LayerScore
    >>> record = LayerScore("block", "r2", 0.7, -0.1, 0.05, 0.68, 0.0, 100, 512, True)
    >>> scores = LayerScores((record,), None, {"target": "rate"})
    >>> html(scores, f"{tempfile.mkdtemp()}/page.html").read_text(encoding="utf-8").count("<svg")
    1
    """
    sections, known = sections_of(scores), units or {}
    choices = _tables.of_choices(sections)
    parts = [
        _contents(sections, bool(choices), bool(pictures)),
        f'<section id="choices"><h2>Best layers</h2>\n{choices}</section>' if choices else "",
        _HOW_TO_READ,
        *(_section(models, number, known) for number, models in enumerate(sections)),
        _pictures(pictures) if pictures else "",
    ]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_page(title, "\n".join(part for part in parts if part)), encoding="utf-8")
    return file


def _page(title: str, body: str) -> str:
    style, script = (_HERE.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1></header>\n<main>\n{body}\n</main>\n"
        f"<footer><p>Made with speechprobe {escape(__version__)}.</p></footer>\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _contents(
    sections: Sequence[Mapping[str, LayerScores]], has_choices: bool, has_pictures: bool
) -> str:
    links = [("choices", "Best layers")] if has_choices else []
    links += [("how", "How to read these numbers")]
    links += [(f"target-{n}", title_of(models)) for n, models in enumerate(sections)]
    links += [("pictures", "Pictures")] if has_pictures else []
    entries = "".join(f'<li><a href="#{place}">{escape(text)}</a></li>' for place, text in links)
    return f'<nav aria-label="Contents"><ul>{entries}</ul></nav>'


def _section(models: Mapping[str, LayerScores], number: int, units: Mapping[str, str]) -> str:
    unit = units.get(str(next(iter(models.values())).settings.get("target")))
    about = title_of(models)
    label = f"Scores by layer, {about}; the table below holds the same numbers."
    picture = inline(plot_layers(models, unit=unit), name=f"layers-{number}", label=label)
    made = "\n".join(_provenance(model, each) for model, each in models.items())
    cautions = "".join(_cautions(model, each) for model, each in models.items())
    return (
        f'<section id="target-{number}"><h2>{escape(about)}</h2>\n'
        f"<figure>{picture}<figcaption>Points: scores. Bands: intervals. Thin lines: floors."
        f"</figcaption></figure>\n{cautions}{_tables.of_layers(models, units)}\n"
        f"<h3>How these numbers came about</h3>\n{made}\n</section>"
    )


def _cautions(model: str, scores: LayerScores) -> str:
    """Return what to be careful with; "" where there is nothing."""
    if not scores.cautions:
        return ""
    entries = "".join(f"<li>{escape(caution)}</li>" for caution in scores.cautions)
    return f"<p>{escape(f'With care, {model}' if model else 'With care')}:</p><ul>{entries}</ul>\n"


def _provenance(model: str, scores: LayerScores) -> str:
    """Return the settings of one model: the plain ones in a list, all of them behind it."""
    settings = dict(scores.settings)
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    made_by = dict(settings.get("features", {}))
    plain |= {k: v for k, v in made_by.items() if isinstance(v, str | int | float)}
    entries = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in plain.items()
    )
    everything = escape(json.dumps(settings, indent=2, default=str, ensure_ascii=False))
    heading = f"Settings and provenance of {model}" if model else "Settings and provenance"
    return (
        f"<details><summary>{escape(heading)}</summary><dl>{entries}</dl>"
        f"<details><summary>Everything, as JSON</summary><pre>{everything}</pre></details>"
        "</details>"
    )


def _pictures(pictures: Mapping[str, Figure]) -> str:
    shown = "\n".join(
        f"<figure>{inline(figure, name=f'picture-{number}', label=caption)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for number, (caption, figure) in enumerate(pictures.items())
    )
    return f'<section id="pictures"><h2>Pictures</h2>\n{shown}\n</section>'
