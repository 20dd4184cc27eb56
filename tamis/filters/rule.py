"""Rules over measures: each says by an expression whether a document breaks it, and has a name to show.

Measures are stored, verdicts are not: which rules count is decided when a selection is made, so switching
one off reads no text again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

TEXT = pl.col("text")
WORDS, SPOKEN, LINES, NOT_BLANK = pl.col("words"), pl.col("spoken"), pl.col("lines"), pl.col("not_blank")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule: `broken` is an expression over `column`, `allowed` the same in words.

    `where`: which documents it is meant for, an expression over measures; without one, all.
    `of_pool`: what it looks at depends on the other documents, so it is no part of what is stored of one.
    """

    name: str
    column: str
    allowed: str
    broken: pl.Expr
    where: pl.Expr | None = None
    of_pool: bool = False


def at_most(name: str, column: str, limit: float) -> Rule:
    """The measure may not be above the limit."""
    return Rule(name=name, column=column, allowed=f"at most {limit:g}", broken=pl.col(column) > limit)


def under(name: str, column: str, limit: float) -> Rule:
    """The measure must be below the limit."""
    return Rule(name=name, column=column, allowed=f"under {limit:g}", broken=pl.col(column) >= limit)


def over(name: str, column: str, limit: float) -> Rule:
    """The measure must be above the limit."""
    return Rule(name=name, column=column, allowed=f"over {limit:g}", broken=pl.col(column) <= limit)


def at_least(name: str, column: str, limit: float) -> Rule:
    """The measure may not be below the limit."""
    return Rule(name=name, column=column, allowed=f"at least {limit:g}", broken=pl.col(column) < limit)


def between(name: str, column: str, low: float, high: float) -> Rule:
    """The measure must be in the closed interval."""
    return Rule(
        name=name,
        column=column,
        allowed=f"from {low:g} to {high:g}",
        broken=~pl.col(column).is_between(low, high),
    )


def broken_rules(rules: Sequence[Rule]) -> pl.Expr:
    """Names of the broken rules in their order, separated by commas; "" when there are none."""
    named = [
        pl.when(rule.broken if rule.where is None else rule.where & rule.broken).then(pl.lit(rule.name))
        for rule in rules
    ]
    return pl.concat_str(named, separator=",", ignore_nulls=True) if named else pl.lit("")


def with_units(texts: pl.DataFrame) -> pl.DataFrame:
    """The frame with lists of strings: `words`, `spoken` (words that hold a letter or digit) and `lines` (not
    blank, unchanged); with `not_blank`, the number of characters that are no blanks.
    """
    return texts.with_columns(
        words=TEXT.str.extract_all(r"\S+"),
        lines=TEXT.str.extract_all(r"[^\n]*\S[^\n]*"),
        not_blank=but(r"\s"),
    ).with_columns(
        spoken=WORDS.list.eval(pl.element().filter(pl.element().str.contains(r"[\p{L}\p{N}]"))),
    )


def but(pattern: str) -> pl.Expr:
    """Number of characters of the text that do not match the pattern of one character.

    What a pattern matches seldom is counted several times as fast as its opposite.
    """
    return TEXT.str.len_chars() - TEXT.str.count_matches(pattern)


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
