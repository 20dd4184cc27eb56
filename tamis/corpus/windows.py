"""Runs of consecutive words of many texts as 64-bit hashes: what near-duplicates and leaks are found by.

Equal runs have equal hashes on every machine; 16 bytes a run while a block of texts is in hand.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.words import WORD


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
