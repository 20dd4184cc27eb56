"""Salvaging: what a damaged table of paid answers can still give is retained, and its files are moved aside.

The files of such a table without any version are moved aside, too, and those of decisions of people.

Answers of a judge's server cannot be computed again for nothing. What is readable is put where answers wait
for their documents (tamis/store/retained.py), so the next asking takes it back. No file is deleted.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa

from tamis.store.columns import LEFT_AT
from tamis.store.digests import SEAL, broken_seals, unsealed
from tamis.store.places import last_arrival, names_of_files, names_of_folders, remove_named
from tamis.store.schemas import RETAINED, declared
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


def sweep_unmade(store: Store, patience_seconds: float) -> list[str]:
    """Remove the data of tables that have no version; return a line for a person where it is not removed.

    Mostly, to make such a table or to remove it was cut short. It may also be a backup that is being copied
    back, so nothing happens where a file came within the last `patience_seconds`. Answers that were paid for
    and decisions of people are moved aside: a new table of this name would not name the files, and so lose
    them. A withdrawal removes all of it at once (`files_of_no_version`). The caller holds the writer's lock.
    """
    lines = []
    for table in store.unmade():
        data, known = f"{table}.lance/data", declared(table)
        names = names_of_files(store.folder, data)
        if not names or time.time() - last_arrival(store.folder, f"{table}.lance") <= patience_seconds:
            continue
        if known and (known.paid or known.decided):
            aside = store.move_aside(table)
            lines.append(
                f"table {table} has files of data but no version, so it cannot be read; its files, which may "
                f"contain answers that were paid for or decisions of people, were moved to lance/{aside} in "
                f"the home: to have the table back, restore all of lance/{table}.lance from a backup"
            )
        else:
            remove_named(store.folder, [f"{data}/{name}" for name in names])
    return lines


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
