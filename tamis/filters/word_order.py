"""In which order the words of an English text stand: as people put them, or as chance does.

A table holds for each pair of word classes how much oftener one follows the other than chance has it
(logarithm of observed over expected). The score of a text is the mean over its neighbours, less that over
words that are 3 to 10 apart in it, which are in no order: near 1 for English of any kind, near 0 for the same
words shuffled, at any length. What short texts spread around it is added, so that one limit serves all.

Classes are the 150 most frequent words, endings of the others, numbers and punctuation, each capital or not.
`python -m benchmarks._word_pairs` counts the table, from texts in the public domain and under CC BY; it holds
no text.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.filters.rule import WORDS, Rule, at_most, ratio

TABLE = Path(__file__).with_name("word_pairs.npz")
LONGEST = 20_000  # characters; more tell nothing new
LAGS = range(3, 11)
SPREAD = 1.5  # of the score of a single pair, beyond which nothing is said about a short text
LEAST_PAIRS = 8
FOREIGN = 5.0  # what the score gains where fewer words are common ones: lists of names, other languages
_TOKEN = r"[A-Za-z]+(?:['’][A-Za-z]+)*|[.!?…]+|[,;:()\"“”]+|[0-9][0-9.,]*|[\p{L}\p{M}]+"
_ENDINGS = ("ing", "ed", "ly", "tion", "ness", "ment", "able", "ous", "al", "ers", "er", "est", "ity", "ies")
_SHORT_ENDINGS = ("es", "s", "y", "e")
_STEP = 16.0  # of the table's whole numbers
Ints = npt.NDArray[np.int64]
_ARTICLES = ("the", "a", "an")
_PREPOSITIONS = ("of", "to", "by", "from", "at", "with", "for", "into", "upon")
_AFTER_NO_PREPOSITION = (
    *("is", "was", "are", "were", "been", "am", "has", "had", "does", "did", "could", "should", "would"),
    *("might", "must", "shall", "but", "if", "than", "because", "he", "she", "they", "we", "of"),
)
# "can", "may" and "will" are left out: a will, a can, and from May to June.
_AFTER_NO_ARTICLE = (
    *_AFTER_NO_PREPOSITION,
    *_ARTICLES,
    *_PREPOSITIONS,
    *("and", "or", "in", "on", "be", "have", "that", "which", "who", "whom", "as", "while", "when", "where"),
    *("you", "it", "him", "them", "me", "us", "my", "your", "our", "his", "their", "its", "this", "these"),
    *("those", "there", "not"),
)
_WORD = pl.element()
_NEXT = _WORD.shift(-1)
_OPENS = _WORD.is_in(_ARTICLES + _PREPOSITIONS)
_MISPLACED = (_WORD.is_in(_ARTICLES) & _NEXT.is_in(_AFTER_NO_ARTICLE)) | (
    _WORD.is_in(_PREPOSITIONS) & _NEXT.is_in(_AFTER_NO_PREPOSITION)
)
RULES: tuple[Rule, ...] = (at_most("word_order_misplaced", "misplaced_word_share", 0.05),)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The table: words, classes [c], log ratios [c, c]."""

    words: list[str]
    classes: list[str]
    ratio_cc: npt.NDArray[np.float64]


@cache
def pairs() -> Pairs:
    """Return the table that is part of the package."""
    with np.load(TABLE) as held:
        return Pairs(
            words=held["words"].tolist(), classes=held["classes"].tolist(), ratio_cc=held["ratios"] / _STEP
        )


@cache
def table_digest() -> str:
    """Return the digest of the table."""
    return hashlib.sha256(TABLE.read_bytes()).hexdigest()[:16]


def tokens(texts: pl.DataFrame) -> pl.DataFrame:
    """Return a row a word, number or mark of the frame's column text: `text` (its row) and `token`."""
    return (
        texts.select(token=pl.col("text").str.slice(0, LONGEST).str.extract_all(_TOKEN))
        .with_row_index("text")
        .explode("token")
        .drop_nulls("token")
    )


def class_of(words: list[str]) -> pl.Expr:
    """The class of a token, where these words are classes of their own."""
    token, low = pl.col("token"), plain(pl.col("token"))
    endings = [pl.when(low.str.ends_with(end)).then(pl.lit(f"-{end}")) for end in _ENDINGS + _SHORT_ENDINGS]
    kind = (
        pl.when(low.is_in(words))
        .then(low)
        .when(token.str.contains(r"^[0-9]"))
        .then(pl.lit("#"))
        .when(token.str.contains(r"^[.!?…]"))
        .then(pl.lit("."))
        .when(token.str.contains(r"^[^\p{L}\p{M}]"))
        .then(token.str.slice(0, 1))
        .when(token.str.contains(r"^[^A-Za-z]"))
        .then(pl.lit("other letters"))
        .otherwise(pl.coalesce(*endings, pl.lit("-")))
    )
    capital = token.str.contains(r"^[A-Z]") & ~token.str.contains(r"^[A-Z]{2,}$")
    return pl.when(capital).then(pl.lit("^") + kind).otherwise(kind)


def plain(token: pl.Expr) -> pl.Expr:
    """A token in small letters with a straight apostrophe."""
    return token.str.to_lowercase().str.replace_all("’", "'", literal=True)


def counted(texts: pl.DataFrame, words: list[str]) -> Pairs:
    """Count the table of these texts."""
    found = tokens(texts)
    kinds, place_t = _kinds(found["token"], words)
    classes = kinds["kind"].unique().sort().to_list()
    class_t, text_t = _numbers(kinds["kind"], classes)[place_t], found["text"].to_numpy()
    within = text_t[:-1] == text_t[1:]
    seen_cc = np.zeros((len(classes), len(classes)))
    np.add.at(seen_cc, (class_t[:-1][within], class_t[1:][within]), 1)
    chance_cc = seen_cc.sum(1, keepdims=True) * seen_cc.sum(0, keepdims=True) / seen_cc.sum()
    return Pairs(words=words, classes=classes, ratio_cc=np.log((seen_cc + 1) / (chance_cc + 1)))


def write(table: Pairs, path: Path) -> None:
    """Write a table as `pairs` reads it."""
    ratios = np.clip(np.round(table.ratio_cc * _STEP), -64, 64).astype(np.int8)
    np.savez_compressed(path, words=table.words, classes=table.classes, ratios=ratios)


def order(texts: pl.DataFrame) -> pl.DataFrame:
    """`common_word_share`, `capital_word_share` and `word_order_score` of the frame's texts, in order."""
    table, count = pairs(), len(texts)
    found = tokens(texts)
    kinds, place_t = _kinds(found["token"], table.words)
    text_t, class_t = (
        found["text"].to_numpy().astype(np.int64),
        _numbers(kinds["kind"], table.classes)[place_t],
    )
    some_n, common_n, capital_n = (
        np.bincount(text_t, kinds[name].to_numpy().astype(np.float64)[place_t], minlength=count)
        for name in ("word", "common", "capital")
    )
    neighbours_n, n_pairs_n = _sums(text_t, class_t, table.ratio_cc, [1], count)
    apart_n, n_apart_n = _sums(text_t, class_t, table.ratio_cc, LAGS, count)
    some_n, n_pairs = np.maximum(some_n, 1), np.maximum(n_pairs_n, 1)
    score_n = neighbours_n / n_pairs - apart_n / np.maximum(n_apart_n, 1) + SPREAD / np.sqrt(n_pairs)
    score_n += FOREIGN * np.maximum(0.35 - common_n / some_n, 0)
    shares = {"common_word_share": common_n / some_n, "capital_word_share": capital_n / some_n}
    judged = pl.when(pl.Series((n_pairs_n >= LEAST_PAIRS) & (n_apart_n > 0)))
    return pl.DataFrame(shares).with_columns(word_order_score=judged.then(pl.Series(score_n)))


def _kinds(found: pl.Series, words: list[str]) -> tuple[pl.DataFrame, Ints]:
    """`kind`, `word`, `common` and `capital` of each different token, and which of them each token is."""
    encoded = found.to_arrow().dictionary_encode()
    token = pl.col("token")
    kinds = pl.DataFrame({"token": pl.Series(encoded.dictionary, dtype=pl.String)}).select(
        class_of(words).alias("kind"),
        token.str.contains(r"^\p{L}").alias("word"),
        plain(token).is_in(words).alias("common"),
        token.str.contains(r"^\p{Lu}").alias("capital"),
    )
    return kinds, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _numbers(kinds: pl.Series, classes: list[str]) -> Ints:
    """Classes as numbers, -1 for those that the table has not."""
    return kinds.replace_strict(classes, range(len(classes)), default=-1, return_dtype=pl.Int64).to_numpy()


def _sums(
    text_t: Ints, class_t: Ints, ratio_cc: npt.NDArray[np.float64], lags: list[int] | range, count: int
) -> tuple[npt.NDArray[np.float64], Ints]:
    """Sum [texts] and number [texts] of the ratios of words of one text that are so far apart."""
    sum_n, number_n = np.zeros(count), np.zeros(count, dtype=np.int64)
    for lag in lags:
        first, second = class_t[:-lag], class_t[lag:]
        known = (text_t[:-lag] == text_t[lag:]) & (first >= 0) & (second >= 0)
        text = text_t[:-lag][known]
        sum_n += np.bincount(text, ratio_cc[first[known], second[known]], minlength=count)
        number_n += np.bincount(text, minlength=count)
    return sum_n, number_n


def _count(condition: pl.Expr) -> pl.Expr:
    return WORDS.list.eval(condition.fill_null(False)).list.sum().cast(pl.Int64)


MEASURES: dict[str, pl.Expr] = {
    "misplaced_word_share": ratio(pl.max_horizontal(_count(_MISPLACED) - 1, 0), _count(_OPENS)),
}
