"""Verification: scores of pairs of utterances, and the errors that any threshold makes.

Conventions: `truth` is 1 where both utterances of a trial are one speaker's (a target trial), 0
where they are not; a higher `score` means the same speaker, and a trial is accepted where its score
reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.stats import norm

from speechprobe.layers.verification.scores import VerificationScores
from speechprobe.metrics.verification import (
    det_curve,
    equal_error_rate,
    equal_error_threshold,
)
from speechprobe.plots import _canvas

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

_TICKS = (1e-4, 1e-3, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_LEAST, _MOST = 1e-6, 1 - 1e-6  # ends of the normal-deviate scale, which has no 0 and no 1
_N_BINS = 60


def plot_scores(
    truth: ArrayLike | VerificationScores,
    score: ArrayLike | None = None,
    *,
    layer: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot histograms of target and non-target scores, with the threshold of equal errors.

    Parameters
    ----------
    truth
        1 for target trials, 0 for the others, (n_trials,); or what `verify_layers` gave, without
        `score`.
    score
        Scores (n_trials,), higher for the same speaker.
    layer
        Which layer of `verify_layers`; needless where there is one.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        Each histogram has area 1, since non-targets are many more as a rule. The dashed line is
        the threshold at which the equal error rate (EER) holds.

    Raises
    ------
    ValueError
        If the lengths differ, a score is NaN, one of the two kinds is missing, or there are
        several layers and none is named.
    KeyError
        If there is no such layer.

    Examples
    --------
    >>> figure = plot_scores([1, 1, 0, 0], [0.9, 0.4, 0.3, 0.1])
    >>> figure.axes[0].get_ylabel()
    'density (area 1 each)'
    """
    truth, systems = _given(truth, score, layer)
    if len(systems) > 1:
        raise ValueError(f"a histogram is of one layer: name it by layer=, one of {list(systems)}")
    (score,) = systems.values()
    rate, threshold = equal_error_rate(truth, score), equal_error_threshold(truth, score)
    is_target, scores = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    figure, axes = _canvas.one_panel(ax)
    edges = np.histogram_bin_edges(scores, bins=_N_BINS).tolist()
    for wanted, name, colour in ((False, "non-target", 1), (True, "target", 0)):
        kept = scores[is_target == wanted]
        axes.hist(
            kept, bins=edges, density=True, color=_canvas.COLOURS[colour], alpha=0.6,
            label=f"{name} ({len(kept):,})",
        )  # fmt: skip
    axes.axvline(
        threshold, color="black", linestyle="--", linewidth=1.2,
        label=f"EER {_percent(rate)} at {threshold:.3g}",
    )  # fmt: skip
    axes.set_xlabel("score (no unit, higher: same speaker)")
    axes.set_ylabel("density (area 1 each)")
    axes.margins(y=0.3)  # room for the legend
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    _canvas.tidy(axes)
    return figure


def plot_det(
    truth: ArrayLike | VerificationScores,
    score: ArrayLike | Mapping[str, ArrayLike] | None = None,
    *,
    layer: str | Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot the detection error trade-off (DET): misses against false alarms at all thresholds.

    Both axes are normal deviates, so that the curve of normally distributed scores is a straight
    line.

    Parameters
    ----------
    truth
        1 for target trials, 0 for the others, (n_trials,); or what `verify_layers` gave, without
        `score`.
    score
        Scores (n_trials,), higher for the same speaker; or {name: scores} of several systems or
        layers on the same trials.
    layer
        Which layer or layers of `verify_layers`; all by default.
    ax
        Axes to draw into.

    Returns
    -------
    figure
        A point on the diagonal marks the equal error rate (EER); the legend names it.

    Raises
    ------
    ValueError
        If the lengths differ, a score is NaN, or one of the two kinds is missing.
    KeyError
        If there is no such layer.

    References
    ----------
    Martin, Doddington, Kamm, Ordowski and Przybocki, "The DET curve in assessment of detection
    task performance", Eurospeech 1997.

    Examples
    --------
    >>> figure = plot_det([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.3, 0.4, 0.2, 0.1])
    >>> figure.axes[0].get_xlabel()
    'false accept rate (%)'
    """
    truth, systems = _given(truth, score, layer)
    figure, axes = _canvas.one_panel(ax, width=4.2, height=4.2)
    highest = 0.0
    entries: dict[str, Artist] = {}
    for number, (name, each) in enumerate(systems.items()):
        rate = equal_error_rate(truth, each)
        false_accept, miss, _ = det_curve(truth, each)
        colour, marker = _canvas.look(number)
        axes.plot(false_accept, miss, color=colour, linewidth=1.5)
        text = f"{name}: EER {_percent(rate)}" if name else f"EER {_percent(rate)}"
        (entries[text],) = axes.plot(
            [rate], [rate], marker, color=colour, markeredgecolor="white", zorder=3
        )
        highest = max(highest, rate)
    n_targets = int(np.sum(np.asarray(truth) == 1))
    # A rate below one trial's share cannot be seen.
    lowest = 0.5 / max(n_targets, len(np.asarray(truth)) - n_targets)
    _use_deviates(axes, max(lowest, 1e-4), min(max(0.5, 1.5 * highest), 0.95))
    _canvas.add_legend(figure, entries, ax)
    _canvas.tidy(axes, grid="both")
    return figure


def _given(
    truth: ArrayLike | VerificationScores,
    score: ArrayLike | Mapping[str, ArrayLike] | None,
    layer: str | Sequence[str] | None,
) -> tuple[NDArray[Any], dict[str, ArrayLike]]:
    """Return what each trial is, and the scores of each system by name."""
    if isinstance(truth, VerificationScores):
        if score is not None:
            raise ValueError("scores of layers hold the score of every trial: leave `score` out")
        wanted = truth.layers if layer is None else [layer] if isinstance(layer, str) else layer
        named = {truth.record(name).layer: truth.scores[name] for name in wanted}
        return truth.trial_list["same"].to_numpy(dtype=bool), dict(named)
    if score is None or layer is not None:
        raise ValueError(
            "give truth and score of each trial; layer= is for what verify_layers gave"
        )
    systems = dict(score) if isinstance(score, Mapping) else {"": score}
    return np.asarray(truth), systems


def _use_deviates(axes: Axes, lowest: float, highest: float) -> None:
    def forward(rate: NDArray[np.float64]) -> NDArray[np.float64]:
        return norm.ppf(np.clip(rate, _LEAST, _MOST))

    def backward(deviate: NDArray[np.float64]) -> NDArray[np.float64]:
        return norm.cdf(deviate)

    axes.set_xscale("function", functions=(forward, backward))
    axes.set_yscale("function", functions=(forward, backward))
    for axis, name in ((axes.xaxis, "false accept rate (%)"), (axes.yaxis, "miss rate (%)")):
        axis.set_major_locator(FixedLocator([t for t in _TICKS if lowest <= t <= highest]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g}"))
        axis.set_label_text(name)
        axis.set_tick_params(labelsize="small")
    axes.set(xlim=(lowest, highest), ylim=(lowest, highest))
    axes.set_aspect("equal")
    axes.plot(
        [lowest, highest], [lowest, highest], color=_canvas.GREY, linewidth=0.8, linestyle=":"
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
