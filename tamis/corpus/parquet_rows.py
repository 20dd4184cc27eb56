"""Rows of Parquet, a row group at a time; a group that cannot be decoded costs that group only.

Texts are decoded one by one from their bytes, so a value that is not UTF-8 costs its row only. Nested
and binary columns (vectors, images) are read where they are kept for exports; they are no metadata. Of these
PyArrow cannot read all, such as lists of a fixed size where some are null: Polars reads those.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.corpus.arrow_values import (
    Undecoded,
    decoded,
    is_bytes,
    is_json,
    is_text,
    json_values,
    shown_values,
)
from tamis.corpus.kept_columns import is_kept, open_parquet
from tamis.corpus.records import (
    WHOLE_SHARD,
    Defect,
    Item,
    Note,
    Reason,
    Row,
    unusable_columns,
    wrong_encoding,
)
from tamis.corpus.streams import HEAD_BYTES, format_of
from tamis.corpus.text import excerpt
from tamis.settings.config import CorpusSection

BATCH_ROWS = 1_000


def read_parquet(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """A row per row of the file; one defect for the whole shard when that or its columns are unusable."""
    try:
        file = open_parquet(path)
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
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException):
        return None  # it panics at time zones that it does not know


def columns_read(schema: pa.Schema, corpus: CorpusSection) -> list[str]:
    """Return the columns of a file that are read: plain ones, the text, and those that are kept."""
    return [
        field.name
        for field in schema
        if is_plain(field.type) or field.name == corpus.text_column or is_kept(corpus, field.name)
    ]


def batch_items(batch: pa.RecordBatch, start: int, corpus: CorpusSection) -> Iterator[Item]:
    """Rows of a batch that begins at row `start`; a text that is not UTF-8 is a defect of its row."""
    shown, kept, odd = {}, {}, Counter[tuple[str, str]]()
    for field, column in zip(batch.schema, batch.columns, strict=True):
        problems = Counter[str]()
        if field.name == corpus.text_column:
            shown[field.name] = _texts(column)
        elif is_plain(field.type):
            shown[field.name] = shown_values(column, problems)
        if not is_json(field.type) and is_kept(corpus, field.name):
            kept[field.name] = json_values(column, problems := Counter())
        odd.update({(field.name, problem): count for problem, count in problems.items()})
    notes = tuple(Note(column=name, problem=what, values=count) for (name, what), count in odd.items())
    for offset in range(batch.num_rows):
        values = {name: column[offset] for name, column in shown.items()}
        text = values[corpus.text_column]
        if isinstance(text, Undecoded):
            yield wrong_encoding(start + offset, "bytes that are not UTF-8", text.data)
        else:
            as_json = {name: column[offset] for name, column in kept.items()}
            yield Row(row=start + offset, values=values, as_json=as_json, notes=notes)
            notes = ()


def _texts(column: pa.Array) -> list[Any]:
    """Return the values of the column of texts, whose turns may be nested; what is none stays what it is."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_text(kind):
        column = column.dictionary_decode() if kind is not column.type else column
        return [decoded(value) for value in column.cast(pa.large_binary(), safe=False).to_pylist()]
    if pa.types.is_nested(kind):
        return shown_values(column)
    return json_values(column) if pa.types.is_temporal(kind) else column.to_pylist()


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column can be shown as metadata: neither nested nor binary."""
    if pa.types.is_dictionary(kind):
        return is_plain(kind.value_type)
    return not (pa.types.is_nested(kind) or is_bytes(kind))


def is_from_the_disk(error: Exception) -> bool:
    """Whether the system reports the failure; Arrow's own complaints about content carry no errno."""
    return isinstance(error, OSError) and error.errno is not None


def malformed_file(path: Path, problem: str) -> Defect:
    """The defect of a file that cannot be opened as what it claims to be."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    found = format_of(head)
    what = f"{problem or 'not Parquet'}{f' (the file is {found})' if found else ''}"
    reason = Reason.MALFORMED_FILE if head else Reason.EMPTY_FILE
    return Defect(row=WHOLE_SHARD, reason=reason, detail=what, excerpt=excerpt(head[:64]))
