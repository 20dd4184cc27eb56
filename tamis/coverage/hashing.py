"""From vectors to table buckets: p-stable L2 hashes, concatenated and rehashed, the same bits everywhere.

Directions and vectors are rounded to integers, so every projection is an exact integer whatever the batch,
the thread count or the processor, and subtracting a shard undoes adding it. Rounding moves a projection by
7e-4 widths at d=384. Integers also pay: with 8-bit products of the processor a document takes 17
microseconds of one core at d=384 and 500 rows of 4 hashes, with float64 products (as exact) 39.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.base.threads import on_slices
from tamis.coverage.errors import BadVectorsError
from tamis.coverage.integer_products import LARGEST_DIRECTION, Projector

_DIRECTION_BITS, _POINT_BITS = 5, 13  # after the point; a direction is clipped at 127 / 32 = 3.97 deviations
_CELL_BITS = _DIRECTION_BITS + _POINT_BITS
_REACH = 2.0**23  # largest |a.x| / width: cells then fit 32 bits, and sums the 53 of a float64
DOCUMENTS_PER_BLOCK = 4_096
_PRODUCTS_PER_BLOCK = 200
_HALF = np.uint64(32)


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
