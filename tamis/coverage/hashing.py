"""From vectors to table buckets: p-stable L2 hashes, the same bits everywhere.

With the exact integer products that they need, and their collision probability.
"""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.base.arguments import as_floats, as_number
from tamis.base.threads import on_slices
from tamis.coverage.vectors import BadVectorsError, SketchError

LARGEST_DIRECTION = 127
_DIGIT_BITS = 8
_LONGEST_SUM = 2**31 // (128 * 128)  # terms of a product of digits that a 32-bit sum holds
_MEASURING = threading.Lock()
_TIMED, _DOCUMENTS, _OUTPUTS = 3, 1_024, 100  # products by which the units of this machine are compared
CALIBRATION_ROWS = 2_000
_FRACTION_BITS = 18  # of the scaled vectors: squared distances are then exact integers for d up to 32,768
_WIDTH_BITS = 5  # significant bits of a width: equal on every machine, and for pools that differ by a little
PAPER_DISTANCES = 1.3  # median distances in the paper's width, inferred from its figure 9
_WIDEST = 16.0  # in units of the median distance; caps the width when almost nothing is expected
_DIRECTION_BITS, _POINT_BITS = 5, 13  # after the point; a direction is clipped at 127 / 32 = 3.97 deviations
_CELL_BITS = _DIRECTION_BITS + _POINT_BITS
_REACH = 2.0**23  # largest |a.x| / width: cells then fit 32 bits, and sums the 53 of a float64
DOCUMENTS_PER_BLOCK = 4_096
_PRODUCTS_PER_BLOCK = 200
_HALF = np.uint64(32)


class Projector:
    """Integer points [n, d], prepared for products with many blocks of directions.

    largest: no sum of a part of direction . point reaches it, offsets the caller adds included; under 2^53.
    digits: whether 8-bit digits are used; None for what is exact and fastest on this machine.
    """

    def __init__(self, points_nd: NDArray[np.int64], *, largest: float, digits: bool | None = None) -> None:
        assert largest < 2.0**53
        dim, self._float = points_nd.shape[1], np.dtype(np.float32 if largest < 2.0**24 else np.float64)
        if digits is None:
            with _MEASURING:  # once, by one thread, so that no other one's products slow it down
                digits = digit_products_are_exact(dim) and digit_products_are_faster(dim, self._float)
        self._dtype = np.int32 if largest < 2.0**31 else np.int64
        self._digits = _digits(points_nd) if digits else []
        self._points_dn = None if digits else points_nd.T.astype(self._float)

    def products(self, directions_od: NDArray[np.int8]) -> NDArray[Any]:
        """[o, n] int32, or int64 where that is needed: the products of all directions and points."""
        if self._points_dn is not None:
            return np.asarray((directions_od.astype(self._float) @ self._points_dn).astype(self._dtype))
        total: NDArray[Any] | None = None
        for digit in reversed(self._digits):  # sums may wrap on the way, the last one fits
            product = _digit_product(directions_od, digit).astype(self._dtype, copy=False)
            if total is None:
                total = product
            else:
                total <<= _DIGIT_BITS
                total += product
        assert total is not None
        return total


@cache
def digit_products_are_exact(dim: int) -> bool:
    """Whether 8-bit products of vectors of this length are there and right: the largest sums are tried.

    Some processors saturate them, and torch 2.13 reads past the end at length 1.
    """
    if dim >= _LONGEST_SUM:
        return False
    rng = np.random.default_rng(dim)
    for outputs, documents in ((1, 1), (1, 37), (100, 1), (100, 300)):
        directions = rng.choice([-LARGEST_DIRECTION, LARGEST_DIRECTION], size=(outputs, dim))
        directions[0] = LARGEST_DIRECTION
        points = rng.choice([-128, 127], size=(documents, dim))
        points[0] = -128
        try:
            product = _digit_product(directions.astype(np.int8), _as_digit(points.astype(np.int8)))
        except (ImportError, AttributeError, RuntimeError):
            return False
        if not np.array_equal(product, directions @ points.T):
            return False
    return True


@cache
def digit_products_are_faster(dim: int, other: np.dtype[Any]) -> bool:
    """Return whether two 8-bit products take less time on this machine than one of floating-point numbers.

    The best of three each. Results are the same whatever the answer, so that noise costs time alone.
    """
    rng = np.random.default_rng(dim)
    directions = rng.integers(-LARGEST_DIRECTION, LARGEST_DIRECTION, size=(_OUTPUTS, dim)).astype(np.int8)
    points = rng.integers(-128, 127, size=(_DOCUMENTS, dim)).astype(np.int8)
    digit, points_dn = _as_digit(points), points.T.astype(other)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(_TIMED):
        for digits, seconds in times.items():
            started = time.perf_counter()
            if digits:
                for _digit in range(2):
                    _digit_product(directions, digit)
            else:
                (directions.astype(other) @ points_dn).astype(np.int32)
            seconds.append(time.perf_counter() - started)
    return min(times[True]) < min(times[False])


def _digits(points_nd: NDArray[np.int64]) -> list[Any]:
    """Signed digits of base 256, smallest first, as many as the largest point needs."""
    digits: list[Any] = []
    rest = points_nd
    while not digits or rest.any():
        digit = rest.astype(np.int8)  # the low byte, read as a number in [-128, 127]
        digits.append(_as_digit(digit))
        rest = (rest - digit) >> _DIGIT_BITS
    return digits


def _as_digit(digit_nd: NDArray[np.int8]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(digit_nd)).t()


def _digit_product(directions_od: NDArray[np.int8], digit_dn: Any) -> NDArray[np.int32]:
    import torch

    # The only 8-bit product with 32-bit sums in torch; private, hence tried before it is trusted.
    directions = torch.from_numpy(np.ascontiguousarray(directions_od))
    with _ONE_THREAD:  # two gain 10 % on products this small, and lose 60 % on a busy machine
        return np.asarray(torch._int_mm(directions, digit_dn).numpy())


class _OneThread:
    """Torch on one thread, as long as anybody is within.

    The number is the process's, which each new thread takes over: without a count of those within, one who
    came second would find 1, and leave the process with it.
    """

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        import torch

        with self._lock:
            if not self._within:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._within += 1

    def __exit__(self, *raised: object) -> None:
        import torch

        with self._lock:
            self._within -= 1
            if not self._within:
                torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


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
    return _rounded_down(typical_distance(vectors_nd) * _ratio(expected ** (-1.0 / hashes)))


def width_in_distances(vectors_nd: NDArray[np.float64], distances: float) -> float:
    """That many median distances of [n, d], rounded down to 5 significant bits; `SketchError` for none."""
    return _rounded_down(distances * typical_distance(vectors_nd))


def typical_distance(vectors_nd: NDArray[np.float64]) -> float:
    """Median L2 distance over all pairs of (at most 2,000 of) the rows of [n, d]; `SketchError` for none.

    When over half of the pairs are copies, the median of the others; when all are, the length of the
    longest vector, so that a pool of one document has a width too. Products are of integers, hence exact:
    the result does not depend on the machine or on blocking.
    """
    if not len(vectors_nd):
        raise SketchError(
            "width", '"auto" needs at least one vector from which to calibrate the width, got none'
        )
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


@dataclass(frozen=True, kw_only=True)
class HashFamily:
    """`rows` independent hash functions from [d] to [0, buckets), each of `hashes` concatenated L2 hashes.

    `directions` [rows * hashes, d] int8: Gaussian, in steps of 1/32.
    `offsets` [rows * hashes, 1] int64: uniform in [0, 2^18), the width being 2^18.
    `multipliers` [rows, hashes + 1] uint64: the strongly universal rehash (Dietzfelbinger 1996).
    """

    directions: NDArray[np.int8]
    offsets: NDArray[np.int64]
    multipliers: NDArray[np.uint64]
    buckets: int
    longest: float  # largest Euclidean length of a direction, in deviations

    def places(
        self, vectors_nd: NDArray[np.float64], width: float
    ) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """For blocks of documents and of rows: which documents, and [rows in block, documents] flat places.

        A flat place is row * buckets + bucket. Raises `BadVectorsError` for a row too long for exact sums.
        """
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors_nd, vectors_nd)) / width
        self._must_reach(lengths)
        rows, hashes = len(self.multipliers), self.multipliers.shape[1] - 1
        step = max(1, _PRODUCTS_PER_BLOCK // hashes)
        for start in range(0, len(vectors_nd), DOCUMENTS_PER_BLOCK):
            documents = slice(start, min(start + DOCUMENTS_PER_BLOCK, len(vectors_nd)))
            points_nd = np.rint(vectors_nd[documents] * (2.0**_POINT_BITS) / width).astype(np.int64)
            largest = (float(lengths[documents].max()) * self.longest + 2) * 2.0**_CELL_BITS
            projector = Projector(points_nd, largest=largest)
            for row in range(0, rows, step):
                yield documents, self._block(projector, row, min(row + step, rows))

    def buckets_of(
        self, vectors_nd: NDArray[np.float64], width: float, kind: np.dtype[Any]
    ) -> NDArray[np.unsignedinteger]:
        """Return the buckets [rows, n] of vectors [n, d], as numbers of this type.

        Errors as of `places`.
        """
        found = np.empty((len(self.multipliers), len(vectors_nd)), dtype=kind)
        # First of all, so that an error names the row among all, and not in its slice.
        self._must_reach(np.sqrt(np.einsum("nd,nd->n", vectors_nd, vectors_nd)) / width)

        def fill(mine: slice) -> None:
            row = 0
            for documents, places in self.places(vectors_nd[mine], width):
                first = np.arange(row, row + len(places), dtype=np.int64)[:, None] * self.buckets
                into = found[row : row + len(places), mine][:, documents]
                np.subtract(places, first, out=into, casting="unsafe")
                row = (row + len(places)) % len(found)

        on_slices(fill, len(vectors_nd))
        return found

    def _block(self, projector: Projector, first: int, last: int) -> NDArray[np.int64]:
        multipliers = self.multipliers[first:last, :, None]
        hashes = multipliers.shape[1] - 1
        chosen = slice(first * hashes, last * hashes)
        cells = projector.products(self.directions[chosen])  # [r * m, n]
        cells += self.offsets[chosen].astype(cells.dtype)
        cells >>= _CELL_BITS  # an arithmetic shift is the floor, of negative numbers too
        cells = cells.reshape(last - first, hashes, -1)
        key = np.repeat(multipliers[:, -1], cells.shape[2], axis=1)  # [r, n]
        for position in range(hashes):
            factor = cells[:, position].astype(np.uint64)
            factor *= multipliers[:, position]
            key += factor
        key >>= _HALF
        key *= np.uint64(self.buckets)
        key >>= _HALF
        key += np.arange(first, last, dtype=np.uint64)[:, None] * np.uint64(self.buckets)
        return key.view(np.int64)

    def _must_reach(self, lengths: NDArray[np.float64]) -> None:
        limit = _REACH / self.longest
        if (far := np.flatnonzero(lengths > limit)).size:
            raise BadVectorsError(
                f"the vector is {lengths[far[0]]:.3g} hash widths long (maximum {limit:.3g}); centre or "
                "normalise the vectors, or use more hashes or a larger width",
                int(far[0]),
            )


@lru_cache(maxsize=2)  # a second for 500 rows of 8 hashes, and each step of a run asks for the same
def hash_family(*, dim: int, rows: int, hashes: int, buckets: int, seed: int) -> HashFamily:
    """The family of that seed.

    Drawn from raw PCG64 words, whose sequence NumPy guarantees (that of its normal deviates it does not).
    """
    source = np.random.PCG64(seed)
    count = rows * hashes
    scaled = _gaussians(source, count * dim).reshape(count, dim) * 2.0**_DIRECTION_BITS
    directions = np.rint(np.clip(scaled, -LARGEST_DIRECTION, LARGEST_DIRECTION))
    offsets = (source.random_raw(count) >> np.uint64(64 - _CELL_BITS)).astype(np.int64)
    multipliers = source.random_raw(rows * (hashes + 1)).reshape(rows, hashes + 1)
    return HashFamily(
        directions=directions.astype(np.int8),
        offsets=offsets[:, None],
        multipliers=multipliers,
        buckets=buckets,
        longest=float(np.linalg.norm(directions, axis=1).max()) / 2.0**_DIRECTION_BITS,
    )


def _gaussians(source: np.random.PCG64, count: int) -> NDArray[np.float64]:
    """Box-Muller deviates on a grid of 2^-12, coarse enough to hide last bits of log and cos."""
    words = source.random_raw(2 * count).reshape(2, count)
    radius_uniform, angle_uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    deviates = np.sqrt(-2.0 * np.log(radius_uniform)) * np.cos(2.0 * np.pi * angle_uniform)
    return np.rint(deviates * 2.0**12) * 2.0**-12
