"""The HTML page."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import pytest

import speechprobe as sp

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.rows, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if set(self.open) & {"td", "th"}:
            self.rows[-1][-1] += data
        if not set(self.open) & {"style", "script"}:
            self.text += data

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]

    def having(self, name):
        return [attrs for tag, attrs in self.elements if tag == name]


@pytest.fixture
def write(tmp_path):
    def write_page(scores, **settings):
        path = sp.reports.html(scores, tmp_path / "new" / "page.html", **settings)
        return path.read_text("utf-8")

    return write_page


def test_the_page_parses_names_nothing_twice_and_asks_for_no_other_file(write, models, make_scores):
    pictures = {
        "confusion": sp.plots.plot_confusion(["F", "M"], ["F", "M"]),
        "errors": sp.plots.plot_errors([1.0, 2.0], [1.5, 2.5]),
    }
    text = write([models, make_scores("pitch", [0.1, 0.2])], pictures=pictures)
    page = Page(text)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids)) > 50
    links = [link for link in page.attributes("href") if not link.startswith("data:image/png")]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert not page.attributes("src")
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert "default-src 'none'" in text
    assert len(page.having("svg")) == 4


def test_every_score_stands_in_a_table(write, models):
    page = Page(write(models, title="A & B"))
    rows = [row for row in page.rows if row[0] in models]
    assert len(rows) == 7
    trained = rows[2]
    assert trained == [
        "<trained>", "block.2 best on validation", "R²", "0.700", "0.500 to 0.800", "-0.100",
        "0.800", "yes", "50", "10",
    ]  # fmt: skip
    best = [row for row in page.rows if row[0] == "rate"]
    assert [row[1:4] for row in best] == [
        ["<trained>", "block.2", "R²"], ["untrained", "block.1", "R²"], ["log-mel", "block.0", "R²"]
    ]  # fmt: skip
    assert "A & B" in page.text


def test_where_lower_is_better_the_gap_and_the_interval_turn_round(write, make_scores):
    scores = make_scores("rate", [-0.5, -0.15, 0.3], "mae")  # floor -0.1, intervals up to + 0.1
    rows = [row for row in Page(write(scores)).rows if row[2] == "MAE" and len(row) == 10]
    assert [row[6] for row in rows] == ["0.400", "0.050", "-0.400"]
    assert [row[7] for row in rows] == ["yes", "no", "no"]


def test_an_interval_that_reaches_the_floor_says_so(write, make_scores):
    rows = [row for row in Page(write(make_scores("rate", [0.05, 0.2]))).rows if len(row) == 10]
    assert [row[7] for row in rows[1:]] == ["no", "yes"]


def test_scores_without_floor_or_interval_leave_a_dash_that_sorts_last(write):
    nan = float("nan")
    record = sp.layers.LayerScore("a", "r2", 0.5, nan, nan, nan, 0, 5, 2, True)
    page = Page(write(sp.LayerScores((record,), None, {"target": "rate"})))
    row = next(row for row in page.rows if row[1] == "a")
    assert row[3:7] == ["0.500", "–", "–", "–"]
    assert page.attributes("data-value").count("") == 2 * 2


def test_every_floor_has_a_column_and_the_gap_is_that_to_the_highest(write, make_scores):
    scores = make_scores("rate", [0.3, 0.6])
    floors = (("shuffled", -0.1), ("mean", 0.0), ("logmel", 0.25))
    records = tuple(
        replace(r, floors=floors, gap=r.score - 0.25, gap_low=r.score - 0.4, control=0.2,
                selectivity=r.score - 0.2)
        for r in scores.records
    )  # fmt: skip
    page = Page(write(sp.LayerScores(records, scores.predictions, scores.settings)))
    heads = page.rows[0]
    assert heads[3:] == [
        "score", "interval", "floor: shuffled", "floor: mean", "floor: logmel", "above floors",
        "clear of floors", "control task", "selectivity", "items", "groups",
    ]  # fmt: skip
    assert [row[5:12] for row in page.rows[1:]] == [
        ["-0.100", "0.000", "0.250", "0.050", "no", "0.200", "0.100"],
        ["-0.100", "0.000", "0.250", "0.350", "yes", "0.200", "0.400"],
    ]


def test_records_without_a_paired_gap_are_measured_against_their_highest_floor(write, make_scores):
    scores = make_scores("rate", [0.3])
    record = replace(scores.records[0], floors=(("shuffled", -0.1), ("logmel", 0.2)))
    page = Page(write(sp.LayerScores((record,), scores.predictions, scores.settings)))
    assert page.rows[-1][7:9] == ["0.100", "no"]


def test_cautions_stand_above_the_table(write, make_scores):
    scores = replace(make_scores("rate", [0.3, 0.4]), cautions=("only 4 groups & few items",))
    text = write({"net": scores})
    assert "With care, net" in Page(text).text
    assert "<li>only 4 groups &amp; few items</li>" in text
    assert "With care" not in write(make_scores("rate", [0.3]))


def test_headings_are_buttons_and_pictures_speak(write, models):
    text = write(models)
    page = Page(text)
    heads = [attrs for attrs in page.having("th") if attrs.get("scope") == "col"]
    assert all(head["aria-sort"] == "none" for head in heads)
    assert len(page.having("button")) == len(heads) == 11 + 10
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.having("svg"))
    assert page.having("html") == [{"lang": "en"}]
    assert len(page.having("caption")) == len(page.having("table")) == 2
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text


def contrast(a, b):
    def light(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        values = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    return max(light(a) / light(b), light(b) / light(a))


def test_text_is_legible_in_light_and_dark(write, make_scores):
    text = write(make_scores("rate", [0.1]))
    schemes = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        for kind in ("text", "soft", "link"):
            assert contrast(colours[kind], colours["ground"]) >= 4.5
        assert contrast(colours["text"], colours["panel"]) >= 4.5


def test_labels_cannot_break_out_of_the_page(write, make_scores):
    evil = '"><script>alert(1)</script><b a="'
    scores = make_scores(evil, [0.1, 0.2], prefix=evil, extractor={"name": evil}, corpus=evil)
    figure = sp.plots.plot_errors([1.0], [2.0], target=evil)
    page = Page(write({evil: scores}, title=evil, pictures={evil: figure}, units={evil: evil}))
    assert len(page.having("script")) == 1
    assert not page.having("b")


def test_provenance_and_settings_stand_on_the_page(write, make_scores):
    made_by = {"corpus": "LibriSpeech", "extractor": {"name": "net", "weights": "sha256:12ab"}}
    page = Page(write(make_scores("rate", [0.1, 0.2], **made_by)))
    assert '"weights": "sha256:12ab"' in page.text
    assert "Settings and provenance of net" in page.text
    assert "LibriSpeech: rate" in page.text


def test_the_same_scores_give_the_same_bytes_and_no_style_changes(write, models):
    before = dict(mpl.rcParams)
    assert write(models) == write(models)
    assert dict(mpl.rcParams) == before


def test_several_targets_have_sections_with_their_units(write, models, make_scores):
    text = write([models, make_scores("pitch", [9.0, 8.0], "mae")], units={"pitch": "Hz"})
    page = Page(text)
    assert {"target-0", "target-1", "choices", "how"} <= set(page.attributes("id"))
    assert "Scores of all layers, pitch (Hz). Headings sort." in page.text


def test_no_layer_is_called_best_where_none_was_chosen(write, make_scores):
    scores = make_scores("rate", [0.1, 0.2])
    page = Page(write(sp.LayerScores(scores.records, scores.predictions, scores.settings)))
    assert "choices" not in page.attributes("id")
    assert not {"best", "mark"} & set(page.attributes("class"))


def test_what_is_no_score_is_refused(write):
    with pytest.raises(TypeError, match="expected LayerScores"):
        write("rate")
    with pytest.raises(ValueError, match="no scores"):
        write([])
