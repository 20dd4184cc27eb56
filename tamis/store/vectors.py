"""Vectors of a table as blocks that can be iterated again, at a pinned version.

Up to 200,000 documents they are sorted by doc_id in memory (16 bits a component, 150 MB at 384), so that
whatever is computed from them does not depend on the order in which the documents arrived, to the last
bit. Larger tables are streamed in their own order.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.store.tables import Store, matrix_of

MOST_SORTED = 200_000
MOST_A_SPAN = 65_536
"""Rows of a part of a large table: what is done again where a worker is lost."""


class PoolTooSmallError(PermanentError):
    """The corpora hold fewer documents than a method needs."""

    def __init__(self, documents: int, needed: int) -> None:
        self.documents, self.needed = documents, needed
        held = "no documents" if not documents else f"{documents} document{'s' if documents > 1 else ''}"
        super().__init__(
            f"the corpora contain {held}, but this step needs at least {needed}; check path and include in "
            "[[corpus]], and run `tamis status` to see what is in quarantine"
        )


def require_documents(store: Store, table: str, needed: int) -> int:
    """Rows of a table of the pool; raises `PoolTooSmallError` when they are too few."""
    found = store.count(table)
    if found < needed:
        raise PoolTooSmallError(found, needed)
    return found


class VectorBlocks:
    """Blocks [n, d] of the vectors of a table, float32, or as they are stored with `dtype` float16.

    Those are handed over without a copy, .4 s a reading of 1,000,000 instead of 1 s. Iteration leaves out the
    rows of the documents `left_out`.
    """

    def __init__(
        self,
        store: Store,
        table: str,
        rows: int = 4_096,
        dtype: type[np.floating] = np.float32,
        version: int | None = None,
        left_out: pl.Series | None = None,
    ) -> None:
        self.store, self.table, self.rows, self.dtype = store, table, rows, dtype
        self.version = version or store.version(table)
        self.left_out = left_out
        self._sorted: pa.Table | None = None
        self._span: tuple[int, int] | None = None
        self._kept: np.ndarray | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """As what to read: another process reads it itself."""
        return VectorBlocks, (self.store, self.table, self.rows, self.dtype, self.version, self.left_out)

    def spans(self, parts: int, *, unit: int | None = None, most: int = MOST_A_SPAN) -> list[tuple[int, int]]:
        """First and end row of consecutive parts: one where one is asked for, else of `most` rows at most.

        Each begins at a multiple of `unit`, by default the rows of a block.
        """
        count, unit = self.store.count(self.table), unit or self.rows
        share = count if parts == 1 else min(-(-count // parts), most)
        size = max(-(-share // unit), 1) * unit
        return [(start, min(start + size, count)) for start in range(0, count, size)]

    def within(self, span: tuple[int, int]) -> "VectorBlocks":
        """A part of these rows; what is kept in memory is kept here, for all parts."""
        whole = span[0] == 0 and span[1] >= self.store.count(self.table)
        if not whole and self.store.count(self.table) <= MOST_SORTED:
            self._sort()
        part = VectorBlocks(*self.__reduce__()[1])
        part._sorted, part._span, part._kept = self._sorted, None if whole else span, self._kept
        return part

    def count(self) -> int:
        """Return how many rows the table has without those that are left out."""
        kept = None if self.left_out is None else self._kept_n(self.left_out)
        return self.store.count(self.table) if kept is None else int(kept.sum())

    def __iter__(self) -> Iterator[np.ndarray]:
        for batch in self._batches(["vector"]):
            yield matrix_of(batch.column("vector"), self.dtype)

    def with_ids(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Blocks with their doc_ids."""
        for batch in self._batches(["doc_id", "vector"]):
            yield batch.column("doc_id").to_pylist(), matrix_of(batch.column("vector"), self.dtype)

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        start = self._span[0] if self._span else 0
        for batch in self._stored(columns):
            end = start + batch.num_rows
            if self.left_out is not None:
                batch = batch.filter(pa.array(self._kept_n(self.left_out)[start:end]))
            if batch.num_rows:
                yield batch
            start = end

    def _stored(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self._sorted is None and self.store.count(self.table) > MOST_SORTED:
            yield from self.store.batches(
                self.table, columns, version=self.version, rows=self.rows, span=self._span
            )
            return
        rows = self._sort().select(columns)
        first, end = self._span or (0, len(rows))
        yield from rows.slice(first, end - first).to_batches(max_chunksize=self.rows)

    def _sort(self) -> pa.Table:
        if self._sorted is None:
            rows = self.store.read_arrow(self.table, ["doc_id", "vector"], version=self.version)
            self._sorted = rows.sort_by("doc_id").combine_chunks()
        return self._sorted

    def _kept_n(self, left_out: pl.Series) -> np.ndarray:
        """Whether each row [N] is kept, in the order in which rows are read; looked up once."""
        if self._kept is None:
            whole = VectorBlocks(self.store, self.table, self.rows, self.dtype, self.version)
            whole._sorted = self._sorted
            ids = [pl.Series(batch.column("doc_id")) for batch in whole._stored(["doc_id"])]
            self._sorted = whole._sorted
            found = pl.concat(ids) if ids else pl.Series(dtype=pl.String)
            self._kept = (~found.is_in(left_out.implode())).to_numpy()
        return self._kept
