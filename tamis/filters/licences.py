"""Filter documents by licence: glob patterns over what the sources state.

"cc-by*" covers "CC-BY-4.0". A text may occur in several places under several licences: one that is allowed
is enough. A denied licence is denied even where a pattern of the allowed ones covers it.
"""

from collections.abc import Sequence
from typing import Literal

import polars as pl

from tamis.filters.patterns import matches, plain, without_free_place

DENIED, NOT_ALLOWED, UNKNOWN = "licence_denied", "licence_not_allowed", "licence_unknown"
RULES = (DENIED, NOT_ALLOWED, UNKNOWN)


def forbidden_by_licence(
    occurrences: pl.DataFrame,
    allowed: Sequence[str],
    denied: Sequence[str],
    unknown: Literal["allow", "exclude"] = "allow",
) -> pl.DataFrame:
    """Return doc_id and rule of documents that no licence allows, by doc_id, given `occurrences`.

    Without `allowed` patterns everything is that is not denied. A licence is unknown when null or blank. Of
    several rules the first one in `RULES` is given.
    """
    licence = pl.col("licence")
    verdict = (
        pl.when(plain(licence).fill_null("") == "")
        .then(pl.lit(UNKNOWN if unknown == "exclude" else None))
        .when(matches(licence, denied))
        .then(pl.lit(DENIED))
        .when(pl.lit(bool(allowed)) & ~matches(licence, allowed))
        .then(pl.lit(NOT_ALLOWED))
    )
    return without_free_place(occurrences, verdict, RULES)
