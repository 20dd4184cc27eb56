"""Errors of the coverage package; all are `ValueError` too, as the public interface promises."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import NO_NUMBERS, dense
from tamis.base.errors import PermanentError

_ROWS_PER_BLOCK = 65_536


class _RowsError(PermanentError, ValueError):
    """Rows that do not fit; `row` is the first offending row, None when the whole does not fit."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        self.problem, self.row = problem, row
        super().__init__(problem if row is None else f"row {row}: {problem}")


class BadVectorsError(_RowsError):
    """Vectors that cannot be hashed; `row` is the first offending row, None when the whole does not fit."""


class BadDensityError(_RowsError):
    """Densities, ids or a sample size that no draw can be made from."""


class _SettingError(PermanentError, ValueError):
    """A setting that does not fit; `setting` names it."""

    def __init__(self, setting: str, problem: str) -> None:
        self.setting, self.problem = setting, problem
        super().__init__(f"{setting}: {problem}")


class SketchError(_SettingError):
    """A sketch built, calibrated or merged with settings that do not fit; `setting` names the one."""


class ClusteringError(_SettingError):
    """Documents or settings that cannot be clustered; `setting` names the one."""


class UniformDrawWarning(UserWarning):
    """A draw by inverse density that is uniform in disguise; `share` is its effective sample size over N."""

    def __init__(self, share: float, limit: float) -> None:
        self.share, self.limit = share, limit
        super().__init__(
            f"the effective sample size of the 1 / density weights is {share:.1%} of the pool (maximum "
            f"{limit:.0%}), so the draw is practically uniform; use more hashes or a smaller width"
        )


def checked_vectors(vectors: ArrayLike, dim: int) -> NDArray[np.float64]:
    """[n, dim] float64 of an array, a torch tensor on any device, a frame, or a list or column of vectors.

    Raises `BadVectorsError` (a `ValueError`) for another shape and what are no numbers, and naming the row
    for a value that is not finite or for a vector of zeros, which is what a failed encoder leaves.
    """
    try:
        vectors_nd = np.asarray(dense(vectors), dtype=np.float64)
    except NO_NUMBERS:
        raise _no_numbers(vectors) from None
    if vectors_nd.ndim != 2 or vectors_nd.shape[1] != dim:
        raise BadVectorsError(f"expected vectors of shape [n, {dim}], got {list(vectors_nd.shape)}")
    squares = np.einsum("nd,nd->n", vectors_nd, vectors_nd)
    if not (np.isfinite(squares) & (squares > 0)).all():  # may be an overflow: the rows themselves decide
        if (bad := np.flatnonzero(~np.isfinite(vectors_nd).all(axis=1))).size:
            raise BadVectorsError("contains a value that is not finite", int(bad[0]))
        if (empty := np.flatnonzero(~vectors_nd.any(axis=1))).size:
            raise BadVectorsError("is a vector of zeros", int(empty[0]))
    return vectors_nd


def unit_vectors(vectors: ArrayLike, dim: int | None = None) -> NDArray[np.float32]:
    """Return [n, dim] float32 rows of length 1; the bits of a row do not depend on the other rows.

    Raises as `checked_vectors`; `dim` None takes any. Worked through in blocks of 65,536 rows.
    """
    rows = _to_slice(vectors)
    shape = tuple(rows.shape)
    if len(shape) != 2 or dim not in (None, shape[1]):
        raise BadVectorsError(f"expected vectors of shape [n, {dim or 'd'}], got {list(shape)}")
    unit_nd = np.empty(shape, dtype=np.float32)
    for start in range(0, shape[0], _ROWS_PER_BLOCK):
        try:
            block_nd = checked_vectors(rows[start : start + _ROWS_PER_BLOCK], shape[1])
        except BadVectorsError as error:
            raise BadVectorsError(error.problem, start + (error.row or 0)) from None
        largest_n = np.abs(block_nd).max(axis=1, keepdims=True)  # so that no square over- or underflows
        block_nd = block_nd / largest_n
        length_n = np.sqrt(np.einsum("nd,nd->n", block_nd, block_nd))[:, None]
        unit_nd[start : start + _ROWS_PER_BLOCK] = block_nd / length_n
    return unit_nd


def as_rows(vectors: ArrayLike, count: int) -> Any:
    """Vectors as an array or a tensor to take rows from; raises `BadVectorsError` unless [count, d]."""
    rows = _to_slice(vectors)
    if len(rows.shape) != 2 or rows.shape[0] != count:
        raise BadVectorsError(
            f"expected vectors of shape [{count}, d], one row per doc_id, got {list(rows.shape)}"
        )
    return rows


def _to_slice(vectors: Any) -> Any:
    """Vectors as they are if they are an array or a tensor, which a block at a time is copied of."""
    if isinstance(vectors, np.ndarray) or hasattr(vectors, "detach"):
        return vectors
    try:
        return dense(vectors)
    except NO_NUMBERS:
        raise _no_numbers(vectors) from None


def _no_numbers(vectors: object) -> BadVectorsError:
    return BadVectorsError(f"expected vectors of numbers, got a {type(vectors).__name__} that is not")
