"""A look at the beginning of a file: whether reading it would yield nothing, and about how many rows it has.

Of Parquet and Arrow files schema and footer tell it; of others the first 64 kB are read as the whole file
would be. So a folder of thousands of files is looked at in seconds, whatever their size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from tamis.corpus.documents import checked_rows
from tamis.corpus.shards import Shard
from tamis.readers import arrow_rows, parquet_rows
from tamis.readers.files import is_readable, raw_items
from tamis.readers.parquet_rows import UsableColumns, usable_columns
from tamis.readers.rows import UNKNOWN, WHOLE_SHARD, Defect, Item, Reason, Row, with_texts
from tamis.readers.streams import COLUMNAR, SINGLE, Content, ending_of, rows_told
from tamis.readers.text_columns import may_hold, type_of
from tamis.settings.config import CorpusSection
from tamis.settings.sections import AUTO_COLUMN

HEAD_BYTES, ROWS_LOOKED_AT = 1 << 16, 20
OF_SINGLE_ROWS = (Reason.EMPTY_TEXT, Reason.GIANT_ROW)
"""Reasons that say nothing about the rows that follow."""


def is_looked_at(file: Shard) -> bool:
    """Return whether a look at a file tells anything: one on this disk that holds rows."""
    return file.kind == "file" and is_readable(file.name) and ending_of(file.name) not in SINGLE


def look_at(file: Shard, corpus: CorpusSection) -> Defect | None:
    """Return the defect of a file, or of its first row, by which no row would be read; None without any.

    Its rows are those of the beginning. Raises `OSError` where the disk fails.
    """
    if file.path.name.lower().endswith(COLUMNAR):
        return _look_at_columns(file.path, corpus)
    try:
        with Content(file.path, HEAD_BYTES) as content:
            items = list(_whole(content, file.path, corpus))
    except (PermissionError, IsADirectoryError) as error:
        return Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=str(error.strerror))
    checked = list(checked_rows(with_texts(items, corpus), file, corpus))
    bad = [one for one in checked if isinstance(one, Defect) and one.reason not in OF_SINGLE_ROWS]
    return bad[0] if bad and len(bad) == len(checked) else None


def places_at_first(file: Shard, corpus: CorpusSection) -> list[str]:
    """Return the columns in which the first rows of a file have their text; none of a file of one text."""
    if not is_looked_at(file):
        return []
    if file.path.name.lower().endswith(COLUMNAR):
        usable = _usable(file.path, corpus)
        return [] if isinstance(usable, Defect) else [place.name for place in usable[0].places]
    with Content(file.path, HEAD_BYTES) as content:
        rows = list(with_texts(_whole(content, file.path, corpus), corpus))
    return list(dict.fromkeys(row.text.name for row in rows if isinstance(row, Row) and row.text))


def _whole(content: Content, path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """Yield the first rows of a file, without the one that the look cuts off."""
    last = None
    for item in islice(raw_items(content, path, corpus), ROWS_LOOKED_AT + 1):
        if last is not None:
            yield last
        last = item
    of_all = isinstance(last, Defect) and last.row == WHOLE_SHARD
    if last is not None and (of_all or not content.cut):
        yield last


def _look_at_columns(path: Path, corpus: CorpusSection) -> Defect | None:
    """Look at the schema of a Parquet or Arrow file."""
    try:
        usable = _usable(path, corpus)
    except (pa.ArrowException, OSError) as error:
        return parquet_rows.malformed_file(path, parquet_rows.problem_of(error))
    if isinstance(usable, Defect):
        return usable
    columns, schema = usable
    kinds = [type_of(schema, place.keys) for place in columns.places]
    detail = f"the text is of type {kinds[0]}, not a string"
    holds = any(may_hold(kind, corpus.format) for kind in kinds)
    return None if holds else Defect(row=WHOLE_SHARD, reason=Reason.NON_TEXT, detail=detail)


def _usable(path: Path, corpus: CorpusSection) -> tuple[UsableColumns, pa.Schema] | Defect:
    """Return the columns of a file that would be read, and its schema; raises what Arrow does without one."""
    reading = parquet_rows if path.name.lower().endswith(".parquet") else arrow_rows
    schema = reading.schema_of_file(path)
    found = usable_columns(schema, corpus, lambda: UNKNOWN, lambda: reading.sample_of_file(path))
    return found if isinstance(found, Defect) else (found, schema)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated number of rows of a file."""

    rows: int
    exact: bool


def estimate_rows(file: Shard, corpus: CorpusSection, most: int) -> Estimate | None:
    """Return about how many rows a file has; None where nothing tells. `most`: bytes of it that are read."""
    path = file.path
    if path.name.lower().endswith(COLUMNAR) or not is_looked_at(file):
        return _told(file)
    try:
        with Content(path, most) as content:
            anything = corpus.model_copy(update={"text_column": AUTO_COLUMN})
            rows = sum(
                item.rows or 0 if isinstance(item, Defect) else 1
                for item in raw_items(content, path, anything)
            )
            if rows and content.share:
                return Estimate(rows=round(rows / content.share), exact=not content.cut)
            is_quick = bool(content.format) or path.stat().st_size <= most
    except OSError:
        return None
    return _told(file) if is_quick else None


def _told(file: Shard) -> Estimate | None:
    rows = rows_told(file.path) if file.kind == "file" else UNKNOWN
    return None if rows is UNKNOWN else Estimate(rows=rows, exact=True)
