"""Tables on LanceDB: idempotent writes by key, streamed reads at a pinned version.

Every write is one commit, so a killed run leaves whole batches or nothing; the next run writes the rest.
A merge of 10,000 rows costs 60-90 ms, so callers hand over batches, never single rows.
"""

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.partial_packages import without_code_of
from tamis.store.digests import SEAL, sealed, unsealed_schema
from tamis.store.places import (
    Place,
    anywhere,
    connection_options,
    costs_a_request,
    holds_files,
    identity_of,
    move_files,
    remove_files,
    stamp_of_files,
    stamp_of_versions,
)
from tamis.store.remembered import Remembered
from tamis.store.schemas import LATER_COLUMNS, Frame, as_declared, declaration, declared, schema_of
from tamis.store.table_errors import DamagedTableError as DamagedTableError
from tamis.store.table_errors import UnknownTableError, asking, reading

ROWS_AT_ONCE = 8_192
MOST_REMEMBERED = 256 << 20
"""Bytes that a connection remembers of indexes, and of all other files; LanceDB would take 6 and 1 GB."""
ASIDE = "damaged"
ALL = "true"
"""The scope of a whole table."""


@cache
def _lancedb() -> Any:
    """Return LanceDB, without the client of a web service that it loads: .7 s of each command.

    Nor does it make the embedding functions that the metadata of a table names: with the settings given there
    one of them loads a model and runs the code in its folder, whenever rows are written to the table.
    """
    with without_code_of("lance_namespace_urllib3_client"):
        import lancedb
    from lancedb.embeddings import EmbeddingFunctionRegistry

    EmbeddingFunctionRegistry.parse_functions = lambda *_: {}  # type: ignore[method-assign]
    return lancedb


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
    """Return columns that the table was made without: null in its rows. Others do not exist."""
    known = declared(table)
    fields = {one.name: one for one in known.columns if isinstance(one, pa.Field)} if known else {}
    absent = [name for name in wanted if name not in present]
    all_known = bool(present) and all(name in fields for name in absent)
    return [fields[name] for name in absent] if all_known else []


def row_ids_of(opened: Any, doc_ids: Sequence[str], at_once: int = 0) -> list[np.ndarray]:
    """Return the positions of the rows of these documents, ascending, in blocks, by one scan of the ids.

    `at_once`: a block holds the rows of so many documents, in their order; 0: in the order of the table.
    """
    wanted = pl.Series("doc_id", doc_ids, dtype=pl.String)
    found = [pl.DataFrame(schema={"doc_id": pl.String, "row": pl.UInt64})]
    for batch in opened.search().select(["doc_id"]).with_row_id(True).to_batches(batch_size=65_536):
        ids = pl.DataFrame([pl.Series("doc_id", batch["doc_id"]), pl.Series("row", batch["_rowid"])])
        found.append(ids.join(wanted.to_frame(), on="doc_id", how="semi"))
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


def quoted(value: str) -> str:
    """A string literal for a filter expression."""
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Sequence[str]) -> str:
    """Filter expression: the column equals one of the values (false when there are none)."""
    return f"{column} IN ({', '.join(quoted(value) for value in values)})" if values else "false"


class Store:
    """All tables of one home: in a folder, or under a prefix of an object store."""

    def __init__(self, folder: Place) -> None:
        self.folder = folder
        self._connection: Any = None
        self._identity: Hashable = None
        self._seen: set[str] = set()
        self._alone, self._latest = False, dict[str, tuple[Hashable, Any]]()
        self._memory = Remembered()

    def __reduce__(self) -> tuple[Any, ...]:
        """As the place that it is: another process opens it itself."""
        return Store, (anywhere(self.folder),)

    def names(self) -> list[str]:
        """Names of the tables that exist, sorted."""
        return sorted(name for name in self._listed() if self.exists(name))

    def unmade(self) -> list[str]:
        """Return the names of tables that have files but no version, sorted."""
        return sorted(name for name in self._listed() if not self.exists(name))

    def _listed(self) -> list[str]:
        with asking():
            return list(self._connect().list_tables().tables)

    def exists(self, table: str) -> bool:
        """Whether the table has been made: a process that dies while making one leaves a folder alone."""
        if table in self._seen:
            return True
        there = holds_files(self.folder, f"{table}.lance/_versions", ".manifest")
        if there and costs_a_request(self.folder):
            self._seen.add(table)
        return there

    def version(self, table: str) -> int:
        """Latest version of a table, 0 when it does not exist."""
        with reading(table):
            return self._opened(table).version if self.exists(table) else 0

    def stamp(self, table: str) -> Hashable | None:
        """Return what differs once the table's files changed, whoever changed them; the table is not opened.

        None in an object store, where that would cost requests.
        """
        return stamp_of_files(self.folder, f"{table}.lance") if isinstance(self.folder, Path) else None

    def count(self, table: str, where: str | None = None) -> int:
        """Number of rows that match."""
        with reading(table):
            return self._opened(table).count_rows(where) if self.exists(table) else 0

    def put(self, table: str, frame: Frame, scope: str | None = None) -> None:
        """Write n rows as the table declares them (its columns, order, types and key), in one commit.

        Without `scope` rows are inserted or replaced by key. Otherwise the rows within it, which is a filter
        or `ALL`, become exactly these. Raises `UnfitRowsError` as `as_declared` does, and writes nothing.
        """
        rows = as_declared(table, frame)
        if scope is None:
            self.merge(table, rows)
        elif scope == ALL:
            self.overwrite(table, rows)
        else:
            self.replace(table, rows, scope)

    def insert_new(self, table: str, rows: pa.Table) -> int:
        """Insert the rows whose key is not there yet (the first one written stays); returns how many."""
        if not rows.num_rows:
            self._open_or_create(table, rows.schema)
            return 0
        rows, key = sealed(table, rows), list(declaration(table).key)
        with self._writing(table, rows.schema) as opened:
            merge = opened.merge_insert(key).when_not_matched_insert_all()
            return merge.execute(first_of_each(rows, key)).num_inserted_rows

    def append(self, table: str, rows: pa.Table) -> None:
        """Insert rows whose keys the caller, who holds the writer's lock, knows not to be there."""
        rows = sealed(table, rows)
        with self._writing(table, rows.schema) as opened:
            opened.add(rows)

    def merge(self, table: str, rows: pa.Table, key: Sequence[str] | None = None) -> None:
        """Insert or replace rows by key."""
        rows = sealed(table, rows)
        with self._writing(table, rows.schema) as opened:
            if rows.num_rows:
                merge = opened.merge_insert(list(key or declaration(table).key))
                merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def merge_values(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert or replace rows, each given as its values by column, by key; without rows do nothing."""
        if rows:
            self.merge(table, pa.Table.from_pylist(list(rows), schema=schema_of(table)))

    def replace(self, table: str, rows: pa.Table, scope: str, key: Sequence[str] | None = None) -> None:
        """Make the rows within `scope` (a filter) exactly these, in one commit."""
        rows = sealed(table, rows)
        with self._writing(table, rows.schema) as opened:
            merge = opened.merge_insert(list(key or declaration(table).key))
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(scope).execute(rows)

    def overwrite(self, table: str, rows: pa.Table) -> None:
        """Make the whole table exactly these rows, in one commit."""
        rows = sealed(table, rows)
        if not self.exists(table):
            self._connect().create_table(table, rows)
        elif (opened := self.open(table)).schema.equals(rows.schema):
            opened.add(rows, mode="overwrite")
        else:
            self._connect().create_table(table, rows, mode="overwrite")
        self.changed(table)

    def overwrite_values(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make the whole table exactly these rows, each given as its values by column, in one commit."""
        self.overwrite(table, pa.Table.from_pylist(list(rows), schema=schema_of(table)))

    def overwrite_schema(self, table: str, schema: pa.Schema) -> None:
        """Make the whole table empty, in one commit."""
        self._connect().create_table(table, schema=schema, mode="overwrite")
        self.changed(table)

    def delete(self, table: str, where: str) -> int:
        """Delete the rows that match; returns how many. Nothing matched makes no version."""
        count = self.count(table, where)
        if count:
            self.open(table).delete(where)
            self.changed(table)
        return count

    def batches(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        *,
        version: int | None = None,
        rows: int = ROWS_AT_ONCE,
        span: tuple[int, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Stream batches at a version (the latest when the call is made); `span`: first and end row."""
        if self.exists(table):
            yield from stream_rows(self._opened(table, version), table, columns, where, rows, span)

    def read_arrow(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        *,
        version: int | None = None,
    ) -> pa.Table:
        """A table or part of it, in memory; empty with the right columns when it does not exist."""
        if not self.exists(table):
            schema = self.schema(table)
            return (
                schema if columns is None else pa.schema([schema.field(c) for c in columns])
            ).empty_table()
        # Stamped before it is read: a write in between leaves another stamp, so the next call reads again.
        stamp, memory = stamp_of_versions(self.folder, f"{table}.lance"), self._memory
        with reading(table):
            opened = self._opened(table, version) if stamp is None else None
            at = stamp if opened is None else opened.version
            key = (table, at, version, tuple(columns or ()), where)
            if (known := memory.get(key)) is not None:
                return known
            if opened is None:  # the truth of a table is its number of rows, which would be counted
                opened = self._opened(table, version)
        batches = list(stream_rows(opened, table, columns, where))
        schema = batches[0].schema if batches else self._selected(opened, table, columns)
        rows = pa.Table.from_batches(batches, schema=schema)
        memory.put(key, rows)  # discarded by now where `read_afresh` came in between
        return rows

    def _selected(self, opened: Any, table: str, columns: Sequence[str] | None) -> pa.Schema:
        """Schema of these columns, also of those that were introduced after the table was made."""
        with reading(table):
            schema = unsealed_schema(opened.schema)
        if columns is None:
            return schema
        if not set(columns) <= set(schema.names):
            schema = pa.unify_schemas([schema, schema_of(table)])
        return pa.schema([schema.field(column) for column in columns])

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        *,
        version: int | None = None,
    ) -> pl.DataFrame:
        """As `read_arrow`, as a polars frame."""
        return pl.DataFrame(pl.from_arrow(self.read_arrow(table, columns, where, version=version)))

    def by_ids(
        self,
        table: str,
        doc_ids: Sequence[str],
        columns: Sequence[str] | None = None,
        at_once: int = 0,
        *,
        version: int | None = None,
    ) -> Iterator[pa.Table]:
        """Rows of these documents in blocks, by one scan of the ids; `at_once`: of so many in their order."""
        if not doc_ids or not self.exists(table):
            return
        with reading(table):
            opened = self._opened(table, version)
            blocks = row_ids_of(opened, doc_ids, at_once)
        for rows_n in blocks:
            with reading(table):
                taken = opened.take_row_ids(rows_n.tolist())
                yield taken.select(list(columns or unsealed_schema(opened.schema).names)).to_arrow()

    def sealed_blocks(self, table: str) -> Iterator[pa.Table]:
        """The rows of a table with their seals, null where they have none, in blocks."""
        with reading(table):
            names = self._opened(table).schema.names if self.exists(table) else []
        for batch in self.batches(table, names) if names else ():
            block = pa.Table.from_batches([batch])
            yield block if SEAL in names else block.append_column(SEAL, pa.nulls(len(block), pa.string()))

    def schema(self, table: str) -> pa.Schema:
        """Arrow schema of a table, with column descriptions; raises `UnknownTableError`."""
        if self.exists(table):
            with reading(table):
                return unsealed_schema(self._opened(table).schema)
        try:
            return schema_of(table)
        except (KeyError, AssertionError) as error:
            raise UnknownTableError(table) from error

    def check_columns(self, table: str) -> None:
        """Raise `DamagedTableError` where a table's columns are not those that are declared of it.

        Columns introduced later may be missing, those of the SQL models are declared nowhere.
        """
        if declared(table) is None or not self.exists(table):
            return
        found, expected = set(self.schema(table).names), set(schema_of(table, 1).names)
        if wrong := sorted((found - expected) | (expected - found - LATER_COLUMNS)):
            raise DamagedTableError(table, f"columns missing or not declared: {', '.join(wrong)}")

    def _connect(self) -> Any:
        connection = self._connection
        if connection is None or self._identity != identity_of(self.folder):  # removed, or put in its place
            lancedb = _lancedb()
            address, options = connection_options(self.folder)
            # What a session has read of a table's history is not asked for again.
            session = lancedb.Session(
                index_cache_size_bytes=MOST_REMEMBERED, metadata_cache_size_bytes=MOST_REMEMBERED
            )
            with asking():
                connection = lancedb.connect(address, storage_options=options, session=session)
            self._connection, self._identity = connection, identity_of(self.folder)
        return connection

    def read_afresh(self) -> None:
        """Forget what earlier readings remember of files, so that whoever verifies them reads them again.

        LanceDB takes a file whose end was damaged for whole while it remembers it.
        """
        self._connection = None
        self._latest.clear()
        self._memory = Remembered()

    def open(self, table: str) -> Any:
        """The storage layer's own table, at its latest version; raises `UnknownTableError`.

        Whoever writes by it after another reading of this store says so by `changed`.
        """
        self.changed(table)
        if not self.exists(table):
            raise UnknownTableError(table)
        try:
            with reading(table):
                return self._connect().open_table(table)
        except UnknownTableError:
            self._seen.discard(table)
            raise

    def alone(self, whether: bool) -> None:
        """Whether nobody else writes: then the latest version need not be asked for at every reading."""
        self._alone = whether
        self._latest.clear()

    def changed(self, table: str) -> None:
        """Ask for the latest version again at the next reading."""
        self._latest.pop(table, None)

    def _opened(self, table: str, version: int | None = None) -> Any:
        """A table to read at a version, the latest without one; it stays there, whatever is written."""
        at = stamp_of_versions(self.folder, f"{table}.lance")
        stamp, opened = self._latest.get(table, (None, None))
        if opened is None or stamp != at:
            opened = self.open(table)
            if at is not None or self._alone:
                self._latest[table] = at, opened
        if version and version != opened.version:
            with reading(table):
                opened = self._connect().open_table(table)
                opened.checkout(version)
        return opened

    def drop(self, table: str) -> None:
        """Remove the files of a table, whether it can be opened or not."""
        self._forget(table)
        remove_files(self.folder, f"{table}.lance")

    def _forget(self, table: str) -> None:
        self._seen.discard(table)
        self.changed(table)
        self._memory = Remembered()

    def move_aside(self, table: str) -> str:
        """Move the files of a damaged table to where no table is looked for, and return that place."""
        aside = f"{ASIDE}/{table}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.lance"
        move_files(self.folder, f"{table}.lance", aside)
        self._forget(table)
        return aside

    @contextlib.contextmanager
    def _writing(self, table: str, schema: pa.Schema) -> Iterator[Any]:
        """The table to write to, made if it is not there; what was read before is read again."""
        try:
            yield self._open_or_create(table, schema)
        finally:
            self.changed(table)

    def _open_or_create(self, table: str, schema: pa.Schema) -> Any:
        if not self.exists(table):
            self._connect().create_table(table, schema=schema, exist_ok=True)
        opened = self._connect().open_table(table)
        # A table made before a column was introduced gets it, null in the rows it has.
        there = opened.schema.names
        if added := [field for field in schema if field.name not in there]:
            opened.add_columns(added)
        return opened


def matrix_of(column: pa.Array | pa.ChunkedArray, dtype: type[np.number] = np.float32) -> np.ndarray:
    """A column of lists of one length as [n, d]."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return flat.flatten().to_numpy(zero_copy_only=False).reshape(len(flat), -1).astype(dtype, copy=False)


def detached(column: pl.Series) -> pl.Series:
    """A copy of a column of texts: a column of a block keeps all columns of the block in memory."""
    return pl.Series(column.name, column.to_arrow(compat_level=pl.CompatLevel.oldest()), dtype=pl.String)


def vector_column(vectors_nd: np.ndarray) -> pa.FixedSizeListArray:
    """[n, d] vectors as a column of 16-bit floats."""
    halves = np.ascontiguousarray(vectors_nd, dtype=np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(halves.ravel()), halves.shape[1])
