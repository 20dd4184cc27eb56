"""Decisions of earlier versions of selections: rows of withdrawn documents leave the files that keep them.

A file is named by the digest of all the rows that it held, so what is left is verified against the list of
these rows: none may be another, and none missing but those of withdrawn documents.
"""

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.base.files import write_atomically
from tamis.records.published import ROWS_A_GROUP
from tamis.store.home import Home
from tamis.withdrawal.files import Touched
from tamis.withdrawal.places import Named, files_named

KEPT = "manifests/rows"


def purge_kept(home: Home, doc_ids: Sequence[str]) -> Iterator[Touched]:
    """Take the rows of documents out of all kept versions."""
    gone = pa.array(sorted(doc_ids), pa.string())
    for path in files_named(home, Named.BY_ROWS, KEPT):
        rows = pq.read_table(path)
        left = rows.filter(pc.invert(pc.is_in(rows["doc_id"], gone)))
        if left.num_rows < rows.num_rows:
            stream = io.BytesIO()
            pq.write_table(left, stream, compression="zstd", row_group_size=ROWS_A_GROUP)
            write_atomically(path, stream.getvalue())
            yield Touched(path=home.relative(path), done="rewritten")
