"""The quality rules of Gopher (Rae et al., arXiv 2112.11446, appendix A.1.1), for English.

Between 50 and 100,000 words, mean word length 3 to 10, at most .1 hashes or ellipses a word, at most 90 % of
lines that begin with a bullet and 30 % that end with an ellipsis, a letter in at least 80 % of the words,
and at least two of eight stop words (occurrences, as in datatrove's `GopherQualityFilter`). As there, count
and mean length are of words that are not punctuation alone.
"""

import polars as pl

from tamis.filters.rule import (
    LINES,
    SPOKEN,
    TEXT,
    WORDS,
    Rule,
    at_least,
    at_most,
    between,
    characters,
    ratio,
    share_matching,
)

_BULLET = r"^\s*(?:[•‣▪●◦]|[-*]\s)"  # a dash or star alone begins a number or emphasis as well
_ELLIPSIS = r"\.\.\.|…"
_STOP_WORD = r"(?i)^\W*(?:the|be|to|of|and|that|have|with)\W*$"

MEASURES: dict[str, pl.Expr] = {
    "n_words": SPOKEN.list.len(),
    "mean_word_length": ratio(characters(SPOKEN), SPOKEN.list.len()),
    "hash_ratio": ratio(TEXT.str.count_matches("#"), WORDS.list.len()),
    "ellipsis_ratio": ratio(TEXT.str.count_matches(_ELLIPSIS), WORDS.list.len()),
    "bullet_line_share": share_matching(LINES, _BULLET),
    "ellipsis_line_share": share_matching(LINES, rf"(?:{_ELLIPSIS})\s*$"),
    "alphabetic_word_share": share_matching(WORDS, r"\p{L}"),
    "stop_words": WORDS.list.eval(pl.element().str.contains(_STOP_WORD)).list.sum(),
}

RULES: tuple[Rule, ...] = (
    between("gopher_word_count", "n_words", 50, 100_000),
    between("gopher_mean_word_length", "mean_word_length", 3, 10),
    at_most("gopher_hash_ratio", "hash_ratio", 0.1),
    at_most("gopher_ellipsis_ratio", "ellipsis_ratio", 0.1),
    at_most("gopher_bullet_lines", "bullet_line_share", 0.9),
    at_most("gopher_ellipsis_lines", "ellipsis_line_share", 0.3),
    at_least("gopher_alphabetic_words", "alphabetic_word_share", 0.8),
    at_least("gopher_stop_words", "stop_words", 2),
)
