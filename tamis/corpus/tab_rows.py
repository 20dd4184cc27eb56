"""Records separated by tabs, where a quotation mark is a letter like others and each line is a row.

Some programs write TSV by the rules of CSV. So a field is unquoted where its quotation marks hold a tab, a
doubled mark or a line break, unless the lines in them are rows by themselves. A file whose header is quoted
is CSV with tabs altogether.
"""

from collections import deque
from collections.abc import Iterator

from tamis.corpus.quoted_fields import QUOTE, ends, goes_on, split_fields
from tamis.corpus.records import RETURNS_ALONE, WHOLE_SHARD, Defect, giant_row, malformed
from tamis.corpus.streams import Content, Line

TAB = "\t"


def has_quoted_header(header: str) -> bool:
    """Return whether a header has a name in quotation marks."""
    return any(name.startswith(QUOTE) for name in header.split(TAB))


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
