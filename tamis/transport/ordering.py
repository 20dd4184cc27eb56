"""Which scores come first: the k smallest, with equal ones in an order that no sharding changes.

A hash of the id decides between equal scores, so that rows may arrive in any order. It costs a microsecond a
document, therefore only documents with an equal score are hashed.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tamis.base.arguments import is_whole
from tamis.coverage.sampling import keyed_gumbel, keyed_hash
from tamis.transport.cost import BadShapeError, Floats, as_floats

Indices = npt.NDArray[np.int64]


def smallest_first(
    score: npt.ArrayLike, k: int | None = None, *, ids: Sequence[str] | None = None, seed: int = 0
) -> Indices:
    """Positions [k] of the k smallest scores [n], in order; all n without k.

    Equal scores are ordered by a hash of (seed, id), without ids by position. Raises ValueError on NaN,
    unless 1 <= k <= n, and on ids of another length.
    """
    score_n = as_floats(score, "score", "[n] without NaN")
    if score_n.ndim != 1 or np.isnan(score_n).any():
        raise BadShapeError("score", f"shape {list(score_n.shape)} or NaN", "[n] without NaN")
    count = len(score_n) if k is None else check_k(k, len(score_n))
    _check_ids(ids, len(score_n), "score")
    order_n = np.argsort(score_n, kind="stable")
    if ids is None:
        return order_n[:count]
    listed = list(ids)
    ties_n = _tie_hashes(score_n[order_n], [listed[position] for position in order_n], seed)
    return order_n[np.lexsort((ties_n, score_n[order_n]))][:count]


def check_k(k: int, count: int) -> int:
    """k as an int; raises `BadShapeError` unless it is a whole number and 1 <= k <= count."""
    if not (is_whole(k, 1) and k <= count):
        raise BadShapeError("k", f"{k!r} of {count} candidates", f"a whole number from 1 to {count}")
    return int(k)


def gumbel_noise(count: int, *, ids: Sequence[str] | None, seed: int, purpose: str) -> Floats:
    """Standard Gumbel noise [n] from a hash of (seed, id); without ids from the seed and the position.

    Log weight + noise, largest first, is a draw without replacement (Efraimidis and Spirakis 2006).
    """
    _check_ids(ids, count, "candidate")
    if ids is None:
        ids = [str(position) for position in range(count)]
    return keyed_gumbel(ids, seed, purpose)


def hash_order(count: int, *, ids: Sequence[str] | None, seed: int) -> Indices:
    """Return positions [n] in the order that decides equal scores: by a hash of the id, or as given."""
    _check_ids(ids, count, "candidate")
    if ids is None:
        return np.arange(count)
    return np.argsort(keyed_hash(ids, seed, "tie"), kind="stable")


def ranks_of(
    chosen_k: Indices, rest_score: npt.ArrayLike, *, ids: Sequence[str] | None = None, seed: int = 0
) -> Floats:
    """Score [n] whose order is a given choice [k] first, then the others by their own score [n].

    Equal ones of the others are ordered as by `smallest_first`.
    """
    rest_n = np.asarray(rest_score, dtype=np.float64)
    rank_n = np.empty(len(rest_n))
    others_n = np.setdiff1d(smallest_first(rest_n, ids=ids, seed=seed), chosen_k, assume_unique=True)
    rank_n[chosen_k] = np.arange(len(chosen_k))
    rank_n[others_n] = len(chosen_k) + np.arange(len(others_n))
    return rank_n


def _check_ids(ids: Sequence[str] | None, count: int, unit: str) -> None:
    if ids is not None and len(ids) != count:
        raise BadShapeError("ids", f"{len(ids)} ids", f"{count}, one per {unit}")


def _tie_hashes(sorted_score_n: Floats, ids: list[str], seed: int) -> npt.NDArray[np.uint64]:
    equal_n = sorted_score_n[1:] == sorted_score_n[:-1]
    tied_n = np.concatenate([[False], equal_n]) | np.concatenate([equal_n, [False]])
    ties_n = np.zeros(len(ids), dtype=np.uint64)
    positions = np.flatnonzero(tied_n[: len(ids)])
    ties_n[positions] = keyed_hash([ids[position] for position in positions], seed, "tie")
    return ties_n
