"""Sentences that say what a trained comparison proves: for the page and for the terminal.

A difference is named as one only when it holds after correction for the number of samplers; else it is said
that nothing is proven, which with three data seeds is common.
"""

import math
from collections.abc import Iterator

from tamis.base.numbers import counted, number
from tamis.comparison.analysis import ArmLoss, ComparisonReport
from tamis.comparison.statistics import Contrast
from tamis.comparison.storing import POOL


def sentences(report: ComparisonReport) -> Iterator[str]:
    """Yield what is proven about the target loss, or that nothing is; and what its gains cost elsewhere.

    Then which means leave runs out.
    """
    yield from _claims(report)
    yield from _costs(report)
    yield from _scores(report)
    for control, count in report.without_control.items():
        yield (
            f"Control {control}: {counted(count, 'run')} of {report.runs} without a loss on it, trained "
            "before the control was added or changed; only runs that are trained from now on are measured. "
            f"To measure all, change tokens in [sampler_trials]: it trains all {report.runs} again."
        )
    for arm in report.target.arms:
        if arm.diverged:
            yield (
                f"{report.name_of(arm)}: {arm.diverged} of {arm.planned} runs diverged; the mean losses "
                "cover only the other runs, so they make the sampler look better than it is. "
                "A lower learning_rate usually prevents divergence."
            )


def _claims(report: ComparisonReport) -> Iterator[str]:
    better = [one for one in report.target.proven if one.difference < 0]
    worse = [one for one in report.target.proven if one.difference > 0]
    if not report.target.contrasts or all(math.isnan(one.p) for one in report.target.contrasts):
        yield (
            "One run per sampler is not enough to test a difference: "
            "raise data_seeds in [sampler_trials] to 3 or more."
        )
        return
    if report.data_seeds == 1:
        yield (
            "With one data seed, nothing is known about other pools: "
            "raise data_seeds in [sampler_trials] to 3 or more."
        )
        return
    if better:
        yield f"Better than random on the target: {_listed(report, better)}."
    if worse:
        yield f"Worse than random on the target: {_listed(report, worse)}."
    if not better and not worse:
        yield (
            "No sampler is proven better or worse than random on the target "
            f"(data seeds: {report.data_seeds}, training seeds: {report.training_seeds})."
        )
    if recovered := [report.name_of(one) for one in report.target.recovered]:
        yield (
            "Proven not to be worse than training on all data by more than the margin: "
            f"{', '.join(recovered)}."
        )


def _costs(report: ComparisonReport) -> Iterator[str]:
    """Yield, for each set off the goal, what the samplers that are better on the target cost there."""
    better = [(one.sampler, one.budget) for one in report.target.proven if one.difference < 0]
    for name, measured in report.elsewhere.items():
        place = "the pool" if name == POOL else f"control {name}"
        proven = [one for one in measured.proven if (one.sampler, one.budget) in better]
        dear = [one for one in proven if one.difference > 0]
        cheap = [one for one in proven if one.difference < 0]
        compared = {(one.sampler, one.budget): one for one in measured.contrasts}
        open_ones = [compared[arm] for arm in better if arm in compared and compared[arm] not in proven]
        if dear:
            yield f"Cost of that on {place}, a higher loss than of random: {_listed(report, dear)}."
        if cheap:
            yield f"Also better than random on {place}: {_listed(report, cheap)}."
        if open_ones:
            names = ", ".join(f"{report.name_of(one)} ({one.difference:+.3f})" for one in open_ones)
            yield f"No difference from random is proven on {place}, in bits per byte: {names}."


def _scores(report: ComparisonReport) -> Iterator[str]:
    """Yield, for each task of the user's evaluation, the samplers that score other than random, in pairs."""
    for task, measured in report.scores.items():
        for direction, of_sign in (("higher", 1), ("lower", -1)):
            proven = [one for one in measured.proven if of_sign * one.difference > 0]
            if proven:
                yield f"Scores on {task} {direction} than of random: {_listed(report, proven, '')}."
        if not measured.proven:
            yield f"No difference from random is proven in the scores on {task}."
    if report.without_score:
        yield (
            f"Evaluation: {counted(report.without_score, 'run')} of {report.runs} without a score, trained "
            "before its command was set or changed, or by a trainer that left no checkpoint; only runs that "
            "are trained from now on are evaluated."
        )


def _listed(report: ComparisonReport, found: list[Contrast], unit: str = " bits per byte") -> str:
    parts = []
    for one in sorted(found, key=lambda one: one.difference):
        low, high = sorted((abs(one.low), abs(one.high)))
        bounds = f"(95 % interval: {number(low)} to {number(high)})"
        parts.append(f"{report.name_of(one)} by {abs(one.difference):.3f}{unit} {bounds}")
    return "; ".join(parts)


def runs_of(arm: ArmLoss) -> str:
    """Return how many runs a mean is of, and what became of the others."""
    if arm.runs == arm.planned:
        return str(arm.runs)
    others = arm.planned - arm.runs - arm.diverged
    lost = [f"{arm.diverged} diverged"] * bool(arm.diverged) + [f"{others} not trained"] * bool(others)
    return f"{arm.runs} of {arm.planned}, {' and '.join(lost)}"
