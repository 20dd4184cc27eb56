"""Rows of CSV and TSV, with a header, whatever the delimiter; quoted fields may span lines.

A stray quote would swallow every row behind it, up to the next quote or the end of the file. So quoting
is strict, and where a record fails only its first line goes to quarantine: the lines behind it are
parsed again. With all checks, 50,000 rows of 350 characters a second.
"""

import contextlib
import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tamis.corpus.delimiters import (
    HEAD_BYTES,
    HEAD_LINES,
    decimal_commas,
    find_delimiter,
    stated_delimiter,
)
from tamis.corpus.records import (
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
from tamis.corpus.text_columns import names_of, sample_of
from tamis.settings.config import CorpusSection

_UNDECODED = re.compile(r"[\udc80-\udcff]")


class _GiantRecordError(Exception):
    """A line, or the lines of one quoted record, are over the limit."""


def read_csv(content: Content, corpus: CorpusSection, delimiter: str = ",") -> Iterator[Item]:
    """A row per record after the header; one defect for the whole shard when its columns are unusable.

    `delimiter`: that of the extension; the file may be written with another one.
    """
    wanted = names_of(corpus.text_column)
    records = _Records(content, corpus.maximum_row_bytes, delimiter, wanted)
    header = records.next(WHOLE_SHARD)
    if header is None and content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, records.rest)
        return
    if isinstance(header, Defect):
        detail = f"the header cannot be read: {header.detail}"
        yield replace(header, detail=detail, rows=UNKNOWN)
        return
    names = [name.strip() for name in header or ()]
    if defect := _unusable(names, corpus, records):
        yield defect
        return
    needed = min((names.index(name) for name in wanted if name in names), default=-1)
    row = 0
    while (record := records.next(row)) is not None:
        yield record if isinstance(record, Defect) else _as_row(row, record, names, needed)
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, records.rest)


def read_tsv(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """As `read_csv`, with tabs."""
    return read_csv(content, corpus, USUAL[".tsv"])


USUAL = {".csv": ",", ".tsv": "\t"}
"""Delimiters by extension."""


def usual_delimiter(name: str) -> str | None:
    """Return the delimiter that the extension of a file says, None of a file of another format."""
    return USUAL.get(Path(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix)


def dialect_of(path: Path, corpus: CorpusSection) -> dict[str, Any]:
    """Return what is unusual in how a CSV file is written: its delimiter, and columns with decimal commas."""
    usual = usual_delimiter(path.name)
    if usual is None:
        return {}
    with contextlib.suppress(OSError), Content(path) as content:
        if content.empty or content.encoding_problem:
            return {}
        records = _Records(content, corpus.maximum_row_bytes, usual, names_of(corpus.text_column))
        header, found = records.next(WHOLE_SHARD), dict[str, Any]()
        if records.delimiter != usual:
            found["delimiter"] = records.delimiter
        if isinstance(header, list) and records.delimiter != ",":
            first = [record for record in islice(records.all(), HEAD_LINES) if isinstance(record, list)]
            if commas := decimal_commas(header, first):
                found["decimal_commas"] = commas
        return found
    return {}


def _unusable(names: Sequence[str], corpus: CorpusSection, records: "_Records") -> Defect | None:
    """Return the defect of a file without the text column, or with duplicate column names; None without one.

    The records are counted.
    """
    wanted = names_of(corpus.text_column)
    if not wanted or any(name in names for name in wanted):
        return repeated_columns(names, lambda: len([*records.all()]))
    first, rows = list[dict[str, str]](), 0
    for record in records.all():
        rows += 1
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
        return wrong_encoding(row, "bytes that are not UTF-8", shown.encode("utf-8", "surrogateescape"))
    if any(fields[len(names) :]) or len(fields) <= needed:
        return malformed(row, f"{len(fields)} fields where the header has {len(names)}", shown)
    return Row(row=row, values=dict(zip(names, fields, strict=False)))


def head_lines(lines: Iterator[Line]) -> list[Line]:
    """Take the first lines, as many as tell the delimiter."""
    found, size = list[Line](), 0
    while len(found) < HEAD_LINES and size < HEAD_BYTES and (line := next(lines, None)):
        found.append(line)
        size += len(line.content)
    return found


class _Records:
    """Read the records of a CSV file, one a call; `rest` is the text where a broken file ends."""

    def __init__(self, content: Content, limit: int, delimiter: str, wanted: Sequence[str]) -> None:
        # The limit on fields belongs to the whole process; it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * limit))
        self._content, self._limit = content, limit
        self._lines = content.lines(limit)
        self._again = deque(head_lines(self._lines))
        self.delimiter = self._found(delimiter, wanted)
        self._taken: list[Line] = []
        self._taken_bytes = 0
        self._reader = self._new_reader()
        self.rest = b""

    def _found(self, usual: str, wanted: Sequence[str]) -> str:
        """Return the delimiter by the first lines; one that states it is no record."""
        lines = [line.content.decode("utf-8", "surrogateescape") for line in self._again]
        if lines and (stated := stated_delimiter(lines[0])):
            self._again.popleft()
            return stated
        return find_delimiter(lines, usual, wanted)

    def all(self) -> Iterator[list[str] | Defect]:
        """Yield the remaining records."""
        row = 0
        while (record := self.next(row)) is not None:
            yield record
            row += 1

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
        return fields

    def _failed(self, row: int, problem: str) -> Defect | None:
        first, *behind = self._taken
        if self._content.broken and self._exhausted:
            self.rest = first.content
            return None
        self._again.extendleft(reversed(behind))
        self._reader = self._new_reader()
        if row == WHOLE_SHARD and b"\r" in first.content:
            problem = "lines end in a carriage return alone; convert the file to lines that end in a newline"
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
