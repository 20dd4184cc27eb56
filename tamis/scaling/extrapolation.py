"""Prediction of the loss at a larger size: one number, a 90 % interval, and what it rests on."""

from dataclasses import dataclass

import numpy as np

NORMAL_90 = 1.6448536269514722  # two-sided 90 % quantile of a standard normal
LARGEST_LOG = 700.0  # of a loss: e^709 overflows


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """Predicted loss with a 90 % interval [low, high]; NaN where the measurements allow no statement.

    `accepted`: the sizes that the prediction rests on, ascending, or None for methods that use them all.
    """

    loss: float
    low: float
    high: float
    accepted: tuple[float, ...] | None = None


def around(log_loss: float, spread: float, accepted: tuple[float, ...] | None = None) -> Extrapolation:
    """An extrapolation whose log loss is normal with standard deviation `spread` (NaN = unknown).

    A loss that a 64-bit float cannot hold is no statement about a loss either.
    """
    if not abs(log_loss) < LARGEST_LOG:
        log_loss = float("nan")
    reach = NORMAL_90 * spread
    with np.errstate(over="ignore"):
        low, high = (float(np.exp(log_loss + sign * reach)) for sign in (-1, 1))
    return Extrapolation(loss=float(np.exp(log_loss)), low=low, high=high, accepted=accepted)


def student_widening(freedom: int, level: float = 0.9) -> float:
    """Student t over normal two-sided quantile, for a deviation estimated with so many degrees of freedom."""
    from scipy.special import ndtri, stdtrit

    upper = (1 + level) / 2
    return float(stdtrit(max(freedom, 1), upper)) / float(ndtri(upper))
