"""Rows files of what the store holds: the same function when a value is recorded and when it is audited."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from tamis.store.digests import RECORD_BYTES, hashed_columns, row_records, rows_digest
from tamis.store.schemas import KEYS, kind_of
from tamis.store.tables import Store

BY_DOC_IDS = "doc_ids"
KEY_BYTES = 16
_KEY = f"S{KEY_BYTES}"  # all of one length, so that padding cannot make two equal


def stored_rows(store: Store, table: str, scope: str, doc_ids: Sequence[str] = ()) -> tuple[str, bytes]:
    """Digest and rows file of the rows in a scope: a filter, "" for all, or the listed documents.

    Tables of the SQL models have no declared key: all their columns are.
    """
    key = KEYS.get(kind_of(table)) or hashed_columns(store.schema(table).names)
    blocks = _blocks(store, table, scope, doc_ids)
    return rows_digest(row_records(block, key) for block in blocks if block.num_rows)


def records_of_ids(
    store: Store, table: str, groups: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, bytes]]:
    """`stored_rows` of several lists of documents, by one reading of the table."""
    wanted = sorted({doc_id for ids in groups.values() for doc_id in ids})
    blocks = store.by_ids(table, wanted)
    records = [row_records(block, KEYS[kind_of(table)]) for block in blocks if block.num_rows]
    return records_of_groups(records, groups)


def records_of_groups(
    records: Sequence[np.ndarray], groups: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, bytes]]:
    """Digest and rows file of the documents of each group, of records whose keys are doc_ids."""
    joined = np.concatenate([np.empty(0, dtype=f"V{RECORD_BYTES}"), *records])
    keys = np.ascontiguousarray(joined.view(np.uint8).reshape(-1, RECORD_BYTES)[:, :KEY_BYTES])
    order = np.argsort(keys.view(_KEY).ravel(), kind="stable")
    ordered, ordered_keys = joined[order], keys[order].view(_KEY).ravel()
    return {name: rows_digest([_chosen(ordered, ordered_keys, ids)]) for name, ids in groups.items()}


def _chosen(ordered: np.ndarray, ordered_keys: np.ndarray, doc_ids: Sequence[str]) -> np.ndarray:
    """The records of these documents; one without a record is left out."""
    wanted = np.unique(np.frombuffer(bytes.fromhex("".join(doc_ids)), dtype=_KEY))
    place = np.searchsorted(ordered_keys, wanted)
    place[place == len(ordered_keys)] = 0
    return ordered[place[ordered_keys[place] == wanted]] if len(ordered_keys) else ordered


def _blocks(store: Store, table: str, scope: str, doc_ids: Sequence[str]) -> Iterator[pa.Table]:
    if not store.exists(table):
        return
    if scope == BY_DOC_IDS:
        yield from store.by_ids(table, doc_ids)
    else:
        yield from (pa.Table.from_batches([batch]) for batch in store.batches(table, where=scope or None))
