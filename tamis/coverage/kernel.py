"""Collision probability of the p-stable L2 hash, and the width that makes it tell near from far.

With one hash a row the kernel falls only as 1/distance, so no width gives contrast; concatenated hashes
raise it to their number, and the width is then chosen so that a whole pool at the median distance adds
at most 1 to a density. Measured at the paper's own setting: effective sample size 0.998 of the pool,
which is random sampling; with 8 hashes it falls to about 0.87 and near-duplicates all but vanish.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tamis.base.arguments import as_floats, as_number
from tamis.coverage.errors import SketchError

CALIBRATION_ROWS = 2_000
_FRACTION_BITS = 18  # of the scaled vectors: squared distances are then exact integers for d up to 32,768
_WIDTH_BITS = 5  # significant bits of a width: equal on every machine, and for pools that differ by a little
PAPER_DISTANCES = 1.3  # median distances in the paper's width, inferred from its figure 9
_WIDEST = 16.0  # in units of the median distance; caps the width when almost nothing is expected


def collision_probability(distances: NDArray[np.floating], width: float) -> NDArray[np.float64]:
    """Probability that h(x) = floor((a.x + b) / width) agrees for two points at these L2 distances.

    a ~ N(0, I), b ~ U[0, width). Distances >= 0 of any shape, same unit as `width`; 1 at distance 0.
    Datar et al. 2004, section 3.2. Raises `SketchError` for a width that is not above 0.
    """
    from scipy.special import erf

    with np.errstate(divide="ignore"):
        t = positive_width(width) / as_floats("distances", distances, "numbers")
    with np.errstate(invalid="ignore"):
        k = erf(t / math.sqrt(2)) + np.expm1(-(t**2) / 2) * 2 / (math.sqrt(2 * math.pi) * t)
    return np.where(np.isinf(t), 1.0, k)


def positive_width(width: float | str) -> float:
    """Return a width as a float; raise `SketchError` unless it is a number above 0, and finite."""
    if not 0 < as_number(width) < float("inf"):
        raise SketchError("width", f'must be a positive number or "auto", got {width!r}')
    return float(width)


def calibrated_width(vectors_nd: NDArray[np.float64], hashes: int, expected: int) -> float:
    """Largest width, rounded down to 5 significant bits, with expected * k(median distance)^hashes <= 1.

    `vectors_nd` [n, d]; beyond 2,000 rows, 2,000 evenly spaced ones are used. Raises `SketchError` for none.
    """
    if not len(vectors_nd):
        raise SketchError(
            "width", '"auto" needs at least one vector from which to calibrate the width, got none'
        )
    return _rounded_down(typical_distance(vectors_nd) * _ratio(expected ** (-1.0 / hashes)))


def width_in_distances(vectors_nd: NDArray[np.float64], distances: float) -> float:
    """That many median distances of [n, d], rounded down to 5 significant bits; `SketchError` for none."""
    if not len(vectors_nd):
        raise SketchError(
            "width", '"auto" needs at least one vector from which to calibrate the width, got none'
        )
    return _rounded_down(distances * typical_distance(vectors_nd))


def typical_distance(vectors_nd: NDArray[np.float64]) -> float:
    """Median L2 distance over all pairs of (at most 2,000 of) the rows of [n, d], n >= 1.

    When over half of the pairs are copies, the median of the others; when all are, the length of the
    longest vector, so that a pool of one document has a width too. Products are of integers, hence exact:
    the result does not depend on the machine or on blocking.
    """
    picked = np.linspace(0, len(vectors_nd) - 1, min(len(vectors_nd), CALIBRATION_ROWS)).astype(np.int64)
    exponent = _FRACTION_BITS - math.frexp(float(np.abs(vectors_nd[picked]).max()))[1]
    points = np.rint(np.ldexp(vectors_nd[picked], exponent))
    norms = np.einsum("nd,nd->n", points, points)
    squared = norms[:, None] + norms[None, :] - 2.0 * (points @ points.T)
    pairs = np.sqrt(squared[np.triu_indices(len(points), k=1)])
    if not pairs.any():
        typical = float(np.sqrt(norms.max()))
    else:
        typical = float(np.median(pairs)) or float(np.median(pairs[pairs > 0]))
    return math.ldexp(typical, -exponent)


def _ratio(probability: float) -> float:
    """Largest t = width / distance with collision probability <= `probability`, by bisection."""
    low, high = 0.0, _WIDEST
    for _ in range(80):
        middle = (low + high) / 2
        if float(collision_probability(np.array(1.0), middle)) <= probability:
            low = middle
        else:
            high = middle
    return low


def _rounded_down(width: float) -> float:
    mantissa, exponent = math.frexp(width)
    return math.ldexp(math.floor(math.ldexp(mantissa, _WIDTH_BITS)), exponent - _WIDTH_BITS)
