"""Accept then Stop (AtS): a power law through the largest sizes, as far down as one still holds.

Lin et al. (arXiv 2402.02314), algorithm 1. From the largest size downwards a point is accepted while it
is within `delta` standard deviations of the line through those accepted before; the line is then read
at the target. The published tables come from code that never uses the smallest size when it accepts
everything; "literal" is the algorithm as printed, and differs in 117 of their 210 correlations.
"""

from typing import Literal

import numpy as np

from tamis.base.arguments import as_number
from tamis.scaling.errors import BadSettingError, require_one_of
from tamis.scaling.extrapolation import Extrapolation, around
from tamis.scaling.measurements import Floats, Measurements, Numbers, measured, target_of

Variant = Literal["published", "literal"]
VARIANTS = ("published", "literal")
ROUNDING = 64 * np.finfo(np.float64).eps


def accept_then_stop(
    sizes: Numbers,
    losses: Numbers,
    target_size: float,
    k: int = 3,
    delta: float = 5.0,
    variant: Variant = "published",
) -> Extrapolation:
    """Predict the loss at `target_size` (examples) from one curve by Accept then Stop.

    `k` sizes are accepted untested, `delta` is the tolerance in standard deviations (ddof 0) of residuals
    of log losses. Sizes above the target do not count. One size predicts its own loss, none NaN; under three
    sizes there is no interval. Raises `BadSettingError` for k < 2, delta <= 0 or a target that is not
    positive, `UnknownChoiceError` for another variant, `BadCurveError` for lengths that differ: all are
    `ValueError`.
    """
    if not (as_number(k).is_integer() and k >= 2):
        raise BadSettingError("k", k, "a whole number, at least 2")
    if not as_number(delta) > 0:
        raise BadSettingError("delta", delta, "a positive number")
    require_one_of("variant", variant, VARIANTS)
    target = target_of(target_size)
    return around(*read_line(measured(sizes, losses).up_to(target), target, int(k), delta, variant))


def read_line(
    curve: Measurements, target: float, k: int = 3, delta: float = 5.0, variant: Variant = "published"
) -> tuple[float, float, tuple[float, ...]]:
    """Log loss at the target by `accept_then_stop`, its standard deviation, and the sizes it rests on."""
    if len(curve) == 0:
        return float("nan"), float("nan"), ()
    log_sizes, log_losses = curve.log_sizes[::-1], curve.log_losses[::-1]
    count = accepted_count(log_sizes, log_losses, k, delta, variant)
    used = tuple(float(size) for size in curve.sizes[len(curve) - count :])
    slope, intercept = line(log_sizes[:count], log_losses[:count])
    at = float(np.log(target))
    spread = _spread(log_sizes, log_losses, count, at) if len(curve) >= 3 else float("nan")
    return slope * at + intercept, spread, used


def accepted_count(log_sizes: Floats, log_losses: Floats, k: int, delta: float, variant: Variant) -> int:
    """Count the points [n], given from the largest size downwards, that are accepted."""
    n = len(log_sizes)
    for count in range(k, n):
        slope, intercept = line(log_sizes[:count], log_losses[:count])
        deviation = abs(log_losses[count] - slope * log_sizes[count] - intercept)
        noise = float(np.std(log_losses[:count] - slope * log_sizes[:count] - intercept))
        # Without residual variance a point is either on the line, to rounding, or infinitely far from it.
        if deviation > max(delta * noise, ROUNDING * max(1.0, float(np.abs(log_losses).max()))):
            return count
    return n - 1 if variant == "published" and n > k else n


def line(log_sizes: Floats, log_losses: Floats) -> tuple[float, float]:
    """Slope and intercept of the least-squares line; a single point gives a level one."""
    if len(log_sizes) < 2:
        return 0.0, float(log_losses[0])
    slope, intercept = np.polyfit(log_sizes, log_losses, 1)
    return float(slope), float(intercept)


def _spread(log_sizes: Floats, log_losses: Floats, count: int, at: float) -> float:
    """Standard deviation of the predicted log loss: noise of the line, and curvature that may go on.

    The curvature is that of a parabola through all points, counted as bias with its own standard error,
    since a line that the accepted points cannot refute may still bend beyond them.
    """
    used, ones = log_sizes[:count], np.ones(count)
    design = np.column_stack([ones, used])
    slope, intercept = line(used, log_losses[:count])
    residuals = log_losses[:count] - slope * used - intercept
    reading = np.linalg.lstsq(design.T, np.array([1.0, at]), rcond=None)[0]  # weights of points in the line
    bend, bend_error, noise = _curvature(log_sizes, log_losses)
    variance = max(float(residuals @ residuals) / max(count - 2, 1), noise)
    centre = log_sizes.mean()
    missed = (at - centre) ** 2 - float(reading @ (used - centre) ** 2)
    return float(np.sqrt(variance * (1.0 + reading @ reading) + (bend**2 + bend_error**2) * missed**2))


def _curvature(log_sizes: Floats, log_losses: Floats) -> tuple[float, float, float]:
    """Quadratic coefficient of a parabola through [n >= 3] points, its standard error, residual variance."""
    x = log_sizes - log_sizes.mean()
    design = np.column_stack([np.ones_like(x), x, x**2])
    solution = np.linalg.lstsq(design, log_losses, rcond=None)[0]
    residuals = log_losses - design @ solution
    variance = float(residuals @ residuals) / max(len(x) - 3, 1)
    return float(solution[2]), float(np.sqrt(variance * np.linalg.pinv(design.T @ design)[2, 2])), variance
