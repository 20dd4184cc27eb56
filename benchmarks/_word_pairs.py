"""Counts the table of pairs of words by which tamis/filters/word_order.py judges their order.

    python -m benchmarks._word_pairs

Reads p_mixed_free alone, whose texts are in the public domain, under CC BY 4.0 or free for any use (DATA.md),
and writes tamis/filters/word_pairs.npz: the 150 most frequent words, the classes, and how much oftener than
by chance a word of one class follows one of another. Raise CODE_VERSION in tamis/filters when it changes.
"""

import polars as pl

from benchmarks._texts import read_texts
from tamis.filters.word_order import TABLE, counted, plain, tokens, write

SOURCE, WORDS = "p_mixed_free", 150


def main() -> None:
    """Count and write."""
    texts = read_texts(SOURCE)
    words = (
        tokens(texts).filter(pl.col("token").str.contains("^[A-Za-z]")).select(word=plain(pl.col("token")))
    )
    frequent = words.group_by("word").len().sort(["len", "word"], descending=[True, False]).head(WORDS)
    table = counted(texts, frequent["word"].sort().to_list())
    write(table, TABLE)
    print(f"{TABLE}: {len(table.classes)} classes")


if __name__ == "__main__":
    main()
