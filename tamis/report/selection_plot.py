"""Plot a histogram of the deciding score: the pool, the cut, and the chosen documents.

A selection is often a per cent of the pool and would vanish, so a second panel shows the neighbourhood of
the cut at a scale of its own. Samplers that use no score get the mix of sources instead.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.report.rendering import AMBER, BLUE, FONT_POINTS, GREY, new_figure, png_of
from tamis.report.selection_data import SelectionReport, source_mix
from tamis.selection.decide import DecidingScore, deciding_score

BINS = 60
SMALL_SHARE = 0.2
LABEL_CHARACTERS = 32


def selection_plot_png(report: SelectionReport) -> bytes:
    """Return the histogram, or without a deciding score the mix of sources, as PNG of at most 60 KB."""
    score = deciding_score(report.decisions, report.settings)
    if score is None:
        return _mix_png(report)
    panels = 2 if has_zoom(score) else 1
    figure, axes = new_figure(panels, height=3.6)
    _draw(axes[0], score, np.ones_like(score.chosen))
    axes[0].set_title("all eligible documents", fontsize=FONT_POINTS, loc="left")
    if panels == 2:
        _draw(axes[1], score, _near_cut(score))
        axes[1].set_title("around the cut", fontsize=FONT_POINTS, loc="left")
    handles, labels = axes[0].get_legend_handles_labels()
    order = [1, 0, *range(2, len(labels))]  # of stacked outlines, the upper one is listed first
    figure.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        fontsize=FONT_POINTS,
        frameon=False,
        loc="outside upper center",
        ncols=3,
    )
    return png_of(figure)


def has_zoom(score: DecidingScore) -> bool:
    """Return whether a second panel shows the neighbourhood of the cut."""
    taken = int(score.chosen.sum())
    return score.cut is not None and 0 < taken < SMALL_SHARE * len(score.scores)


def _near_cut(score: DecidingScore) -> NDArray[np.bool_]:
    """The chosen and about three times as many on the other side of the cut."""
    order = np.argsort(score.scores if score.smaller_is_better else -score.scores, kind="stable")
    near = np.zeros(len(order), dtype=bool)
    near[order[: 4 * int(score.chosen.sum())]] = True
    return near


def _draw(axis: Any, score: DecidingScore, shown: NDArray[np.bool_]) -> None:
    scores, chosen = score.scores[shown.astype(bool)], score.chosen[shown.astype(bool)]
    edges = _edges(scores, score.cut)
    axis.hist(
        [scores[chosen], scores[~chosen]],
        bins=edges,
        stacked=True,
        histtype="stepfilled",  # two outlines, not a hundred bars
        color=[BLUE, GREY],
        label=[f"chosen ({int(score.chosen.sum()):,})", f"not chosen ({int((~score.chosen).sum()):,})"],
    )
    if score.cut is not None:
        axis.axvline(score.cut, color=AMBER, linewidth=1.4, linestyle="--", label=f"cut at {score.cut:.4g}")
    axis.set_xlabel(score.label, fontsize=FONT_POINTS)
    axis.set_ylabel("documents", fontsize=FONT_POINTS)


def _edges(scores: NDArray[np.float64], cut: float | None) -> NDArray[np.float64]:
    """Equal bins, shifted so that the cut is an edge: no bar then mixes both sides."""
    low, high = float(scores.min()), float(scores.max())
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    width = (high - low) / BINS
    if cut is None or not low < cut < high:
        return np.linspace(low, high, BINS + 1)
    below = int(np.ceil((cut - low) / width))
    above = int(np.ceil((high - cut) / width))
    edges: NDArray[np.float64] = cut + width * np.arange(-below, above + 1, dtype=np.float64)
    return edges


def _mix_png(report: SelectionReport) -> bytes:
    mix = source_mix(report)
    height = 1.2 + 0.34 * max(len(mix), 2)
    figure, (axis,) = new_figure(height=height)
    pool, chosen = (mix[name].to_numpy().astype(float) for name in ("pool", "chosen"))
    places = np.arange(len(mix))[::-1]
    for values, offset, colour, label in ((pool, 0.19, GREY, "pool"), (chosen, -0.19, BLUE, "chosen")):
        shares = 100 * values / max(values.sum(), 1.0)
        axis.barh(places + offset, shares, height=0.36, color=colour, label=label)
    axis.set_yticks(places, [str(source)[:LABEL_CHARACTERS] for source in mix["source"]])
    axis.set_xlabel("share of documents, %", fontsize=FONT_POINTS)
    axis.legend(fontsize=FONT_POINTS - 1, frameon=False)
    return png_of(figure)
