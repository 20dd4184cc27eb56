"""Chosen passages joined to the documents that they are from, for exports with a row for each document."""

import polars as pl

from tamis.passages.places import COUNT, GAP, NUMBER, PARENT, PASSAGES

SEPARATOR = "\n\n"
"""Between passages that do not follow each other in their document."""
_ROW = ["shard", "row"]


def joined_documents(chosen: pl.DataFrame, places: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the chosen documents with passages joined to one row each, and the places of these.

    chosen: doc_id, rank, text, the first place (shard, row and those of passages) and other columns, of which
    a joined row has those of its best passage. places: all places, with the columns of passages. Passages
    that follow each other are joined by the space between them in the document, so all of them are its text.

    A passage that is in several documents is in the row of the first alone, by shard and row. Passages that a
    training set has in different numbers (training_count) are in rows of their own.
    """
    if PARENT not in chosen.columns or not len(chosen[PARENT].drop_nulls()):
        return chosen, places
    counts = [name for name in ("training_count",) if name in chosen.columns]
    passages = chosen.filter(pl.col(PARENT).is_not_null())
    # Also where a document repeats a passage.
    first_places = passages.select("doc_id", *_ROW, "rank", "text", *counts)
    parts = places.drop_nulls(PARENT).join(first_places, on=["doc_id", *_ROW]).sort(*_ROW, NUMBER)
    group = [*_ROW, *counts]
    follows = pl.col(NUMBER) == pl.col(NUMBER).shift(1).over(group) + 1
    between = pl.when(follows).then(GAP).when(follows.is_null()).then(pl.lit("")).otherwise(pl.lit(SEPARATOR))
    texts = (
        parts.with_columns(text=pl.concat_str(between, "text"))
        .group_by(group, maintain_order=True)
        .agg(pl.col("text").str.join(""), pl.col("doc_id").alias(PASSAGES))
    )
    rows = (
        passages.sort("rank")
        .unique(group, keep="first", maintain_order=True)
        .drop("text")
        .join(texts, on=group, nulls_equal=True)
        .with_columns(doc_id=PARENT)
    )
    whole = chosen.filter(pl.col(PARENT).is_null()).with_columns(
        pl.lit(None, pl.List(pl.String)).alias(PASSAGES)
    )
    columns = [name for name in chosen.columns if name not in (PARENT, NUMBER, GAP)]
    documents = pl.concat([whole.select(*columns, PASSAGES), rows.select(*columns, PASSAGES)])
    at = [name for name in places.columns if name not in (PARENT, NUMBER, COUNT, GAP)]
    of_whole = places.join(whole, on="doc_id", how="semi")
    of_rows = places.drop_nulls(PARENT).with_columns(doc_id=PARENT).join(rows, on="doc_id", how="semi")
    joined_places = pl.concat([of_whole, of_rows]).select(at).unique(maintain_order=True).sort(*_ROW)
    return documents.sort("rank"), joined_places
