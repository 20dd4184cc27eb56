"""The output of readers: a row as the file holds it, or a defect that goes to quarantine.

A reader yields both in the order of the file and never raises for bad content, so one bad row costs
that row and nothing else.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import Any

import polars as pl

from tamis.readers.text import excerpt
from tamis.readers.text_columns import (
    SAMPLE_CHARACTERS,
    SAMPLE_ROWS,
    Sample,
    TextPlace,
    advice,
    chosen_by,
    find,
    is_plain_name,
    lifted,
    names_of,
    place_in,
    sample_of,
)
from tamis.settings.config import CorpusSection
from tamis.settings.sections import RowFormat

WHOLE_SHARD = -1
COLUMNS_SHOWN, SHOWN_ROWS = 20, 20
RETURNS_ALONE = "lines end in a carriage return alone; convert the file to lines that end in a newline"
NAME_IT = "name the right one in tamis.toml, in a section of its own if other files differ"
UNKNOWN = None
"""Number of rows lost by a defect, where nothing tells it: at least one."""
LEFT_OUT = "WARC records"
"""In place of a column, in notes on records of a web archive that are no page."""
QUARANTINE_SCHEMA = {
    "row": pl.Int64,
    "reason": pl.Utf8,
    "detail": pl.Utf8,
    "excerpt": pl.Utf8,
    "rows_lost": pl.Int64,
}


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

    `as_json`: columns that are no JSON, or are in no metadata, as `tamis.readers.kept_columns` writes them.
    `text`: where the text is, None where tamis.toml names the column; a nested one is in `values` by its
    path. `notes`: on values beside the text, of this row or of rows that are read together with it.
    """

    row: int
    values: dict[str, Any]
    as_json: dict[str, Any] = field(default_factory=dict)
    text: TextPlace | None = None
    notes: tuple[Note, ...] = ()

    @property
    def columns(self) -> dict[str, Any]:
        """Return the values of all columns, also of those that are in no metadata."""
        return self.as_json | self.values


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """A row that cannot be used: its place (-1 = the whole shard), reason, what was wrong, how it looked.

    `rows`: how many rows are lost by it, `UNKNOWN` where the reader cannot tell. `sample`: values of the
    columns of a file, where none has texts.
    """

    row: int
    reason: Reason
    detail: str
    excerpt: str = ""
    rows: int | None = 1
    sample: Sample = field(default_factory=dict)


Item = Row | Defect


def quarantine_frame(defects: Iterable[Defect]) -> pl.DataFrame:
    """Return a frame with columns row, reason, detail, excerpt, rows_lost: a row per defect, in order."""
    return pl.DataFrame(
        [(item.row, item.reason.value, item.detail, item.excerpt, item.rows) for item in defects],
        schema=QUARANTINE_SCHEMA,
        orient="row",
    )


def giant_row(row: int, limit: int, raw: bytes | str) -> Defect:
    """A row over `maximum_row_bytes`."""
    return Defect(
        row=row,
        reason=Reason.GIANT_ROW,
        detail=f"longer than maximum_row_bytes = {limit:_} (if it is meant to be, raise that in its section)",
        excerpt=excerpt(raw),
    )


def wrong_encoding(row: int, problem: str, raw: bytes | str) -> Defect:
    """A row that is not UTF-8; `problem`: where or what it is instead, "" if that is not known."""
    cause = f": {problem}" if problem else ""
    return Defect(
        row=row,
        reason=Reason.WRONG_ENCODING,
        detail=f"not UTF-8{cause}; convert the file to UTF-8",
        excerpt=excerpt(raw),
        rows=UNKNOWN if row == WHOLE_SHARD else 1,
    )


def malformed(row: int, problem: str, raw: object) -> Defect:
    """A row that does not parse."""
    return Defect(row=row, reason=Reason.MALFORMED_ROW, detail=problem, excerpt=excerpt(raw))


def broken_stream(row: int, problem: str, rest: bytes | str) -> Defect:
    """The defect of compressed bytes that end before their time; `row` is the first row that is lost."""
    return Defect(
        row=row, reason=Reason.BROKEN_COMPRESSION, detail=problem, excerpt=excerpt(rest), rows=UNKNOWN
    )


def lacking(names: Sequence[str]) -> str:
    """Return what a row or file lacks that has none of the named columns; none where the file decides."""
    if len(names) > 1:
        return f"none of the columns {', '.join(map(repr, names))}"
    return f"no column {names[0]!r}" if names else "no column has a text"


def missing_text_column(
    row: int,
    names: Sequence[str],
    found: Iterable[str],
    sample: Sample,
    form: RowFormat | None,
    rows: int = 0,
) -> Defect:
    """Return the defect of a row or file without the named columns; its detail lists the columns found.

    `sample`: some of their values, for the advice on those that would do. `form`: what rows should hold, None
    where no column stands for another. `rows`: how many rows a file has that lacks them as a whole.
    """
    columns = [name or "''" for name in found]
    shown = ", ".join(columns[:COLUMNS_SHOWN]) + (", ..." if len(columns) > COLUMNS_SHOWN else "")
    among = f" in {'its only row' if rows == 1 else f'any of its {rows:,} rows'}" if rows else ""
    fits = advice(names, sample, form) if form else ""
    to_do = f"; {fits}" if fits else f" ({NAME_IT})"
    return Defect(
        row=row,
        reason=Reason.MISSING_TEXT_COLUMN,
        detail=f"{lacking(names)}{among}; columns found: {shown or 'none'}{to_do}",
        rows=max(1, rows),
        sample=sample if row == WHOLE_SHARD else {},
    )


def repeated_columns(names: Sequence[str], rows: Callable[[], int | None]) -> Defect | None:
    """Return the defect of a file with duplicate column names, None without any; `rows`: counts its rows.

    Columns without a name may be many: spreadsheets write them where a table has ended.
    """
    places: dict[str, list[str]] = {}
    for number, name in enumerate(names, start=1):
        places.setdefault(name, []).append(str(number))
    repeated = [f"{name!r} (columns {', '.join(at)})" for name, at in places.items() if name and len(at) > 1]
    if not repeated:
        return None
    shown = ", ".join(repeated[:COLUMNS_SHOWN]) + (", ..." if len(repeated) > COLUMNS_SHOWN else "")
    return Defect(
        row=WHOLE_SHARD,
        reason=Reason.MALFORMED_FILE,
        detail=f"several columns of one name: {shown}; rename or remove all but one of each",
        rows=rows(),
    )


def with_texts(items: Iterable[Item], corpus: CorpusSection) -> Iterator[Item]:
    """Yield the rows with a text column, each with the place of its text, and a defect for every other row.

    If no row has one, there is a single defect for the whole shard. Until the first row with a text column,
    only row numbers are held back (8 bytes a row); where the file decides, the rows of a sample as well.
    """
    names, form = names_of(corpus.text_column), corpus.format
    if is_plain_name(corpus.text_column):
        return _required(items, lambda item: names[0] in item.values, names, form)
    if not names:
        items, names = _chosen(iter(items), form)
    placed = (item if isinstance(item, Defect) else _placed(item, names, form) for item in items)
    return _required(placed, lambda item: item.text is not None, names, form)


def _chosen(items: Iterator[Item], form: RowFormat) -> tuple[Iterator[Item], tuple[str, ...]]:
    """Return the items, and the column that their first rows say."""
    held: list[Item] = []
    rows = characters = 0
    for item in items:
        held.append(item)
        if isinstance(item, Row):
            rows += 1
            characters += sum(len(value) for value in item.values.values() if isinstance(value, str))
        if rows >= SAMPLE_ROWS or characters >= SAMPLE_CHARACTERS:
            break
    sample = sample_of(item.values for item in held if isinstance(item, Row))
    return chain(held, items), chosen_by(sample, form)


def _placed(row: Row, names: Sequence[str], form: RowFormat) -> Row:
    """Return a row with the place of its text, which is a column by its path where it is nested."""
    place = place_in(row.values, names, form)
    if place is None:
        return row
    if not place.is_nested:
        return replace(row, text=place)
    if form == "text":
        return replace(row, values=lifted(row.values, place), text=place)
    found = find(row.values, place.name)
    return replace(row, values=row.values | {place.name: found and found[1]}, text=place)


def require_column(items: Iterable[Item], path: str) -> Iterator[Item]:
    """Yield the rows with a column, or with a nested field by its path, as `with_texts` does."""

    return _required(items, lambda item: find(item.columns, path) is not None, [path], None)


def _required(
    items: Iterable[Item], has: Callable[[Row], bool], names: Sequence[str], form: RowFormat | None
) -> Iterator[Item]:
    """Yield the rows with a column; `form`: what its values should be, for the advice on other columns."""
    lacking, first, found = array("q"), _Columns(names=names, form=form), False
    for item in items:
        if isinstance(item, Defect):
            yield item
        elif has(item):
            if lacking:
                of_all = first.defect(WHOLE_SHARD)
                yield from (replace(of_all, row=row) for row in lacking)
            lacking, found = array("q"), True
            yield item
        elif found:
            yield missing_text_column(item.row, names, item.values, sample_of([item.values]), form)
        else:
            lacking.append(item.row)
            if len(lacking) <= SHOWN_ROWS:
                first.add(item)
    if lacking:
        yield first.defect(WHOLE_SHARD, len(lacking))


@dataclass(kw_only=True)
class _Columns:
    """Columns of rows that lack the named ones, with some values."""

    names: Sequence[str]
    form: RowFormat | None
    found: dict[str, None] = field(default_factory=dict)
    sample: Sample = field(default_factory=dict)

    def add(self, item: Row) -> None:
        self.found |= dict.fromkeys(item.values)
        for path, values in sample_of([item.values]).items():
            self.sample.setdefault(path, []).extend(values)

    def defect(self, row: int, rows: int = 0) -> Defect:
        return missing_text_column(row, self.names, self.found, self.sample, self.form, rows)
