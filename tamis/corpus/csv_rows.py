"""Rows of CSV and TSV, with a header, whatever the delimiter; quoted fields may span lines.

A stray quote would swallow every row behind it, up to the next quote or the end of the file. So quoting
is strict, and where a record fails, or its lines are rows by themselves, only its first line goes to
quarantine: the lines behind it are parsed again. Where tabs separate, quotation marks are letters, as
`tab_rows` says. With all checks, 50,000 rows of 350 characters a second.
"""

import contextlib
import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tamis.corpus.delimiters import (
    HEAD_BYTES,
    HEAD_LINES,
    decimal_commas,
    find_delimiter,
    stated_delimiter,
)
from tamis.corpus.quoted_fields import are_rows
from tamis.corpus.records import (
    RETURNS_ALONE,
    SHOWN_ROWS,
    UNKNOWN,
    WHOLE_SHARD,
    Defect,
    Item,
    Row,
    broken_stream,
    giant_row,
    malformed,
    missing_text_column,
    repeated_columns,
    wrong_encoding,
)
from tamis.corpus.streams import Content, Line
from tamis.corpus.tab_rows import TAB, TabRecords, has_quoted_header
from tamis.corpus.text_columns import names_of, sample_of
from tamis.settings.config import CorpusSection

USUAL = {".csv": ",", ".tsv": TAB}
"""Delimiters by extension."""
_JOINS = (
    "a quotation mark opens here and closes {lines} lines below, and each of these lines is a row by itself; "
    "double the mark or remove it"
)
_UNDECODED = re.compile(r"[\udc80-\udcff]")


class _GiantRecordError(Exception):
    """A line, or the lines of one quoted record, are over the limit."""


def read_csv(content: Content, corpus: CorpusSection, delimiter: str = ",") -> Iterator[Item]:
    """A row per record after the header; one defect for the whole shard when its columns are unusable.

    `delimiter`: that of the extension; the file may be written with another one.
    """
    records = _records_of(content, corpus, delimiter)
    header = records.next(WHOLE_SHARD)
    if header is None and content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, records.rest)
        return
    if isinstance(header, Defect):
        detail = f"the header cannot be read: {header.detail}"
        yield replace(header, detail=detail, rows=UNKNOWN)
        return
    header = header or []
    names, wanted = [name.strip() for name in header], names_of(corpus.text_column)
    if defect := _unusable(names, corpus, _below(records, header)):
        yield defect
        return
    needed = min((names.index(name) for name in wanted if name in names), default=-1)
    row = 0
    for record in _below(records, header):
        if isinstance(record, Defect):
            yield record
        elif record is not None:
            yield _as_row(row, record, names, needed)
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, records.rest)


def read_tsv(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """As `read_csv`, with tabs."""
    return read_csv(content, corpus, TAB)


def usual_delimiter(name: str) -> str | None:
    """Return the delimiter that the extension of a file says, None of a file of another format."""
    return USUAL.get(Path(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix)


def dialect_of(path: Path, corpus: CorpusSection) -> dict[str, Any]:
    """Return what is unusual in how a CSV file is written: its delimiter, and columns with decimal commas."""
    usual, found = usual_delimiter(path.name), dict[str, Any]()
    if usual is None:
        return found
    with contextlib.suppress(OSError), Content(path) as content:
        if content.empty or content.format or content.encoding_problem:
            return found
        records = _records_of(content, corpus, usual)
        header = records.next(WHOLE_SHARD)
        if not isinstance(header, list) or len(header) == 1:
            return found
        if records.delimiter != usual:
            found["delimiter"] = records.delimiter
        if records.delimiter != ",":
            below = islice(_below(records, header), HEAD_LINES)
            if commas := decimal_commas(header, [record for record in below if isinstance(record, list)]):
                found["decimal_commas"] = commas
    return found


def _unusable(
    names: Sequence[str], corpus: CorpusSection, below: "Iterable[list[str] | Defect | None]"
) -> Defect | None:
    """Return the defect of a file without the text column, or with duplicate column names; None without one.

    `below`: the records below the header, which are counted.
    """
    wanted = names_of(corpus.text_column)
    if not wanted or any(name in names for name in wanted):
        return repeated_columns(names, lambda: sum(record is not None for record in below))
    first, rows = list[dict[str, str]](), 0
    for record in below:
        rows += record is not None
        if isinstance(record, list) and len(first) < SHOWN_ROWS:
            first.append(dict(zip(names, record, strict=False)))
    found = dict.fromkeys(names)
    return missing_text_column(WHOLE_SHARD, wanted, found, sample_of(first), corpus.format, rows)


def _as_row(row: int, fields: list[str], names: list[str], needed: int) -> Item:
    """Return a record as a row, or a defect; empty fields at the end may be missing or too many.

    `needed`: the place of the first column of texts.
    """
    shown = ",".join(fields)
    if _UNDECODED.search(shown):
        return wrong_encoding(row, "", shown.encode("utf-8", "surrogateescape"))
    if any(fields[len(names) :]) or len(fields) <= needed:
        return malformed(row, f"{len(fields)} fields where the header has {len(names)}", shown)
    return Row(row=row, values=dict(zip(names, fields, strict=False)))


def _below(records: "_Records | TabRecords", header: Sequence[str]) -> Iterator[list[str] | Defect | None]:
    """Yield the records below the header, None for the header of another file that was put behind it."""
    row = 0
    while (record := records.next(row)) is not None:
        yield None if record == header and len(header) > 1 else record
        row += 1


def _records_of(content: Content, corpus: CorpusSection, usual: str) -> "_Records | TabRecords":
    """Return the records of a file, header first, by its delimiter: found, or stated by a line that is none.

    `usual`: the delimiter of its extension.
    """
    limit = corpus.maximum_row_bytes
    # The limit on fields belongs to the whole process; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * limit))
    lines = content.lines(limit)
    head = _head_of(lines)
    lines, texts = chain(head, lines), [line.content.decode("utf-8", "surrogateescape") for line in head]
    if texts and (delimiter := stated_delimiter(texts[0])):
        lines = (line for line in lines if line.content != head[0].content)  # other files have it, too
        texts = texts[1:]
    else:
        delimiter = find_delimiter(texts, usual, names_of(corpus.text_column))
    if delimiter == TAB and not has_quoted_header(next(filter(None, texts), "")):
        return TabRecords(content, lines, limit)
    return _Records(content, lines, limit, delimiter)


def _head_of(lines: Iterator[Line]) -> list[Line]:
    """Take the first lines, as many as tell the delimiter."""
    found, size = list[Line](), 0
    while len(found) < HEAD_LINES and size < HEAD_BYTES and (line := next(lines, None)):
        found.append(line)
        size += len(line.content)
    return found


class _Records:
    """Read the records of a CSV file, one a call; `rest` is the text where a broken file ends."""

    def __init__(self, content: Content, lines: Iterator[Line], limit: int, delimiter: str) -> None:
        self._content, self._lines, self._limit, self.delimiter = content, lines, limit, delimiter
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._taken_bytes = 0
        self._width = 0
        self._like: list[str] | None = None
        self._reader = self._new_reader()
        self.rest = b""

    def next(self, row: int) -> list[str] | Defect | None:
        """Fields of the next record, the defect of its first line, or None at the end."""
        fields: list[str] = []
        while not fields:
            self._taken, self._taken_bytes = [], 0
            try:
                fields = next(self._reader)
            except StopIteration:
                return None
            except (csv.Error, _GiantRecordError) as error:
                return self._failed(row, str(error))
            if self._content.broken and not self._taken[-1].ended:
                self.rest = self._taken[0].content
                return None
        self._width = self._width or len(fields)
        if len(self._taken) == 1:
            self._like = self._like if row == WHOLE_SHARD else fields
        elif self._are_rows():
            return self._failed(row, _JOINS.format(lines=len(self._taken) - 1))
        return fields

    def _are_rows(self) -> bool:
        """Return whether a stray quotation mark made one record of rows."""
        lines = [line.content.decode("utf-8", "surrogateescape") for line in self._taken]
        return are_rows(lines, self.delimiter, self._like, self._width)

    def _failed(self, row: int, problem: str) -> Defect | None:
        first, *behind = self._taken
        if self._content.broken and self._exhausted:
            self.rest = first.content
            return None
        self._again.extendleft(reversed(behind))
        self._reader = self._new_reader()
        if row == WHOLE_SHARD and b"\r" in first.content:
            problem = RETURNS_ALONE
        elif first.giant:
            return giant_row(row, self._limit, first.content)
        return malformed(row, problem, first.content)

    def _new_reader(self) -> "Iterator[list[str]]":
        self._exhausted = False
        return csv.reader(self._texts(), delimiter=self.delimiter, strict=True)

    def _texts(self) -> Iterator[str]:
        """Lines for the parser; bytes that are not UTF-8 stay visible as lone surrogates."""
        while line := self._again.popleft() if self._again else next(self._lines, None):
            self._taken.append(line)
            self._taken_bytes += len(line.content)
            if line.giant or self._taken_bytes > self._limit:
                raise _GiantRecordError("longer than maximum_row_bytes, or a quote that is never closed")
            yield line.content.decode("utf-8", "surrogateescape") + "\n"
        self._exhausted = True
