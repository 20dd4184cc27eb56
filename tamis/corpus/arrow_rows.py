"""Rows of an Arrow stream, as `datasets` saves them: a record batch at a time, memory-mapped.

Where the bytes break, the rows before them are kept. Columns are those that are read of Parquet.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tamis.corpus.parquet_rows import batch_items, columns_read, is_from_the_disk, malformed_file
from tamis.corpus.records import Item, broken_stream, unusable_columns
from tamis.corpus.streams import ENDS_EARLY
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
            reader = _opened(source)
        except (pa.ArrowException, OSError) as error:
            if is_from_the_disk(error):
                raise
            yield malformed_file(path, f"not an Arrow file: {error}")
            return
        if defect := unusable_columns(reader.schema.names, corpus.text_column):
            yield defect
            return
        yield from _rows(reader, corpus, _ended(path))


def _ended(path: Path) -> bool:
    """Whether the end was written: a file cut off between two batches would pass for a shorter one."""
    with path.open("rb") as file:
        if not file.read(4).startswith(CONTINUES):
            return True  # the random-access format, or a stream of before 2019: neither is checked
        file.seek(max(0, path.stat().st_size - len(END)))
        return file.read() == END


def _opened(source: pa.MemoryMappedFile) -> pa.RecordBatchStreamReader:
    """`datasets` writes the stream format; a file in the random-access one is read as well."""
    if source.read(6) == b"ARROW1":
        source.seek(8)
        return pa.ipc.open_stream(source)
    source.seek(0)
    return pa.ipc.open_stream(source)


def _rows(reader: pa.RecordBatchStreamReader, corpus: CorpusSection, ended: bool) -> Iterator[Item]:
    columns = columns_read(reader.schema, corpus)
    row = 0
    while True:
        try:
            batch = reader.read_next_batch()
            batch.validate()
        except StopIteration:
            if not ended:
                yield broken_stream(row, ENDS_EARLY, "")
            return
        except (pa.ArrowException, OSError) as error:
            if is_from_the_disk(error):
                raise
            yield broken_stream(row, f"rows from {row} cannot be read: {error}", "")
            return
        yield from batch_items(batch.select(columns), row, corpus)
        row += batch.num_rows
