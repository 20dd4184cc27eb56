"""Documents that repeat another almost word for word, found once and independent of the order of arrival.

MinHash and LSH banding propose pairs (at the threshold all but 1 in 1,000), exact Jaccard similarity of
word shingles decides. In ascending doc_id, a document is dropped iff a verified neighbour with a smaller
doc_id is itself kept. Ids are content hashes, so the outcome depends on the set of documents alone, and
removing a kept one promotes the next. Dropping all but one of a connected component instead would, along
a chain of small edits, drop documents that resemble nothing that is kept. 20,000 documents of 1,000
characters take 4 s on one core. The persistent index is in tamis/corpus/repeats.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.errors import PermanentError
from tamis.base.progress import Advance, ignore
from tamis.duplicates.minhash import Buckets, Windows, band_keys, buckets_of, word_windows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

KEYS_VERSION = "2"  # 2: characters of scripts without spaces are words
CODE_VERSION = "3"  # 3: text that many documents of a file share is left out; keys of the others are the same
TextBlock = tuple[NDArray[np.int64], pl.Series]
"""Positions [m] of some documents, and their texts [m]."""
_INPUT = {"doc_id": pl.String, "text": pl.String}
_FIRST_STRETCH = 256  # documents decided before the others are compared with what they keep
_ONE_IN_COMMON, _DENSE_VALUES = 20, 50_000_000  # shingles that a dense matrix holds, and its largest size
_SPARE = 4  # similarities that may be computed for one that is asked for
_TEXTS_AT_ONCE, _HASHES_AT_ONCE = 8_192, 1_000_000


class NearDuplicateInputError(PermanentError, ValueError):
    """Ids, texts or settings that do not fit; `argument` names which."""

    def __init__(self, argument: str, problem: str) -> None:
        self.argument, self.problem = argument, problem
        super().__init__(f"{argument}: {problem}")


def find_near_duplicates(
    doc_ids: Sequence[str],
    texts: Sequence[str],
    *,
    threshold: float = 0.8,
    shingle: int = 5,
    permutations: int = 128,
    advance: Advance = ignore,
) -> pl.DataFrame:
    """The documents to drop: doc_id, kept (the smallest kept neighbour), jaccard with it; ordered by doc_id.

    Neighbours have a Jaccard similarity >= `threshold` of their sets of runs of `shingle` lower-cased words.
    Raises `NearDuplicateInputError` (a `ValueError`) for repeated ids, lengths or settings that do not fit.
    """
    ids, sorted_texts, buckets = _in_order(doc_ids, texts, threshold, shingle, permutations, advance)
    return dropped_of(ids, _blocks_of(sorted_texts, buckets), buckets, threshold, shingle)


def dropped_of(
    ids: pl.Series, texts: Iterable[TextBlock], buckets: Buckets, threshold: float, shingle: int
) -> pl.DataFrame:
    """As `find_near_duplicates`, of documents in ascending order of id whose buckets are known.

    texts: those of all documents in a bucket, each once, in any order.
    """
    kept, jaccard = drop_greedily(buckets, _Similarity(texts, len(ids), shingle), len(ids), threshold)
    dropped = np.flatnonzero(kept < len(ids))
    return pl.DataFrame(
        {"doc_id": ids.gather(dropped), "kept": ids.gather(kept[dropped]), "jaccard": jaccard[dropped]}
    )


def near_duplicate_groups(
    doc_ids: Sequence[str],
    texts: Sequence[str],
    *,
    threshold: float = 0.8,
    shingle: int = 5,
    permutations: int = 128,
    advance: Advance = ignore,
) -> pl.DataFrame:
    """Connected components of near-duplicates: doc_id, group (its smallest doc_id), for every document.

    For splits that nothing may leak through. As `find_near_duplicates`, but every proposed pair is
    verified that other pairs do not connect, so a cluster of n near-equal documents costs n comparisons, and
    n documents that are all a little too different n^2 / 2.
    """
    ids, sorted_texts, buckets = _in_order(doc_ids, texts, threshold, shingle, permutations, advance)
    similarity = _Similarity(_blocks_of(sorted_texts, buckets), len(ids), shingle)
    return pl.DataFrame(
        {"doc_id": ids, "group": ids.gather(_grouped(buckets, similarity, len(ids), threshold))}
    )


def _in_order(
    doc_ids: Sequence[str],
    texts: Sequence[str],
    threshold: float,
    shingle: int,
    permutations: int,
    advance: Advance,
) -> tuple[pl.Series, pl.Series, Buckets]:
    """Ids in ascending order, their texts and buckets; everything below works on positions in this order."""
    if len(doc_ids) != len(texts):
        raise NearDuplicateInputError(
            "texts", f"expected one text for each of the {len(doc_ids)} doc_ids, got {len(texts)} texts"
        )
    if not (0 < threshold <= 1 and shingle >= 1 and permutations >= 1):
        raise NearDuplicateInputError(
            "threshold, shingle, permutations", "must be in (0, 1], >= 1 and >= 1, respectively"
        )
    frame = pl.DataFrame({"doc_id": doc_ids, "text": texts}, schema=_INPUT).sort("doc_id")
    if frame["doc_id"].n_unique() < len(frame):
        raise NearDuplicateInputError("doc_ids", "are repeated")
    keys_nb = band_keys(frame["text"], threshold, shingle, permutations, advance)
    return frame["doc_id"], frame["text"], buckets_of(keys_nb)


class Similarity(Protocol):
    """Similarity of two documents, by position."""

    def of_pairs(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Similarity [m] of the documents a[i] and b[i]."""


class _Similarity:
    """Exact Jaccard similarities between the shingle sets of some documents, by position.

    Shingles that many of the documents hold are in a dense matrix, too: of many pairs of few documents, its
    products count what is shared in a hundredth of the time.
    """

    def __init__(self, texts: Iterable[TextBlock], count: int, shingle: int) -> None:
        """`count` documents, of which these are compared; their texts are let go of block by block."""
        self._row = np.zeros(count, dtype=np.int64)
        sizes, hashes, rows = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)], 0
        for positions_m, block in texts:
            self._row[positions_m] = rows + np.arange(len(block))
            document, own = _distinct(word_windows(block, shingle))
            sizes.append(np.bincount(document, minlength=len(block)))
            hashes.append(own)
            rows += len(block)
        self._sizes = np.concatenate(sizes)
        self._sets = _sets_of(self._sizes, np.concatenate(hashes))
        holders = np.bincount(self._sets.indices, minlength=self._sets.shape[1])
        common = holders * _ONE_IN_COMMON > rows
        if common.sum() * rows > _DENSE_VALUES:
            common[:] = False
        self._common_nc = self._sets[:, np.flatnonzero(common)].toarray().astype(np.float32)
        self._rare = self._sets[:, np.flatnonzero(~common)] if common.any() else self._sets

    def of_pairs(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """|A and B| / |A or B| of the pairs of documents a[i], b[i]."""
        left, right = self._row[a], self._row[b]
        (rows, at_row), (columns, at_column) = (np.unique(of, return_inverse=True) for of in (left, right))
        if len(rows) * len(columns) <= _SPARE * len(left):
            in_common = self._common_nc[rows] @ self._common_nc[columns].T  # whole numbers, so exact
            shared = (in_common + (self._rare[rows] @ self._rare[columns].T).toarray())[at_row, at_column]
        else:
            shared = np.asarray(self._sets[left].multiply(self._sets[right]).sum(axis=1)).reshape(-1)
        shared = np.where(left == right, self._sizes[left], shared)  # its own shingles are in no other set
        return np.asarray(shared / (self._sizes[left] + self._sizes[right] - shared), dtype=np.float64)


def _blocks_of(texts: pl.Series, buckets: Buckets) -> Iterator[TextBlock]:
    """Yield the texts of the documents that are in a bucket."""
    wanted = np.unique(buckets.members)
    for start in range(0, len(wanted), _TEXTS_AT_ONCE):
        positions_m = wanted[start : start + _TEXTS_AT_ONCE]
        yield positions_m, texts.gather(positions_m)


def _distinct(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return documents and hashes of the windows, ascending, each hash once a document."""
    order = np.lexsort((windows.hashes, windows.document))
    document, hashes = windows.document[order], windows.hashes[order]
    first = np.append(True, (document[1:] != document[:-1]) | (hashes[1:] != hashes[:-1]))[: len(order)]
    return document[first], hashes[first]


def _sets_of(sizes_n: NDArray[np.int64], hashes: NDArray[np.uint64]) -> "csr_array":
    """Return the sets [n, v] of the shingles that several documents hold; no two share any other.

    hashes: those of the documents, one document after the other, ascending and distinct in each.
    """
    from scipy import sparse

    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    shared_v = np.unique(repeated)
    columns = np.empty(len(hashes), dtype=np.int32)
    for start in range(0, len(hashes), _HASHES_AT_ONCE):
        block = hashes[start : start + _HASHES_AT_ONCE]
        order = np.argsort(block)  # neighbours are looked up one after the other
        place = np.searchsorted(shared_v, block[order])
        place[place == len(shared_v)] = 0
        there = shared_v[place] == block[order] if len(shared_v) else np.zeros(len(block), dtype=bool)
        columns[start + order] = np.where(there, place, -1)
    held = columns >= 0
    ends = np.append(0, np.cumsum(held))[np.append(0, np.cumsum(sizes_n))]
    ones = np.ones(int(held.sum()), dtype=np.int32)
    return sparse.csr_array((ones, columns[held], ends), shape=(len(sizes_n), max(len(shared_v), 1)))


def drop_greedily(
    buckets: Buckets, similarity: Similarity, count: int, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each document the smallest kept neighbour (n where it is kept itself) and the similarity to it.

    The greedy pass in ascending order, over stretches of doubling length: ids are in random order, so a
    large cluster meets its kept document in an early stretch, and costs n comparisons instead of n^2 / 2.
    """
    kept, similarities = np.full(count, count), np.full(count, np.nan)
    positions, first, last = np.arange(count), 0, _FIRST_STRETCH
    while first < count:
        undecided = (positions >= first) & (kept == count)
        stretch = undecided & (positions < last)
        near, near_similar = _verified(buckets.restricted(stretch), stretch, similarity, threshold)
        staying = stretch & _independent(near, count)
        others = staying | (undecided & ~stretch)
        far, far_similar = _verified(buckets.restricted(others), staying, similarity, threshold)
        decisive = staying[near[0]]
        edges = np.hstack([near[:, decisive], far])
        order = np.argsort(-edges[0], kind="stable")  # of several neighbours the smallest is written last
        kept[edges[1, order]] = edges[0, order]
        similarities[edges[1, order]] = np.concatenate([near_similar[decisive], far_similar])[order]
        first, last = last, 2 * last
    return kept, similarities


def _verified(
    buckets: Buckets, of: NDArray[np.bool_], similarity: Similarity, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The proposed pairs [2, m] whose similarity [m] reaches the threshold."""
    pairs, similarities = [np.empty((2, 0), dtype=np.int64)], [np.empty(0)]
    for a, b in buckets.pairs(of):
        similar = similarity.of_pairs(a, b)
        pairs.append(np.stack([a, b])[:, similar >= threshold])
        similarities.append(similar[similar >= threshold])
    return np.hstack(pairs), np.concatenate(similarities)


def _independent(edges: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return the mask [count] that a greedy ascending pass keeps: none has a smaller kept neighbour."""
    a, b = edges  # a < b
    undecided, kept = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    while undecided.any():
        ready = undecided.copy()
        ready[b[undecided[a]]] = False
        kept |= ready
        undecided &= ~ready
        undecided[b[ready[a]]] = False
    return kept


def _grouped(buckets: Buckets, similarity: Similarity, count: int, threshold: float) -> NDArray[np.int64]:
    """For each document the smallest of its connected component of neighbours.

    Documents are compared with later ones in stretches of doubling length. Pairs that are connected by then
    are left out, and so are buckets whose documents all are.
    """
    group, positions, first, last = np.arange(count), np.arange(count), 0, 1
    while first < count and len((buckets := buckets.between(group)).members):
        for a, b in buckets.pairs((positions >= first) & (positions < last)):
            apart = group[a] != group[b]
            a, b = a[apart], b[apart]
            near = similarity.of_pairs(a, b) >= threshold
            if near.any():
                group = _components(np.stack([group[a[near]], group[b[near]]]), count)[group]
        first, last = last, 2 * last
    return group


def _components(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of `count` nodes the smallest node of its connected component; edges [2, m]."""
    from scipy import sparse

    weights = np.ones(edges.shape[1], dtype=np.int8)
    graph = sparse.coo_array((weights, (edges[0], edges[1])), shape=(count, count))
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    _, smallest = np.unique(label, return_index=True)
    return smallest[label]
