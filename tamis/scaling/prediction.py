"""Predict the loss of every model at one larger size, with intervals calibrated on the curves themselves.

A method's own standard deviation rests on its assumptions. So each curve is also cut short, predicted over
the same number of octaves up to its last measured size (or as many as it has), and the errors, in units of
the method's own spread, widen or narrow all intervals: conformal prediction with an in-target backtest.
benchmarks/scaling.py measures the coverage of the 90 % intervals.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tamis.scaling.errors import require_one_of
from tamis.scaling.extrapolation import NORMAL_90, Extrapolation, around
from tamis.scaling.measurements import Curves, Floats, Measurements, measured_curves, target_of
from tamis.scaling.methods import METHODS, Method

MethodName = Literal["best", "ats", "subtuning", "zeroshot", "rectified", "vanilla"]
LEAST_SIZES = 3  # a backtest needs as many sizes before the one it predicts
LEAST_KEPT = 0.6  # share of the sizes that a shortened curve keeps, for its errors to narrow intervals
UNTRIED = 1.25  # least factor where no backtest spans as many octaves as the prediction
PSEUDO_ERRORS = np.array([0.06, 0.19, 0.32, 0.45, 0.6, 0.76, 0.93, 1.15, 1.44, 1.96])
"""Absolute standard-normal errors added to the observed ones: with few curves the method's spread is kept."""


def predict_full_loss(
    curves: Curves, target_size: float, method: MethodName = "best"
) -> dict[str, Extrapolation]:
    """Predict every model's loss at `target_size` examples, with 90 % intervals, in the order given.

    `curves`: {model: (sizes, losses)}, which may differ in sizes; sizes above the target are not used. A
    model without a usable measurement gets NaN. Raises `UnknownChoiceError` (method), `BadSettingError`
    (target) and `BadCurveError`, all `ValueError`.
    """
    require_one_of("method", method, METHODS)
    target = target_of(target_size)
    cleaned = [curve.up_to(target) for curve in measured_curves(curves).values()]
    return dict(zip(curves, extrapolate(cleaned, target, METHODS[method]), strict=True))


def extrapolate(curves: Sequence[Measurements], target: float, method: Method) -> list[Extrapolation]:
    """`predict_full_loss` on cleaned curves that end at or below the target."""
    if not curves:
        return []
    reading = method(curves, target)
    factor = calibration(curves, target, method)
    return [
        around(float(log_loss), float(spread) * factor, sizes)
        for log_loss, spread, sizes in zip(reading.log_losses, reading.spreads, reading.accepted, strict=True)
    ]


def calibration(curves: Sequence[Measurements], target: float, method: Method) -> float:
    """Return the factor by which spreads hold 90 % of the backtest errors (with pseudo-errors)."""
    errors, least = backtest(curves, target, method)
    pooled = np.concatenate([PSEUDO_ERRORS, errors])
    return max(float(np.quantile(pooled, 0.9, method="hazen")) / NORMAL_90, least)


def backtest(curves: Sequence[Measurements], target: float, method: Method) -> tuple[Floats, float]:
    """Return absolute errors in units of the spread, predicting each last size from a shortened curve.

    Also the least factor that they justify: intervals are narrowed only on the word of backtests over the
    full number of octaves from curves nearly as long (a method is less sure of short ones); where none
    spans the octaves, a method's assumptions have not been tried and they are widened.
    """
    cuts = [(short, curve) for curve in curves if (short := shortened(curve, target)) is not None]
    ends: dict[float, list[tuple[Measurements, float]]] = {}
    for short, curve in cuts:
        ends.setdefault(float(curve.sizes[-1]), []).append((short, float(curve.log_losses[-1])))
    tried = bool(cuts) and all(
        short.sizes[-1] / curve.sizes[-1] <= curve.sizes[-1] / target * (1 + 1e-9) for short, curve in cuts
    )
    alike = tried and np.median([len(short) / len(curve) for short, curve in cuts]) >= LEAST_KEPT
    errors = [_errors(group, end, method) for end, group in sorted(ends.items())]
    return np.concatenate([np.zeros(0), *errors]), 0.0 if alike else 1.0 if tried else UNTRIED


def shortened(curve: Measurements, target: float) -> Measurements | None:
    """Cut a curve as many octaves below its end as its end is below the target; None if it is too short."""
    if len(curve) <= LEAST_SIZES:
        return None
    last = min(max(curve.sizes[-1] ** 2 / target, curve.sizes[LEAST_SIZES - 1]), curve.sizes[-2])
    return curve.up_to(float(last))


def _errors(group: Sequence[tuple[Measurements, float]], end: float, method: Method) -> Floats:
    reading = method([short for short, _loss in group], end)
    errors = np.abs(reading.log_losses - [loss for _short, loss in group]) / reading.spreads
    return np.asarray(errors[np.isfinite(errors)])
