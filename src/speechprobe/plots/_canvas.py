"""What all pictures share: the figure, colours, words on axes, and room for many layers."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, Locator

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

# Okabe and Ito's, without their yellow, which is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLOUR_MAP = "viridis"
# White to dark blue, for shares that are mostly near 0: it spares the ink.
SHARE_MAP = LinearSegmentedColormap.from_list("share", ["#FFFFFF", "#0072B2", "#00263B"])
MOST_VECTOR_POINTS = 5_000  # a cloud of more is drawn as one image within the vector file
GREY = "0.35"

_MOST_SLANTED = 12  # layers; the names of more stand upright
_LONG_NAME = 12  # characters
_SHORT_NAME = 3
_LABEL_POINTS = 10.5  # height of a line of small text, with the space around it
_UNITS = {"mse": 2, "mae": 1, "rmse": 1}  # power of the target's unit
_NAMES = {"r2": "R²", "mse": "MSE", "mae": "MAE", "rmse": "RMSE", "uar": "UAR", "macro_f1": "F1"}


class Picture(Figure):
    """A figure that a notebook shows although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def one_panel(ax: Axes | None, *, width: float = 4.5, height: float = 3.4) -> tuple[Figure, Axes]:
    """Return the Axes to draw into and its figure: the user's, or new ones of a size in inches."""
    if ax is None:
        figure = Picture(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()
    return figure_of(ax), ax


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure that holds an Axes, through subfigures too."""
    holder: Any = ax.figure
    if holder is None:
        raise ValueError("ax belongs to no figure any more")
    return holder.figure  # type: ignore[no-any-return]


def many_panels(
    n_panels: int, ax: Axes | None, *, width: float, height: float, most_columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels of a size in inches, or the user's one.

    Raises
    ------
    ValueError
        If the user gave one Axes for several panels.
    """
    if ax is not None and n_panels != 1:
        raise ValueError(
            f"ax holds one panel, and there are {n_panels} (one a target and metric); "
            "name one metric, or leave ax out"
        )
    if ax is not None:
        return figure_of(ax), [ax]
    n_columns = max(1, min(most_columns, n_panels, int(15 / width)))
    n_rows = -(-n_panels // n_columns)
    room = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08)  # inches around each panel
    figure = Picture(figsize=(width * n_columns, height * n_rows + 0.4), layout=room)
    places = list(figure.subplots(n_rows, n_columns, squeeze=False).ravel())
    for spare in places[n_panels:]:
        spare.remove()
    return figure, places[:n_panels]


def look(number: int) -> tuple[str, str]:
    """Return colour and marker of a series: 49 pairs before one comes again."""
    turn, colour = divmod(number, len(COLOURS))
    return COLOURS[colour], MARKERS[(colour + turn) % len(MARKERS)]


def with_unit(name: str, unit: str | None) -> str:
    """Return the words of an axis: what it shows, and its unit in brackets."""
    return f"{name} ({unit})" if unit else name


def metric_label(metric: str, unit: str | None = None) -> str:
    """Return the words for a metric, with the target's unit where the metric carries it."""
    power = _UNITS.get(metric)
    shown = {None: None, 1: unit, 2: f"({unit})²" if unit else None}[power]
    name = _NAMES.get(metric, metric.replace("_", " "))
    return with_unit(name, shown.strip("()") if shown and power == 1 else shown)


def tidy(ax: Axes, *, grid: str | None = "y") -> None:
    """Take the frame off two sides, and draw a faint grid along one axis or both."""
    ax.spines[["top", "right"]].set_visible(False)
    if grid is not None:
        ax.grid(axis=grid, alpha=0.3)  # type: ignore[arg-type]
        ax.set_axisbelow(True)


def title(ax: Axes, text: str) -> None:
    """Set a title that leaves room for the next panel's."""
    ax.set_title(text, fontsize="medium", wrap=True)


def note(ax: Axes, text: str, *, x: float = 0.03, y: float = 0.97, va: str = "top") -> None:
    """Write figures into a corner, on a ground that keeps them legible over points."""
    ax.text(
        x, y, text, transform=ax.transAxes, va=va, fontsize="small", linespacing=1.4, zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
    )  # fmt: skip


def add_legend(figure: Figure, entries: Mapping[str, Artist], ax: Axes | None) -> None:
    """Draw one legend: within the user's Axes, or under all panels of a figure of ours."""
    if not entries:
        return
    if ax is not None:
        ax.legend(
            list(entries.values()),
            list(entries),
            fontsize="small",
            framealpha=0.8,
            edgecolor="none",
        )
        return
    longest = max(len(name) for name in entries)
    n_columns = int(figure.get_figwidth() * 72 / (5 * longest + 45))
    figure.legend(
        handles=list(entries.values()),
        labels=list(entries),
        loc="outside lower center",
        ncols=max(1, min(n_columns, len(entries))),
        frameon=False,
        fontsize="small",
    )


class LayerTicks(Locator):
    """One tick a layer, or every second, third... where the axis is too short for all names."""

    def __init__(self, n_layers: int) -> None:
        self.n_layers = n_layers

    def __call__(self) -> Sequence[float]:
        axes: Any = self.axis.axes  # type: ignore[union-attr]
        pixels = axes.bbox.width if self.axis is axes.xaxis else axes.bbox.height
        room = max(1, int(pixels / axes.figure.dpi * 72 / _LABEL_POINTS))
        return list(range(0, self.n_layers, math.ceil(self.n_layers / room)))

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        return [place for place in self() if vmin <= place <= vmax]


def name_layers(axis: XAxis | YAxis, layers: Sequence[str]) -> str:
    """Label the ticks 0, 1, ... of an axis with layers; return what their names leave out.

    Long names lose the modules that all of them share, but for the last: "encoder.layers.0" is
    written as "layers.0", and "encoder" comes back.
    """
    shared = _shared_modules(layers)
    names = [name[len(shared) :] for name in layers]
    is_y = axis.axis_name == "y"
    if is_y or len(layers) > _MOST_SLANTED:
        axis.set_major_locator(LayerTicks(len(layers)))
        axis.set_major_formatter(
            FuncFormatter(lambda x, _: names[round(x)] if 0 <= round(x) < len(names) else "")
        )
        axis.set_tick_params(rotation=0 if is_y else 90, labelsize="small")
    else:
        axis.set_ticks(range(len(layers)), names, fontsize="small")
        for text in axis.get_ticklabels() if max(map(len, names)) > _SHORT_NAME else ():
            text.set(rotation=40, ha="right", rotation_mode="anchor")
    return shared.rstrip(".")


def _shared_modules(layers: Sequence[str]) -> str:
    """Return the modules but one that start every long name; "" where names are short."""
    if len(layers) < 2 or max(map(len, layers)) <= _LONG_NAME:
        return ""
    paths = [layer.split(".")[:-1] for layer in layers]
    n_shared = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        n_shared += 1
    return "".join(f"{part}." for part in paths[0][: n_shared - 1] if n_shared)
