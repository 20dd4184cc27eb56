"""Rank correlation: whether two columns put documents into the same order."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def spearman(left_n: Float64, right_n: Float64) -> float:
    """Rank correlation, ties ranked by their mean; 0 where one side is constant."""
    left, right = (_centred_ranks(values) for values in (left_n, right_n))
    norm = np.sqrt((left**2).sum() * (right**2).sum())
    return float((left * right).sum() / norm) if norm > 0 else 0.0


def _centred_ranks(values: Float64) -> Float64:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ends - (counts - 1) / 2
    return ranks[places] - (len(values) + 1) / 2
