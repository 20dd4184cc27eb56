"""Rows of a table as it was opened: streamed in batches, or found by their ids."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.store.schemas import KEYS, kind_of, schema_of
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
        wanted = list(columns or unsealed_schema(opened.schema).names)
        present = [name for name in wanted if name in opened.schema.names]
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
    declared = schema_of(table) if kind_of(table) in KEYS else pa.schema([])
    absent = [name for name in wanted if name not in present]
    known = all(name in declared.names for name in absent) and bool(present)
    return [declared.field(name) for name in absent] if known else []


def row_ids_of(opened: Any, doc_ids: Sequence[str]) -> np.ndarray:
    """Where the rows of these documents stand [m], ascending, by a scan of the ids."""
    wanted = pl.Series(doc_ids, dtype=pl.String).implode()
    found = [np.empty(0, dtype=np.uint64)]
    for batch in opened.search().select(["doc_id"]).with_row_id(True).to_batches(batch_size=65_536):
        rows = pl.Series(batch["_rowid"])
        found.append(rows.filter(pl.Series(batch["doc_id"]).is_in(wanted)).to_numpy())
    return np.sort(np.concatenate(found))


def first_of_each(rows: pa.Table, key: list[str]) -> pa.Table:
    """The first row of each key."""
    frame = pl.DataFrame(pl.from_arrow(rows.select(key))).with_row_index("position")
    first = frame.unique(subset=key, keep="first", maintain_order=True)["position"]
    return rows.take(first.to_arrow()) if len(first) < rows.num_rows else rows
