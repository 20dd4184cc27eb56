"""The functions are plain: a decorator changes nothing of them."""

import polars as pl
from tamis_plugin_template.plugins import distinct_words, many_words_first

TEXTS = ["one two two", "One one", ""]


def test_words_count_once_whatever_their_case() -> None:
    assert distinct_words(TEXTS) == [2, 1, 0]


def test_the_most_words_come_first() -> None:
    candidates = pl.DataFrame({"doc_id": ["a", "b", "c"], "n_tokens": [3, 2, 1], "text": TEXTS})
    assert many_words_first(candidates, None, None, 0) == [-2, -1, 0]
