"""MinHash and LSH banding: which documents could be near-duplicates of one another, without their texts.

A document's band keys depend on its text alone (200 bytes at a threshold of .8), so they are computed once
and kept; documents that share a key share a bucket, and at the threshold all but 1 pair in 1,000 do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.base.threads import in_threads
from tamis.corpus.windows import counting, mixed, word_windows

NO_WORDS = np.uint64(np.iinfo(np.uint64).max)
"""Every band key of a document without words: it is in no bucket."""
_RECALL = 0.999  # chance that a pair exactly at the threshold is proposed
_DOCUMENTS_PER_BLOCK = 2_000
_PAIRS_PER_BLOCK = 50_000
_MOST_LINKS, _ONE_IN = 5, 20
"""Links of a chain that are followed, while at most one document in so many has been reached by the last."""


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """LSH buckets: documents (by position) and their bucket, ordered by bucket and then document."""

    members: NDArray[np.int64]  # [e]
    bucket: NDArray[np.int64]  # [e]

    def restricted(self, documents: NDArray[np.bool_]) -> "Buckets":
        """The same buckets with only the documents of the mask [n]."""
        inside = documents[self.members]
        return Buckets(members=self.members[inside], bucket=self.bucket[inside])

    def pairs(self, of: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Blocks of distinct pairs (a, b), a < b, that share a bucket, for all a in the mask [n]."""
        places = np.flatnonzero(of[self.members])
        places = places[np.argsort(self.members[places], kind="stable")]  # a pair's buckets in one block
        later = np.searchsorted(self.bucket, self.bucket[places], side="right") - places - 1
        block = np.cumsum(later) // _PAIRS_PER_BLOCK
        for chosen in np.split(np.arange(len(places)), np.flatnonzero(np.diff(block)) + 1):
            counts = later[chosen]
            first = np.repeat(places[chosen], counts)
            codes = np.unique(self.members[first] * len(of) + self.members[first + 1 + counting(counts)])
            yield codes // len(of), codes % len(of)

    def between(self, group: NDArray[np.int64]) -> "Buckets":
        """The buckets with documents of several groups; group [n] of each document."""
        if not len(self.bucket):
            return self
        begins = np.flatnonzero(np.diff(self.bucket, prepend=-1))
        of_member = group[self.members]
        several = np.minimum.reduceat(of_member, begins) < np.maximum.reduceat(of_member, begins)
        kept = np.repeat(several, np.diff(begins, append=len(self.bucket)))
        return Buckets(members=self.members[kept], bucket=self.bucket[kept])


def band_keys(
    texts: pl.Series, threshold: float, shingle: int, permutations: int, advance: Advance = ignore
) -> NDArray[np.uint64]:
    """Band keys [n, bands] of texts: two documents that agree in one share a bucket."""
    rows = rows_per_band(permutations, threshold)
    keys_nb = np.full((len(texts), permutations // rows), NO_WORDS)

    def fill(start: int) -> int:
        block = texts.slice(start, _DOCUMENTS_PER_BLOCK)
        documents, signatures_pn = _signatures(block, shingle, permutations)
        for band in range(keys_nb.shape[1]):
            keys = np.zeros(len(documents), dtype=np.uint64)
            for row in signatures_pn[band * rows : (band + 1) * rows]:
                keys = mixed(keys ^ row)
            keys_nb[start + documents, band] = keys
        return len(block)

    for done in in_threads(fill, range(0, len(texts), _DOCUMENTS_PER_BLOCK)):
        advance(done)
    return keys_nb


def _signatures(
    texts: pl.Series, shingle: int, permutations: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The texts that have words (by position [m]) and their MinHash signatures [permutations, m]."""
    draws = np.random.PCG64(0).random_raw(2 * permutations).reshape(2, permutations)
    windows = word_windows(texts, shingle)
    documents, firsts = np.unique(windows.document, return_index=True)
    signatures = np.empty((permutations, len(documents)), dtype=np.uint64)
    for permutation, (flip, factor) in enumerate(draws.T if len(documents) else ()):
        permuted = (windows.hashes ^ flip) * (factor | np.uint64(1))
        signatures[permutation] = np.minimum.reduceat(permuted, firsts)
    return documents, signatures


def buckets_of(keys_nb: NDArray[np.uint64], among_n: NDArray[np.bool_] | None = None) -> Buckets:
    """Buckets of more than one document, from band keys [n, bands]: of those of a mask [n], or of all."""
    documents = np.empty(0, dtype=np.int64)
    if keys_nb.shape[1]:
        documents = np.flatnonzero(keys_nb[:, 0] != NO_WORDS)
        documents = documents if among_n is None else documents[among_n[documents]]
    members, buckets, used = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)], 0
    for keys_n in keys_nb[documents].T:
        order = np.argsort(keys_n, kind="stable")
        ordered = keys_n[order]
        begins = np.append(True, ordered[1:] != ordered[:-1])[: len(order)]
        bucket = np.cumsum(begins) - 1
        shared = np.bincount(bucket)[bucket] > 1 if len(bucket) else np.empty(0, dtype=bool)
        members.append(documents[order[shared]])
        buckets.append(bucket[shared] + used)
        used += len(order)
    return Buckets(members=np.concatenate(members), bucket=np.concatenate(buckets))


def linked(keys_nb: NDArray[np.uint64], seeds_n: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask [n] of the documents that a chain of shared buckets links to one of the seeds, seeds included.

    Of few seeds the chains are followed; of many, or where chains are long, all buckets are made.
    """
    found_n, last_n = seeds_n.copy(), seeds_n
    if seeds_n.all():
        return found_n
    for _ in range(_MOST_LINKS):
        if _ONE_IN * last_n.sum() > len(last_n):
            break
        next_n = np.zeros_like(found_n)
        for keys_n in keys_nb.T:
            wanted = pl.Series(keys_n[last_n]).unique()
            next_n |= pl.Series(keys_n).is_in(wanted.filter(wanted != NO_WORDS).implode()).to_numpy()
        last_n = next_n & ~found_n
        if not last_n.any():
            return found_n
        found_n |= last_n
    return connected(buckets_of(keys_nb), seeds_n)


def connected(buckets: Buckets, seeds_n: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask [n] of the documents that a chain of shared buckets links to one of the seeds, seeds included."""
    count = len(seeds_n)
    if not len(buckets.members):
        return seeds_n.copy()
    from scipy import sparse

    size = count + int(buckets.bucket.max()) + 1
    ones = np.ones(len(buckets.members), dtype=np.int8)
    graph = sparse.coo_array((ones, (buckets.members, count + buckets.bucket)), shape=(size, size))
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    touched = np.zeros(int(label.max()) + 1, dtype=bool)
    touched[label[:count][seeds_n]] = True
    return np.asarray(touched[label[:count]])


def rows_per_band(permutations: int, threshold: float) -> int:
    """Most rows a band (fewest false proposals) that still propose a pair at the threshold with `_RECALL`."""
    missed = {rows: (1 - threshold**rows) ** (permutations // rows) for rows in range(1, permutations + 1)}
    return max((rows for rows, share in missed.items() if share <= 1 - _RECALL), default=1)
