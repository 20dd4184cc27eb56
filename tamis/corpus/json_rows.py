"""Rows of JSON: a line each (.jsonl), or the elements of one value (.json).

A `.json` file is read element by element, so memory holds one element and not the file; objects that
follow one another without an array (JSON lines under the wrong name) are read too, and so are arrays that
were put together. After an element that does not parse, reading goes on at the next `}, {`. An object that
names a key twice is a defect of its row. With all checks, 60,000 to 75,000 rows of 350 characters a second.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tamis.corpus.records import (
    RETURNS_ALONE,
    UNKNOWN,
    WHOLE_SHARD,
    Defect,
    Item,
    Note,
    Row,
    broken_stream,
    giant_row,
    malformed,
    wrong_encoding,
)
from tamis.corpus.streams import Content, Line
from tamis.corpus.strict_json import TOO_LARGE, Reader
from tamis.corpus.text import excerpt
from tamis.corpus.text_columns import usual_place
from tamis.corpus.wrapped_rows import wrapped_or_rows
from tamis.settings.config import CorpusSection

WINDOW_CHARACTERS = 1 << 18
_SPACE = re.compile(r"[\s,\ufeff]*")
_NEXT_OBJECT = re.compile(r"\}\s*,?\s*(?=\{)")
_INDENTED = re.compile(rb'(\xef\xbb\xbf)?\s*(\[\s*\n\s*[{"]|\{\s*\n\s*")')
"""The beginning of a value over several lines, as `json.dump(..., indent=2)` writes it."""
_UNDECODED = re.compile(r"[\udc80-\udcff]")


def read_json_lines(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """A row per line; blank lines are counted and skipped. Values over several lines are rows of `.json`."""
    if _INDENTED.match(content.head):
        return read_json(content, corpus)
    return wrapped_or_rows(_lines(content, corpus), corpus)


def _lines(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    row, rest, reader = 0, b"", Reader()
    for line in content.lines(corpus.maximum_row_bytes):
        item = _parsed_line(row, line, corpus, reader)
        if isinstance(item, Defect) and content.broken and not line.ended:
            rest = line.content
            break
        if item is not None:
            yield item
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, rest)


def _parsed_line(row: int, line: Line, corpus: CorpusSection, reader: Reader) -> Item | None:
    if line.giant:
        return _of_returns(row, line) or giant_row(row, corpus.maximum_row_bytes, line.content)
    if not line.content.strip():
        return None
    try:
        return _as_row(row, reader.read(line.content.decode("utf-8")), line.content, reader)
    except UnicodeDecodeError as error:
        return wrong_encoding(row, str(error), line.content)
    except (ValueError, RecursionError) as error:
        return _of_returns(row, line) or malformed(row, str(error), line.content)


def _of_returns(row: int, line: Line) -> Defect | None:
    """Return the defect of a line that holds rows which end in carriage returns; None of any other."""
    rows = sum(part.lstrip().startswith(b"{") for part in line.content.split(b"\r"))
    if rows < 2:
        return None
    found = malformed(row, RETURNS_ALONE, line.content)
    is_file = line.giant and row == 0  # of which this is the beginning
    return replace(found, row=WHOLE_SHARD, rows=UNKNOWN) if is_file else replace(found, rows=rows)


def _as_row(row: int, value: Any, raw: bytes | str, reader: Reader) -> Item:
    if problem := reader.problem():
        return malformed(row, problem, raw)
    if isinstance(value, dict):
        notes = tuple(Note(column=name, problem=TOO_LARGE) for name in reader.too_large)
        return Row(row=row, values=value, notes=notes)
    found = "null" if value is None else type(value).__name__
    cure = "; if the whole file is one array, name it .json" if isinstance(value, list) else ""
    return malformed(row, f"a JSON object is expected, found {found}{cure}", raw)


def read_json(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """A row per element of an array of objects or of texts, or one row for a single object."""
    return wrapped_or_rows(_elements(content, corpus), corpus)


def _elements(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    window = _Window(content, corpus.maximum_row_bytes)
    window.skip(_SPACE)
    in_array = window.take("[")
    row = 0
    while not window.at_end(in_array):
        item = window.element(row, corpus)
        if item is None:
            break
        yield item
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, window.rest())


class _Window:
    """The part of a JSON file in memory: grows until an element parses, drops what is behind."""

    def __init__(self, content: Content, limit: int) -> None:
        self._content, self._limit, self._reader = content, limit, Reader()
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text, self._position, self.exhausted = "", 0, False

    def rest(self) -> str:
        return self._text[self._position :]

    def take(self, token: str) -> bool:
        if self._text.startswith(token, self._position):
            self._position += len(token)
            return True
        return False

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Go to the first character that the pattern does not match."""
        while True:
            match = pattern.match(self._text, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._text) or self.exhausted:
                return
            self._grow()

    def at_end(self, in_array: bool) -> bool:
        """Whether no element follows."""
        self.skip(_SPACE)
        while in_array and self.take("]"):
            self.skip(_SPACE)
            if self.take("["):  # of another file, which was put behind the first
                self.skip(_SPACE)
        return self.exhausted and self._position >= len(self._text)

    def element(self, row: int, corpus: CorpusSection) -> Item | None:
        """The next element, or None where a broken file ends within one.

        An element that does not parse is skipped up to the next object.
        """
        while True:
            try:
                value, end = self._reader.read_from(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if self.exhausted or len(self._text) - self._position > self._limit:
                    return self._broken(row, str(error), corpus)
            else:
                if end < len(self._text) or self.exhausted:
                    return self._whole(row, value, end, corpus)
            self._grow()

    def _whole(self, row: int, value: Any, end: int, corpus: CorpusSection) -> Item:
        raw, self._position = self._text[self._position : end], end
        if len(raw) > self._limit:
            return giant_row(row, corpus.maximum_row_bytes, raw)
        if _UNDECODED.search(raw):
            return wrong_encoding(row, "", raw)
        if isinstance(value, str):
            return Row(row=row, values={usual_place(corpus).name: value})
        return _as_row(row, value, raw, self._reader)

    def _broken(self, row: int, problem: str, corpus: CorpusSection) -> Defect | None:
        head, size = excerpt(self.rest()), 0
        while not (match := _NEXT_OBJECT.search(self._text, self._position)) and not self.exhausted:
            size += len(self._text) - self._position
            self._position = max(self._position, len(self._text) - 1)
            self._grow()
        if match is None and self._content.broken:
            return None
        size += (match.start() if match else len(self._text)) - self._position
        self._position = match.end() if match else len(self._text)
        return (
            giant_row(row, corpus.maximum_row_bytes, head)
            if size > self._limit
            else malformed(row, problem, head)
        )

    def _grow(self) -> None:
        """Read as much again as is held, so that parsing again costs no more than twice the text."""
        held = self._text[self._position :]
        block = self._content.stream.read(max(WINDOW_CHARACTERS, len(held)))
        self.exhausted = not block
        self._text, self._position = held + self._decode(block, final=self.exhausted), 0
