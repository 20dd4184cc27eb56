"""Rows of CSV and TSV, with a header; quoted fields may span lines.

A stray quote would swallow every row behind it, up to the next quote or the end of the file. So quoting
is strict, and where a record fails, or its lines are rows by themselves, only its first line goes to
quarantine: the lines behind it are parsed again. In TSV quotation marks are letters, as `tab_rows` says. With
all checks, 50,000 rows of 350 characters a second.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from tamis.corpus.quoted_fields import are_rows
from tamis.corpus.records import (
    RETURNS_ALONE,
    WHOLE_SHARD,
    Defect,
    Item,
    Row,
    broken_stream,
    giant_row,
    malformed,
    unusable_columns,
    wrong_encoding,
)
from tamis.corpus.streams import Content, Line
from tamis.corpus.tab_rows import TabRecords, has_quoted_header
from tamis.settings.config import CorpusSection

TAB = "\t"
_JOINS = (
    "a quotation mark opens here and closes {lines} lines below, and each of these lines is a row by itself; "
    "double the mark or remove it"
)
_UNDECODED = re.compile(r"[\udc80-\udcff]")


class _GiantRecordError(Exception):
    """A line, or the lines of one quoted record, are over the limit."""


def read_csv(content: Content, corpus: CorpusSection, delimiter: str = ",") -> Iterator[Item]:
    """A row per record after the header; one defect for the whole shard when its columns are unusable."""
    records: _Records | TabRecords = (
        TabRecords(content, corpus.maximum_row_bytes)
        if delimiter == TAB and not has_quoted_header(content)
        else _Records(content, corpus.maximum_row_bytes, delimiter)
    )
    header = records.next(WHOLE_SHARD)
    if header is None and content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, records.rest)
        return
    if isinstance(header, Defect):
        yield replace(header, detail=f"the header cannot be read: {header.detail}")
        return
    names = [name.strip() for name in header or ()]
    if defect := unusable_columns(names, corpus.text_column):
        yield defect
        return
    row = 0
    while (record := records.next(row)) is not None:
        if isinstance(record, Defect):
            yield record
        elif record != header or len(names) == 1:  # else files were put together
            yield _as_row(row, record, names, corpus.text_column)
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, records.rest)


def read_tsv(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """As `read_csv`, with tabs."""
    return read_csv(content, corpus, TAB)


def _as_row(row: int, fields: list[str], names: list[str], text_column: str) -> Item:
    """Trailing empty fields may be missing or too many; anything else means that columns are shifted."""
    shown = ",".join(fields)
    if _UNDECODED.search(shown):
        return wrong_encoding(row, "bytes that are not UTF-8", shown.encode("utf-8", "surrogateescape"))
    if any(fields[len(names) :]) or len(fields) <= names.index(text_column):
        return malformed(row, f"{len(fields)} fields where the header has {len(names)}", shown)
    return Row(row=row, values=dict(zip(names, fields, strict=False)))


class _Records:
    """Read the records of a CSV file, one a call; `rest` is the text where a broken file ends."""

    def __init__(self, content: Content, limit: int, delimiter: str) -> None:
        # The limit on fields belongs to the whole process; it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * limit))
        self._content, self._limit, self._delimiter = content, limit, delimiter
        self._lines = content.lines(limit)
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
        return are_rows(lines, self._delimiter, self._like, self._width)

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
        return csv.reader(self._texts(), delimiter=self._delimiter, strict=True)

    def _texts(self) -> Iterator[str]:
        """Lines for the parser; bytes that are not UTF-8 stay visible as lone surrogates."""
        while line := self._again.popleft() if self._again else next(self._lines, None):
            self._taken.append(line)
            self._taken_bytes += len(line.content)
            if line.giant or self._taken_bytes > self._limit:
                raise _GiantRecordError("longer than maximum_row_bytes, or a quote that is never closed")
            yield line.content.decode("utf-8", "surrogateescape") + "\n"
        self._exhausted = True
