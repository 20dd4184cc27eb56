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
    """Blocks [n, d] float32 of the vectors of a table."""

    def __init__(self, store: Store, table: str, rows: int = 4_096) -> None:
        self.store, self.table, self.rows = store, table, rows
        self.version = store.version(table)
        self._sorted: pa.Table | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        for _ids, vectors_nd in self.with_ids():
            yield vectors_nd

    def with_ids(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Blocks with their doc_ids."""
        for batch in self._batches():
            if batch.num_rows:
                yield batch.column("doc_id").to_pylist(), matrix_of(batch.column("vector"))

    def _batches(self) -> Iterator[pa.RecordBatch]:
        columns = ["doc_id", "vector"]
        if self._sorted is None and self.store.count(self.table) > MOST_SORTED:
            yield from self.store.batches(self.table, columns, version=self.version, rows=self.rows)
            return
        if self._sorted is None:
            rows = self.store.read_arrow(self.table, columns, version=self.version)
            self._sorted = rows.sort_by("doc_id").combine_chunks()
        yield from self._sorted.to_batches(max_chunksize=self.rows)
