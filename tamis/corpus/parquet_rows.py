"""Rows of Parquet, a row group at a time; a group that cannot be decoded costs that group only.

Texts are decoded one by one from their bytes, so a value that is not UTF-8 costs its row only. Nested
and binary columns (vectors, images) are read where they are kept for exports; they are no metadata. Of these
PyArrow cannot read all, such as lists of a fixed size where some are null: Polars reads those.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.corpus.kept_columns import is_json, is_kept, json_values
from tamis.corpus.records import (
    WHOLE_SHARD,
    Defect,
    Item,
    Reason,
    Row,
    unusable_columns,
    wrong_encoding,
)
from tamis.corpus.text import excerpt
from tamis.settings.config import CorpusSection

BATCH_ROWS = 1_000


def read_parquet(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """A row per row of the file; one defect for the whole shard when that or its columns are unusable."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        if is_from_the_disk(error):
            raise
        yield malformed_file(path, str(error))
        return
    with file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
        if defect := unusable_columns(names, corpus.text_column, rows):
            yield defect
            return
        start = 0
        for group in range(file.num_row_groups):
            yield from _group_items(path, file, group, start, corpus, {})
            start += file.metadata.row_group(group).num_rows


def _group_items(
    path: Path,
    file: pq.ParquetFile,
    group: int,
    start: int,
    corpus: CorpusSection,
    unread: dict[str, pa.Array | None],
) -> Iterator[Item]:
    """Yield the rows of a row group.

    unread: the columns that PyArrow cannot read, as Polars reads them, or None.
    """
    row, rows = start, file.metadata.row_group(group).num_rows
    wanted = columns_read(file.schema_arrow, corpus)
    needed = columns_read(file.schema_arrow, corpus.model_copy(update={"keep_columns": False}))
    columns = [name for name in wanted if name not in unread]
    try:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
            for name, column in unread.items():
                if column is not None:
                    batch = batch.append_column(name, column.slice(row - start, batch.num_rows))
            if unread:  # in the order of the file
                places = [wanted.index(name) for name in batch.schema.names]
                batch = batch.select(sorted(range(len(places)), key=places.__getitem__))
            yield from batch_items(batch, row, corpus)
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        if is_from_the_disk(error):
            raise
        extra = [name for name in columns if name not in needed]
        if extra:  # a broken column that is read for exports alone costs no text, and no other column
            more = _unread(path, file, group, start, extra) or dict.fromkeys(extra)
            again = _group_items(path, file, group, start, corpus, unread | more)
            yield from (item for item in again if item.row >= row)
            return
        detail = f"rows {row} to {start + rows - 1} (row group {group}) cannot be decoded: {error}"
        yield Defect(row=row, reason=Reason.MALFORMED_ROW, detail=detail)


def _unread(
    path: Path, file: pq.ParquetFile, group: int, start: int, columns: list[str]
) -> dict[str, pa.Array | None]:
    """Return those columns of a row group that PyArrow cannot read, as Polars reads them.

    None where a page is damaged: Polars checks no checksum.
    """
    found: dict[str, pa.Array | None] = {}
    for name in columns:
        try:
            for _batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[name]):
                pass
        except pa.ArrowInvalid:  # such as lists of a fixed size where some are null
            rows = file.metadata.row_group(group).num_rows
            found[name] = _read_by_polars(path, file.schema_arrow.field(name), start, rows)
        except (pa.ArrowException, OSError) as error:
            if is_from_the_disk(error):
                raise
            found[name] = None
    return found


def _read_by_polars(path: Path, field: pa.Field, start: int, rows: int) -> pa.Array | None:
    try:
        read = pl.scan_parquet(path, glob=False).select(field.name).slice(start, rows).collect()
        return read[field.name].to_arrow().cast(field.type)
    except (pl.exceptions.PolarsError, pa.ArrowException):
        return None


def columns_read(schema: pa.Schema, corpus: CorpusSection) -> list[str]:
    """Return the columns of a file that are read: plain ones, the text, and those that are kept."""
    return [
        field.name
        for field in schema
        if is_plain(field.type) or field.name == corpus.text_column or is_kept(corpus, field.name)
    ]


def batch_items(batch: pa.RecordBatch, start: int, corpus: CorpusSection) -> Iterator[Item]:
    """Rows of a batch that begins at row `start`; a text that is not UTF-8 is a defect of its row."""
    shown, kept = {}, {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if is_plain(field.type) or field.name == corpus.text_column:
            shown[field.name] = _values(column)
        if not is_json(field.type) and is_kept(corpus, field.name):
            kept[field.name] = json_values(column)
    for offset in range(batch.num_rows):
        values = {name: column[offset] for name, column in shown.items()}
        text = values[corpus.text_column]
        if isinstance(text, _Undecoded):
            yield wrong_encoding(start + offset, "bytes that are not UTF-8", text.data)
        else:
            as_json = {name: column[offset] for name, column in kept.items()}
            yield Row(row=start + offset, values=values, as_json=as_json)


class _Undecoded:
    """Bytes in a string column that are not UTF-8."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __str__(self) -> str:
        return self.data.decode("utf-8", "replace")


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return [_decoded(value) for value in column.cast(pa.large_binary(), safe=False).to_pylist()]
    return column.to_pylist()


def _decoded(value: bytes | None) -> str | _Undecoded | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return _Undecoded(value or b"")


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column can be shown as metadata: neither nested nor binary."""
    if pa.types.is_dictionary(kind):
        return is_plain(kind.value_type)
    binary = (pa.binary(), pa.large_binary(), pa.binary_view())
    return not (pa.types.is_nested(kind) or pa.types.is_fixed_size_binary(kind) or kind in binary)


def is_from_the_disk(error: Exception) -> bool:
    """Whether the system reports the failure; Arrow's own complaints about content carry no errno."""
    return isinstance(error, OSError) and error.errno is not None


def malformed_file(path: Path, problem: str) -> Defect:
    """The defect of a file that cannot be opened as what it claims to be."""
    with path.open("rb") as file:
        head = file.read(64)
    reason = Reason.MALFORMED_FILE if head else Reason.EMPTY_FILE
    return Defect(row=WHOLE_SHARD, reason=reason, detail=problem or "not Parquet", excerpt=excerpt(head))
