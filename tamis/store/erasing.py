"""Erasing: rows that leave a table with every byte of them, not only with the latest version.

A deletion in Lance is a mark beside the data files, and old versions keep theirs. So what is left is written
anew, in one commit, and every version but that one is removed. Whoever reads an older one at that moment
fails and has to read again; the caller holds the writer's lock.
"""

import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pyarrow as pa

from tamis.store.tables import Store, one_of, reading

CHUNK = 1_000
_NOW = timedelta(0)


def erase_rows(store: Store, table: str, column: str, values: Sequence[str], scope: str = "true") -> int:
    """Delete the rows that name one of the values; their bytes stay until `forget_versions`."""
    removed = 0
    for start in range(0, len(values), CHUNK):
        removed += store.delete(table, f"({one_of(column, values[start : start + CHUNK])}) AND ({scope})")
    return removed


def forget_versions(store: Store, table: str) -> bool:
    """Leave one version of a table, without deleted rows in its files; False where it was so already."""
    if is_bare(store, table):
        return False
    with reading(table):
        opened = store.open(table)
        for name in opened.tags.list():  # a tagged version could not be removed
            opened.tags.delete(name)
        if _marks(store, table):
            _write_anew(store, table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that readers of old versions fail is meant
            store.open(table).optimize(cleanup_older_than=_NOW, delete_unverified=True)
    return True


def is_bare(store: Store, table: str) -> bool:
    """Whether a table has one version alone, and no row in its files that is marked as deleted."""
    return len(store.open(table).list_versions()) == 1 and not _marks(store, table)


def _marks(store: Store, table: str) -> bool:
    folder = store.folder / f"{table}.lance" / "_deletions"
    return folder.is_dir() and any(folder.iterdir())


def _write_anew(store: Store, table: str) -> None:
    opened = store.open(table)
    schema = opened.schema
    if not opened.count_rows():
        store.overwrite_schema(table, schema)
        return

    def blocks() -> Iterator[pa.RecordBatch]:
        for batch in store.batches(table, schema.names):  # seals, too
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    opened.add(pa.RecordBatchReader.from_batches(schema, blocks()), mode="overwrite")
