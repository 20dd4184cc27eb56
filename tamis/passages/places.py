"""Places of passages in the table `occurrences`: the document that each is from, and where in it."""

from collections.abc import Sequence

import polars as pl

from tamis.store.schemas import schema_of
from tamis.store.tables import Store

_PLACES = "occurrences"
PARENT, NUMBER, COUNT = "passage_of", "passage_number", "passage_count"
BEGIN, GAP = "passage_begin", "passage_gap"
OF_PASSAGES = (PARENT, NUMBER, COUNT, BEGIN, GAP)
DOCUMENT = pl.coalesce(PARENT, "doc_id").alias("doc_id")
"""The id of the document that was read: of a passage, that of the whole text."""
PASSAGES = "passages"
"""Column of exported rows: ids of the passages that are joined in a row; null where nothing was split."""


def read_passages(store: Store, columns: Sequence[str], where: str = f"{PARENT} IS NOT NULL") -> pl.DataFrame:
    """Return the places of all passages, or of those that a filter says; columns as in `occurrences`."""
    if not store.exists(_PLACES) or PARENT not in store.schema(_PLACES).names:
        return pl.DataFrame(pl.from_arrow(schema_of(_PLACES).empty_table().select(list(columns))))
    return store.read(_PLACES, columns, where)


def document_places(
    store: Store, columns: Sequence[str], where: str | None = None, *, version: int | None = None
) -> pl.DataFrame:
    """Return places with the id of the document that was read in place of those of its passages.

    A row for each passage. `columns`: others of the table `occurrences`; `where`, `version`: as `Store.read`
    takes them.
    """
    places = store.read(_PLACES, [*columns, "doc_id", PARENT], where, version=version)
    return places.select(*columns, DOCUMENT)


def rows_by_shard(store: Store) -> pl.DataFrame:
    """Return how many rows of each shard have documents: shard and rows; passages of a row are one."""
    rows = store.read(_PLACES, ["shard"]).group_by("shard").agg(rows=pl.len().cast(pl.Int64))
    split = read_passages(store, ["shard", "row"])
    if split.is_empty():
        return rows
    more = split.group_by("shard").agg(more=(pl.len() - pl.col("row").n_unique()).cast(pl.Int64))
    rows = rows.join(more, on="shard", how="left").with_columns(
        rows=pl.col("rows") - pl.col("more").fill_null(0)
    )
    return rows.drop("more")


def with_passages(store: Store, documents: pl.DataFrame) -> pl.DataFrame:
    """Return documents (doc_id and other columns) followed by their passages, which have the same columns."""
    parts = read_passages(store, ["doc_id", PARENT]).unique().rename({"doc_id": "part", PARENT: "doc_id"})
    if parts.is_empty():
        return documents
    of_them = documents.join(parts, on="doc_id").with_columns(doc_id="part").select(documents.columns)
    return pl.concat([documents, of_them]).unique(maintain_order=True)


def documents_of(store: Store, doc_ids: pl.Series) -> pl.Series:
    """Return these ids and those of the documents that passages among them are from, sorted."""
    passages = read_passages(store, ["doc_id", PARENT])
    parents = passages.filter(pl.col("doc_id").is_in(doc_ids.implode()))[PARENT]
    return pl.concat([doc_ids.alias("doc_id"), parents.alias("doc_id")]).unique().sort()
