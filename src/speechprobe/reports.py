"""Reports: one self-contained HTML page with tables, pictures and provenance."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from speechprobe._version import __version__
from speechprobe.layers.scores import LayerScore, LayerScores
from speechprobe.plots import Section, plot_layers, sections_of, title_of

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
thead th { border-bottom: 2px solid #333; cursor: pointer; }
tr.best td { font-weight: 600; }
svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; font-size: 13px; background: #f6f6f6; padding: 1rem; }
.wide { overflow-x: auto; }
"""

_SORT = """
document.querySelectorAll("table").forEach(table => {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const body = table.tBodies[0], sign = head.dataset.sign = head.dataset.sign === "1" ? -1 : 1;
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => sign *
      (isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b)));
    body.append(...rows);
  }));
});
"""

_HOW_TO_READ = """
<p><b>Score</b>: the probe predicts items of groups it was not fitted on; all of them are scored
together. <b>Interval</b>: how the score would move with other test groups (whole groups drawn
anew). <b>Floor</b>: the same fits with shuffled labels. A score whose interval reaches the floor
shows nothing. <b>n</b>: items and groups scored. The row in bold is the layer that is best on
validation items. The largest of many scores is a lucky one, so the last row of a model gives the
score of choosing: in each fold, the layer that is best on validation items predicts the test
items. Compare a trained network with its
untrained twin and with log-mel before saying that training put the knowledge there.</p>
"""


def html(
    scores: Section | Sequence[Section], path: str | Path, *, title: str = "Layer probing"
) -> Path:
    """Write one page with a picture and a table for each target.

    Parameters
    ----------
    scores
        Scores of one model, {model: scores} of several for one target, or a list of either, one
        entry a target.
    path
        The file to write; its folder is made.
    title
        Heading of the page.

    Returns
    -------
    path
        The file; it needs no other file and no network to be read.

    Examples
    --------
    >>> import tempfile
    >>> record = LayerScore("block", "r2", 0.7, -0.1, 0.05, 0.68, 0.0, 100, 512, True)
    >>> scores = LayerScores((record,), None, {"target": "rate"})
    >>> html(scores, f"{tempfile.mkdtemp()}/page.html").read_text().count("<svg")
    1
    """
    body = "\n".join(_section(models) for models in sections_of(scores))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n{_HOW_TO_READ}\n{body}\n"
        f"<p>Made with speechprobe {__version__}.</p>\n<script>{_SORT}</script></body></html>\n"
    )
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def _section(models: Mapping[str, LayerScores]) -> str:
    settings = {model or "settings": dict(each.settings) for model, each in models.items()}
    details = escape(json.dumps(settings, indent=2, default=str, ensure_ascii=False))
    return (
        f"<h2>{escape(title_of(models))}</h2>\n{_svg(models)}\n{_table(models)}\n"
        f"<details><summary>How these numbers came about</summary><pre>{details}</pre></details>"
    )


def _svg(models: Mapping[str, LayerScores]) -> str:
    buffer = io.StringIO()
    plot_layers(models).savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _table(models: Mapping[str, LayerScores]) -> str:
    heads = ("model", "layer", "metric", "score", "interval", "floor", "n items", "n groups")
    rows = []
    for model, each in models.items():
        chosen = {record.metric: record for record in each.chosen if len(each.layers) > 1}
        named = {(record.layer, record.metric) for record in chosen.values()}
        rows += [_row(model, r, best=(r.layer, r.metric) in named) for r in each.records]
        rows += [_row(model, replace(r, layer="chosen in each fold")) for r in chosen.values()]
    return (
        '<div class="wide"><table><thead><tr>'
        + "".join(f"<th>{head}</th>" for head in heads)
        + "</tr></thead><tbody>"
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def _row(model: str, record: LayerScore, *, best: bool = False) -> str:
    cells = [
        f"<td>{escape(model)}</td><td>{escape(record.layer)}</td><td>{escape(record.metric)}</td>",
        f'<td data-value="{record.score}">{record.score:.3f}</td>',
        f'<td data-value="{record.low}">{record.low:.3f} to {record.high:.3f}</td>',
        f'<td data-value="{record.floor}">{record.floor:.3f}</td>',
        f"<td>{record.n_items}</td><td>{record.n_groups}</td>",
    ]
    mark = ' class="best"' if best else ""
    return f"<tr{mark}>{''.join(cells)}</tr>"
