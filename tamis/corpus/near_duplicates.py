"""Documents that repeat another almost word for word, found once and independent of the order of arrival.

MinHash and LSH banding propose pairs (at the threshold all but 1 in 1,000), exact Jaccard similarity of
word shingles decides. In ascending doc_id, a document is dropped iff a verified neighbour with a smaller
doc_id is itself kept. Ids are content hashes, so the outcome depends on the set of documents alone, and
removing a kept one promotes the next. Dropping all but one of a connected component instead would, along
a chain of small edits, drop documents that resemble nothing that is kept. 20,000 documents of 1,000
characters take 4 s on one core; signatures take 1 KB a document.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from tamis.errors import PermanentError
from tamis.progress import Advance, ignore

CODE_VERSION = "1"
_RECALL = 0.999  # chance that a pair exactly at the threshold is proposed
_DOCUMENTS_PER_BLOCK = 2_000
_PAIRS_PER_BLOCK = 50_000
_INPUT = {"doc_id": pl.String, "text": pl.String}
_FIRST_STRETCH = 256  # documents decided before the others are compared with what they keep


class NearDuplicateInputError(PermanentError, ValueError):
    """Ids, texts or settings that do not fit; `argument` names which."""

    def __init__(self, argument: str, problem: str) -> None:
        self.argument, self.problem = argument, problem
        super().__init__(f"{argument}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Runs of consecutive words: hash, position of its text, first word there; ordered by text and word."""

    hashes: NDArray[np.uint64]
    document: NDArray[np.int64]
    first_word: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Buckets:
    """LSH buckets: documents (by position) and their bucket, ordered by bucket and then document."""

    members: NDArray[np.int64]  # [e]
    bucket: NDArray[np.int64]  # [e]

    def restricted(self, documents: NDArray[np.bool_]) -> "_Buckets":
        """The same buckets with only the documents of the mask [n]."""
        inside = documents[self.members]
        return _Buckets(members=self.members[inside], bucket=self.bucket[inside])

    def pairs(self, of: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Blocks of distinct pairs (a, b), a < b, that share a bucket, for all a in the mask [n]."""
        places = np.flatnonzero(of[self.members])
        places = places[np.argsort(self.members[places], kind="stable")]  # a pair's buckets in one block
        later = np.searchsorted(self.bucket, self.bucket[places], side="right") - places - 1
        block = np.cumsum(later) // _PAIRS_PER_BLOCK
        for chosen in np.split(np.arange(len(places)), np.flatnonzero(np.diff(block)) + 1):
            counts = later[chosen]
            first = np.repeat(places[chosen], counts)
            codes = np.unique(self.members[first] * len(of) + self.members[first + 1 + _counting(counts)])
            yield codes // len(of), codes % len(of)


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
    ids, sorted_texts = _in_order(doc_ids, texts, threshold, shingle, permutations)
    signatures_np = _signatures(sorted_texts, shingle, permutations, advance)
    kept, jaccard = _drop_greedily(_buckets(signatures_np, threshold), sorted_texts, threshold, shingle)
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
    verified, so a cluster of n near-equal documents costs n^2 / 2 comparisons.
    """
    ids, sorted_texts = _in_order(doc_ids, texts, threshold, shingle, permutations)
    buckets = _buckets(_signatures(sorted_texts, shingle, permutations, advance), threshold)
    similarity = _Similarity(sorted_texts, buckets.members, shingle)
    edges, _ = _verified(buckets, np.ones(len(ids), dtype=bool), similarity, threshold)
    return pl.DataFrame({"doc_id": ids, "group": ids.gather(_components(edges, len(ids)))})


def split_words(texts: pl.Series) -> pl.Series:
    """Lists of the words of each text: runs of letters, digits and underscores, lower-cased."""
    return texts.str.to_lowercase().str.extract_all(r"\w+")


def word_windows(texts: Sequence[str] | pl.Series, size: int) -> Windows:
    """Runs of `size` words of each text; a shorter text is one run, one without words has none.

    Equal runs have equal 64-bit hashes on every machine; any two of a billion collide with chance .03.
    """
    lists = split_words(pl.Series(texts, dtype=pl.String))
    lengths = lists.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    words = _word_hashes(lists.explode().drop_nulls())
    counts = np.where(lengths > 0, np.maximum(lengths - size + 1, 1), 0)
    document = np.repeat(np.arange(len(lengths)), counts)
    first_word = _counting(counts)
    place = np.repeat(np.cumsum(lengths) - lengths, counts) + first_word
    padded = np.concatenate([words, np.zeros(size, dtype=np.uint64)])
    hashes = np.zeros(len(place), dtype=np.uint64)
    for step, factor in enumerate(np.random.PCG64(size).random_raw(size) | np.uint64(1)):
        inside = step < lengths[document]  # false only past the end of a text shorter than the window
        hashes += np.where(inside, padded[place + step] * factor, np.uint64(0))
    return Windows(hashes=_mixed(hashes), document=document, first_word=first_word)


def _in_order(
    doc_ids: Sequence[str], texts: Sequence[str], threshold: float, shingle: int, permutations: int
) -> tuple[pl.Series, pl.Series]:
    """Ids in ascending order and their texts; everything below works on positions in this order."""
    if len(doc_ids) != len(texts):
        raise NearDuplicateInputError("texts", f"{len(texts)} texts for {len(doc_ids)} doc_ids")
    if not (0 < threshold <= 1 and shingle >= 1 and permutations >= 1):
        raise NearDuplicateInputError("threshold, shingle, permutations", "must be in (0, 1], >= 1 and >= 1")
    frame = pl.DataFrame({"doc_id": doc_ids, "text": texts}, schema=_INPUT).sort("doc_id")
    if frame["doc_id"].n_unique() < len(frame):
        raise NearDuplicateInputError("doc_ids", "are repeated")
    return frame["doc_id"], frame["text"]


def _word_hashes(words: pl.Series) -> NDArray[np.uint64]:
    """BLAKE2b of each distinct word, spread to all of its uses."""
    encoded = words.to_arrow().dictionary_encode()
    digests = (
        hashlib.blake2b(word.encode(), digest_size=8).digest() for word in encoded.dictionary.to_pylist()
    )
    distinct = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    return distinct[encoded.indices.to_numpy(zero_copy_only=False)]


def _counting(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ..., c - 1 for each count c, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 64-bit finaliser of MurmurHash3: spreads every input bit over all output bits."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(33))


def _signatures(texts: pl.Series, shingle: int, permutations: int, advance: Advance) -> NDArray[np.uint64]:
    """MinHash signatures [permutations, n]; documents without words keep the largest value throughout."""
    draws = np.random.PCG64(0).random_raw(2 * permutations).reshape(2, permutations)
    signatures = np.full((permutations, len(texts)), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(texts), _DOCUMENTS_PER_BLOCK):
        block = texts.slice(start, _DOCUMENTS_PER_BLOCK)
        windows = word_windows(block, shingle)
        documents, firsts = np.unique(windows.document, return_index=True)
        for permutation, (flip, factor) in enumerate(draws.T if len(documents) else ()):
            permuted = (windows.hashes ^ flip) * (factor | np.uint64(1))
            signatures[permutation, start + documents] = np.minimum.reduceat(permuted, firsts)
        advance(len(block))
    return signatures


def _buckets(signatures_pn: NDArray[np.uint64], threshold: float) -> _Buckets:
    """Documents that agree in a whole band of rows; documents without words are in no bucket."""
    rows = _rows_per_band(len(signatures_pn), threshold)
    documents = np.flatnonzero(signatures_pn[0] < np.iinfo(np.uint64).max)
    members, buckets, used = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)], 0
    for first in range(0, len(signatures_pn) - rows + 1, rows):
        keys = np.zeros(len(documents), dtype=np.uint64)
        for row in signatures_pn[first : first + rows]:
            keys = _mixed(keys ^ row[documents])
        _, bucket, size = np.unique(keys, return_inverse=True, return_counts=True)
        order = np.argsort(bucket, kind="stable")
        order = order[size[bucket[order]] > 1]
        members.append(documents[order])
        buckets.append(bucket[order] + used)
        used += len(size)
    return _Buckets(members=np.concatenate(members), bucket=np.concatenate(buckets))


def _rows_per_band(permutations: int, threshold: float) -> int:
    """Most rows a band (fewest false proposals) that still propose a pair at the threshold with `_RECALL`."""
    missed = {rows: (1 - threshold**rows) ** (permutations // rows) for rows in range(1, permutations + 1)}
    return max((rows for rows, share in missed.items() if share <= 1 - _RECALL), default=1)


class _Similarity:
    """Exact Jaccard similarities between the shingle sets of some documents, by position."""

    def __init__(self, texts: pl.Series, documents: NDArray[np.int64], shingle: int) -> None:
        wanted = np.unique(documents)
        self._row = np.zeros(len(texts), dtype=np.int64)
        self._row[wanted] = np.arange(len(wanted))
        windows = word_windows(texts.gather(wanted), shingle)
        _, column = np.unique(windows.hashes, return_inverse=True)
        shape = (len(wanted), int(column.max(initial=0)) + 1)
        ones = np.ones(len(column), dtype=np.int32)
        self._sets = sparse.csr_array((ones, (windows.document, column)), shape=shape)
        self._sets.data[:] = 1
        self._sizes = np.diff(self._sets.indptr)

    def jaccard(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """|A and B| / |A or B| of the pairs of documents a[i], b[i]."""
        left, right = self._row[a], self._row[b]
        shared = np.asarray(self._sets[left].multiply(self._sets[right]).sum(axis=1)).reshape(-1)
        return shared / (self._sizes[left] + self._sizes[right] - shared)


def _drop_greedily(
    buckets: _Buckets, texts: pl.Series, threshold: float, shingle: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each document the smallest kept neighbour (n where it is kept itself) and the similarity to it.

    The greedy pass in ascending order, over stretches of doubling length: ids are in random order, so a
    large cluster meets its kept document in an early stretch, and costs n comparisons instead of n^2 / 2.
    """
    similarity, count = _Similarity(texts, buckets.members, shingle), len(texts)
    kept, jaccard = np.full(count, count), np.full(count, np.nan)
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
        jaccard[edges[1, order]] = np.concatenate([near_similar[decisive], far_similar])[order]
        first, last = last, 2 * last
    return kept, jaccard


def _verified(
    buckets: _Buckets, of: NDArray[np.bool_], similarity: _Similarity, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The proposed pairs [2, m] whose similarity [m] reaches the threshold."""
    pairs, similarities = [np.empty((2, 0), dtype=np.int64)], [np.empty(0)]
    for a, b in buckets.pairs(of):
        similar = similarity.jaccard(a, b)
        pairs.append(np.stack([a, b])[:, similar >= threshold])
        similarities.append(similar[similar >= threshold])
    return np.hstack(pairs), np.concatenate(similarities)


def _independent(edges: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Mask [count] of what a greedy pass in ascending order keeps: nobody beside a smaller kept neighbour."""
    a, b = edges  # a < b
    undecided, kept = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    while undecided.any():
        ready = undecided.copy()
        ready[b[undecided[a]]] = False
        kept |= ready
        undecided &= ~ready
        undecided[b[ready[a]]] = False
    return kept


def _components(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of `count` nodes the smallest node of its connected component; edges [2, m]."""
    weights = np.ones(edges.shape[1], dtype=np.int8)
    graph = sparse.coo_array((weights, (edges[0], edges[1])), shape=(count, count))
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    _, smallest = np.unique(label, return_index=True)
    return smallest[label]
