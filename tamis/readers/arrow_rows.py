"""Rows of an Arrow file, such as `datasets` saves: a record batch at a time, memory-mapped.

Where the bytes break, the rows before them are kept. Columns are those that are read of Parquet.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from tamis.readers.arrow_values import MAGIC, open_arrow
from tamis.readers.parquet_rows import (
    UsableColumns,
    batch_items,
    malformed_file,
    problem_of,
    usable_columns,
)
from tamis.readers.rows import Defect, Item, broken_stream
from tamis.readers.streams import ENDS_EARLY, rows_told
from tamis.readers.text_columns import Sample, sample_of_batch
from tamis.settings.config import CorpusSection

CONTINUES = b"\xff\xff\xff\xff"
END = CONTINUES + b"\0\0\0\0"


def read_arrow(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """A row per row of the file; one defect for the whole shard when that or its columns are unusable."""
    try:
        source = pa.memory_map(str(path))
    except pa.ArrowInvalid as error:  # an empty file cannot be mapped
        yield malformed_file(path, str(error))
        return
    with source:
        try:
            schema, batches = open_arrow(source)
        except (pa.ArrowException, OSError) as error:
            yield malformed_file(path, f"not an Arrow file: {problem_of(error)}")
            return
        columns = usable_columns(schema, corpus, lambda: rows_told(path), lambda: sample_of_file(path))
        if isinstance(columns, Defect):
            yield columns
            return
        yield from _rows(batches, columns.read(schema), columns, _ended(path))


def schema_of_file(path: Path) -> pa.Schema:
    """Return the schema of a file; raises what Arrow does where it has none."""
    with pa.memory_map(str(path)) as source:
        return open_arrow(source)[0]


def sample_of_file(path: Path) -> Sample:
    """Return values of the columns that may hold texts, of the first rows."""
    with contextlib.suppress(pa.ArrowException, OSError), pa.memory_map(str(path)) as source:
        for batch in open_arrow(source)[1]:
            if batch.num_rows:
                return sample_of_batch(batch)
    return {}


def _ended(path: Path) -> bool:
    """Return whether the end was written: a file cut off between two batches would pass for a shorter one."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        end = MAGIC if head == MAGIC else END
        if end == END and not head.startswith(CONTINUES):
            return True  # a stream of before 2019 is not checked
        file.seek(max(0, path.stat().st_size - len(end)))
        return file.read() == end


def _rows(
    batches: Iterator[pa.RecordBatch], columns: Sequence[str], usable: UsableColumns, ended: bool
) -> Iterator[Item]:
    row = 0
    while True:
        try:
            batch = next(batches)
            batch.validate()
        except StopIteration:
            if not ended:
                yield broken_stream(row, ENDS_EARLY, "")
            return
        except (pa.ArrowException, OSError) as error:
            yield broken_stream(row, f"rows from {row} cannot be read: {problem_of(error)}", "")
            return
        yield from batch_items(batch.select(columns), row, usable)
        row += batch.num_rows
