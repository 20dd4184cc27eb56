"""Erasing: rows that leave a table with every byte of them, not only with the latest version.

A deletion in Lance only marks rows: data files and old versions keep them. So the rows left are written
again, in one commit, and every version but that one is removed. Whoever reads an older one at that moment
fails and has to read again; the caller holds the writer's lock.
"""

import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain

import polars as pl
import pyarrow as pa

from tamis.store.places import holds_files
from tamis.store.tables import Store, one_of, reading

CHUNK, ROWS_OF_IDS = 1_000, 65_536
_NOW = timedelta(0)


def count_rows_of(store: Store, table: str, column: str, values: Sequence[str]) -> int:
    """How many rows of a table name one of the values."""
    if len(values) <= CHUNK:
        return store.count(table, one_of(column, values))
    wanted = pl.Series(values).implode()
    return sum(
        int(pl.Series(batch[column]).is_in(wanted).sum())
        for batch in store.batches(table, [column], rows=ROWS_OF_IDS)
    )


def erase_rows(store: Store, table: str, column: str, values: Sequence[str]) -> int:
    """Delete the rows that name one of the values; their bytes stay until `forget_versions`."""
    if len(values) <= CHUNK:
        return store.delete(table, one_of(column, values))
    removed = count_rows_of(store, table, column, values)
    if removed:  # one pass over the table in place of a commit for each thousand
        _rewrite(store, table, column, pl.Series(values).implode())
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
            _rewrite(store, table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that readers of old versions fail is meant
            store.open(table).optimize(cleanup_older_than=_NOW, delete_unverified=True)
    return True


def is_bare(store: Store, table: str) -> bool:
    """Whether a table has one version alone, and no row in its files that is marked as deleted."""
    return len(store.open(table).list_versions()) == 1 and not _marks(store, table)


def _marks(store: Store, table: str) -> bool:
    return holds_files(store.folder, f"{table}.lance/_deletions")


def _rewrite(store: Store, table: str, column: str = "", without: pl.Series | None = None) -> None:
    """Overwrite a table with its own rows, in one commit, but those that name one of the values."""
    opened = store.open(table)
    schema = opened.schema

    def blocks() -> Iterator[pa.RecordBatch]:
        for batch in store.batches(table, schema.names):
            if without is not None:
                batch = batch.filter((~pl.Series(batch[column]).is_in(without)).to_arrow())
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    left = blocks()
    first = next(left, None)
    if first is None:
        store.overwrite_schema(table, schema)
    else:
        opened.add(pa.RecordBatchReader.from_batches(schema, chain([first], left)), mode="overwrite")
    store.changed(table)
