"""Vectors as callers have them (numpy or torch, any float type) to the float64 that hashing works on."""

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.coverage.errors import BadVectorsError


def checked_vectors(vectors: ArrayLike, dim: int) -> NDArray[np.float64]:
    """[n, dim] float64 of a numpy array or a torch tensor on any device.

    Raises `BadVectorsError` (a `ValueError`) for another shape, and naming the row for a value that is
    not finite or for a vector of zeros, which is what a failed encoder leaves.
    """
    vectors_nd = _as_float64(vectors)
    if vectors_nd.ndim != 2 or vectors_nd.shape[1] != dim:
        raise BadVectorsError(f"expected vectors of shape [n, {dim}], got {list(vectors_nd.shape)}")
    if (bad := np.flatnonzero(~np.isfinite(vectors_nd).all(axis=1))).size:
        raise BadVectorsError("holds a value that is not finite", int(bad[0]))
    if (empty := np.flatnonzero(~vectors_nd.any(axis=1))).size:
        raise BadVectorsError("is a vector of zeros", int(empty[0]))
    return vectors_nd


def _as_float64(vectors: ArrayLike) -> NDArray[np.float64]:
    tensor = cast(Any, vectors)
    if hasattr(tensor, "detach"):
        return np.asarray(tensor.detach().cpu().double().numpy())
    return np.asarray(vectors, dtype=np.float64)
