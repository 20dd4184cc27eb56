"""Filter documents by source: glob patterns over the places in which each document occurs.

A place is known by three names: its source (a column of the row, or else the file or module), its shard
(the key that `tamis explain` shows, "web__a.jsonl") and its corpus ("web"). A pattern that matches one of
them matches the place. One allowed place of a document is enough; a denied place is denied even where an
allowed pattern covers it.
"""

from collections.abc import Sequence

import polars as pl

from tamis.filters.patterns import matches, without_free_place

DENIED, NOT_ALLOWED = "source_denied", "source_not_allowed"
RULES = (DENIED, NOT_ALLOWED)
PLACE = ("doc_id", "source", "shard", "corpus")


def source_rule(allowed: Sequence[str], denied: Sequence[str]) -> pl.Expr:
    """The rule that a place (columns source, shard, corpus) breaks, null when it breaks none."""
    return (
        pl.when(_named(denied))
        .then(pl.lit(DENIED))
        .when(pl.lit(bool(allowed)) & ~_named(allowed))
        .then(pl.lit(NOT_ALLOWED))
    )


def forbidden_by_source(
    occurrences: pl.DataFrame, allowed: Sequence[str], denied: Sequence[str]
) -> pl.DataFrame:
    """doc_id and rule of the documents of `occurrences` (columns of `PLACE`) that no source allows.

    Without `allowed` patterns everything is that is not denied.
    """
    return without_free_place(occurrences, source_rule(allowed, denied), RULES)


def _named(patterns: Sequence[str]) -> pl.Expr:
    return pl.any_horizontal(
        matches(pl.col(name), patterns).fill_null(False) for name in ("source", "shard", "corpus")
    )
