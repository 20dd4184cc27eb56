"""Rows of Parquet, a row group at a time; a group that cannot be decoded costs that group only.

Texts are decoded one by one from their bytes, so a value that is not UTF-8 costs its row only. Nested
and binary columns (vectors, images) are read where they are kept for exports; they are no metadata. Of these
PyArrow cannot read all, such as lists of a fixed size where some are null: Polars reads those.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.readers.arrow_values import (
    UNDECODED,
    Undecoded,
    decoded,
    is_bytes,
    is_json,
    is_text,
    json_values,
    shown_values,
    unencoded,
)
from tamis.readers.kept_columns import is_kept, open_parquet
from tamis.readers.rows import (
    UNKNOWN,
    WHOLE_SHARD,
    Defect,
    Item,
    Note,
    Reason,
    Row,
    missing_text_column,
    repeated_columns,
    wrong_encoding,
)
from tamis.readers.streams import ARROW, ARROW_STREAM, HEAD_BYTES, PARQUET, format_of, is_plain_text
from tamis.readers.text import excerpt
from tamis.readers.text_columns import (
    BESIDE,
    SAMPLE_ROWS,
    Sample,
    TextPlace,
    holds,
    is_plain_name,
    names_of,
    nested,
    places_in,
    sample_of_batch,
    stored_path,
    told_columns,
)
from tamis.settings.config import CorpusSection
from tamis.settings.sections import RowFormat

BATCH_ROWS = 1_000
BY_NAME = {".parquet": (PARQUET,), ".arrow": (ARROW, ARROW_STREAM)}
"""Formats of files of these names."""


def read_parquet(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """A row per row of the file; one defect for the whole shard when that or its columns are unusable."""
    try:
        file = open_parquet(path)
    except (pa.ArrowException, OSError) as error:
        yield malformed_file(path, problem_of(error))
        return
    with file:
        columns = usable_columns(
            file.schema_arrow, corpus, lambda: file.metadata.num_rows, lambda: sample_of_file(path)
        )
        if isinstance(columns, Defect):
            yield columns
            return
        start = 0
        for group in range(file.num_row_groups):
            yield from _group_items(path, file, group, start, columns, {})
            start += file.metadata.row_group(group).num_rows


def schema_of_file(path: Path) -> pa.Schema:
    """Return the schema of a file; raises what Arrow does where it has none."""
    return pq.read_schema(path, memory_map=True)


def sample_of_file(path: Path) -> Sample:
    """Return values of the columns that may hold texts, of the first rows; of the file no more is read."""
    with contextlib.suppress(pa.ArrowException, OSError), pq.ParquetFile(path, memory_map=True) as file:
        groups = [group for group in range(file.num_row_groups) if file.metadata.row_group(group).num_rows]
        schema = file.schema_arrow
        columns = [stored_path(schema, keys) for keys in told_columns(schema)]
        for batch in (
            file.iter_batches(SAMPLE_ROWS, row_groups=groups[:1], columns=columns) if columns else ()
        ):
            return sample_of_batch(batch)
    return {}


@dataclass(frozen=True, kw_only=True)
class UsableColumns:
    """Columns of a file that are read; `places`: those of texts, one of which each row takes."""

    corpus: CorpusSection
    places: Sequence[TextPlace]

    def read(self, schema: pa.Schema, kept: bool = True) -> list[str]:
        """Return the columns to read: plain ones, those of texts, and, with `kept`, those that are kept."""
        of_texts = {place.keys[0] for place in self.places} | BESIDE.get(self.corpus.format, frozenset())
        return [
            field.name
            for field in schema
            if is_plain(field.type) or field.name in of_texts or (kept and is_kept(self.corpus, field.name))
        ]


def usable_columns(
    schema: pa.Schema, corpus: CorpusSection, rows: Callable[[], int | None], sample: Callable[[], Sample]
) -> UsableColumns | Defect:
    """Return the columns of a file that are read, or the defect of a file that has no usable ones.

    `rows`: counts the rows of the file; `sample`: reads the first of them.
    """
    names = names_of(corpus.text_column)
    values = {} if names else sample()
    places = places_in(schema, corpus, values)
    if not places:
        known: Sample = {name: [] for name in schema.names} | (values or sample())
        return missing_text_column(WHOLE_SHARD, names, schema.names, known, corpus.format, rows() or 0)
    return repeated_columns(schema.names, rows) or UsableColumns(corpus=corpus, places=places)


def _group_items(
    path: Path,
    file: pq.ParquetFile,
    group: int,
    start: int,
    usable: UsableColumns,
    unread: dict[str, pa.Array | None],
) -> Iterator[Item]:
    """Yield the rows of a row group.

    unread: the columns that PyArrow cannot read, as Polars reads them, or None.
    """
    row, rows = start, file.metadata.row_group(group).num_rows
    wanted = usable.read(file.schema_arrow)
    needed = usable.read(file.schema_arrow, kept=False)
    columns = [name for name in wanted if name not in unread]
    try:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
            for name, column in unread.items():
                if column is not None:
                    batch = batch.append_column(name, column.slice(row - start, batch.num_rows))
            if unread:  # in the order of the file
                places = [wanted.index(name) for name in batch.schema.names]
                batch = batch.select(sorted(range(len(places)), key=places.__getitem__))
            yield from batch_items(batch, row, usable)
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        problem = problem_of(error)
        extra = [name for name in columns if name not in needed]
        if extra:  # a broken column that is read for exports alone costs no text, and no other column
            more = _unread(path, file, group, start, extra) or dict.fromkeys(extra)
            again = _group_items(path, file, group, start, usable, unread | more)
            yield from (item for item in again if item.row >= row)
            return
        yield Defect(
            row=row,
            reason=Reason.MALFORMED_ROW,
            detail=f"rows {row} to {start + rows - 1} (row group {group}) cannot be decoded: {problem}",
            rows=start + rows - row,
        )


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
            problem_of(error)  # raises where the disk fails
            found[name] = None
    return found


def _read_by_polars(path: Path, field: pa.Field, start: int, rows: int) -> pa.Array | None:
    try:
        read = pl.scan_parquet(path, glob=False).select(field.name).slice(start, rows).collect()
        return read[field.name].to_arrow().cast(field.type)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException):
        return None  # it panics at time zones that it does not know


def batch_items(batch: pa.RecordBatch, start: int, usable: UsableColumns) -> Iterator[Item]:
    """Rows of a batch that begins at row `start`; a text that is not UTF-8 is a defect of its row."""
    texts = {place: _texts(nested(batch, place.keys)) for place in usable.places}
    places = _places_of(texts, batch.num_rows, usable.corpus.format)
    shown, kept = {place.name: values for place, values in texts.items() if not place.is_nested}, {}
    odd = Counter[tuple[str, str]]()
    for field, column in zip(batch.schema, batch.columns, strict=True):
        problems = Counter[str]()
        if field.name in shown:
            problems[UNDECODED] += sum(isinstance(value, Undecoded) for value in shown[field.name])
        elif is_plain(field.type):
            shown[field.name] = shown_values(column, problems)
        beside = field.name in BESIDE.get(usable.corpus.format, ()) and not is_plain(field.type)
        if beside or (not is_json(field.type) and is_kept(usable.corpus, field.name)):
            kept[field.name] = json_values(column, problems := Counter())
        odd.update({(field.name, problem): count for problem, count in problems.items()})
    bad = (place for offset, place in enumerate(places) if isinstance(texts[place][offset], Undecoded))
    odd.subtract((place.keys[0], UNDECODED) for place in bad)  # these rows are defects
    notes = tuple(Note(column=name, problem=what, values=count) for (name, what), count in (+odd).items())
    shown = {name: shown[name] for name in batch.schema.names if name in shown}
    is_named = is_plain_name(usable.corpus.text_column)
    for offset, place in enumerate(places):
        text = texts[place][offset]
        if isinstance(text, Undecoded):
            yield wrong_encoding(start + offset, "", text.data)
            continue
        row = Row(
            row=start + offset,
            values={name: column[offset] for name, column in shown.items()},
            as_json={name: column[offset] for name, column in kept.items()},
            notes=notes,
        )
        notes = ()
        yield row if is_named else _placed(row, place, text, usable.corpus.format)


def _places_of(texts: Mapping[TextPlace, list[Any]], rows: int, form: RowFormat) -> list[TextPlace]:
    """Return for each row the first place that holds a text, else the first."""
    first = next(iter(texts))
    found = [first] * rows
    for offset in range(rows) if len(texts) > 1 else ():
        for place, values in texts.items():
            if isinstance(values[offset], Undecoded) or holds(values[offset], form):
                found[offset] = place
                break
    return found


def _placed(row: Row, place: TextPlace, text: Any, form: RowFormat) -> Row:
    """Return a row that says where its text is: a nested one is lifted out of the column that is kept."""
    if not place.is_nested:
        return replace(row, text=place)
    inner = row.as_json.get(place.keys[0]) if form == "text" else None
    for key in place.keys[1:-1]:
        inner = inner and inner[key]
    if inner:
        del inner[place.keys[-1]]
    return replace(row, values=row.values | {place.name: text}, text=place)


def _texts(column: pa.Array) -> list[Any]:
    """Return the values of the column of texts, whose turns may be nested; what is none stays what it is."""
    column = unencoded(column)
    kind = column.type
    if is_text(kind):
        return [decoded(value) for value in column.cast(pa.large_binary(), safe=False).to_pylist()]
    if pa.types.is_nested(kind):
        return shown_values(column)
    return json_values(column) if pa.types.is_temporal(kind) else column.to_pylist()


def is_plain(kind: pa.DataType) -> bool:
    """Return whether a column can be shown as metadata: neither nested nor binary."""
    if pa.types.is_dictionary(kind):
        return is_plain(kind.value_type)
    return not (pa.types.is_nested(kind) or is_bytes(kind))


def problem_of(error: Exception) -> str:
    """Return what Arrow says of content; raise what the system reports: Arrow's own errors carry no errno."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    return str(error)


def malformed_file(path: Path, problem: str) -> Defect:
    """The defect of a file that cannot be opened as what it claims to be."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    found = format_of(head) or ("text, such as JSON or CSV" if head and is_plain_text(head) else "")
    if found and found not in BY_NAME[path.suffix.lower()]:
        problem = f"the file is {found}, whatever its name says: unpack it, or rename it"
    return Defect(
        row=WHOLE_SHARD,
        reason=Reason.MALFORMED_FILE if head else Reason.EMPTY_FILE,
        detail=problem,
        excerpt=excerpt(head[:64]),
        rows=UNKNOWN,
    )
