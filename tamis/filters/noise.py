"""Noise: texts that nobody wrote to be read, however short or long; what is short and sound breaks nothing.

Numbers and symbols, keys hit at random, the same few words over and over, menus and pieces of sentences,
words in no order, bytes in the wrong encoding. Chosen on p_mixed_free and t_ag_news_train, measured on other
texts and other noise (`python -m benchmarks.default_rules`). Made for English prose: code and conversations,
found by the form of their lines, break no rule, and rules about words ask for a text that is English by its
frequent words. What is left of the others holds in every language; pairs of letters that are frequent in one
of 190 languages count as none that are unlikely.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.base.words import CHARACTER, SPACELESS, words_among
from tamis.filters.language import LINE_SHARES, PROSE
from tamis.filters.repetition import MULTIPLIER
from tamis.filters.rule import (
    NOT_BLANK,
    SPOKEN,
    TEXT,
    Rule,
    at_least,
    at_most,
    but,
    ratio,
    share_matching,
    under,
)
from tamis.filters.word_order import order

_SHORT_TEXT = 20  # characters that are no blanks, or letters; under them a share says nothing
# Letters that hardly ever follow each other in English or in one of 190 other languages in these letters.
_UNLIKELY_AFTER = {
    **{"b": "cdfgjkmnpqvxz", "c": "bdfgjmnpqvwx", "d": "bcfjkpqtx", "f": "bcdghjkmnpqsvwxz"},
    **{"g": "cfjkmpqvxz", "h": "bcdfgjvwxz", "i": "w", "j": "bcdfghjklnpqrstvwxyz", "k": "bcdfqrvxz"},
    **{"l": "bgjqxz", "m": "cdfghjklnqrtvxz", "n": "q", "o": "z", "p": "bcdfgkmnqvxz"},
    **{"q": "bcdefghjklmnoprsvwxyz", "r": "qx", "s": "gjrx", "t": "bdgqvx", "u": "hxz"},
    **{"v": "cdfghjklmnprstvxyz", "w": "bcdfgkmpqtvwxyz", "x": "bdfghmnqrsvxyz", "y": "bcdfghjkqrvxz"},
    "z": "bcdfgjklmnpqrstuwxz",
}
_UNLIKELY = "(?i)" + "|".join(f"{first}[{others}]" for first, others in _UNLIKELY_AFTER.items())
# A byte of UTF-8 read as Latin-1, Windows-1252 or Mac Roman: what the second and later bytes become.
_TWO_BYTES = "[\u00c2-\u00df\u00e0-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
# Two bytes of ASCII read as one character of UTF-16.
_PAIRED = "".join(f"\\x{{{high:02x}61}}-\\x{{{high:02x}7a}}" for high in (0x20, *range(0x61, 0x7B)))
_BROKEN = (
    f"{_TWO_BYTES}+"
    "|[\ufffd\u0000-\u0008\u000e-\u001f\u007f-\u009f\ue000-\uf8ff]"
    r"|√[^\s\d]|‚Ä."
    r"|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|=[0-9A-F]{2}|%[0-9A-F]{2}|&amp;[#a-z]"
)
_TAG = r"<[^<>]{1,300}>"
_BETWEEN_ITEMS = r"\s*(?:[\n\t|»·•…;>]|\.\.\.+|\s[-–—*/]\s|\s\s)\s*"
_ITEM_WORDS, _LEAST_ITEMS = 5, 4
_PIECE = words_among(r"\S")
_SENTENCE_END = rf"[.!?:,]$|{SPACELESS}.*[。！？：，、；…။၊។][”’」』》）]*$"
_ITEMS = pl.col("items")
_LEAST_LABELS = 10
# Three characters of a script without spaces repeat by chance in any long text, twelve do not.
_GRAM, _GRAM_OF_CHARACTERS = 3, 12
_LEAST_GRAMS = 4
_WORD = pl.element()
_N_GRAMS, _DIFFERENT_GRAMS = pl.col("n_grams"), pl.col("different_grams")
_DIFFERENT_WORDS, _FEW_WORDS = TEXT.str.extract_all(r"\b\p{L}{3,}\b").list.n_unique(), 8  # a table has some
_PAIRED_COUNT, _ASCII_LETTERS = pl.col("paired_characters"), pl.col("ascii_letters")
# In scripts without spaces two characters are about a word.
_ITEM_LENGTH = _WORD.str.count_matches(_PIECE) - 0.5 * _WORD.str.count_matches(CHARACTER)
_SHORT_ITEM = (
    (_ITEM_LENGTH <= _ITEM_WORDS) & _WORD.str.contains(r"\p{L}") & ~_WORD.str.contains(_SENTENCE_END)
)
_SHORT_ITEM_CHARACTERS = _ITEMS.list.eval(pl.when(_SHORT_ITEM).then(_WORD.str.len_chars()).otherwise(0))
_ORDER_MEASURES = ("common_word_share", "capital_word_share", "word_order_score")
_ENGLISH = PROSE & (pl.col("common_word_share") >= 0.2) & (pl.col("capital_word_share") <= 0.6)
# What is so broken is neither code nor a conversation, whatever its marks look like.
_BROKEN_OR_PROSE = PROSE | (pl.col("broken_character_share") > 0.15)
_RANDOM_OR_PROSE = PROSE | (pl.col("unlikely_pair_share") > 0.15)
_NAMES = PROSE & (pl.col("common_word_share") < 0.15)
RULES: tuple[Rule, ...] = (
    replace(at_least("noise_letters", "letter_share", 0.5), where=PROSE),
    replace(at_most("noise_encoding", "broken_character_share", 0.03), where=_BROKEN_OR_PROSE),
    replace(at_most("noise_random_letters", "unlikely_pair_share", 0.12), where=_RANDOM_OR_PROSE),
    replace(under("noise_repetition", "repeated_3_gram_share", 0.5), where=PROSE),
    replace(at_most("noise_items", "short_item_share", 0.8), where=PROSE),
    replace(at_most("noise_labels", "label_word_share", 0.7), where=_NAMES),
    replace(at_least("noise_word_order", "word_order_score", 0.6), where=_ENGLISH),
)


def _shown_from(least: int, count: pl.Expr, share: pl.Expr, otherwise: float) -> pl.Expr:
    """A share where there is enough to take it of, else a value that breaks no rule."""
    return pl.when(count >= least).then(share).otherwise(otherwise)


_UNIT_MEASURES: dict[str, pl.Expr] = {
    **{name: pl.col(name) for name in LINE_SHARES},
    "letter_share": pl.when((NOT_BLANK >= _SHORT_TEXT) & (_DIFFERENT_WORDS < _FEW_WORDS))
    .then(ratio(but(r"[^\p{L}\p{M}\p{So}\p{Sk}\x{200d}\x{fe0f}]"), NOT_BLANK))
    .otherwise(1.0),
    "unlikely_pair_share": _shown_from(
        _SHORT_TEXT, _ASCII_LETTERS, ratio(TEXT.str.count_matches(_UNLIKELY), _ASCII_LETTERS), 0.0
    ),
    "repeated_3_gram_share": _shown_from(_LEAST_GRAMS, _N_GRAMS, 1 - ratio(_DIFFERENT_GRAMS, _N_GRAMS), 0.0),
    "short_item_share": _shown_from(
        _LEAST_ITEMS,
        _ITEMS.list.len(),
        ratio(_SHORT_ITEM_CHARACTERS.list.sum(), _ITEMS.list.eval(_WORD.str.len_chars()).list.sum()),
        0.0,
    ),
    "label_word_share": _shown_from(
        _LEAST_LABELS,
        pl.when(TEXT.str.contains(r"[.,;!?]")).then(0).otherwise(SPOKEN.list.len()),
        share_matching(SPOKEN, r"^\p{Lu}"),
        0.0,
    ),
    "broken_character_share": pl.when(_PAIRED_COUNT > 0.5 * NOT_BLANK)
    .then(ratio(_PAIRED_COUNT, NOT_BLANK))
    .otherwise(ratio(TEXT.str.extract_all(_BROKEN).list.eval(_WORD.str.len_chars()).list.sum(), NOT_BLANK))
    .clip(upper_bound=1.0),  # a mark may be a blank
}
MEASURES: tuple[str, ...] = (*_UNIT_MEASURES, *_ORDER_MEASURES)


def noise(units: pl.DataFrame) -> pl.DataFrame:
    """The columns `MEASURES` of units with `LINE_SHARES`, a row per text in order."""
    items = TEXT.str.replace_all(_TAG, "\n").str.replace_all(_BETWEEN_ITEMS, "\n")
    counted = units.with_columns(
        _grams_of(units),
        items=items.str.extract_all(r"[^\n]*[^\s][^\n]*"),
        paired_characters=TEXT.str.count_matches(f"[{_PAIRED}]"),
        ascii_letters=but("[^A-Za-z]"),
    )
    return counted.select(**_UNIT_MEASURES).hstack(order(units))


def _grams_of(units: pl.DataFrame) -> list[pl.Series]:
    """Sequences of three words, or of twelve characters where most words are characters of such a script.

    `n_grams` and `different_grams`: how many there are of a text, and how many different ones.
    """
    n_grams, different = _sequences(units["words"], _GRAM)
    if units["text"].str.contains(SPACELESS).any():
        pieces = TEXT.str.extract_all(_PIECE)
        are_most = 2 * TEXT.str.count_matches(CHARACTER) > pieces.list.len()
        mostly = units.select(are_most).to_series().to_numpy()
        of_these = units.filter(mostly).select(pieces).to_series()
        n_grams[mostly], different[mostly] = _sequences(of_these, _GRAM_OF_CHARACTERS)
    return [pl.Series("n_grams", n_grams), pl.Series("different_grams", different)]


def _sequences(words: pl.Series, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how many sequences of `size` words the texts have, and how many different ones [texts]."""
    size_n = words.list.len().to_numpy().astype(np.int64)
    encoded = words.explode().drop_nulls().to_arrow().dictionary_encode()
    distinct = pl.Series(encoded.dictionary, dtype=pl.String)
    hash_t = (
        distinct.str.to_lowercase()
        .str.replace_all(r"[^\p{L}\p{N}]", "")
        .hash()
        .to_numpy()[encoded.indices.to_numpy(zero_copy_only=False)]
    )
    text_t = np.repeat(np.arange(len(size_n)), size_n)
    first = _grams(text_t, hash_t, size).filter(pl.col("gram").is_first_distinct())["first"].to_numpy()
    return np.maximum(size_n - size + 1, 0), np.bincount(text_t[first], minlength=len(size_n))


def _grams(text_t: npt.NDArray[np.int64], hash_t: npt.NDArray[np.uint64], n: int) -> pl.DataFrame:
    """Return the n-grams within one text each: `first` (word), `gram` (hash of text and words); in order."""
    count = max(len(hash_t) - n + 1, 0)
    mixed = text_t[:count].astype(np.uint64) * MULTIPLIER
    for offset in range(n):
        mixed = (mixed ^ hash_t[offset : offset + count]) * MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    within = np.flatnonzero(text_t[:count] == text_t[n - 1 : n - 1 + count])
    return pl.DataFrame({"first": within, "gram": mixed[within]})
