"""Glob patterns over what the places of documents state, and documents that no place lets through.

In a pattern * is any characters and ? one; neither case nor outer white space counts. A text may occur in
several places: one that is free of rules is enough.
"""

import re
from collections.abc import Sequence

import polars as pl

from tamis.base.arguments import as_frame, strings


def matches(stated: pl.Expr, patterns: Sequence[str]) -> pl.Expr:
    """Return whether a text matches one of the patterns as a whole; null where there is no text."""
    if not patterns:
        return pl.lit(False)
    escaped = (re.escape(pattern.strip().lower()) for pattern in strings("patterns", patterns))
    whole = "|".join(pattern.replace(r"\*", ".*").replace(r"\?", ".") for pattern in escaped)
    return plain(stated).str.contains(f"(?s)^(?:{whole})$")


def plain(stated: pl.Expr) -> pl.Expr:
    """A text without case and outer white space."""
    return stated.str.strip_chars().str.to_lowercase()


def without_free_place(occurrences: pl.DataFrame, verdict: pl.Expr, rules: Sequence[str]) -> pl.DataFrame:
    """Return doc_id and rule of documents whose every place breaks a rule (`verdict`, or null), by doc_id.

    Of several rules the first one in `rules` is given.
    """
    return (
        as_frame("occurrences", occurrences)
        .select("doc_id", rule=verdict.cast(pl.Enum(list(rules))))
        .group_by("doc_id")
        .agg(pl.col("rule").has_nulls().alias("free"), pl.col("rule").drop_nulls().sort().first())
        .filter(~pl.col("free"))
        .select("doc_id", pl.col("rule").cast(pl.String))
        .sort("doc_id")
    )
