"""The units that rules count: words, lines and paragraphs of a column `text`.

A word is what white space separates, as in Dolma's and RedPajama's versions of the rules; the published ones
use a tokenizer that splits punctuation off. No language without spaces between its words can be judged so.
"""

import polars as pl

TEXT = pl.col("text")
WORDS, SPOKEN, LINES, PARAGRAPHS = pl.col("words"), pl.col("spoken"), pl.col("lines"), pl.col("paragraphs")


def with_units(texts: pl.DataFrame) -> pl.DataFrame:
    """The frame with lists of strings: `words`, `spoken` (words that hold a letter or digit), `lines` (not
    blank, unchanged) and `paragraphs` (what blank lines separate).
    """
    words = TEXT.str.extract_all(r"\S+")
    paragraphs = TEXT.str.replace_all(r"\n{2,}", "\n\n").str.split("\n\n")
    return texts.with_columns(
        words.alias("words"),
        words.list.eval(pl.element().filter(pl.element().str.contains(r"[\p{L}\p{N}]"))).alias("spoken"),
        TEXT.str.extract_all(r"[^\n]*\S[^\n]*").alias("lines"),
        paragraphs.list.eval(pl.element().filter(pl.element() != "")).alias("paragraphs"),
    )


def ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """part / whole, 0 where there is nothing to divide by."""
    return pl.when(whole > 0).then(part.cast(pl.Float64) / whole).otherwise(0.0)


def characters(strings: pl.Expr) -> pl.Expr:
    """Characters of a list of strings together."""
    return strings.list.eval(pl.element().str.len_chars()).list.sum()


def share_matching(strings: pl.Expr, pattern: str) -> pl.Expr:
    """Share of a list of strings in which the pattern is found."""
    return ratio(strings.list.eval(pl.element().str.contains(pattern)).list.sum(), strings.list.len())


def repeated(strings: pl.Expr) -> pl.Expr:
    """Count the strings of a list that occur in it before."""
    return strings.list.len() - strings.list.n_unique()


def repeated_characters(strings: pl.Expr) -> pl.Expr:
    """Count the characters of those strings of a list that occur in it before."""
    return characters(strings) - characters(strings.list.unique())
