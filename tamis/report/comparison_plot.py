"""The comparison drawn: how much better than random each sampler is, and how its loss falls on the way.

Left, differences with their 95 % intervals; one that crosses the line at 0 proves nothing. Right, mean
target losses over the tokens, with the level that all data end at.
"""

import math
from typing import TYPE_CHECKING, Any

from tamis.comparison.analysis import ComparisonReport
from tamis.comparison.runs import FULL
from tamis.report.figures import BLUE, FONT_POINTS, GREY, INK, new_figure, png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c25700", "#2c7a4b", "#8a2f8f", "#7a5a00", "#b3243a", "#3f6f7f", "#5b5b5b")
MOST_CURVES = 12
LINE_INCHES, LEAST_INCHES = 0.3, 3.6


def comparison_plot_png(report: ComparisonReport) -> bytes:
    """Return contrasts with random and loss curves, as PNG of at most 60 KB."""
    height = max(LEAST_INCHES, LINE_INCHES * len(report.target.contrasts) + 1.2)
    figure, (left, right) = new_figure(2, width=10.0, height=height)
    _draw_contrasts(left, report)
    _draw_curves(figure, right, report)
    return png_of(figure)


def _draw_contrasts(axis: Any, report: ComparisonReport) -> None:
    shown = [one for one in report.target.contrasts if math.isfinite(one.difference)][::-1]
    proven = {(one.sampler, one.budget) for one in report.target.proven}
    for place, one in enumerate(shown):
        colour = BLUE if (one.sampler, one.budget) in proven else INK
        axis.plot(one.difference, place, "o", color=colour, markersize=6)
        if math.isfinite(one.low):
            axis.plot([one.low, one.high], [place, place], color=colour, linewidth=1.6)
    axis.axvline(0, color=GREY, linewidth=1)
    names = [report.name_of(one) for one in shown]
    axis.set_yticks(range(len(shown)), names, fontsize=FONT_POINTS)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel("target loss minus that of the sampler random, bits per byte", fontsize=FONT_POINTS)


def _draw_curves(figure: "Figure", axis: Any, report: ComparisonReport) -> None:
    tokens = report.share_p * report.tokens
    for place, arm in enumerate(report.target.arms[:MOST_CURVES]):
        dashes, colour = ("--", INK) if arm.sampler == FULL else ("-", COLOURS[place % len(COLOURS)])
        name = report.name_of(arm)
        axis.plot(tokens, report.curve_ap[place], dashes, color=colour, linewidth=1.4, label=name)
        if arm.sampler == FULL:
            axis.axhline(report.curve_ap[place, -1], color=GREY, linewidth=0.8)
    axis.set_xlabel("tokens trained on", fontsize=FONT_POINTS)
    axis.set_ylabel("target loss, bits per byte", fontsize=FONT_POINTS)
    axis.grid(color="#e6eaee", linewidth=0.6)
    axis.legend(fontsize=FONT_POINTS - 1, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
