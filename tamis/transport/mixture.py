"""A pool with chosen documents added to it, as rows that are streamed again and again without a copy.

The reference of a later round is the pool at a smaller mass plus the chosen documents at the rest; only the
chosen ones are held, k x d numbers.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.transport.blocks import Matrix, Rows, RowSource, as_rows, is_array
from tamis.transport.cost import Floats, as_weights

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 8_192


class Mixture:
    """Rows [N, d] of a pool with masses, to which documents are added."""

    def __init__(self, pool: Rows, weights: Any) -> None:
        self._pool = pool = as_rows(pool)
        count = len(pool) if is_array(pool) else sum(len(block) for block in pool)  # type: ignore[arg-type]
        self._mass_n = as_weights(weights, count, "reference_weights")

    def with_chosen(self, vectors_kd: npt.NDArray[Any], share: float) -> tuple[Rows, Floats]:
        """Rows and masses of (1 - share) pool + share * uniform on the vectors [k, d]."""
        added_k = np.full(len(vectors_kd), share / len(vectors_kd))
        return _Joined(self._pool, vectors_kd), np.concatenate([(1 - share) * self._mass_n, added_k])


class _Joined:
    def __init__(self, pool: Rows, vectors_kd: npt.NDArray[Any]) -> None:
        self._pool, self._vectors_kd = pool, vectors_kd

    def __iter__(self) -> Iterator[Matrix]:
        import torch

        added_kd = torch.from_numpy(self._vectors_kd)
        for _, block in RowSource(self._pool, "reference").chunks(BLOCK_ROWS):
            added_kd = added_kd.to(block.device)
            yield block
        yield added_kd


def rows_at(rows: Rows, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rows [k, d] at positions [k], in their order; blocks are read once."""
    if is_array(rows):
        taken = rows[positions.tolist()]  # type: ignore[index]
        return as_numpy(taken.detach()) if hasattr(taken, "detach") else np.asarray(taken)
    order_k = np.argsort(positions, kind="stable")
    sorted_k, found = positions[order_k], []
    for start, block in RowSource(rows, "candidates").chunks(BLOCK_ROWS):
        low, high = np.searchsorted(sorted_k, [start, start + len(block)])
        found.append(as_numpy(block[(sorted_k[low:high] - start).tolist()]))
    rows_kd = np.concatenate(found)
    result_kd = np.empty_like(rows_kd)
    result_kd[order_k] = rows_kd
    return result_kd


def as_numpy(rows_kd: "torch.Tensor") -> npt.NDArray[Any]:
    """Rows of a tensor on any device; 16-bit ones as float32, since numpy has no bfloat16."""
    narrow = rows_kd.element_size() == 2
    return (rows_kd.float() if narrow else rows_kd).cpu().numpy()
