"""Which model, why, at what cost, and how far the numbers can be trusted, in sentences.

The rule is the smallest predicted loss; the sentences say when that difference is within the uncertainty,
which with four sizes a model is the rule rather than the exception.
"""

import math
from collections.abc import Sequence

from tamis.report.page import count, number, percent
from tamis.report.scaling_report import ModelReport, ScalingReport

PARAMETERS_RECTIFIED = 4
FAR_OCTAVES = 2.0
FEW_SIZES = 6


def choose(models: Sequence[ModelReport], unit: str) -> tuple[str | None, str]:
    """The model with the smallest predicted loss at the target size, and why."""
    able = sorted(
        (model for model in models if math.isfinite(model.predictions[0].loss)),
        key=lambda model: (model.predictions[0].loss, model.model),
    )
    if not able:
        return None, "No model has a usable measurement yet, so none can be chosen."
    best = able[0]
    if len(able) == 1:
        return best.model, "It is the only model with measurements, so there was nothing to choose between."
    return best.model, _comparison(best, able[1], unit)


def _comparison(best: ModelReport, second: ModelReport, unit: str) -> str:
    first, other = best.predictions[0], second.predictions[0]
    gap = other.loss - first.loss
    why = (
        f"It has the smallest predicted loss: {number(gap)} {unit} ({percent(gap / other.loss)}) "
        f"below the next one, {second.model}."
    )
    if not (math.isfinite(first.high) and math.isfinite(other.low)):
        return f"{why} There is no interval to say how certain that is."
    if first.high < other.low:
        return f"{why} Their 90 % intervals do not overlap, so the difference is clear."
    return (
        f"{why} Their 90 % intervals overlap, so the order of these two is not settled: a longer run of both "
        "would settle it."
    )


def cost_share(models: Sequence[ModelReport]) -> float:
    """Cost of all measured runs over the cost of tuning every model at the target size; NaN if unknown."""
    full = sum(model.cost_full for model in models)
    return sum(model.cost_spent for model in models) / full if full > 0 else math.nan


def caveats_of(models: Sequence[ModelReport], target_size: float) -> tuple[str, ...]:
    """What a reader must know before trusting the numbers."""
    found: list[str] = []
    fewest = min((len(model.sizes) for model in models), default=0)
    if fewest <= PARAMETERS_RECTIFIED:
        found.append(
            f"At least one model was measured at only {fewest} sizes. The rectified law has four parameters "
            "and passes through any four points, so a small misfit here is no evidence, and parameters such "
            "as E and D_l are guesses."
        )
    elif fewest <= FEW_SIZES:
        found.append(
            f"With {fewest} sizes a model, fitted parameters such as E and D_l are weakly determined."
        )
    largest = min((max(model.sizes) for model in models if model.sizes), default=math.nan)
    octaves = math.log2(target_size / largest) if math.isfinite(largest) else 0.0
    if octaves > FAR_OCTAVES:
        found.append(
            f"The target of {count(target_size)} examples is {number(2**octaves, 1)} times the largest size "
            f"measured for some model ({count(largest)}): the further, the more the prediction rests on "
            "the law and the less on measurements."
        )
    return (*found, *_caveats_of_backtests(models))


def _caveats_of_backtests(models: Sequence[ModelReport]) -> list[str]:
    untested = [model.model for model in models if model.backtest is None]
    missed = [
        model.model
        for model in models
        if model.backtest is not None
        and not _within(
            model.backtest.measured,
            model.backtest.predictions["best"].low,
            model.backtest.predictions["best"].high,
        )
    ]
    found = []
    if untested:
        found.append(
            f"Too few sizes to try the prediction on a known point (backtest): {', '.join(untested)}."
        )
    if missed:
        found.append(
            f"In the backtest the measured loss lay outside the 90 % interval for: {', '.join(missed)}."
        )
    found.append(
        "Intervals cover the noise and curvature seen in these curves. They do not cover a change of the "
        "training recipe, of the kind of data, or of the held-out examples."
    )
    return found


def _within(value: float, low: float, high: float) -> bool:
    return not (math.isfinite(low) and math.isfinite(high)) or low <= value <= high


def models_markdown(report: ScalingReport) -> str:
    """The models as a Markdown table: what was measured and what is predicted at the target size."""
    predicted = f"predicted at {count(report.target_size)}"
    head = f"| model | sizes | loss at largest size | {predicted} | 90 % interval |"
    return "\n".join([head, "|---|---|---|---|---|", *(_model_row(model) for model in report.models)])


def _model_row(model: ModelReport) -> str:
    found, measured = model.predictions[0], [n for n in model.sizes if n > 0]
    last = f"{number(model.losses[-1])} at {count(measured[-1])}" if measured else "none"
    interval = f"{number(found.low)} to {number(found.high)}" if math.isfinite(found.high) else "none"
    return f"| {model.model} | {len(measured)} | {last} | {number(found.loss)} | {interval} |"
