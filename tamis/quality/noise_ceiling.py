"""Bound how well any grader could replace the judge, given how much the judge differs from itself.

Each document of a part of the hold-out is asked about twice, the question in two orders that ought not to
matter. The rank correlation r of the two askings is the reliability of one. A grader that knew the judge's
steady opinion exactly would still agree with a single asking only to sqrt(r) (Spearman 1904, correction for
attenuation), so that is the ceiling of its rank correlation. Noise that both orders share is not seen: the
ceiling is an upper bound, and a judge that is steadily wrong has a high one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.base.ranks import spearman

FEWEST = 10  # documents asked about twice; with fewer the interval spans everything
RESAMPLES = 1_000
GRID = 500  # quantiles of a normal distribution; the area is exact to .001

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NoiseCeiling:
    """Reliability of the judge with its 95 % bootstrap interval, and what follows for a perfect grader.

    spearman: sqrt(reliability), and its interval; auc_at_cut: the same for telling the judge's best, with
    normally distributed margins; spearman_of_mean: the ceiling if the grader were tested on the mean of two
    askings (Spearman-Brown).
    """

    documents: int
    reliability: float
    reliability_low: float
    reliability_high: float
    spearman: float
    spearman_low: float
    spearman_high: float
    auc_at_cut: float
    spearman_of_mean: float


def noise_ceiling(
    margins_n: Float64, again_n: Float64, *, cut_share: float, seed: int = 0
) -> NoiseCeiling | None:
    """Ceiling from two askings about the same documents; NaN = not asked or not answered.

    None with fewer than 10 documents that have both answers. A reliability below 0 counts as 0.
    """
    both = np.isfinite(margins_n) & np.isfinite(again_n)
    first, second = margins_n[both], again_n[both]
    count = len(first)
    if count < FEWEST:
        return None
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    found = [spearman(first[rows], second[rows]) for rows in drawn]
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    reliability = spearman(first, second)
    steady = max(reliability, 0.0)
    return NoiseCeiling(
        documents=count,
        reliability=reliability,
        reliability_low=low,
        reliability_high=high,
        spearman=math.sqrt(steady),
        spearman_low=math.sqrt(max(low, 0.0)),
        spearman_high=math.sqrt(max(high, 0.0)),
        auc_at_cut=normal_area(math.sqrt(2.0 * math.sin(math.pi * steady / 6.0)), cut_share),
        spearman_of_mean=math.sqrt(2.0 * steady / (1.0 + steady)),
    )


def normal_area(correlation: float, share: float) -> float:
    """AUC with which one normal variable tells the largest `share` of another that it correlates with."""
    from scipy.special import ndtr, ndtri

    values = ndtri((np.arange(GRID) + 0.5) / GRID)
    best = max(round(share * GRID), 1)
    distances = values[GRID - best :, None] - values[None, : GRID - best]
    spread = math.sqrt(max(2.0 * (1.0 - correlation**2), 1e-12))
    return float(ndtr(correlation * distances / spread).mean())
