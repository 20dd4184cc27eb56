"""SemDeDup as a score: how similar a document is to the most similar one that is kept instead of it.

Within each k-means cluster documents are taken farthest first (Gonzalez 1985): always the one least like
those already taken, and its score is its cosine with the most similar of these. So for every threshold at
once, the documents scored below it are pairwise less similar than it, and each of the others is at least
so similar to one of them. Ranking by the largest cosine with any other document, as the paper's table
reads, drops both members of a pair instead. 100,000 vectors of 256 dimensions take 15 s of one core,
the square of a cluster (at most 4,096) being the most that is held besides the vectors. Clusters alone miss
7 % of planted copies at cosine .98, one on each side of a border; so a document near a border is compared
with all of both sides, where the threshold's second promise may take one step more, over a document dropped
too.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import as_list
from tamis.base.errors import BadArgumentError
from tamis.base.progress import Advance, ignore
from tamis.coverage.vectors import ClusteringError, as_rows, unit_vectors
from tamis.samplers.prototypes import (
    SAMPLE_PER_CLUSTER,
    Prototypes,
    first_of_equals,
    fit_prototypes,
    spherical_k_means,
)

LARGEST_CLUSTER = 4_096
BORDER = 0.05  # of cosine with the prototype: copies at cosine .98 differ by less in 256 dimensions
_SPLITS = 8
_DOCUMENTS_PER_BLOCK = 16_384
_NOTHING_KEPT = np.float32(-1.0)
Keep = Literal["near", "far"]


def semantic_redundancy(
    doc_ids: Sequence[str],
    vectors: ArrayLike,
    *,
    prototypes: Prototypes | None = None,
    keep: Keep = "near",
    seed: int = 0,
    advance: Advance = ignore,
) -> pl.DataFrame:
    """Frame doc_id, cluster, cosine, nearest_kept, ordered by doc_id; take the lowest cosine first.

    `cosine` [-1, 1] float32: with `nearest_kept`, the most similar document of the cluster that was taken
    before; -1 and null for the first of a cluster. Copies beyond the one with the smallest id have 1.
    `keep`: which comes first in a cluster, and of equals: near its prototype (Sachdeva et al. 2024, appendix
    B) or far from it. `prototypes`: by default fitted on these documents with `seed`.
    Raises `ClusteringError` or `BadVectorsError` (both `ValueError`). Abbas et al. 2023 (arXiv 2303.09540).
    """
    if keep not in ("near", "far"):
        raise ClusteringError("keep", f'must be "near" or "far", got {keep!r}')
    ids, vectors_nd = _by_id(doc_ids, vectors)
    if not len(ids):
        return _frame(ids, *(np.empty(0, dtype=np.int64) for _ in range(3)))
    fitted = prototypes or fit_prototypes(ids.to_list(), vectors_nd, seed=seed)
    first, place = first_of_equals(vectors_nd)
    distinct = np.sort(first)
    leaves = _leaves(vectors_nd[distinct], fitted, seed)
    cluster, closeness = leaves.nearest(vectors_nd)
    visits = _visits(vectors_nd[distinct], leaves)
    score = np.ones(len(ids), dtype=np.float32)
    kept = first[place]  # of a copy; overwritten below for the first of equals
    outside = _Outside(vectors_nd, score)
    for number, part in _parts(distinct, cluster):
        members = part[np.lexsort((part, closeness[part] * (-1 if keep == "near" else 1)))]
        near = distinct[visits[number]]
        outside.compare(members, near[cluster[near] < number])  # these are decided
        score[members], nearest = farthest_first(vectors_nd[members], outside.cosine[members])
        kept[members] = np.where(nearest < 0, outside.nearest[members], members[nearest])
        outside.compare(near[cluster[near] > number], members)
        advance(len(members))
    advance(len(ids) - len(first))
    return _frame(ids, cluster, score, kept)


def farthest_first(
    vectors_md: NDArray[np.float32], before_m: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosine of each unit vector [m] with the most similar one taken before it, and which that was.

    Always the one with the lowest cosine is taken next, of equals the earliest. `before_m`: cosines with
    what was taken before all of these (-1: nothing); where that stays the largest, which is -1. m^2
    cosines are held.
    """
    cosines_mm = np.clip(vectors_md @ vectors_md.T, -1.0, 1.0)
    score, nearest = np.empty(len(vectors_md), dtype=np.float32), np.empty(len(vectors_md), dtype=np.int64)
    closest, similarity = np.full(len(vectors_md), -1), before_m.copy()
    for _ in range(len(vectors_md)):
        taken = int(similarity.argmin())
        score[taken], nearest[taken] = similarity[taken], closest[taken]
        closest[cosines_mm[taken] > similarity] = taken
        np.maximum(similarity, cosines_mm[taken], out=similarity)
        similarity[taken] = np.inf  # taken
    return score, nearest


class _Outside:
    """Cosine [n] of documents with the most similar decided one of other clusters, and which; -1 without."""

    def __init__(self, vectors_nd: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        self._vectors_nd, self._score = vectors_nd, score
        self.cosine = np.full(len(vectors_nd), _NOTHING_KEPT)
        self.nearest = np.full(len(vectors_nd), -1)

    def compare(self, documents: NDArray[np.int64], decided: NDArray[np.int64]) -> None:
        """Compare documents with decided ones, given by their rows."""
        for start in range(0, len(documents), LARGEST_CLUSTER):
            block = documents[start : start + LARGEST_CLUSTER]
            cosine, which = most_similar(
                self._vectors_nd[block], self._vectors_nd[decided], self._score[decided]
            )
            closer = cosine > self.cosine[block]
            self.cosine[block[closer]] = cosine[closer]
            self.nearest[block[closer]] = decided[which[closer]]


def most_similar(
    vectors_md: NDArray[np.float32], visitors_vd: NDArray[np.float32], score_v: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Largest cosine [m] with a visitor whose own score is lower, and which [m]; -1 and -1 without one.

    A visitor that is more redundant than similar is dropped whenever it would matter.
    """
    largest, which = np.full(len(vectors_md), _NOTHING_KEPT), np.full(len(vectors_md), -1)
    for start in range(0, len(visitors_vd), LARGEST_CLUSTER):
        block = slice(start, start + LARGEST_CLUSTER)
        cosines_mv = np.clip(vectors_md @ visitors_vd[block].T, -1.0, 1.0)
        cosines_mv[cosines_mv <= score_v[block]] = _NOTHING_KEPT
        best = cosines_mv.argmax(axis=1)
        cosine = cosines_mv[np.arange(len(best)), best]
        which[cosine > largest] = (best + start)[cosine > largest]
        np.maximum(largest, cosine, out=largest)
    return largest, which


def _by_id(doc_ids: Sequence[str], vectors: ArrayLike) -> tuple[pl.Series, NDArray[np.float32]]:
    try:
        ids = pl.Series("doc_id", as_list("doc_ids", doc_ids, "a list of strings"), dtype=pl.String)
    except TypeError:
        raise BadArgumentError("doc_ids", "elements of another type", "strings") from None
    if ids.n_unique() < len(ids):
        raise ClusteringError("doc_ids", "are repeated")
    vectors_nd = unit_vectors(as_rows(vectors, len(ids)))
    order = ids.arg_sort().to_numpy()
    return ids.gather(order), vectors_nd[order]


def _leaves(vectors_nd: NDArray[np.float32], prototypes: Prototypes, seed: int) -> Prototypes:
    """The prototypes, those of clusters above the limit replaced by finer ones until there are none."""
    for _ in range(_SPLITS):
        cluster, _ = prototypes.nearest(vectors_nd)
        large = np.flatnonzero(np.bincount(cluster, minlength=len(prototypes.centroids_kd)) > LARGEST_CLUSTER)
        if not large.size:
            break
        finer = [np.delete(prototypes.centroids_kd, large, axis=0)]
        for number in large:
            part = np.flatnonzero(cluster == number)
            clusters = -(-2 * len(part) // LARGEST_CLUSTER)
            sample = part[:: max(1, len(part) // (SAMPLE_PER_CLUSTER * clusters))]
            finer.append(spherical_k_means(vectors_nd[sample], clusters, seed))
        prototypes = Prototypes(centroids_kd=np.concatenate(finer))
    return prototypes


def _visits(vectors_nd: NDArray[np.float32], leaves: Prototypes) -> list[NDArray[np.int64]]:
    """For each cluster which documents, ascending, are in it or so near its border as to be compared."""
    clusters, documents = [], []
    for start in range(0, len(vectors_nd), _DOCUMENTS_PER_BLOCK):
        cosines_nk = vectors_nd[start : start + _DOCUMENTS_PER_BLOCK] @ leaves.centroids_kd.T
        document, cluster = np.nonzero(cosines_nk >= cosines_nk.max(axis=1, keepdims=True) - BORDER)
        clusters.append(cluster)
        documents.append(document + start)
    cluster, document = np.concatenate(clusters), np.concatenate(documents)
    order = np.argsort(cluster, kind="stable")
    edges = np.searchsorted(cluster[order], np.arange(1, len(leaves.centroids_kd)))
    return np.split(document[order], edges)


def _parts(members: NDArray[np.int64], cluster: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Clusters in order, and their members ascending, cut at the limit (they are equal to the last bits)."""
    by_cluster = members[np.argsort(cluster[members], kind="stable")]
    for part in np.split(by_cluster, np.flatnonzero(np.diff(cluster[by_cluster])) + 1):
        for start in range(0, len(part), LARGEST_CLUSTER):
            yield int(cluster[part[0]]), part[start : start + LARGEST_CLUSTER]


def _frame(
    ids: pl.Series, cluster: NDArray[np.int64], score: NDArray[np.generic], kept: NDArray[np.int64]
) -> pl.DataFrame:
    nearest = pl.Series(kept, dtype=pl.Int64)
    return pl.DataFrame(
        {
            "doc_id": ids,
            "cluster": pl.Series(cluster, dtype=pl.Int64),
            "cosine": pl.Series(score, dtype=pl.Float32),
            "nearest_kept": ids.gather(nearest.set(nearest < 0, None)) if len(ids) else ids,
        }
    )
