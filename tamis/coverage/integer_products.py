"""Exact products of small-integer directions with large-integer points, on the units made for inference.

A point is cut into signed 8-bit digits; an 8-bit matrix product with 32-bit sums serves each digit and a
shift puts them together, so the result is exact and equal to that of float64 products, which take over on
processors whose 8-bit products saturate. Two digits (points under 2^15) are six times as fast as float64.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_DIRECTION = 127
_DIGIT_BITS = 8
_LONGEST_SUM = 2**31 // (128 * 128)  # terms of a product of digits that a 32-bit sum holds


class Projector:
    """Integer points [n, d], prepared for products with many blocks of directions.

    largest: no |direction . point| reaches it, offsets the caller adds included; under 2^53.
    """

    def __init__(self, points_nd: NDArray[np.int64], *, largest: float, fast: bool | None = None) -> None:
        assert largest < 2.0**53
        self._fast = digit_products_are_exact(points_nd.shape[1]) if fast is None else fast
        self._dtype = np.int32 if largest < 2.0**31 else np.int64
        self._digits = _digits(points_nd) if self._fast else []
        self._points_dn = None if self._fast else points_nd.T.astype(np.float64)

    def products(self, directions_od: NDArray[np.int8]) -> NDArray[Any]:
        """[o, n] int32, or int64 where that is needed: the products of all directions and points."""
        if self._points_dn is not None:
            return np.asarray((directions_od.astype(np.float64) @ self._points_dn).astype(self._dtype))
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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two gain 10 % on products this small, and lose 60 % on a busy machine
    try:
        return np.asarray(torch._int_mm(directions, digit_dn).numpy())
    finally:
        torch.set_num_threads(threads)
