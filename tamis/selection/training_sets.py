"""Training sets that hold documents several times, as a mixture repeats its scarce groups."""

import polars as pl

from tamis.coverage.keyed_hash import keyed_uniform


def stored_count(count: str) -> pl.Expr:
    """Return a count as tables have it, in `training_count`: null unless it is over 1."""
    return pl.when(pl.col(count) > 1).then(pl.col(count)).alias("training_count")


def training_order(counts: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return (doc_id, pass) of the documents of a training set, each as often as it is in it, shuffled.

    counts: doc_id and count. The copies of a document are spread evenly over the set, so the mixture is the
    same at every moment of a training, and no copies follow each other.
    """
    copies = (
        counts.filter(pl.col("count") > 0)
        .select("doc_id", "count", pl.int_ranges("count").alias("pass"))
        .explode("pass")
    )
    ordered = []
    for (number,), part in copies.group_by("pass", maintain_order=True):
        drawn = pl.Series(keyed_uniform(part["doc_id"], seed, f"pass {number}"), dtype=pl.Float64)
        ordered.append(part.with_columns(place=(pl.col("pass") + drawn) / pl.col("count")))
    return (
        pl.concat(ordered or [copies.with_columns(place=0.0)])
        .sort("place", "doc_id")
        .select("doc_id", "pass")
    )
