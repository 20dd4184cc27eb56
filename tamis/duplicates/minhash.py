"""MinHash and LSH banding over runs of words: which documents could be near-duplicates of one another."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.base.threads import in_threads
from tamis.base.words import WORD

NO_WORDS = np.uint64(np.iinfo(np.uint64).max)
"""Every band key of a document without words: it is in no bucket."""
_RECALL = 0.999  # chance that a pair exactly at the threshold is proposed
_DOCUMENTS_PER_BLOCK = 2_000
_PAIRS_PER_BLOCK = 50_000
_MOST_LINKS, _ONE_IN = 5, 20
"""Links of a chain that are followed, while at most one document in so many has been reached by the last."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Runs of consecutive words: hash, position of its text, first word there; ordered by text and word."""

    hashes: NDArray[np.uint64]
    document: NDArray[np.int64]
    first_word: NDArray[np.int64]


def split_words(texts: pl.Series) -> pl.Series:
    """Lists of the words of each text (`tamis.base.words`), lower-cased."""
    return texts.str.to_lowercase().str.extract_all(WORD)


def word_windows(texts: Sequence[str] | pl.Series, size: int) -> Windows:
    """Runs of `size` words of each text; a shorter text is one run, one without words has none.

    Equal runs have equal 64-bit hashes on every machine; any two of a billion collide with chance .03.
    """
    return windows_of(split_words(pl.Series(texts, dtype=pl.String)), size)


def windows_of(lists: pl.Series, size: int) -> Windows:
    """`word_windows` of texts that are given as lists of their words."""
    lengths = lists.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    words = _word_hashes(lists.explode().drop_nulls())
    counts = np.where(lengths > 0, np.maximum(lengths - size + 1, 1), 0)
    document = np.repeat(np.arange(len(lengths)), counts)
    first_word = counting(counts)
    place = np.repeat(np.cumsum(lengths) - lengths, counts) + first_word
    padded = np.concatenate([words, np.zeros(size, dtype=np.uint64)])
    factors = np.random.PCG64(size).random_raw(size) | np.uint64(1)
    sums = np.zeros(len(words), dtype=np.uint64)  # at every word, also where a run would leave its text
    for step, factor in enumerate(factors):
        sums += padded[step : step + len(words)] * factor
    hashes = sums[place]
    short = np.flatnonzero(lengths[document] < size)  # the one run of a text that is shorter ends with it
    own = np.arange(size) < lengths[document[short], None]
    around = padded[place[short, None] + np.arange(size)]
    hashes[short] = np.where(own, around * factors, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    return Windows(hashes=mixed(hashes), document=document, first_word=first_word)


def _word_hashes(words: pl.Series) -> NDArray[np.uint64]:
    """BLAKE2b of each distinct word, spread to all of its uses."""
    encoded = words.to_arrow().dictionary_encode()
    digests = (
        hashlib.blake2b(word.encode(), digest_size=8).digest() for word in encoded.dictionary.to_pylist()
    )
    distinct = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    return distinct[encoded.indices.to_numpy(zero_copy_only=False)]


def counting(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ..., c - 1 for each count c, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 64-bit finaliser of MurmurHash3: spreads every input bit over all output bits."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(33))


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
    for band in range(keys_nb.shape[1]):
        keys_n = keys_nb[documents, band]
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
