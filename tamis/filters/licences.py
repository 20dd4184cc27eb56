"""Which documents their licences allow: glob patterns over what the sources state.

In a pattern * is any characters and ? one; neither case nor outer white space counts: "cc-by*" covers
"CC-BY-4.0". A text may stand in several places under several licences: one that is allowed is enough. A
denied licence is denied even where a pattern of the allowed ones covers it.
"""

import re
from collections.abc import Sequence
from typing import Literal

import polars as pl

DENIED, NOT_ALLOWED, UNKNOWN = "licence_denied", "licence_not_allowed", "licence_unknown"
RULES = (DENIED, NOT_ALLOWED, UNKNOWN)


def forbidden_by_licence(
    occurrences: pl.DataFrame,
    allowed: Sequence[str],
    denied: Sequence[str],
    unknown: Literal["allow", "exclude"] = "allow",
) -> pl.DataFrame:
    """doc_id and rule of the documents of `occurrences` (doc_id, licence) that no licence allows; by doc_id.

    Without `allowed` patterns everything is that is not denied. A licence is unknown when null or blank. Of
    several rules the one that stands first in `RULES` is given.
    """
    licence = pl.col("licence").str.strip_chars().str.to_lowercase()
    stated = licence.fill_null("") != ""
    verdict = (
        pl.when(~stated)
        .then(pl.lit(UNKNOWN if unknown == "exclude" else None))
        .when(_matches(licence, denied))
        .then(pl.lit(DENIED))
        .when(pl.lit(bool(allowed)) & ~_matches(licence, allowed))
        .then(pl.lit(NOT_ALLOWED))
    )
    rule = verdict.cast(pl.Enum(RULES))
    return (
        occurrences.select("doc_id", rule=rule)
        .group_by("doc_id")
        .agg(pl.col("rule").has_nulls().alias("free"), pl.col("rule").drop_nulls().sort().first())
        .filter(~pl.col("free"))
        .select("doc_id", pl.col("rule").cast(pl.String))
        .sort("doc_id")
    )


def _matches(licence: pl.Expr, patterns: Sequence[str]) -> pl.Expr:
    if not patterns:
        return pl.lit(False)
    whole = "|".join(_expression(pattern) for pattern in patterns)
    return licence.str.contains(f"(?s)^(?:{whole})$")


def _expression(pattern: str) -> str:
    """A glob as a regular expression: * stands for any characters, ? for one."""
    return re.escape(pattern.strip().lower()).replace(r"\*", ".*").replace(r"\?", ".")
