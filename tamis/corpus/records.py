"""The output of readers: a row as the file holds it, or a defect that goes to quarantine.

A reader yields both in the order of the file and never raises for bad content, so one bad row costs
that row and nothing else.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl

from tamis.corpus.text import excerpt
from tamis.settings.sections import COLUMN_OF_FORMAT

WHOLE_SHARD = -1
COLUMNS_SHOWN = 20
RETURNS_ALONE = "lines end in a carriage return alone; convert the file to lines that end in a newline"
QUARANTINE_SCHEMA = {"row": pl.Int64, "reason": pl.Utf8, "detail": pl.Utf8, "excerpt": pl.Utf8}


class Reason(StrEnum):
    """Why a row, or a whole shard, is in quarantine."""

    BROKEN_COMPRESSION = "broken_compression"
    EMPTY_FILE = "empty_file"
    EMPTY_TEXT = "empty_text"
    GIANT_ROW = "giant_row"
    MALFORMED_FILE = "malformed_file"
    MALFORMED_ROW = "malformed_row"
    MISSING_TEXT_COLUMN = "missing_text_column"
    NON_TEXT = "non_text"
    UNREADABLE = "unreadable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    WRONG_ENCODING = "wrong_encoding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Values of a column that are not kept as the file has them: how many, and what was done to them."""

    column: str
    problem: str
    values: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row: its 0-based position in the shard and the value of every column.

    `as_json`: columns that are no JSON, or are in no metadata, as `tamis.corpus.kept_columns` writes them.
    `notes`: on values beside the text, of this row or of rows that are read together with it.
    """

    row: int
    values: dict[str, Any]
    notes: tuple[Note, ...] = ()
    as_json: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """What could not be used: row (-1 = the whole shard), reason, what was wrong, and how it looked."""

    row: int
    reason: Reason
    detail: str
    excerpt: str = ""


Item = Row | Defect


def quarantine_frame(defects: Iterable[Defect]) -> pl.DataFrame:
    """Frame with columns row, reason, detail, excerpt; a row per defect, in order."""
    rows = [(item.row, item.reason.value, item.detail, item.excerpt) for item in defects]
    return pl.DataFrame(rows, schema=QUARANTINE_SCHEMA, orient="row")


def giant_row(row: int, limit: int, raw: bytes | str) -> Defect:
    """A row over `maximum_row_bytes`."""
    detail = f"longer than maximum_row_bytes = {limit:_} (if it is meant to be, raise that in its section)"
    return Defect(row=row, reason=Reason.GIANT_ROW, detail=detail, excerpt=excerpt(raw))


def wrong_encoding(row: int, problem: str, raw: bytes | str) -> Defect:
    """A row that is not UTF-8."""
    detail = f"not UTF-8: {problem}; convert the file to UTF-8"
    return Defect(row=row, reason=Reason.WRONG_ENCODING, detail=detail, excerpt=excerpt(raw))


def malformed(row: int, problem: str, raw: bytes | str) -> Defect:
    """A row that does not parse."""
    return Defect(row=row, reason=Reason.MALFORMED_ROW, detail=problem, excerpt=excerpt(raw))


def broken_stream(row: int, problem: str, rest: bytes | str) -> Defect:
    """Where compressed bytes end before their time; `row` is the first row that is lost."""
    return Defect(row=row, reason=Reason.BROKEN_COMPRESSION, detail=problem, excerpt=excerpt(rest))


def missing_text_column(row: int, column: str, found: Iterable[str], rows: int = 0) -> Defect:
    """The defect of a row or file that lacks the text column; its detail names the columns found.

    `rows`: how many rows a file has that lacks it as a whole.
    """
    names = [name or "''" for name in found]
    shown = ", ".join(names[:COLUMNS_SHOWN]) + (", ..." if len(names) > COLUMNS_SHOWN else "")
    form = next((form for form, usual in COLUMN_OF_FORMAT.items() if usual in names), None)
    advice = "name the right one in tamis.toml, in a section of its own if other files differ"
    if form:
        advice = f'for conversations, set format = "{form}" in tamis.toml; else {advice}'
    among = f" in {'its only row' if rows == 1 else f'any of its {rows:,} rows'}" if rows else ""
    detail = f"no column {column!r}{among}; columns found: {shown or 'none'} ({advice})"
    return Defect(row=row, reason=Reason.MISSING_TEXT_COLUMN, detail=detail)


def unusable_columns(names: Sequence[str], text_column: str, rows: int = 0) -> Defect | None:
    """The defect of a file that lacks the text column, or has columns of one name, of which a row has one.

    Columns without a name may be many: spreadsheets write them where a table has ended.
    """
    if text_column not in names:
        return missing_text_column(WHOLE_SHARD, text_column, names, rows)
    places: dict[str, list[str]] = {}
    for number, name in enumerate(names, start=1):
        places.setdefault(name, []).append(str(number))
    repeated = [f"{name!r} (columns {', '.join(at)})" for name, at in places.items() if name and len(at) > 1]
    if not repeated:
        return None
    shown = ", ".join(repeated[:COLUMNS_SHOWN]) + (", ..." if len(repeated) > COLUMNS_SHOWN else "")
    detail = f"several columns of one name: {shown}; rename or remove all but one of each"
    return Defect(row=WHOLE_SHARD, reason=Reason.MALFORMED_FILE, detail=detail)


def require_text_column(items: Iterable[Item], column: str) -> Iterator[Item]:
    """Pass rows on that have the column; the others are defects, one for the whole shard if none has it.

    Until the first row with the column only row numbers are held back (8 bytes a row).
    """
    lacking, columns_found, found = array("q"), [""], False
    for item in items:
        if isinstance(item, Defect):
            yield item
        elif column in item.values:
            yield from (missing_text_column(row, column, columns_found) for row in lacking)
            lacking, found = array("q"), True
            yield item
        elif found:
            yield missing_text_column(item.row, column, item.values)
        else:
            columns_found = columns_found if lacking else list(item.values)
            lacking.append(item.row)
    if lacking:
        yield missing_text_column(WHOLE_SHARD, column, columns_found, len(lacking))
