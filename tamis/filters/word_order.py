"""Word salad: English words in an order that no sentence has, by pairs of function words.

After "the", "a" or "an" no other function word follows, and after a preposition neither "of" nor a finite
verb nor "he". That pairs of words give artificial pages away is from Grechnikov et al., Detection of
Artificial Texts (RCDL 2009); these pairs are ours. One is forgiven, since anybody slips once. Shuffled words
look sound to averaged word vectors and to Gopher's rules: 8 in 10 texts of 200 characters and more are found
once their words are shuffled, at 2 in 10,000 real ones (`python -m benchmarks.filters`). Short texts hold too
few such words to tell.
"""

import polars as pl

from tamis.filters.rule import Rule, at_most
from tamis.filters.text_units import WORDS, ratio

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


def _count(condition: pl.Expr) -> pl.Expr:
    return WORDS.list.eval(condition.fill_null(False)).list.sum().cast(pl.Int64)


MEASURES: dict[str, pl.Expr] = {
    "misplaced_word_share": ratio(pl.max_horizontal(_count(_MISPLACED) - 1, 0), _count(_OPENS)),
}

RULES: tuple[Rule, ...] = (at_most("word_order_misplaced", "misplaced_word_share", 0.05),)
