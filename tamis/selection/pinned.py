"""An earlier version of a selection among the documents of today."""

from dataclasses import dataclass

import polars as pl

from tamis.selection.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Decisions as they were, a row per document of today; `gone`: chosen then, but no longer there."""

    decisions: pl.DataFrame
    gone: list[str]


def repeated(then: pl.DataFrame, pool: pl.DataFrame, leaking: pl.DataFrame | None = None) -> Repeated:
    """Return the decisions of an earlier version, for the documents of `pool` (doc_id), ordered by doc_id.

    Ranks stay what they were, so one that is missing belonged to a document that is gone. What came since is
    rejected with the reason that it came later. `leaking` (doc_id, reason): what would leak the evaluation as
    targets are now; of the chosen documents these are rejected with that reason.
    """
    kept = then.join(pool, on="doc_id", how="semi")
    if leaking is not None:
        leaked = pl.col("leak").is_not_null() & (pl.col("verdict") == "selected")
        absent = [name for name in ("rank", "margin", "training_count") if name in then.columns]
        kept = (
            kept.join(leaking.select("doc_id", leak="reason"), on="doc_id", how="left")
            .with_columns(
                pl.when(leaked).then("leak").otherwise("reason").alias("reason"),
                pl.when(leaked).then(pl.lit("rejected")).otherwise("verdict").alias("verdict"),
                *(pl.when(~leaked).then(name).alias(name) for name in absent),
            )
            .drop("leak")
        )
    later = pool.join(then, on="doc_id", how="anti").select(
        "doc_id", verdict=pl.lit("rejected"), reason=pl.lit(str(Reason.ARRIVED_LATER))
    )
    chosen = then.filter(pl.col("verdict") == "selected").sort("rank")
    return Repeated(
        decisions=pl.concat([kept, later], how="diagonal").sort("doc_id"),
        gone=chosen.join(pool, on="doc_id", how="anti", maintain_order="left")["doc_id"].to_list(),
    )
