"""Arrow files of both formats: a stream of batches, and one with a footer that gives random access."""

import contextlib
from collections.abc import Iterator

import pyarrow as pa

MAGIC, PADDED = b"ARROW1", 8


def open_arrow(
    source: pa.MemoryMappedFile, options: pa.ipc.IpcReadOptions | None = None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and batches of a file.

    `datasets` writes streams. Polars writes in front of the first batch what no stream has, so the footer
    says where the batches are; where it was cut off, those before the cut are read as a stream.
    """
    has_footer = source.read(len(MAGIC)) == MAGIC
    if has_footer:
        with contextlib.suppress(pa.ArrowException, OSError):
            file = pa.ipc.open_file(source, options=options)
            return file.schema, map(file.get_batch, range(file.num_record_batches))
    source.seek(PADDED if has_footer else 0)
    stream = pa.ipc.open_stream(source, options=options)
    return stream.schema, iter(stream)
