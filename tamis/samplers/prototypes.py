"""Prototypes of a pool by spherical k-means, and how far each document is from the nearest one.

The SSL-prototypes sampler drops what is closest to a prototype: documents that are typical of a topic of
which there are many. Fitted on a sample of distinct vectors that a keyed hash of the id chooses (copies
would pull prototypes towards themselves), so neither the order nor the sharding of the pool matters. 100
clusters on 100,000 vectors of 256 dimensions take 2.5 s of one core, at 25,600 vectors in the sample.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import as_list, is_whole
from tamis.base.progress import Advance, ignore
from tamis.coverage.sampling import keyed_hash
from tamis.coverage.vectors import ClusteringError, as_rows, unit_vectors

DOCUMENTS_PER_CLUSTER = 1_000
SAMPLE_PER_CLUSTER = 256
_ROUNDS = 25
_DOCUMENTS_PER_BLOCK = 16_384


@dataclass(frozen=True, kw_only=True)
class Prototypes:
    """Centroids [k, d] float32 of length 1, in no particular order."""

    centroids_kd: NDArray[np.float32]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the centroids."""
        shape = np.array(self.centroids_kd.shape, dtype="<i8").tobytes()
        return hashlib.sha256(shape + self.centroids_kd.astype("<f4", copy=False).tobytes()).hexdigest()

    def nearest(
        self, vectors: ArrayLike, advance: Advance = ignore
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Of [n, d] vectors the nearest prototype [n] and the cosine with it [n]; or `BadVectorsError`."""
        vectors_nd = unit_vectors(vectors, self.centroids_kd.shape[1])
        cluster = np.empty(len(vectors_nd), dtype=np.int64)
        cosine = np.empty(len(vectors_nd), dtype=np.float32)
        for start in range(0, len(vectors_nd), _DOCUMENTS_PER_BLOCK):
            block = slice(start, start + _DOCUMENTS_PER_BLOCK)
            cosines_nk = vectors_nd[block] @ self.centroids_kd.T
            cluster[block] = cosines_nk.argmax(axis=1)
            cosine[block] = cosines_nk.max(axis=1)
            advance(len(cosines_nk))
        return cluster, np.clip(cosine, -1.0, 1.0)

    def distance(self, vectors: ArrayLike, advance: Advance = ignore) -> NDArray[np.float32]:
        """1 - cosine with the nearest prototype, [n] in [0, 2]; the sampler takes the highest first.

        Sorscher et al. 2022 (arXiv 2206.14486), section 5; Sachdeva et al. 2024, appendix B.
        """
        return np.float32(1.0) - self.nearest(vectors, advance)[1]


def fit_prototypes(
    doc_ids: Sequence[str], vectors: ArrayLike, *, clusters: int | None = None, seed: int = 0
) -> Prototypes:
    """Prototypes of the pool [n, d]; `clusters`: by default one for every 1,000 documents.

    There are fewer when the sample holds fewer distinct vectors. The result depends on the documents and
    the seed, not on their order. Raises `ClusteringError` or `BadVectorsError` (both `ValueError`).
    """
    doc_ids = as_list("doc_ids", doc_ids, "a list of strings")
    rows_nd = as_rows(vectors, len(doc_ids))
    wanted = clusters if clusters is not None else -(-len(doc_ids) // DOCUMENTS_PER_CLUSTER)
    if not (is_whole(wanted, 1) and wanted <= len(doc_ids)):
        raise ClusteringError(
            "clusters",
            f"must be a whole number from 1 to the number of documents ({len(doc_ids)}), got {wanted}",
        )
    wanted = int(wanted)
    draw = keyed_hash(doc_ids, seed, "prototypes")
    order = np.lexsort((np.asarray(doc_ids), draw))[: SAMPLE_PER_CLUSTER * wanted]
    sample_sd = unit_vectors(rows_nd[order])
    sample_sd = sample_sd[np.sort(first_of_equals(sample_sd)[0])]
    return Prototypes(centroids_kd=spherical_k_means(sample_sd, min(wanted, len(sample_sd)), seed))


def spherical_k_means(vectors_nd: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.float32]:
    """Centroids [k, d] of length 1 of unit vectors [n, d], by k-means++ and at most 25 rounds of Lloyd."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(clusters, init="k-means++", n_init=1, max_iter=_ROUNDS, random_state=int(seed) % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 25 rounds are what is asked for
        centroids_kd = means.fit(vectors_nd).cluster_centers_
    lengths = np.linalg.norm(centroids_kd, axis=1, keepdims=True)
    return np.asarray(centroids_kd / np.maximum(lengths, 1e-12), dtype=np.float32)


def first_of_equals(vectors_nd: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions [u] of the first of each set of equal rows, and for every row [n] its place among them."""
    packed = np.ascontiguousarray(vectors_nd + np.float32(0.0))  # -0 and 0 are equal
    rows = packed.view([("", f"V{packed.shape[1] * 4}")]).reshape(-1) if packed.size else packed[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first.astype(np.int64), inverse.reshape(-1).astype(np.int64)
