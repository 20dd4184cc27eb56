"""Rows files of what the store holds: the same function when a value is recorded and when it is audited."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from tamis.store.digests import hashed_columns, row_records, rows_digest
from tamis.store.schemas import KEYS, kind_of
from tamis.store.tables import Store

BY_DOC_IDS = "doc_ids"


def stored_rows(store: Store, table: str, scope: str, doc_ids: Sequence[str] = ()) -> tuple[str, bytes]:
    """Digest and rows file of the rows in a scope: a filter, "" for all, or the listed documents.

    Tables of the SQL models have no declared key: all their columns are.
    """
    key = KEYS.get(kind_of(table)) or hashed_columns(store.schema(table).names)
    blocks = _blocks(store, table, scope, doc_ids)
    return rows_digest(row_records(block, key) for block in blocks if block.num_rows)


def _blocks(store: Store, table: str, scope: str, doc_ids: Sequence[str]) -> Iterator[pa.Table]:
    if not store.exists(table):
        return
    if scope == BY_DOC_IDS:
        yield from store.by_ids(table, doc_ids)
    else:
        yield from (pa.Table.from_batches([batch]) for batch in store.batches(table, where=scope or None))
