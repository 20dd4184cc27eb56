"""Salvaging: what a damaged table of paid answers can still give is retained, and its files are moved aside.

Answers of a judge's server cannot be computed again for nothing. What is readable is put where answers wait
for their documents (tamis/store/retained.py), so the next asking takes it back. No file is deleted.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa

from tamis.store.columns import LEFT_AT
from tamis.store.places import names_of_folders
from tamis.store.schemas import RETAINED
from tamis.store.seals import SEAL, broken_seals, unsealed
from tamis.store.tables import ASIDE, DamagedTableError, Store


def salvage(store: Store, table: str) -> str:
    """Retain the readable rows of a damaged table, move its files aside, and return a line for a person.

    The caller holds the writer's lock. Rows are retained before anything is moved: a killed run repeats it.
    """
    count = 0
    for rows in _readable(store, table):
        now = pa.array([datetime.now(UTC).replace(tzinfo=None)] * rows.num_rows, LEFT_AT.type)
        store.merge(f"{RETAINED}{table}", rows.append_column(LEFT_AT, now))
        count += rows.num_rows
    aside = store.move_aside(table)
    return (
        f"table {table} cannot be read; {count:,} of its answers were saved and will be used again, and the "
        f"damaged files were moved to lance/{aside} in the home: they may contain answers that were paid for"
    )


def aside_lines(store: Store) -> list[str]:
    """Return what a withdrawal does not reach, for a person: rows of numbers in files that cannot be read."""
    return [
        f"lance/{ASIDE}/{name}, files of a damaged table that were moved aside, may hold scores of withdrawn "
        "documents under their ids, but no text; delete this folder once no answer in it is worth saving"
        for name in names_of_folders(store.folder, ASIDE)
    ]


def _readable(store: Store, table: str) -> Iterator[pa.Table]:
    """Yield the rows that can be read and were not altered: around a damaged file, by halves."""
    try:
        names = store.open(table).schema.names
        spans = [(0, store.count(table))]
    except DamagedTableError:
        return
    while spans:
        first, end = spans.pop()
        try:
            blocks = list(store.batches(table, names, span=(first, end))) if first < end else []
        except DamagedTableError:
            middle = (first + end) // 2
            spans += [(first, middle), (middle, end)] if end - first > 1 else []
            continue
        for block in blocks:
            yield _unaltered(pa.Table.from_batches([block]))


def _unaltered(rows: pa.Table) -> pa.Table:
    if SEAL not in rows.schema.names:
        return rows
    altered = set(broken_seals(rows)["doc_id"])
    return unsealed(rows.filter(pa.array([doc_id not in altered for doc_id in rows["doc_id"].to_pylist()])))
