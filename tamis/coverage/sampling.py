"""A number for each document that depends on its id, a seed and a purpose, and on nothing else.

Draws and ties decided by it do not change with the order, the sharding or the presence of other documents.
BLAKE2b rather than a vectorised mix: any id is well spread, at about 1 microsecond each.
"""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import as_floats, as_list, is_whole
from tamis.base.errors import BadArgumentError
from tamis.coverage.vectors import BadDensityError, UniformDrawWarning

UNIFORM_ABOVE = 0.99


def keyed_hash(doc_ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.uint64]:
    """[n] uint64, uniform. `purpose` (at most 16 bytes) keeps draws of one seed independent of each other.

    `seed`: any whole number under 2^127, NumPy's too. Raises `BadArgumentError` for others and for ids that
    are no strings.
    """
    try:
        key = int(seed).to_bytes(16, "little", signed=True)
    except (TypeError, ValueError, OverflowError):
        raise BadArgumentError("seed", repr(seed), "a whole number under 2^127") from None
    keyed = hashlib.blake2b(digest_size=8, key=key, person=purpose.encode())
    digests = bytearray()
    for doc_id in doc_ids:
        one = keyed.copy()
        try:
            one.update(doc_id.encode())
        except AttributeError:
            raise BadArgumentError("doc_ids", f"a {type(doc_id).__name__}", "strings") from None
        digests += one.digest()
    return np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)


def keyed_uniform(doc_ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.float64]:
    """[n] float64 in the open interval (0, 1), from the upper 53 bits of `keyed_hash`."""
    return ((keyed_hash(doc_ids, seed, purpose) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def keyed_gumbel(doc_ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.float64]:
    """[n] standard Gumbel noise of the same kind: log weight + noise, largest first, draws by weight."""
    return -np.log(-np.log(keyed_uniform(doc_ids, seed, purpose)))


@dataclass(frozen=True, kw_only=True)
class DrawReport:
    """How far weights 1 / max(density, 1) are from uniform ones.

    `effective_share`: effective sample size over the size of the pool, in (0, 1]. `density_spread`: 95th
    over 5th percentile of max(density, 1). `uniform_in_disguise`: the share is above the limit.
    """

    documents: int
    effective_share: float
    density_spread: float
    uniform_in_disguise: bool


def inverse_propensity_keys(doc_ids: Sequence[str], density: ArrayLike, seed: int) -> NDArray[np.float64]:
    """Keys [n] whose k largest are a draw without replacement, weights 1 / max(density, 1).

    log weight + Gumbel noise from a hash of (seed, doc_id) (Efraimidis and Spirakis 2006). Raises
    `BadDensityError` (a `ValueError`) for lengths that differ or, naming the row, a density that is NaN.
    """
    doc_ids = as_list("doc_ids", doc_ids, "a list of strings")
    densities = as_floats("density", density, "numbers [n]")
    if densities.shape != (len(doc_ids),):
        raise BadDensityError(
            f"expected densities of shape [{len(doc_ids)}], one per doc_id, got {list(densities.shape)}"
        )
    if (bad := np.flatnonzero(np.isnan(densities))).size:
        raise BadDensityError("density is NaN", int(bad[0]))
    return keyed_gumbel(doc_ids, seed, "inverse density") - np.log(np.maximum(densities, 1.0))


def inverse_propensity_sample(doc_ids: Sequence[str], density: ArrayLike, k: int, seed: int) -> list[str]:
    """The k doc_ids of a draw with weights 1 / max(density, 1), first drawn first; all when k exceeds them.

    The draw from a union is the draw from the draws of its parts. Raises `BadDensityError` (a `ValueError`)
    for a negative k, repeated doc_ids, lengths that differ or a density that is NaN.
    """
    doc_ids = as_list("doc_ids", doc_ids, "a list of strings")
    if not is_whole(k, 0):
        raise BadDensityError(f"cannot draw {k!r} documents")
    if len(set(doc_ids)) != len(doc_ids):
        raise BadDensityError("doc_ids are repeated")
    order = np.argsort(-inverse_propensity_keys(doc_ids, density, seed), kind="stable")
    return [doc_ids[position] for position in order[: int(k)].tolist()]


def effective_sample_size(density: ArrayLike) -> float:
    """Return the share of the pool that weights w = 1 / max(density, 1) spread over: (sum w)^2 / (N sum w^2).

    It is in (0, 1]; above 0.99 the draw is practically uniform. Raises `BadDensityError` for none or a NaN.
    """
    densities = as_floats("density", density, "numbers [n]")
    if not densities.size or np.isnan(densities).any():
        raise BadDensityError("densities must not be empty or contain NaN")
    weights = 1.0 / np.maximum(densities, 1.0)
    return float(weights.sum() ** 2 / (weights.size * np.square(weights).sum()))


def draw_report(density: ArrayLike, *, limit: float = UNIFORM_ABOVE) -> DrawReport:
    """What a draw by these densities [n] of a whole pool can do; warns when it is uniform in disguise.

    The warning is `UniformDrawWarning`: an effective share above `limit`. The published setting reaches .998
    (densities 1.50e8 to 1.75e8, figure 9 of Sachdeva et al.). Raises `BadDensityError` for none or a NaN.
    """
    densities = as_floats("density", density, "numbers [n]")
    share = effective_sample_size(densities)
    low, high = np.percentile(np.maximum(densities, 1.0), [5, 95])
    if share > limit:
        warnings.warn(UniformDrawWarning(share, limit), stacklevel=2)
    return DrawReport(
        documents=densities.size,
        effective_share=share,
        density_spread=float(high / low),
        uniform_in_disguise=share > limit,
    )
