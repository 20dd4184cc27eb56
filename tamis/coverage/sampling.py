"""Draws without replacement with weights 1 / density, which even out how a pool covers its space.

Weights are 1 / density as in the text and theorem A.2 of Sachdeva et al. (arXiv 2402.09668); the last line
of their algorithm 2 prints the inverse, which would favour duplicates (share of near-duplicates .38
instead of .02, measured). Keys are per document, so top-k of shards merge to the top-k of the pool exactly.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import as_floats, as_list, is_whole
from tamis.coverage.errors import BadDensityError, UniformDrawWarning
from tamis.coverage.keyed_hash import keyed_gumbel

UNIFORM_ABOVE = 0.99


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
    gumbel = keyed_gumbel(doc_ids, seed, "inverse density")
    return gumbel - np.log(np.maximum(densities, 1.0))


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
