"""The ways to extrapolate a set of curves to one size, each as log losses with a standard deviation.

"best" (see `trend`) is the default: it predicts full-size losses better than Accept-then-Stop at equal
subsets and far better than extrapolating the law that fits best in sample, whose E and D_l are weakly
identified. The others are the baselines of Lin et al. (arXiv 2402.02314), section 5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis.scaling.acceptance import read_line
from tamis.scaling.errors import BadSettingError
from tamis.scaling.extrapolation import student_widening
from tamis.scaling.fitting import fit_measurements, log_loss_spread
from tamis.scaling.measurements import Floats, Measurements, positive_number
from tamis.scaling.trend import follow

LEAST_NOISE = 1e-3  # a tenth of a per cent: no training run repeats better than that


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Predicted log losses and standard deviations [m], NaN where there is none, and accepted sizes."""

    log_losses: Floats
    spreads: Floats
    accepted: tuple[tuple[float, ...] | None, ...]


Method = Callable[[Sequence[Measurements], float], Reading]


def _reading(log_losses: Sequence[float] | Floats, spreads: Sequence[float] | Floats) -> Reading:
    return Reading(
        log_losses=np.asarray(log_losses, dtype=np.float64),
        spreads=np.asarray(spreads, dtype=np.float64),
        accepted=(None,) * len(log_losses),
    )


def by_trend(curves: Sequence[Measurements], target: float) -> Reading:
    """The robust slope of each curve at its end, bent by the acceleration that all curves share."""
    log_losses, spreads = np.full((2, len(curves)), np.nan)
    usable = [place for place, curve in enumerate(curves) if len(curve)]
    if usable:
        log_losses[usable], spreads[usable] = follow([curves[place] for place in usable]).read(
            np.log2(target)
        )
    return _reading(log_losses, np.maximum(spreads, LEAST_NOISE))


def by_acceptance(curves: Sequence[Measurements], target: float) -> Reading:
    """Accept-then-Stop, published variant, k = 3 and delta = 5."""
    found = [read_line(curve, target) for curve in curves]
    return Reading(
        log_losses=np.array([log_loss for log_loss, _spread, _used in found]),
        spreads=np.maximum([spread for _log_loss, spread, _used in found], LEAST_NOISE),
        accepted=tuple(used for _log_loss, _spread, used in found),
    )


def by_subset(curves: Sequence[Measurements], target: float) -> Reading:
    """Predict as SubTuning: the loss at the largest size serves as that at the target; it ranks, no more."""
    log_losses, spreads = np.full((2, len(curves)), np.nan)
    for place, curve in enumerate(curves):
        if len(curve):
            log_losses[place] = curve.log_losses[-1]
        if len(curve) > 1:
            octaves = np.log2(curve.sizes)
            slope = (curve.log_losses[-1] - curve.log_losses[-2]) / (octaves[-1] - octaves[-2])
            spreads[place] = max(abs(slope) * (np.log2(target) - octaves[-1]), LEAST_NOISE)
    return _reading(log_losses, spreads)


def by_zero_shot(curves: Sequence[Measurements], target: float) -> Reading:
    """Predict by the loss before any training, in place of that at the target; nothing can check it."""
    return _reading(np.log([curve.zero_shot for curve in curves]), np.full(len(curves), np.nan))


def by_law(law: str) -> Method:
    """Extrapolate a fitted law. The noise variance is pooled over curves, and without residuals unknown."""

    def extrapolate(curves: Sequence[Measurements], target: float) -> Reading:
        fits = [fit_measurements(law, curve) for curve in curves]
        squares = sum(len(c) * f.rmsd**2 for f, c in zip(fits, curves, strict=True) if f.basins)
        freedom = sum(len(c) - len(f.parameters) for f, c in zip(fits, curves, strict=True) if f.basins)
        variance = max(squares / max(freedom, 1), LEAST_NOISE**2)
        widening = student_widening(freedom)
        spreads = [
            widening * np.sqrt(log_loss_spread(fit, curve, target, variance) ** 2 + variance)
            if freedom and fit.basins
            else np.nan
            for fit, curve in zip(fits, curves, strict=True)
        ]
        return _reading([fit.log_loss(target) for fit in fits], spreads)

    return extrapolate


METHODS: dict[str, Method] = {
    "best": by_trend,
    "ats": by_acceptance,
    "subtuning": by_subset,
    "zeroshot": by_zero_shot,
    "rectified": by_law("rectified"),
    "vanilla": by_law("vanilla"),
}


def model_size_scores(parameters: Mapping[str, float]) -> dict[str, float]:
    """ModelSize, the baseline that needs no run: minus the log of the parameters, the smallest is chosen.

    It predicts no loss, so it is no method of `predict_full_loss`. Published correlations are those of plus
    the logarithm with the loss. Raises `BadSettingError` for a number that is not positive.
    """
    if not isinstance(parameters, Mapping):
        raise BadSettingError("parameters", parameters, "numbers of parameters by the name of a model")
    counts = {model: positive_number(f"parameters[{model!r}]", one) for model, one in parameters.items()}
    return {model: -float(np.log(count)) for model, count in counts.items()}
