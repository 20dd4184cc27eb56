"""What changed between two versions of a selection: which documents came in or went out, and why.

The cause of a document, the first of these that applies: it was not there before, or is not any more; a
reason that excludes it came or went; the cut moved past its old rank; documents that came are ahead of it
now, or documents that left were, and without them it would be on the same side of the cut as before; its
score is what it was, so that others overtook it or made room; else its score changed. A score that is fitted
again changes a little for every document, so a change of score alone proves nothing. Where a budget is
divided, ranks and cuts are those inside the group.
"""

from collections.abc import Iterable
from enum import StrEnum

import polars as pl

from tamis.selection.reasons import OVER_GROUP, Reason

RANKED = (Reason.WITHIN_BUDGET, Reason.OVER_BUDGET, *OVER_GROUP.values())
NOT_SCORES = frozenset(
    {"doc_id", "selection", "verdict", "reason", "rank", "margin", "duplicate_of", "detail"}
    | {"budget_group", "training_count", "place"}
)
COLUMNS = (
    "doc_id", "change", "cause", "reason_before", "reason_after", "detail", "rank_before", "rank_after",
    "margin_before", "margin_after", "duplicate_of",
)  # fmt: skip


class Cause(StrEnum):
    """Why a document came in or went out, where no reason of exclusion says it."""

    NEW_DOCUMENT = "new_document"  # was not in the corpora before
    REMOVED_DOCUMENT = "removed_document"  # is in none of the corpora any more
    WITHDRAWN = "withdrawn"  # was taken back by its owner
    BUDGET = "budget"  # the cut moved, its old rank would do (or no longer does)
    OTHERS = "others"  # others came before it, left, or changed their scores
    SCORE = "score"  # its score changed


def changes(before: pl.DataFrame, after: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
    """A row per document that is chosen in one of two tables of decisions only: `COLUMNS`.

    `withdrawn`: doc_id of what its owners took back. In before out, each by rank. `detail` and
    `duplicate_of` belong to the reason that excludes: the one of now of what went out, else the one before.
    """
    both = _paired(before, after).filter(pl.col("was") != pl.col("is"))
    both = both.with_columns(taken_back=pl.col("doc_id").is_in(withdrawn["doc_id"].implode()))
    named = pl.when(pl.col("is")).then(pl.lit("_before")).otherwise(pl.lit("_after")) == "_before"
    stated = [
        pl.when(named).then(pl.col(f"{name}_before")).otherwise(pl.col(f"{name}_after")).alias(name)
        for name in ("detail", "duplicate_of")
    ]
    change = pl.when("is").then(pl.lit("in")).otherwise(pl.lit("out")).alias("change")
    found = both.with_columns(change, _cause().alias("cause"), *stated)
    return found.sort("change", "rank_after", "rank_before", "doc_id", nulls_last=True).select(COLUMNS)


def _paired(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Decisions side by side, a row for every document of either.

    `same`: no score of it changed; `place`: its rank, in the group of a budget that is divided; `cut`:
    documents chosen now, of its group; `came`, `left`: how many documents ranked ahead of it are ranked only
    now, or were only before.
    """
    before, after = _with_columns(before, after.columns), _with_columns(after, before.columns)
    before, after = _with_places(before), _with_places(after)
    scores = [name for name in before.columns if name not in NOT_SCORES]
    sides = [
        frame.select("doc_id", pl.exclude("doc_id").name.suffix(suffix))
        for frame, suffix in ((before, "_before"), (after, "_after"))
    ]
    same = [pl.col(f"{name}_before").eq_missing(pl.col(f"{name}_after")) for name in scores]
    both = sides[0].join(sides[1], on="doc_id", how="full", coalesce=True)
    group = pl.coalesce("budget_group_after", "budget_group_before")
    cut = (pl.col("verdict_after") == "selected").fill_null(False).sum().over("group")
    both = both.with_columns(group=group).with_columns(cut=cut)
    for here, there, name in (("after", "before", "came"), ("before", "after", "left")):
        alone = pl.col(f"rank_{here}").is_not_null() & pl.col(f"rank_{there}").is_null()
        both = both.sort(f"rank_{here}", nulls_last=True)
        both = both.with_columns(alone.cum_sum().over("group").alias(name))
    return both.with_columns(
        (pl.col("verdict_before") == "selected").fill_null(False).alias("was"),
        (pl.col("verdict_after") == "selected").fill_null(False).alias("is"),
        (pl.all_horizontal(same) if same else pl.lit(True)).alias("same"),
    )


def _with_columns(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """The frame with these columns and those that tables have not always had."""
    later = ("detail", "budget_group")
    absent = [name for name in dict.fromkeys((*names, *later)) if name not in frame.columns]
    return frame.with_columns(pl.lit(None).alias(name) for name in absent)


def _with_places(frame: pl.DataFrame) -> pl.DataFrame:
    divided = frame["budget_group"].count() > 0
    place = pl.col("rank").rank("ordinal").over("budget_group") if divided else pl.col("rank")
    return frame.with_columns(pl.col("budget_group").cast(pl.String), place=place.cast(pl.Int64))


def _cause() -> pl.Expr:
    """The cause of a change."""
    old_rank_does = pl.col("place_before") <= pl.col("cut")
    excluded = pl.coalesce(_excluding("reason_after"), _excluding("reason_before"))
    return (
        pl.when(pl.col("reason_after").is_null())
        .then(pl.when("taken_back").then(_lit(Cause.WITHDRAWN)).otherwise(_lit(Cause.REMOVED_DOCUMENT)))
        .when(pl.col("reason_before").is_null())
        .then(_lit(Cause.NEW_DOCUMENT))
        .when(excluded.is_not_null())
        .then(excluded)
        .when(old_rank_does == pl.col("is"))
        .then(_lit(Cause.BUDGET))
        .when(
            pl.col("same")
            | pl.when("is")
            .then(pl.col("place_before") - pl.col("left") <= pl.col("cut"))
            .otherwise(pl.col("place_after") - pl.col("came") <= pl.col("cut"))
        )
        .then(_lit(Cause.OTHERS))
        .otherwise(_lit(Cause.SCORE))
    )


def _excluding(column: str) -> pl.Expr:
    """A reason that is not about the rank, null otherwise."""
    return pl.when(~pl.col(column).is_in([str(reason) for reason in RANKED])).then(pl.col(column))


def _lit(cause: Cause) -> pl.Expr:
    return pl.lit(str(cause))
