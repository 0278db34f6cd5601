"""Tables of scores in HTML, sortable and readable aloud."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from speechprobe.layers.scores import LayerScore, LayerScores
from speechprobe.plots._canvas import metric_label, with_unit
from speechprobe.plots._floors import floors_of, gap_of
from speechprobe.plots._sections import title_of

Named = tuple[list[str], LayerScore, bool]  # first cells of a row, the score, whether it is best

_WORDS = ("target", "model", "layer", "metric", "clear of floors")


def of_layers(models: Mapping[str, LayerScores], units: Mapping[str, str]) -> str:
    """Return the scores of every model, layer and metric of one target."""
    rows: list[Named] = []
    for model, each in models.items():
        chosen = each.chosen if len(each.layers) > 1 else ()
        named = {(record.layer, record.metric) for record in chosen}
        rows += [
            ([model, r.layer, metric_label(r.metric)], r, (r.layer, r.metric) in named)
            for r in each.records
        ]
    unit = units.get(str(next(iter(models.values())).settings.get("target")))
    about = f"Scores of all layers, {with_unit(title_of(models), unit)}. Headings sort."
    return _table(("model", "layer", "metric"), rows, about)


def of_choices(sections: Iterable[Mapping[str, LayerScores]]) -> str:
    """Return the score of choosing a layer, of every target and model; "" where none was chosen."""
    rows: list[Named] = [
        ([title_of(models), model, r.layer, metric_label(r.metric)], r, False)
        for models in sections
        for model, each in models.items()
        for r in (each.records if len(each.layers) == 1 else each.chosen)
    ]
    about = "The layer chosen on validation items, and the score of choosing so. Headings sort."
    return _table(("target", "model", "layer", "metric"), rows, about) if rows else ""


def _table(names: Sequence[str], rows: Sequence[Named], caption: str) -> str:
    """Return a table whose headings sort it, with a column for each floor of any row."""
    floors = list(dict.fromkeys(name for _, record, _ in rows for name in floors_of(record)))
    has_control = any(math.isfinite(record.control) for _, record, _ in rows)
    heads = [
        *names, "score", "interval", *(f"floor: {name}" for name in floors), "above floors",
        "clear of floors", *(["control task", "selectivity"] if has_control else []), "items",
        "groups",
    ]  # fmt: skip
    cells = "".join(
        f'<th scope="col" class="{"word" if head in _WORDS else "number"}" aria-sort="none">'
        f'<button type="button">{escape(head)}</button></th>'
        for head in heads
    )
    body = "\n".join(_row(row, names, floors, has_control) for row in rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(row: Named, names: Sequence[str], floors: Sequence[str], has_control: bool) -> str:
    words, record, is_best = row
    gap, gap_low = gap_of(record)
    interval = "–" if math.isnan(record.low) else f"{_shown(record.low)} to {_shown(record.high)}"
    own = floors_of(record)
    cells = [
        *(_word(name, word, is_best) for name, word in zip(names, words, strict=True)),
        _number(record.score),
        f'<td class="number" data-value="{_value(record.low)}">{interval}</td>',
        *(_number(own.get(name, math.nan)) for name in floors),
        _number(gap),
        f"<td>{'–' if math.isnan(gap_low) else 'yes' if gap_low > 0 else 'no'}</td>",
        *([_number(record.control), _number(record.selectivity)] if has_control else []),
        f'<td class="number" data-value="{record.n_items}">{record.n_items:,}</td>',
        f'<td class="number" data-value="{record.n_groups}">{record.n_groups:,}</td>',
    ]
    mark = ' class="best"' if is_best else ""
    return f"<tr{mark}>{''.join(cells)}</tr>"


def _word(name: str, word: str, is_best: bool) -> str:
    if name != "layer":
        return f"<td>{escape(word)}</td>"
    mark = ' <span class="mark">best on validation</span>' if is_best else ""
    return f'<th scope="row">{escape(word)}{mark}</th>'


def _number(value: float) -> str:
    return f'<td class="number" data-value="{_value(value)}">{_shown(value)}</td>'


def _value(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _shown(value: float) -> str:
    if math.isnan(value):
        return "–"
    # Rounding may leave a negative zero; adding 0 takes its sign off.
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 100 else f"{value:,.1f}"
