"""Sentences on the choice of a model: which, why, at what cost, and how far to trust the numbers.

The rule is the smallest predicted loss; the sentences say when that difference is within the uncertainty,
which with four sizes a model is the rule rather than the exception.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from tamis.base.numbers import number, percent, whole
from tamis.scaling.costs import FailedRun
from tamis.scaling.report_values import Backtest, ModelReport, Prediction

PARAMETERS_RECTIFIED = 4
FAR_OCTAVES = 2.0
FEW_SIZES = 6
SEARCHED = (
    "The search under the trial budget kept this model until the end. {other} is predicted to do even "
    "better, but from fewer sizes, because the search dropped {other} earlier."
)

LONGER = (
    "To plan such runs, add larger sizes to [scaling] in tamis.toml, up to the number of training examples "
    "of the target, and raise the share in [trial_budget] if tamis.toml has that section."
)


def ranking(losses: Mapping[str, float]) -> list[str]:
    """Return the models that predict a loss, the smallest first."""
    able = {model: loss for model, loss in losses.items() if math.isfinite(loss)}
    return sorted(able, key=lambda model: (able[model], model))


def best_model(losses: Mapping[str, float], searched: str | None = None) -> str | None:
    """Return the model that a search chose where it predicts a loss, or else the one with the smallest."""
    ranked = ranking(losses)
    return searched if searched in ranked else next(iter(ranked), None)


def choose(models: Sequence[ModelReport], unit: str, searched: str | None = None) -> tuple[str | None, str]:
    """Return the best model at the target size, and why it is."""
    by_name = {model.model: model for model in models}
    losses = {name: model.predictions[0].loss for name, model in by_name.items()}
    ranked, best = ranking(losses), best_model(losses, searched)
    if best is None:
        return None, "No model has a usable measurement yet, so none can be chosen."
    if best != ranked[0]:
        return best, SEARCHED.format(other=ranked[0])
    if len(ranked) == 1:
        return best, "This is the only model with measurements, so there was nothing to choose between."
    return best, _comparison(by_name[best], by_name[ranked[1]], unit)


def could_be_as_good(chosen: str, intervals: Mapping[str, tuple[float | None, float | None]]) -> list[str]:
    """Return the other models whose interval of the loss begins below the end of the chosen one's."""
    high = intervals[chosen][1]
    return [
        model
        for model, (low, _high) in intervals.items()
        if model != chosen and high is not None and low is not None and low < high
    ]


def _comparison(best: ModelReport, second: ModelReport, unit: str) -> str:
    first, other = best.predictions[0], second.predictions[0]
    gap = other.loss - first.loss
    why = (
        f"This model has the smallest predicted loss: {number(gap)} {unit} ({percent(gap / first.loss)}) "
        f"below that of the next model, {second.model}."
    )
    if not (math.isfinite(first.high) and math.isfinite(other.low)):
        return f"{why} How certain this difference is cannot be said, since an interval is missing."
    if first.high < other.low:
        return f"{why} The 90 % intervals of the two do not overlap, so the difference is clear."
    return (
        f"{why} The 90 % intervals of the two overlap, so which model is better is not settled: runs of both "
        f"on more data can settle that. {LONGER}"
    )


def with_chances(models: Sequence[ModelReport], chosen: str | None) -> tuple[ModelReport, ...]:
    """The models, each with its chance of beating the chosen one at the target size."""
    best = next((model.predictions[0] for model in models if model.model == chosen), None)
    return tuple(
        model if best is None or model.model == chosen else replace(model, chance_better=_chance(model, best))
        for model in models
    )


def _chance(model: ModelReport, best: Prediction) -> float:
    """That a normal log loss falls below another, with independent errors; NaN without intervals."""
    found = model.predictions[0]
    spread = math.hypot(found.log_spread, best.log_spread)
    if not (math.isfinite(spread) and math.isfinite(found.loss)):
        return math.nan
    return 0.5 * math.erfc(math.log(found.loss / best.loss) / max(spread, 1e-300) / math.sqrt(2))


def trust(models: Sequence[ModelReport], unit: str) -> str:
    """Say in sentences what the backtests tell of predictions and choice; "" without any."""
    tried = {model.model: model.backtest for model in models if model.backtest is not None}
    errors = [abs(test.predictions["best"].loss - test.measured) for test in tried.values()]
    known = sorted(error for error in errors if math.isfinite(error))
    if not known:
        return ""
    within = sum(test.within for test in tried.values())
    held = (
        ""
        if len(tried) == 1
        else f" {within} of {len(tried)} measured losses were within their predicted 90 % intervals."
    )
    one = "an error" if len(known) == 1 else "a typical error"
    worst = "" if len(known) == 1 else f" (at worst {number(known[-1])})"
    said = f"Tested on the largest size of each model, hidden from the fit, the prediction had {one} of "
    return f"{said}{number(median(known))}{worst} {unit}.{held}{_chosen_in_backtest(tried)}"


def _chosen_in_backtest(tried: dict[str, Backtest]) -> str:
    """Name the model it would have chosen at the hidden size, if that is one size and there are several."""
    usable = {name: test for name, test in tried.items() if math.isfinite(test.predictions["best"].loss)}
    if len(usable) < 2 or len({test.size for test in usable.values()}) > 1:
        return ""
    would = min(usable, key=lambda name: (usable[name].predictions["best"].loss, name))
    best = min(usable, key=lambda name: (usable[name].measured, name))
    if would == best:
        return f" The prediction would have chosen {would}, which was right."
    loss = usable[would].measured - usable[best].measured
    return (
        f" The prediction would have chosen {would}, whose loss is {number(loss)} above that of the best "
        f"model, {best}."
    )


def caveats_of(
    models: Sequence[ModelReport],
    target_size: float,
    failed: Sequence[FailedRun] = (),
    missing: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return what a reader must know before trusting the numbers."""
    lost = {run.model for run in failed}
    usable = {model.model for model in models if model.sizes}
    # Nothing else on the page shows runs that are not there.
    found = _naming(
        {
            "All runs of these models failed, so nothing is known about them": sorted(lost - usable),
            "Some runs of these models failed, so sizes are missing from their curves": sorted(lost & usable),
            "No run of these models has finished yet, so they are not compared": missing,
        }
    )
    fewest = min((len(model.sizes) for model in models), default=0)
    if fewest < PARAMETERS_RECTIFIED:
        found.append(
            f"At least one model was measured at only {fewest} {'size' if fewest == 1 else 'sizes'}: too few "
            "to fit a law, and hardly enough for a slope, so the order of the models is a guess."
        )
    elif fewest == PARAMETERS_RECTIFIED:
        found.append(
            f"At least one model was measured at only {fewest} sizes. The rectified law has four parameters "
            "and passes through any four points, so a good fit is no evidence for the law, and parameters "
            "such as E (the loss with unlimited data) and D_l (the pre-learned data) are guesses."
        )
    elif fewest <= FEW_SIZES:
        found.append(
            f"At least one model was measured at only {fewest} sizes, so fitted parameters such as E (the "
            "loss with unlimited data) and D_l (the pre-learned data) are poorly determined."
        )
    largest = min((max(model.sizes) for model in models if model.sizes), default=math.nan)
    octaves = math.log2(target_size / largest) if math.isfinite(largest) else 0.0
    if octaves > FAR_OCTAVES:
        found.append(
            f"The target size of {whole(target_size)} examples is {number(2**octaves, 1)} times the largest "
            f"size measured for at least one model ({whole(largest)}). The larger this factor, the more the "
            "prediction depends on the law and the less on measurements."
        )
    missed = [model.model for model in models if model.backtest is not None and not model.backtest.within]
    found += _naming(
        {
            "The prediction was not tested on a known loss (backtest) for": [
                model.model for model in models if model.backtest is None
            ],
            "In the backtest, the measured loss was outside the 90 % interval for": missed,
        }
    )
    return (
        *found,
        "The intervals account for the noise and curvature seen in these curves, but not for changes to the "
        "training recipe, the kind of data or the held-out examples.",
    )


def _naming(said: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the sentences that name any models, each with their names."""
    return [f"{sentence}: {', '.join(names)}." for sentence, names in said.items() if names]
