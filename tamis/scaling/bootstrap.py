"""Intervals of a fitted law by parametric bootstrap: the law fitted again to curves drawn from it.

With some fourteen sizes resampling cases would lose the ends of a curve, so noise is drawn instead and added
to the fitted curve: as large as the residuals say, times Student's quantile over the normal one, since a few
residuals tell a deviation badly. All draws are fitted at once. These intervals hold if the law is right; for
a prediction beyond the data use `predict_full_loss`, which asks the curves themselves.
"""

from dataclasses import dataclass, replace

import numpy as np

from tamis.base.arguments import as_number, is_whole
from tamis.scaling.errors import BadSettingError
from tamis.scaling.extrapolation import student_widening
from tamis.scaling.fitting import LawFit
from tamis.scaling.laws import LAWS
from tamis.scaling.least_squares import descend
from tamis.scaling.measurements import Floats, Numbers, measured

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class FitIntervals:
    """Intervals of a law's parameters, of D_l in examples, and of the fitted loss at some sizes.

    `status` says why there are none; all are NaN then.
    """

    parameters: dict[str, Interval]
    pre_learned_examples: Interval
    losses: tuple[Interval, ...]
    status: str


def bootstrap_fit(
    fit: LawFit,
    sizes: Numbers,
    losses: Numbers,
    at: Numbers = (),
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
) -> FitIntervals:
    """Intervals of `fit`, which `fit_law` found for these sizes and losses, by parametric bootstrap.

    `at`: sizes at which the fitted loss gets an interval too. Raises `BadSettingError` for a level outside
    0 to 1 or fewer than 20 draws.
    """
    if not 0 < as_number(level) < 1:
        raise BadSettingError("level", level, "a number between 0 and 1")
    if not is_whole(draws, 20):
        raise BadSettingError("draws", draws, "a whole number, at least 20")
    if not is_whole(seed, 0):
        raise BadSettingError("seed", seed, "a whole number, at least 0")
    curve, law = measured(sizes, losses), LAWS[fit.law]
    freedom = len(curve) - len(law.free)
    if not fit.basins or freedom <= 0:
        nothing = (float("nan"), float("nan"))
        return FitIntervals(
            parameters=dict.fromkeys(fit.parameters, nothing),
            pre_learned_examples=nothing,
            losses=(nothing,) * len(at),
            status=f"too few training-set sizes to compute confidence intervals (only {fit.n_sizes})",
        )
    log_x = curve.log_sizes - np.log(fit.centre)
    fitted = law.log_loss(fit.coordinates[None], log_x)[0]
    noise = fit.rmsd * np.sqrt(len(curve) / freedom) * student_widening(freedom, level)
    drawn = fitted + noise * np.random.default_rng(seed).standard_normal((draws, len(curve)))
    found = descend(law, log_x, drawn, np.repeat(fit.coordinates[None], draws, axis=0)).coordinates
    fits = [replace(fit, coordinates=one, parameters=law.parameters(one, fit.centre)) for one in found]
    ends = ((1 - level) / 2, (1 + level) / 2)
    return FitIntervals(
        parameters={
            name: _interval(np.array([one.parameters[name] for one in fits]), ends) for name in fit.parameters
        },
        pre_learned_examples=_interval(np.array([one.pre_learned_examples for one in fits]), ends),
        losses=tuple(
            _interval(np.array([float(one.predict(float(size))) for one in fits]), ends) for size in at
        ),
        status="bootstrapped",
    )


def _interval(values: Floats, ends: tuple[float, float]) -> Interval:
    if np.isnan(values).any():
        return float("nan"), float("nan")
    # Order statistics: a parameter may be infinite in some draws, which no interpolation survives.
    low, high = np.quantile(values, ends, method="nearest")
    return float(low), float(high)
