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
_MARKS = (*',;:()"“”',)
_ENDINGS = (
    *("tion", "ness", "ment", "able", "ing", "ous", "ers", "est", "ity", "ies", "ed", "ly", "al", "er", "es"),
    *("s", "y", "e"),
)
"""Of two that a word has, the longer one is its class."""
_STEP = 16.0  # of the table's whole numbers
_ONE_PAIR = 1 << 32  # sums of ratios of a text stay far below a half of it
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
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


def plain(token: pl.Expr) -> pl.Expr:
    """A token in small letters with a straight apostrophe."""
    return token.str.to_lowercase().str.replace_all("’", "'", literal=True)


def counted(texts: pl.DataFrame, words: list[str]) -> Pairs:
    """Count the table of these texts."""
    found = tokens(texts)
    kinds, place_t = _kinds(found["token"], words)
    names = np.array(_names(words))
    seen, class_k = np.unique(names[kinds["kind"].to_numpy()], return_inverse=True)
    class_t, text_t = class_k[place_t], found["text"].to_numpy()
    within = text_t[:-1] == text_t[1:]
    seen_cc = np.zeros((len(seen), len(seen)))
    np.add.at(seen_cc, (class_t[:-1][within], class_t[1:][within]), 1)
    chance_cc = seen_cc.sum(1, keepdims=True) * seen_cc.sum(0, keepdims=True) / seen_cc.sum()
    return Pairs(words=words, classes=seen.tolist(), ratio_cc=np.log((seen_cc + 1) / (chance_cc + 1)))


def write(table: Pairs, path: Path) -> None:
    """Write a table as `pairs` reads it."""
    ratios = np.clip(np.round(table.ratio_cc * _STEP), -64, 64).astype(np.int8)
    np.savez_compressed(path, words=table.words, classes=table.classes, ratios=ratios)


def order(texts: pl.DataFrame) -> pl.DataFrame:
    """`common_word_share`, `capital_word_share` and `word_order_score` of the frame's texts, in order."""
    words, class_k, packed_cc = _packed()
    found = tokens(texts)
    kinds, place_t = _kinds(found["token"], words)
    size_n = np.bincount(found["text"].to_numpy(), minlength=len(texts))
    some_n, common_n, capital_n = (
        _by_text(kinds[name].to_numpy().astype(np.int64)[place_t], size_n)
        for name in ("word", "common", "capital")
    )
    class_t = class_k[kinds["kind"].to_numpy()][place_t]
    neighbours_n, n_pairs_n = _sums(class_t, size_n, packed_cc, [1])
    apart_n, n_apart_n = _sums(class_t, size_n, packed_cc, LAGS)
    some_n, n_pairs = np.maximum(some_n, 1), np.maximum(n_pairs_n, 1)
    score_n = neighbours_n / n_pairs - apart_n / np.maximum(n_apart_n, 1) + SPREAD / np.sqrt(n_pairs)
    score_n += FOREIGN * np.maximum(0.35 - common_n / some_n, 0)
    shares = {"common_word_share": common_n / some_n, "capital_word_share": capital_n / some_n}
    judged = pl.when(pl.Series((n_pairs_n >= LEAST_PAIRS) & (n_apart_n > 0)))
    return pl.DataFrame(shares).with_columns(word_order_score=judged.then(pl.Series(score_n)))


@cache
def _packed() -> tuple[list[str], Ints, Ints]:
    """Return the words of the table, the class of each kind, and sum and number of a pair in one integer.

    Ratios are multiples of 1 / `_STEP`, so sums of whole numbers are exact. The class after the last, of
    tokens that the table lacks, is in no pair.
    """
    table = pairs()
    none = len(table.classes)
    places = {name: place for place, name in enumerate(table.classes)}
    class_k = np.array([places.get(name, none) for name in _names(table.words)])
    packed_cc = np.zeros((none + 1, none + 1), dtype=np.int64)
    packed_cc[:none, :none] = np.round(table.ratio_cc * _STEP).astype(np.int64) + _ONE_PAIR
    return table.words, class_k, packed_cc


def _names(words: list[str]) -> list[str]:
    """Return the names of the kinds of tokens by their number: in small letters, then with a capital."""
    kinds = [*words, "#", ".", *_MARKS, "other letters", *(f"-{end}" for end in _ENDINGS), "-"]
    return [*kinds, *(f"^{kind}" for kind in kinds)]


def _kinds(found: pl.Series, words: list[str]) -> tuple[pl.DataFrame, Ints]:
    """`kind`, `word`, `common` and `capital` of each different token, and which of them each token is."""
    encoded = found.to_arrow().dictionary_encode()
    names = _names(words)
    half = len(names) // 2
    number = {name: place for place, name in enumerate(names[:half])}
    first_of = {**dict.fromkeys("0123456789", number["#"]), **dict.fromkeys(".!?…", number["."])}
    first_of |= {mark: number[mark] for mark in _MARKS}
    token, first, low = pl.col("token"), pl.col("first"), pl.col("low")
    common = _number_of(low, {word: number[word] for word in words})
    endings = [
        _number_of(low.str.tail(size), {end: number[f"-{end}"] for end in _ENDINGS if len(end) == size})
        for size in range(4, 0, -1)
    ]
    ending = pl.coalesce(*endings, pl.lit(number["-"], pl.Int16))
    other = pl.when(~first.str.contains("[A-Za-z]")).then(pl.lit(number["other letters"], pl.Int16))
    capital = first.str.contains("[A-Z]") & ~token.str.contains(r"^[A-Z]{2,}$")
    kinds = (
        pl.DataFrame({"token": pl.Series(encoded.dictionary, dtype=pl.String)})
        .with_columns(first=token.str.head(1), low=plain(token))
        .with_columns(common=common)
        .select(
            kind=pl.coalesce(pl.col("common"), _number_of(first, first_of), other, ending)
            + capital.cast(pl.Int16) * half,
            word=first.str.contains(r"\p{L}"),
            common=pl.col("common").is_not_null(),
            capital=first.str.contains(r"\p{Lu}"),
        )
    )
    return kinds, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _number_of(strings: pl.Expr, numbers: dict[str, int]) -> pl.Expr:
    """Return the number of each string, null for one without."""
    return strings.replace_strict(numbers, default=None, return_dtype=pl.Int16)


def _sums(class_t: Ints, size_n: Ints, packed_cc: Ints, lags: list[int] | range) -> tuple[Floats, Ints]:
    """Sum [texts] and number [texts] of the ratios of words of one text that are so far apart."""
    # As many tokens of no class after each text keep its last words apart from the next text.
    gap = max(lags)
    end_n = np.cumsum(size_n + gap)
    row = packed_cc.shape[0]
    spaced = np.full(int(end_n[-1]) if len(end_n) else 0, row - 1, dtype=np.int64)
    place_t = np.arange(len(class_t)) + np.repeat(np.arange(len(size_n)) * gap, size_n)
    spaced[place_t] = class_t
    first, flat = spaced * row, packed_cc.ravel()
    packed = np.zeros(len(spaced), dtype=np.int64)
    for lag in lags:
        packed[:-lag] += flat[first[:-lag] + spaced[lag:]]
    packed_n = _by_text(packed, size_n + gap)
    number_n = (packed_n + _ONE_PAIR // 2) // _ONE_PAIR
    return (packed_n - number_n * _ONE_PAIR) / _STEP, number_n


def _by_text(values_t: Ints, size_n: Ints) -> Ints:
    """Return the sums [texts] of values of as many tokens as each text has."""
    sums = np.concatenate([[0], np.cumsum(values_t)])
    ends_n = np.cumsum(size_n)
    return sums[ends_n] - sums[ends_n - size_n]


def _count(condition: pl.Expr) -> pl.Expr:
    return WORDS.list.eval(condition.fill_null(False)).list.sum().cast(pl.Int64)


MEASURES: dict[str, pl.Expr] = {
    "misplaced_word_share": ratio(pl.max_horizontal(_count(_MISPLACED) - 1, 0), _count(_OPENS)),
}
