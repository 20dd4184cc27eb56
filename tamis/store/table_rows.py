"""Rows of a table as it was opened: streamed in batches, or found by their ids."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.store.schemas import declared
from tamis.store.seals import unsealed_schema
from tamis.store.table_errors import reading

ROWS_AT_ONCE = 8_192


def stream_rows(
    opened: Any,
    table: str,
    columns: Sequence[str] | None,
    where: str | None,
    rows: int = ROWS_AT_ONCE,
    span: tuple[int, int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Batches of a table as it was opened."""
    with reading(table):
        query = opened.search()
        query = query.where(where) if where else query
        query = query.offset(span[0]).limit(span[1] - span[0]) if span else query
        schema = opened.schema  # each asking is a trip to another thread
        wanted = list(columns or unsealed_schema(schema).names)
        present = [name for name in wanted if name in schema.names]
        later = [] if len(present) == len(wanted) else _introduced_later(table, wanted, present)
        query = query.select(present if later else wanted)
        batches = iter(query.to_batches(batch_size=rows))
    while True:
        with reading(table):
            batch = next(batches, None)
        if batch is None:
            return
        for field in later:
            batch = batch.append_column(field, pa.nulls(len(batch), field.type))
        yield batch.select(wanted) if later else batch


def _introduced_later(table: str, wanted: Sequence[str], present: Sequence[str]) -> list[pa.Field]:
    """Columns that the table was made without: null in the rows that stand there. Others do not exist."""
    known = declared(table)
    fields = {one.name: one for one in known.columns if isinstance(one, pa.Field)} if known else {}
    absent = [name for name in wanted if name not in present]
    all_known = bool(present) and all(name in fields for name in absent)
    return [fields[name] for name in absent] if all_known else []


def row_ids_of(opened: Any, doc_ids: Sequence[str], at_once: int = 0) -> list[np.ndarray]:
    """Where the rows of these documents stand, ascending, in blocks, by one scan of the ids.

    `at_once`: a block holds the rows of so many documents, in their order; 0: as they stand.
    """
    wanted = pl.Series("doc_id", doc_ids, dtype=pl.String)
    found = [pl.DataFrame(schema={"doc_id": pl.String, "row": pl.UInt64})]
    for batch in opened.search().select(["doc_id"]).with_row_id(True).to_batches(batch_size=65_536):
        ids = pl.DataFrame([pl.Series("doc_id", batch["doc_id"]), pl.Series("row", batch["_rowid"])])
        found.append(ids.filter(pl.col("doc_id").is_in(wanted.implode())))
    rows = pl.concat(found)
    if not at_once:
        rows_n = np.sort(rows["row"].to_numpy())
        return [rows_n[start : start + ROWS_AT_ONCE] for start in range(0, len(rows_n), ROWS_AT_ONCE)]
    places = wanted.to_frame().with_row_index("place").join(rows, on="doc_id").sort("place")
    parts = places.group_by(pl.col("place") // at_once, maintain_order=True).agg("row")["row"]
    return [np.sort(part.to_numpy()) for part in parts]


def first_of_each(rows: pa.Table, key: list[str]) -> pa.Table:
    """The first row of each key."""
    frame = pl.DataFrame(pl.from_arrow(rows.select(key))).with_row_index("position")
    first = frame.unique(subset=key, keep="first", maintain_order=True)["position"]
    return rows.take(first.to_arrow()) if len(first) < rows.num_rows else rows
