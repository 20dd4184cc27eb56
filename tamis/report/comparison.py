"""Results of the trained comparison: a part of the sampler page, and lines for the terminal."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tamis.base.numbers import number
from tamis.comparison.analysis import ArmLoss, ComparisonReport
from tamis.comparison.claims import runs_of, sentences
from tamis.comparison.convergence import Convergence
from tamis.comparison.runs import FULL
from tamis.comparison.statistics import Contrast, NonInferiority
from tamis.report.rendering import BLUE, FONT_POINTS, GREY, INK, data_uri, new_figure, png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c25700", "#2c7a4b", "#8a2f8f", "#7a5a00", "#b3243a", "#3f6f7f", "#5b5b5b")
MOST_CURVES = 12
LINE_INCHES, LEAST_INCHES = 0.3, 3.6


@dataclass(frozen=True, kw_only=True)
class TrainedPart:
    """Fields of the page about a comparison.

    `losses`: of each arm on the target and on the pool, with what became of its runs. Contrasts and
    recoveries come with their corrected p-value.
    """

    report: ComparisonReport
    claims: list[str]
    picture: str
    losses: list[tuple[ArmLoss, ArmLoss, str]]
    contrasts: list[tuple[Contrast, float]]
    pool_contrasts: list[tuple[Contrast, float]]
    recoveries: list[tuple[NonInferiority, float, Convergence]]


def trained_part(report: ComparisonReport) -> TrainedPart:
    """Return what the page shows of a comparison."""
    target, pool = report.target, report.pool
    pace = {(one.sampler, one.budget): one for one in report.convergences}
    return TrainedPart(
        report=report,
        claims=list(sentences(report)),
        picture=data_uri(comparison_plot_png(report)),
        losses=[(one, other, runs_of(one)) for one, other in zip(target.arms, pool.arms, strict=True)],
        contrasts=list(zip(target.contrasts, target.p_holm, strict=True)),
        pool_contrasts=list(zip(pool.contrasts, pool.p_holm, strict=True)),
        recoveries=[
            (one, p, pace[one.sampler, one.budget])
            for one, p in zip(target.recoveries, target.recovery_p, strict=True)
        ],
    )


def comparison_text(report: ComparisonReport) -> list[str]:
    """Return the same for the terminal: a line an arm, then the sentences."""
    corrected = {
        (one.sampler, one.budget): (one.difference, p)
        for one, p in zip(report.target.contrasts, report.target.p_holm, strict=True)
    }
    lines = [f"{'trained on':24}{'target loss':>13}{'pool loss':>11}{'vs random':>11}{'p (Holm)':>10}  runs"]
    for target, pool in zip(report.target.arms, report.pool.arms, strict=True):
        difference, p = corrected.get((target.sampler, target.budget), (math.nan, math.nan))
        line = f"{report.name_of(target):24}{number(target.loss):>13}{number(pool.loss):>11}"
        lines.append(f"{line}{number(difference):>11}{number(p):>10}  {runs_of(target)}")
    return [*lines, *sentences(report)]


def comparison_plot_png(report: ComparisonReport) -> bytes:
    """Return contrasts with random and loss curves, as PNG of at most 60 KB."""
    figure, (left, right) = new_figure(
        2, width=10.0, height=max(LEAST_INCHES, LINE_INCHES * len(report.target.contrasts) + 1.2)
    )
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
    axis.set_yticks(range(len(shown)), [report.name_of(one) for one in shown], fontsize=FONT_POINTS)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel("target loss minus that of the sampler random, bits per byte", fontsize=FONT_POINTS)


def _draw_curves(figure: "Figure", axis: Any, report: ComparisonReport) -> None:
    tokens = report.share_p * report.tokens
    for place, arm in enumerate(report.target.arms[:MOST_CURVES]):
        dashes, colour = ("--", INK) if arm.sampler == FULL else ("-", COLOURS[place % len(COLOURS)])
        axis.plot(
            tokens, report.curve_ap[place], dashes, color=colour, linewidth=1.4, label=report.name_of(arm)
        )
        if arm.sampler == FULL:
            axis.axhline(report.curve_ap[place, -1], color=GREY, linewidth=0.8)
    axis.set_xlabel("tokens trained on", fontsize=FONT_POINTS)
    axis.set_ylabel("target loss, bits per byte", fontsize=FONT_POINTS)
    axis.grid(color="#e6eaee", linewidth=0.6)
    axis.legend(fontsize=FONT_POINTS - 1, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
