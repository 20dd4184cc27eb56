"""Runs of words as hashes: those of brute force, whatever is next to a text in its block."""

import hashlib
import re

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tamis.duplicates.minhash import mixed, word_windows

TEXTS = st.lists(
    st.sampled_from(["", "one", "Two two", "a b c", "x_1 2, ü!", "a b c d e f g a b c"]), max_size=8
)


def runs_by_hand(text: str, size: int) -> list[int]:
    """Return the hash of each run of words of one text; a shorter text is one run."""
    words = [
        int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        for word in re.findall(r"\w+", text.lower())
    ]
    factors = [int(factor) | 1 for factor in np.random.PCG64(size).random_raw(size)]
    starts = range(max(len(words) - size + 1, 1) if words else 0)
    sums = [
        sum(word * factor for word, factor in zip(words[start:], factors, strict=False)) for start in starts
    ]
    return [int(one) for one in mixed(np.array([total % 2**64 for total in sums], dtype=np.uint64))]


@given(TEXTS, st.integers(1, 6))
def test_the_runs_of_a_text_are_those_by_hand(texts, size):
    found = word_windows(pl.Series(texts, dtype=pl.String), size)
    expected = [(place, run) for place, text in enumerate(texts) for run in runs_by_hand(text, size)]
    assert list(zip(found.document.tolist(), found.hashes.tolist(), strict=True)) == expected
    assert found.first_word.tolist() == [
        word for text in texts for word in range(len(runs_by_hand(text, size)))
    ]
