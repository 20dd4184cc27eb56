"""Differences in pairs by example: of losses per byte, and of scores, each with a 95 % interval.

The interval says what other examples would have given; it knows nothing of other seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean, or the mean difference of pairs, with its 95 % interval; the ends are NaN of one example."""

    mean: float
    low: float
    high: float
    examples: int

    @property
    def proven(self) -> bool:
        """Return whether the interval excludes no difference at all."""
        return self.low > 0 or self.high < 0


def ratio_variance(values_d: Floats, weights_d: Floats) -> float:
    """Return the variance of `sum(values) / sum(weights)` over other examples, by the delta method.

    Cochran, Sampling Techniques (1977), 6.4. 0 of a single example.
    """
    count, total = len(values_d), weights_d.sum()
    residual_d = values_d - values_d.sum() / total * weights_d
    return float((residual_d**2).sum() / total**2 * count / max(count - 1, 1))


def difference(
    values_d: Sequence[float] | Floats,
    against_d: Sequence[float] | Floats | None = None,
    weights_d: Sequence[float] | Floats | None = None,
) -> Difference:
    """Return the mean of values less those of the same examples in `against_d`, weighted.

    Of code lengths in bits the weights are bytes, so the mean is in bits per byte; of scores all weigh alike.
    """
    from scipy.stats import t

    values = np.asarray(values_d, dtype=np.float64)
    if against_d is not None:
        values = values - np.asarray(against_d, dtype=np.float64)
    weights = np.ones_like(values) if weights_d is None else np.asarray(weights_d, dtype=np.float64)
    count = len(values)
    mean = float(values.sum() / weights.sum())
    if count < 2:
        return Difference(mean=mean, low=math.nan, high=math.nan, examples=count)
    spread = float(t.ppf(1 - LEVEL / 2, count - 1)) * ratio_variance(values, weights) ** 0.5
    return Difference(mean=mean, low=mean - spread, high=mean + spread, examples=count)
