"""Boilerplate: documents that say little but what many documents say in the same words.

Notices about cookies, rights, subscriptions or JavaScript, legal footers, navigation: whatever they are
worded like, a site prints them on each of its pages. Sentences and lines are known by their hashes, which are
stored with a document; in how many documents each occurs is counted when a selection is made. So what was
measured of a document depends on it alone, and the verdict on the pool alone, whatever the order in which
files came. The share of the document decides: an article that ends with a footer is kept. Numbers within a
unit do not count, and neither do names, since each site puts its own into the same notice; code and
conversations have no units.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from tamis.duplicates.minhash import windows_of
from tamis.filters.language import LINE_SHARES, PROSE
from tamis.filters.rule import TEXT, Rule, at_most, ratio

SHARE = "repeated_unit_share"
REPEATED = replace(at_most("boilerplate_repeated", SHARE, 0.6), of_pool=True)
RULES: tuple[Rule, ...] = (REPEATED,)
MEASURES = ("unit_hashes", "unit_characters")
MOST_UNITS, MOST_WORDS = 256, 50
"""Of a document and of a unit, the first are looked at."""
SHORTEST, LONGEST, LEAST_REPEATED = 12, 200, 60
"""Characters: anybody says shorter units, and longer ones are passages that people quote, as laws are; a
document that repeats less in all is no page of notices."""
OFTEN, OFTEN_SHARE = 10, 5e-4
"""A unit is a repeated one from so many documents on, or this share of the pool if that is more."""
UNITS_VERSION = "3"
"""Raised when the same text gets other hashes."""
_RUN = r"\w+"  # also in scripts without spaces, where 50 characters would be a part of a unit
_UNIT = r"[^\n|•·».!?…]*\p{L}[^\n|•·».!?…]*"
_DOT = "\ue000"
"""Replaces the full stops within an address, which end no sentence."""
_DOT_OF_ADDRESS = r"([\w-])\.(\p{Ll}{2})"
_ADDRESS = rf"\S*(?:@|://|{_DOT})\S*|\b(?:\p{{L}}+\p{{N}}|\p{{N}}+\p{{L}})\w*"
_CAPITAL, _NAME, _NAMES = r"\b\p{Lu}[\w'’&-]*", "X", r"\bX(?:\W+X\b)+"
_LOWER, FEWEST_LOWER = r"\b[\p{Ll}\p{Lo}]", 4
"""A unit with fewer words in lower case, such as a heading or a list of names, has to occur word for word."""
LEAST_COMMON = 0.4
"""So has one of which names are a larger part: statutes differ in the names within a fixed formula."""


def units_of(texts: pl.DataFrame) -> pl.DataFrame:
    """The columns `MEASURES` of units with `LINE_SHARES`, a row per text in order: lists, or empty."""
    rows = texts.select(text=pl.int_range(pl.len(), dtype=pl.UInt32))
    whole = TEXT.str.replace_all(_DOT_OF_ADDRESS, f"${{1}}{_DOT}${{2}}")
    units = (
        rows.hstack(texts.select(*LINE_SHARES, unit=whole.str.extract_all(_UNIT).list.head(MOST_UNITS)))
        .filter(PROSE)
        .select("text", "unit")
        .explode("unit")
        .filter(pl.col("unit").str.len_chars().is_between(SHORTEST, LONGEST))
    )
    runs = _without_names(units).str.to_lowercase().str.extract_all(_RUN).list.head(MOST_WORDS)
    windows = windows_of(runs, MOST_WORDS)
    hashes = np.zeros(len(units), dtype=np.uint64)
    hashes[windows.document] = windows.hashes
    found = (
        units.select("text", pl.Series("unit_hashes", hashes), unit_characters=pl.col("unit").str.len_chars())
        .group_by("text", maintain_order=True)
        .agg(MEASURES)
    )
    return rows.join(found, on="text", how="left", maintain_order="left").select(
        pl.col(name).fill_null([]) for name in MEASURES
    )


def _without_names(units: pl.DataFrame) -> pl.Series:
    """Return what a unit is known by: an X for names, addresses and words with digits, a 0 for numbers."""
    unit, names = pl.col("unit"), pl.col("names")
    plain = unit.str.replace_all(_ADDRESS, _NAME).str.replace_all(_CAPITAL, _NAME)
    in_common = names.str.len_chars() - names.str.count_matches(_NAME, literal=True)
    says_something = (names.str.count_matches(_LOWER) >= FEWEST_LOWER) & (
        in_common >= LEAST_COMMON * unit.str.len_chars()
    )
    known_by = pl.when(says_something).then(names).otherwise(unit).str.replace_all(r"\d+", "0")
    return units.select("unit", names=plain.str.replace_all(_NAMES, _NAME)).select(known_by).to_series()


def repeated_share(flags: pl.DataFrame) -> pl.DataFrame:
    """doc_id and `repeated_unit_share` of documents (doc_id, n_chars, unit_hashes, unit_characters): a pool.

    Documents that repeat nothing, or too little to be pages of notices, are left out.
    """
    units = flags.select("doc_id", "n_chars", *MEASURES).explode(MEASURES).drop_nulls()
    often = max(OFTEN, OFTEN_SHARE * len(flags))
    common = units.group_by("unit_hashes").agg(n=pl.col("doc_id").n_unique()).filter(pl.col("n") >= often)
    return (
        units.join(common, on="unit_hashes", how="semi")
        .group_by("doc_id", "n_chars")
        .agg(pl.sum("unit_characters"))
        .filter(pl.col("unit_characters") >= LEAST_REPEATED)
        .select("doc_id", ratio(pl.col("unit_characters"), pl.col("n_chars")).alias(SHARE))
    )
