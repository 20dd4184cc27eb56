"""Rows of CSV and TSV, whatever the delimiter.

Quoted fields may span lines; where tabs separate, a quotation mark is a letter like others.
"""

import contextlib
import csv
import re
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tamis.readers.rows import (
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
from tamis.readers.streams import Content, Line, ending_of
from tamis.readers.text import UNDECODED_BYTES
from tamis.readers.text_columns import names_of, sample_of
from tamis.settings.config import CorpusSection

QUOTE = '"'
_DIGIT = re.compile(r"\d|://")
WORDS, NUMBER = "words", "number"
LINES_WITHOUT_NUMBERS = 3
"""Lines that look like rows or like prose, without a column of numbers, dates or ids to tell by."""
_HELD = re.compile(r'[^"]*(?:""[^"]*)*')
_OPEN = re.compile(r'"[^"]*(?:""[^"]*)*\Z', re.DOTALL)
TAB = "\t"
DELIMITERS = (",", ";", "\t", "|")
NONE = "\x1f"
"""Delimiter of a file of one column: a control character that no text has."""
HEAD_LINES, HEAD_BYTES = 100, 1 << 18
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_STATED = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE | re.DOTALL)
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+\s*%?\s*")
_NUMBER = re.compile(r"\s*[-+]?[\d.]*\d\s*%?\s*")
USUAL = {".csv": ",", ".tsv": TAB}
"""Delimiters by extension."""
_JOINS = (
    "a quotation mark opens here and closes {lines} lines below, and each of these lines is a row by itself; "
    "double the mark or remove it"
)


@cache
def _quoted(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'"([^"]*(?:""[^"]*)*)"(?={re.escape(delimiter)}|$)', re.DOTALL)


def split_fields(text: str, delimiter: str, every: bool) -> tuple[list[str], bool]:
    """Return the fields of a record, and whether its last quotation mark at the start of a field stays open.

    `every`: each field in quotation marks is quoted, as in CSV; else those alone that hold what needs it.
    Other quotation marks are letters.
    """
    fields, place, is_open = [], 0, False
    while True:
        if text.startswith(QUOTE, place) and (match := _quoted(delimiter).match(text, place)):
            held, end = match.group(1), match.end()
            needed = every or delimiter in held or "\n" in held or '""' in held
            fields.append(held.replace('""', QUOTE) if needed else match.group())
        else:
            is_open = is_open or bool(text.startswith(QUOTE, place) and _OPEN.match(text, place))
            end = text.find(delimiter, place)
            end = len(text) if end < 0 else end
            fields.append(text[place:end])
        if end == len(text):
            return fields, is_open
        place = end + 1


def ends(line: str, delimiter: str) -> bool:
    """Return whether a quoted field that began above ends in a line."""
    place = _HELD.match(line).end()  # type: ignore[union-attr]
    return place < len(line) and line[place + 1 : place + 2] in ("", delimiter)


def goes_on(line: str, delimiter: str) -> bool:
    """Return whether a quoted field that began above may go on, or end, in a line: no mark in it is alone."""
    return _HELD.match(line).end() == len(line) or ends(line, delimiter)  # type: ignore[union-attr]


def are_rows(lines: Sequence[str], delimiter: str, like: Sequence[str] | None, width: int) -> bool:
    """Return whether the lines of one quoted record are rows by themselves, which a stray mark put together.

    Each has as many fields as the header (`width`, over 1), and they are of the kinds of a row that was read
    before (`like`), or of the first line: a number, date or id, several words, one word or nothing. Where
    none has numbers, and a blank follows a delimiter as in prose, it takes three lines below the first.
    """
    rows = [split_fields(line, delimiter, every=True)[0] for line in lines]
    if width < 2 or any(len(row) != width for row in rows):
        return False
    kinds = [_kind(one) for one in (like if like is not None and len(like) == width else rows[0])]
    telling = {WORDS, NUMBER} if NUMBER in kinds else {*kinds}
    alike = (
        kind == _kind(one) for row in rows for kind, one in zip(kinds, row, strict=True) if kind in telling
    )
    as_prose = NUMBER not in kinds and any(one != one.strip() for row in rows for one in row)
    return all(alike) and (not as_prose or len(rows) > LINES_WITHOUT_NUMBERS)


def _kind(field: str) -> str:
    plain = field.strip()
    if " " in plain:
        return WORDS
    if _DIGIT.search(plain):
        return NUMBER
    return ("spaced" if plain != field else "word") if plain else ""


class TabRecords:
    """Read the records of a TSV file, one a call; `rest` is the text where a broken file ends."""

    delimiter = TAB

    def __init__(self, content: Content, lines: Iterator[Line], limit: int) -> None:
        self._content, self._lines, self._limit = content, lines, limit
        self._again: deque[Line] = deque()
        self._width = 0
        self._without_end = 0
        """Lines waiting to be read in which no quoted field ends."""
        self.rest = b""

    def next(self, row: int) -> list[str] | Defect | None:
        """Fields of the next record, the defect of a line that is too long, or None at the end."""
        while (line := self._line()) is not None:
            if self._content.broken and not line.ended:
                self.rest = line.content
                return None
            if line.giant:
                return giant_row(row, self._limit, line.content)
            if row == WHOLE_SHARD and b"\r" in line.content:
                return malformed(row, RETURNS_ALONE, line.content)
            if line.content:
                fields = self._fields(line)
                self._width = self._width or len(fields)
                return fields
        return None

    def _line(self) -> Line | None:
        self._without_end = max(0, self._without_end - 1)
        return self._again.popleft() if self._again else next(self._lines, None)

    def _fields(self, line: Line) -> list[str]:
        text = line.content.decode("utf-8", "surrogateescape")
        if QUOTE not in text:
            return text.split(TAB)
        fields, is_open = split_fields(text, TAB, every=False)
        if is_open and self._width and not self._without_end:
            return self._joined(text, fields) or fields
        return fields

    def _joined(self, first: str, alone: list[str]) -> list[str] | None:
        """Return the fields of a record that goes on in the lines below; None where each line is a row."""
        taken: list[Line] = []
        texts, size, is_row, ended = [first], len(first), len(alone) == self._width, False
        while not ended and size <= self._limit and (line := self._line()) is not None:
            taken.append(line)
            below = line.content.decode("utf-8", "surrogateescape")
            texts.append(below)
            size += len(below) + 1
            is_one_more = is_row and len(split_fields(below, TAB, every=False)[0]) == self._width
            ended = line.giant or is_one_more or not goes_on(below, TAB)
            if not line.giant and not is_one_more and ends(below, TAB):
                fields, is_open = split_fields("\n".join(texts), TAB, every=False)
                if not is_open and len(fields) == self._width:
                    return fields
                ended = not is_open
        self._again.extendleft(reversed(taken))
        self._without_end = 0 if ended else len(taken)
        return None


def stated_delimiter(line: str) -> str | None:
    """Return the delimiter that a first line states, as Excel writes it; None where it states none."""
    found = _STATED.fullmatch(line.rstrip("\r\n"))
    return found[1] if found and found[1] not in '"\r\n' else None


def find_delimiter(lines: Sequence[str], usual: str, wanted: Container[str]) -> str:
    """Return the delimiter of a file by its first lines, header first.

    `usual`: that of its extension; `wanted`: names of columns of texts, of which the file should have one.
    """
    first = _records(lines, usual)
    if first and len(first[0]) > 1 and _has_text(first, wanted):
        return usual
    heads = {usual: first} | {one: _records(lines, one) for one in DELIMITERS if one != usual}
    with_text = {one: rows for one, rows in heads.items() if _has_text(rows, wanted)}
    among = [usual] if usual in with_text else with_text or heads
    found = max(among, key=lambda one: _agreement(heads[one]))
    return NONE if found == "," and _is_one_column(heads[found]) else found


def _has_text(rows: Sequence[Sequence[str]], wanted: Container[str]) -> bool:
    return bool(rows) and any(name in wanted for name in _names(rows[0]))


def _records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the records that the lines hold, up to one that does not parse."""
    found: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # also where the last record goes on behind these lines
        for record in filter(None, csv.reader(lines, delimiter=delimiter, strict=True)):
            found.append(record)
    return found


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip() for name in header]


def _agreement(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return how well a delimiter fits: the share of records with as many fields as the header, and these."""
    columns = len(rows[0]) if rows else 0
    return (sum(len(row) == columns for row in rows) / len(rows), columns) if columns > 1 else (0.0, 0)


def _is_one_column(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a file has one column, in whose texts the comma is punctuation.

    Where each record has as many fields too many, columns lack a name, and nothing else would be right.
    """
    return bool(rows) and len(rows[0]) == 1 and len({sum(map(bool, row[1:])) for row in rows[1:]}) > 1


def decimal_commas(header: Sequence[str], records: Sequence[Sequence[str]]) -> list[str]:
    """Return the columns of which all values are numbers, some with a comma before the decimals."""
    found = []
    for place, name in enumerate(_names(header)):
        values = [record[place] for record in records if len(record) > place and record[place].strip()]
        commas = [bool(_DECIMAL_COMMA.fullmatch(value)) for value in values]
        if any(commas) and all(
            comma or _NUMBER.fullmatch(value) for comma, value in zip(commas, values, strict=True)
        ):
            found.append(name)
    return found


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
        yield replace(header, detail=f"the header cannot be read: {header.detail}", rows=UNKNOWN)
        return
    header = header or []
    names, wanted = _names(header), names_of(corpus.text_column)
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


def usual_delimiter(name: str) -> str | None:
    """Return the delimiter that the extension of a file says, None of a file of another format."""
    return USUAL.get(ending_of(name))


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
    sample = sample_of(first)
    return missing_text_column(WHOLE_SHARD, wanted, dict.fromkeys(names), sample, corpus.format, rows)


def _as_row(row: int, fields: list[str], names: list[str], needed: int) -> Item:
    """Return a record as a row, or a defect; empty fields at the end may be missing or too many.

    `needed`: the place of the first column of texts.
    """
    shown = ",".join(fields)
    if UNDECODED_BYTES.search(shown):
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
    header = next(filter(None, texts), "").split(TAB)
    if delimiter == TAB and not any(name.startswith(QUOTE) for name in header):
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
        else:
            lines = [line.content.decode("utf-8", "surrogateescape") for line in self._taken]
            if are_rows(lines, self.delimiter, self._like, self._width):
                return self._failed(row, _JOINS.format(lines=len(lines) - 1))
        return fields

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
