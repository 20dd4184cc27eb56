"""Vectors of a table as blocks that can be iterated again, at a pinned version.

Up to 200,000 documents they are sorted by doc_id in memory (16 bits a component, 150 MB at 384), so that
whatever is computed from them does not depend on the order in which the documents arrived, to the last
bit. Larger tables are streamed in their own order.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tamis.errors import PermanentError
from tamis.store.tables import Store, matrix_of

MOST_SORTED = 200_000


class PoolTooSmallError(PermanentError):
    """The corpora hold fewer documents than a method needs."""

    def __init__(self, documents: int, needed: int) -> None:
        self.documents, self.needed = documents, needed
        held = "no document" if not documents else f"{documents} document{'s' if documents > 1 else ''}"
        super().__init__(
            f"the corpora hold {held}, this needs {needed} at least; check path and include of [[corpus]], "
            "and `tamis status` for files in quarantine"
        )


def require_documents(store: Store, table: str, needed: int) -> int:
    """Rows of a table of the pool; raises `PoolTooSmallError` when they are too few."""
    found = store.count(table)
    if found < needed:
        raise PoolTooSmallError(found, needed)
    return found


class VectorBlocks:
    """Blocks [n, d] of the vectors of a table, float32, or as they are stored with `dtype` float16.

    Those are handed over without a copy, .4 s a reading of 1,000,000 instead of 1 s.
    """

    def __init__(
        self, store: Store, table: str, rows: int = 4_096, dtype: type[np.floating] = np.float32
    ) -> None:
        self.store, self.table, self.rows, self.dtype = store, table, rows, dtype
        self.version = store.version(table)
        self._sorted: pa.Table | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        for batch in self._batches(["vector"]):
            if batch.num_rows:
                yield matrix_of(batch.column("vector"), self.dtype)

    def with_ids(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Blocks with their doc_ids."""
        for batch in self._batches(["doc_id", "vector"]):
            if batch.num_rows:
                yield batch.column("doc_id").to_pylist(), matrix_of(batch.column("vector"), self.dtype)

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self._sorted is None and self.store.count(self.table) > MOST_SORTED:
            yield from self.store.batches(self.table, columns, version=self.version, rows=self.rows)
            return
        if self._sorted is None:
            rows = self.store.read_arrow(self.table, ["doc_id", "vector"], version=self.version)
            self._sorted = rows.sort_by("doc_id").combine_chunks()
        yield from self._sorted.select(columns).to_batches(max_chunksize=self.rows)
