"""What the trained comparison says: a part of the sampler page, and lines for the terminal."""

import math
from dataclasses import dataclass

from tamis.base.numbers import number
from tamis.comparison.analysis import ArmLoss, ComparisonReport
from tamis.comparison.claims import runs_of, sentences
from tamis.comparison.convergence import Convergence
from tamis.comparison.statistics import Contrast, NonInferiority
from tamis.report.comparison_plot import comparison_plot_png
from tamis.report.figures import data_uri


@dataclass(frozen=True, kw_only=True)
class TrainedPart:
    """What the page shows of a comparison.

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
        (one.sampler, one.budget): (one, p)
        for one, p in zip(report.target.contrasts, report.target.p_holm, strict=True)
    }
    lines = [f"{'trained on':24}{'target loss':>13}{'pool loss':>11}{'vs random':>11}{'p (Holm)':>10}  runs"]
    for target, pool in zip(report.target.arms, report.pool.arms, strict=True):
        contrast = corrected.get((target.sampler, target.budget))
        shown = (contrast[0].difference, contrast[1]) if contrast else (math.nan, math.nan)
        name = report.name_of(target)
        line = f"{name:24}{number(target.loss):>13}{number(pool.loss):>11}"
        lines.append(f"{line}{number(shown[0]):>11}{number(shown[1]):>10}  {runs_of(target)}")
    return [*lines, *sentences(report)]
