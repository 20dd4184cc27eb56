"""Exact products of small-integer directions with large-integer points, on whichever unit is fastest.

Three ways give the same integers. A point is cut into signed 8-bit digits, an 8-bit matrix product with
32-bit sums serves each digit, and a shift puts them together: on units made for inference, six times as fast
as float64. float32 holds every sum where all are under 2^24, as those of unit vectors are; float64 holds all
others. Digits are left out where their products saturate, and where they turn out slower: a processor
without such units takes 25 times as long for them as for float64.
"""

import threading
import time
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_DIRECTION = 127
_DIGIT_BITS = 8
_LONGEST_SUM = 2**31 // (128 * 128)  # terms of a product of digits that a 32-bit sum holds
_MEASURING = threading.Lock()
_TIMED, _DOCUMENTS, _OUTPUTS = 3, 1_024, 100  # products by which the units of this machine are compared


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
