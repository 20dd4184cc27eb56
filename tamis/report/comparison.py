"""Results of the trained comparison: a part of the sampler page, and lines for the terminal."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tamis.base.numbers import number
from tamis.comparison.analysis import ArmLoss, ComparisonReport, Measured
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

    `losses`: of each arm on the target and elsewhere, with what became of its runs. `elsewhere`: names of the
    sets off the goal. Contrasts, those off the goal by set, and recoveries have their corrected p-value.
    """

    report: ComparisonReport
    claims: list[str]
    picture: str
    losses: list[tuple[ArmLoss, list[ArmLoss], str]]
    elsewhere: dict[str, Measured]
    contrasts: list[tuple[Contrast, float]]
    contrasts_elsewhere: dict[str, list[tuple[Contrast, float]]]
    contrasts_of_scores: dict[str, list[tuple[Contrast, float]]]
    recoveries: list[tuple[NonInferiority, float, Convergence]]


def trained_part(report: ComparisonReport) -> TrainedPart:
    """Return what the page shows of a comparison."""
    target, elsewhere = report.target, report.elsewhere
    pace = {(one.sampler, one.budget): one for one in report.convergences}
    return TrainedPart(
        report=report,
        claims=list(sentences(report)),
        picture=data_uri(comparison_plot_png(report)),
        losses=[
            (one, [measured.arms[place] for measured in elsewhere.values()], runs_of(one))
            for place, one in enumerate(target.arms)
        ],
        elsewhere=elsewhere,
        contrasts=list(zip(target.contrasts, target.p_holm, strict=True)),
        contrasts_elsewhere={
            name: list(zip(measured.contrasts, measured.p_holm, strict=True))
            for name, measured in elsewhere.items()
        },
        contrasts_of_scores={
            task: list(zip(measured.contrasts, measured.p_holm, strict=True))
            for task, measured in report.scores.items()
        },
        recoveries=[
            (one, p, pace[one.sampler, one.budget])
            for one, p in zip(target.recoveries, target.recovery_p, strict=True)
        ],
    )


def comparison_text(report: ComparisonReport) -> list[str]:
    """Return the same for the terminal: a line an arm, then the sentences."""
    losses = {"target": report.target} | report.elsewhere
    sets = {f"{name} loss": measured for name, measured in losses.items()}
    sets |= {f"{task} score": measured for task, measured in report.scores.items()}
    compared = [
        {(one.sampler, one.budget): one.difference for one in measured.contrasts}
        for measured in sets.values()
    ]
    corrected = {
        (one.sampler, one.budget): p
        for one, p in zip(report.target.contrasts, report.target.p_holm, strict=True)
    }
    wide = [max(13, len(name) + 2) for name in sets]
    headings = [f"{name:>{size}}{'vs random':>11}" for name, size in zip(sets, wide, strict=True)]
    lines = [f"{'trained on':24}{headings[0]}{'p (Holm)':>10}{''.join(headings[1:])}  runs"]
    for place, target in enumerate(report.target.arms):
        arm = (target.sampler, target.budget)
        shown = [
            f"{number(measured.arms[place].loss):>{size}}{number(differences.get(arm, math.nan)):>11}"
            for measured, size, differences in zip(sets.values(), wide, compared, strict=True)
        ]
        p = f"{number(corrected.get(arm, math.nan)):>10}"
        lines.append(f"{report.name_of(target):24}{shown[0]}{p}{''.join(shown[1:])}  {runs_of(target)}")
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
