"""The three rules of FineWeb (Penedo et al., arXiv 2406.17557, section 3.6).

Dropped are documents with at most 12 % of lines that end with punctuation, with at least 10 % of characters
in duplicated lines, and with at least 67 % of lines under 30 characters. The limits are the paper's:
datatrove's `FineWebQualityFilter` has .01 for duplicated lines, and a fourth rule on line breaks that the
paper lacks. Blank lines do not count.
"""

import polars as pl

from tamis.filters.rule import (
    LINES,
    Rule,
    characters,
    over,
    ratio,
    repeated_characters,
    share_matching,
    under,
)

_SHORT = 30  # characters
# What ends a sentence, quotation marks and brackets after it included, in the scripts that use them.
_TERMINAL = r"""[.!?…"'”’»。！？।؟۔։။៕]\s*$"""

MEASURES: dict[str, pl.Expr] = {
    "punctuated_line_share": share_matching(LINES, _TERMINAL),
    "repeated_line_character_share": ratio(repeated_characters(LINES), characters(LINES)),
    "short_line_share": ratio(
        LINES.list.eval(pl.element().str.len_chars() < _SHORT).list.sum(), LINES.list.len()
    ),
}

RULES: tuple[Rule, ...] = (
    over("fineweb_line_punctuation", "punctuated_line_share", 0.12),
    under("fineweb_duplicate_characters", "repeated_line_character_share", 0.1),
    under("fineweb_short_lines", "short_line_share", 0.67),
)
